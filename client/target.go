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

// tick is the resolution of the times that the APIs show: up to seven digits of a
// second were observed of both.
const tick = 100 * time.Nanosecond

// target is the address of a list.
func (c *Client) target(req *listing.Request) (string, error) {
	if req.Link != "" {
		to, err := c.follow(req.Link)
		if err != nil {
			return "", err
		}
		return to.String(), nil
	}
	var options []string
	add := func(name, value string) { options = append(options, name+"="+value) }
	if req.Top > 0 {
		add("$top", strconv.Itoa(req.Top))
	}
	if c.api.offer.Expand && req.Alerts {
		add("$expand", "alerts")
	}
	if conditions := c.conditions(req); conditions != "" {
		add("$filter", escape(conditions))
	}
	switch req.Order {
	case listing.Ascending:
		add("$orderby", escape(c.api.updated+" asc"))
	case listing.Descending:
		add("$orderby", escape(c.api.updated+" desc"))
	}
	if req.Count {
		add("$count", "true")
	}
	if req.Skip > 0 {
		add("$skip", strconv.Itoa(req.Skip))
	}
	if len(options) == 0 {
		return c.list.String(), nil
	}
	return c.list.String() + "?" + strings.Join(options, "&"), nil
}

func (c *Client) conditions(req *listing.Request) string {
	var all []string
	if !req.Since.IsZero() {
		all = append(all, c.api.updated+" ge "+formatTime(req.Since))
	}
	if !req.Before.IsZero() {
		operator, bound := " lt ", req.Before
		if req.Bound == listing.Le {
			operator, bound = " le ", req.Before.Add(-tick)
		}
		all = append(all, c.api.updated+operator+formatTime(bound))
	}
	if req.Status != incident.StatusUnknown {
		all = append(all, "status eq '"+c.api.statuses[req.Status]+"'")
	}
	return strings.Join(all, " and ")
}

// escape encodes a blank as %20: not every OData server takes a plus for one.
func escape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// maxLink bounds an address of the server's, in bytes.
const maxLink = 8 << 10

var (
	errForeignHost = errors.New("the server refers to another host, which gets no token")
	errLink        = errors.New("the server's link is longer than 8 KiB, or is not an address")
)

// follow resolves an address of the server's, to the same scheme, host and port
// only.
func (c *Client) follow(link string) (*url.URL, error) {
	if len(link) > maxLink {
		return nil, errLink
	}
	u, err := c.list.Parse(link)
	switch {
	case err != nil:
		return nil, errLink
	case origin(c.list) != origin(u):
		return nil, fmt.Errorf("%w: %s", errForeignHost, c.show(u.Scheme+"://"+u.Host))
	}
	// The first would be sent as credentials, the second not at all. A blank in
	// the query would end the request line.
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20")
	return u, nil
}

// parseBase checks the address of an API. Its errors quote no more of it than
// cannot be secret.
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
	return base, nil
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
