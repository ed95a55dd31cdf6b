package simulator

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTop is the size of a page, and the most that may be asked for.
const maxTop = 100

// query is what a list call asks for.
type query struct {
	where     []condition
	filter    string
	top, skip int
	hasTop    bool
}

func (f *Faults) parseQuery(raw string) (query, error) {
	q := query{top: maxTop}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("the query string is malformed")
	}
	for name, given := range values {
		if !strings.HasPrefix(name, "$") {
			continue // OData leaves such names to the service, which ignores them
		}
		if len(given) > 1 {
			return q, fmt.Errorf("query option '%s' was specified more than once", name)
		}
		switch name {
		case "$filter":
			q.filter = given[0]
			if q.where, err = parseFilter(given[0]); err == nil {
				q.where, err = f.screen(q.where)
			}
		case "$top":
			q.hasTop = true
			q.top, err = number(name, given[0], maxTop)
		case "$skip":
			limit := int(^uint(0) >> 1)
			if f.SkipCap > 0 {
				limit = f.SkipCap
			}
			q.skip, err = number(name, given[0], limit)
		default:
			err = fmt.Errorf("query option '%s' is not allowed", name)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func number(name, value string, limit int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("invalid value '%s' for %s", value, name)
	}
	if n > limit {
		return 0, fmt.Errorf("the limit of '%d' for %s query has been exceeded; the value from the incoming request is '%d'", limit, name, n)
	}
	return n, nil
}

// list finds the rows of a page, newest update first and among equals the
// highest id first, and whether there are more behind them. The update time
// narrows the search; other conditions are tried row by row.
func (t *Tenant) list(q query) (rows []*entry, more bool) {
	order, others := narrow(t.sorted(), q.where)
	skip := q.skip
	if len(others) == 0 {
		order = order[:max(0, len(order)-skip)]
		skip = 0
	}
	for _, e := range slices.Backward(order) {
		if slices.ContainsFunc(others, func(c condition) bool { return !c.matches(&e.Record) }) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(rows) == q.top {
			return rows, true
		}
		rows = append(rows, e)
	}
	return rows, false
}

// narrow finds the part of the ordered entries that meets the conditions on the
// update time, and the conditions that are left.
func narrow(order []*entry, where []condition) (part []*entry, others []condition) {
	for _, c := range where {
		if c.field != "lastUpdateTime" {
			others = append(others, c)
			continue
		}
		after := c.at.Add(resolution) // nothing is in between
		from, to := 0, len(order)
		switch c.operator {
		case "ge":
			from = since(order, c.at)
		case "gt":
			from = since(order, after)
		case "lt":
			to = since(order, c.at)
		case "le":
			to = since(order, after)
		case "eq":
			from, to = since(order, c.at), since(order, after)
		}
		order = order[min(from, len(order)):max(min(from, len(order)), to)]
	}
	return order, others
}

// nextLink is the link to the page after q, empty if the tenant does not tell.
func (t *Tenant) nextLink(base string, q query) string {
	if t.faults.ForeignNext != "" {
		base = t.faults.ForeignNext
	}
	skip := strconv.Itoa(q.skip + q.top)
	switch t.opts.NextLink {
	case NextLinkAbsent:
		return ""
	case NextLinkObserved:
		return base + "/api/incidents/?$skip=" + skip
	}
	link := base + "/api/incidents?"
	if q.filter != "" {
		link += "%24filter=" + url.QueryEscape(q.filter) + "&"
	}
	if q.hasTop {
		link += "%24top=" + strconv.Itoa(q.top) + "&"
	}
	return link + "%24skip=" + skip
}

// wireTime is how the API writes a timestamp: UTC, nought to seven fractional
// digits, no trailing zeros.
const wireTime = "2006-01-02T15:04:05.9999999Z"

func appendTime(b []byte, at time.Time) []byte {
	b = append(b, '"')
	b = at.UTC().AppendFormat(b, wireTime)
	return append(b, '"')
}
