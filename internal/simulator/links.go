package simulator

import (
	"net/url"
	"strconv"
	"strings"
)

// LinkShape is what a link to the next page looks like.
type LinkShape int

// The shapes.
const (
	// LinkUsual is LinkLossy for the native flavour and LinkOpaque for Graph.
	LinkUsual LinkShape = iota
	// LinkLossy is what the native API was seen to send: a slash before the
	// question mark, a raw $skip, and neither filter nor $top nor anything else.
	LinkLossy
	// LinkFull repeats the query, escaped.
	LinkFull
	// LinkOpaque has a token that stands for the query and the position.
	LinkOpaque
)

// Links are what is wrong with the links to next pages. None comes before
// Always, and an empty page's link (see Pages) is spared by Shape and Cycle.
type Links struct {
	// None leaves them out, as in the documented example. Always puts one on
	// every page, the last one too.
	None, Always bool
	Shape        LinkShape
	// Cycle 1 lets every link lead to its own page, 2 the first page's to the
	// second and all others' back to the first.
	Cycle int
	// Host is the scheme and host of links, for example [Foreign]. PlainHTTP
	// makes the scheme http.
	Host      string
	PlainHTTP bool
}

// nextLink is the link to the page after q, which has n rows; empty: none.
func (t *Tenant) nextLink(c *call, q *query, n int, more bool) string {
	l := &t.faults.Links
	if l.None || !more && !l.Always && (l.Cycle != 2 || q.skip == 0) {
		return ""
	}
	to := *q
	to.skip, to.afterGap = q.skip+n, false
	switch {
	case l.Cycle == 1:
		to.skip, to.afterGap = q.skip, q.afterGap
	case l.Cycle == 2 && q.skip > 0:
		to.skip = 0
	}
	shape := l.Shape
	if shape == LinkUsual && c.graph {
		shape = LinkOpaque
	}
	return l.base(c) + to.link(c, shape)
}

// gapLink is that of an empty page to the page that it stands before.
func (t *Tenant) gapLink(c *call, q *query) string {
	to := *q
	to.afterGap = true
	return t.faults.Links.base(c) + to.link(c, LinkOpaque)
}

func (l *Links) base(c *call) string {
	base := c.base
	if l.Host != "" {
		base = l.Host
	}
	if host, ok := strings.CutPrefix(base, "https://"); ok && l.PlainHTTP {
		base = "http://" + host
	}
	return base
}

// link is the path and options that lead to q.
func (q *query) link(c *call, shape LinkShape) string {
	path, skip := c.flavour().path, "skip="+strconv.Itoa(q.skip)
	switch shape {
	case LinkOpaque:
		return path + "?$skiptoken=" + q.token()
	case LinkFull:
	default:
		return path + "/?$" + skip
	}
	link := path + "?"
	for _, option := range []struct {
		name, value string
		has         bool
	}{
		{"filter", q.filter, q.filter != ""},
		{"orderby", q.orderBy, q.orderBy != ""},
		{"expand", "alerts", q.expand},
		{"count", "true", q.count},
		{"top", strconv.Itoa(q.top), q.hasTop},
	} {
		if option.has {
			link += "%24" + option.name + "=" + url.QueryEscape(option.value) + "&"
		}
	}
	return link + "%24" + skip
}
