package client

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// api is what the two APIs say differently.
type api struct {
	path    string      // of the list; an incident's is below it
	header  http.Header // of every request
	list    string      // a name that it has beside value
	id      string
	created string
	updated string
	tags    string
	// firstActive is when what an alert tells of began.
	firstActive string
	// alertID is the member of an alert that tells its id.
	alertID string
	// devices are members of an alert of which some have a device group.
	devices  string
	statuses map[incident.Status]string
	offer    listing.Offer
}

// tick is the resolution of the times that the APIs show: up to seven digits of a
// second were observed of both.
const tick = 100 * time.Nanosecond

// target is the address that a page is asked for at.
func (c *Client) target(req *listing.Request) (*url.URL, error) {
	if req.Link != "" {
		return c.follow(req.Link)
	}
	operator, before := " lt ", req.Before
	if req.Bound == listing.Le {
		operator, before = " le ", before.Add(-tick)
	}
	updated := c.api.updated
	conditions := join(" and ",
		when(!req.Since.IsZero(), updated+" ge "+formatTime(req.Since)),
		when(!req.Before.IsZero(), updated+operator+formatTime(before)),
		when(req.Status != incident.StatusUnknown, "status eq '"+c.api.statuses[req.Status]+"'"),
	)
	to := *c.list
	to.RawQuery = join("&",
		when(req.Top > 0, "$top="+strconv.Itoa(req.Top)),
		when(req.Alerts && c.api.offer.Expand, "$expand=alerts"),
		when(conditions != "", "$filter="+escape(conditions)),
		when(req.Order == listing.Ascending, "$orderby="+escape(updated+" asc")),
		when(req.Order == listing.Descending, "$orderby="+escape(updated+" desc")),
		when(req.Count, "$count=true"),
		when(req.Skip > 0, "$skip="+strconv.Itoa(req.Skip)),
	)
	return &to, nil
}

func when(wanted bool, text string) string {
	if wanted {
		return text
	}
	return ""
}

// join joins what is not empty.
func join(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), separator)
}

// formatTime writes a time as the APIs do, whole seconds without a fraction.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

// escape encodes a blank as %20: not every OData server takes a plus for one.
func escape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// maxLink bounds an address of the server's, in bytes.
const maxLink = 8 << 10

var errLink = errors.New("the server's link is longer than 8 KiB, or is not an address")

// follow resolves an address of the server's, to the same scheme, host and port
// only.
func (c *Client) follow(link string) (*url.URL, error) {
	u, err := c.list.Parse(link)
	if err != nil || len(link) > maxLink {
		return nil, errLink
	}
	if !strings.EqualFold(origin(c.list), origin(u)) {
		return nil, fmt.Errorf("the server refers to another host, which gets no token: %s", c.opts.Scrubber.Text(u.Scheme+"://"+u.Host))
	}
	// What is the same in another case may still be another host to the DNS. The
	// user would be sent as credentials, the fragment not at all. A blank in the
	// query would end the request line.
	u.Host, u.User, u.Fragment = c.list.Host, nil, ""
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20")
	return u, nil
}

// parseBase checks the address of an API. Its errors quote no more of it than
// cannot be secret.
func parseBase(address string) (*url.URL, error) {
	if strings.ContainsAny(address, "@?#") {
		return nil, errors.New("API address: nothing but a scheme, a host and a path is allowed")
	}
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil {
		return nil, fmt.Errorf("parse API address: %w", errors.Unwrap(err))
	}
	if base.Hostname() == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, fmt.Errorf("API address %q must begin with https:// (plain http only to loopback)", address)
	}
	return base, nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// origin is scheme, host and port, whether or not a default port is written.
func origin(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port)
}
