package client

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// tick is the resolution of the times that the APIs show.
const tick = 100 * time.Nanosecond

// part of a query.
type part struct {
	asked bool // whether it is in it
	text  string
}

func join(separator string, parts ...part) string {
	var asked []string
	for _, p := range parts {
		if p.asked {
			asked = append(asked, p.text)
		}
	}
	return strings.Join(asked, separator)
}

// target is the address of a list.
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
		part{!req.Since.IsZero(), updated + " ge " + formatTime(req.Since)},
		part{!req.Before.IsZero(), updated + operator + formatTime(before)},
		part{req.Status != incident.StatusUnknown, "status eq '" + c.api.statuses[req.Status] + "'"},
	)
	to := *c.list
	to.RawQuery = join("&",
		part{req.Top > 0, "$top=" + strconv.Itoa(req.Top)},
		part{req.Alerts && c.api.offer.Expand, "$expand=alerts"},
		part{conditions != "", "$filter=" + escape(conditions)},
		part{req.Order == listing.Ascending, "$orderby=" + escape(updated+" asc")},
		part{req.Order == listing.Descending, "$orderby=" + escape(updated+" desc")},
		part{req.Count, "$count=true"},
		part{req.Skip > 0, "$skip=" + strconv.Itoa(req.Skip)},
	)
	return &to, nil
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
	if len(link) > maxLink {
		return nil, errLink
	}
	u, err := c.list.Parse(link)
	if err != nil {
		return nil, errLink
	}
	if origin(c.list) != origin(u) {
		return nil, fmt.Errorf("the server refers to another host, which gets no token: %s", c.opts.Scrubber.Text(u.Scheme+"://"+u.Host))
	}
	// The first would be sent as credentials, the second not at all. A blank in
	// the query would end the request line.
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20")
	return u, nil
}

// parseBase reads the address of an API, whose path then begins and ends with a
// slash. Its errors quote no more of it than cannot be secret.
func parseBase(address string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("parse API address: %w", err)
	}
	if base.User != nil || strings.ContainsAny(address, "?#") {
		return nil, fmt.Errorf("API address %q: nothing but a scheme, a host and a path is allowed", base.Scheme+"://"+base.Host)
	}
	if base.Hostname() == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, fmt.Errorf("API address %q must begin with https:// (plain http only to loopback)", address)
	}
	return base.JoinPath("/"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// origin is scheme, host and port, whether or not a default port is written.
func origin(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
