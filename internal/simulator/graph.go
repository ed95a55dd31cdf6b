package simulator

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// graphPath is where Microsoft Graph has the incidents.
const graphPath = "/v1.0/security/incidents"

// maxGraphTop is the most that may be asked for of one page, and its size.
const maxGraphTop = 50

// graphQuery is what a list call of the Graph flavour asks for.
type graphQuery struct {
	where            []condition
	filter, order    string
	top, skip        int
	expand, afterGap bool
}

// answerGraph answers both calls of the Graph flavour, which share a limit.
func (t *Tenant) answerGraph(c *call, now time.Time, id string) reply {
	c.graph = true
	t.meter.GraphCalls++
	t.meter.graph.received(now, t.opts.GraphLimits)
	operation, right := "list", func(rep *reply) { t.graphList(rep, c) }
	if id != "" {
		operation, right = "get", func(rep *reply) { t.graphGet(rep, c, id) }
	}
	return t.answerAPI(c, now, operation, right, &t.meter.graph, t.opts.GraphLimits)
}

func (t *Tenant) graphGet(rep *reply, c *call, id string) {
	values, err := url.ParseQuery(c.query)
	if err != nil || values.Get("$expand") != "" && values.Get("$expand") != "alerts" {
		rep.refuse(http.StatusBadRequest, "BadRequest", "The query is malformed.", t.traceID())
		return
	}
	if t.graphExpandFails(rep, values.Get("$expand") != "", 1) {
		return
	}
	t.answerGet(rep, id)
}

func (t *Tenant) graphExpandFails(rep *reply, expand bool, top int) bool {
	f := &t.faults.Graph
	if !expand || f.ExpandStatus == 0 || top <= f.ExpandTop {
		return false
	}
	t.refuseStatus(rep, f.ExpandStatus)
	return true
}

func (t *Tenant) graphList(rep *reply, c *call) {
	q, err := t.faults.parseGraphQuery(c.query)
	if err != nil {
		rep.refuse(http.StatusBadRequest, "BadRequest", err.Error(), t.traceID())
		return
	}
	if t.graphExpandFails(rep, q.expand, q.top) {
		return
	}
	rep.status = http.StatusOK
	if t.faults.Graph.Partial {
		rep.status = http.StatusPartialContent
		rep.header.Set("Warning", `199 - "simulated/provider: 504"`)
	}
	rows := t.graphRows(&q)
	rep.page = &page{base: c.base, odd: t.faults.OddRows, expand: q.expand, prefer: prefers(c)}
	rest := rows[min(q.skip, len(rows)):]
	switch {
	case t.faults.Graph.EmptyPages && !q.afterGap && len(rest) > 0:
		q.afterGap = true
		rep.page.next = t.graphLink(c.base, &q)
		return
	case len(rest) > q.top:
		q.skip, q.afterGap = q.skip+q.top, false
		rep.page.next = t.graphLink(c.base, &q)
		rest = rest[:q.top]
	}
	rep.page.rows = slices.Clone(rest)
}

func prefers(c *call) bool { return strings.Contains(c.prefer, "include-unknown-enum-members") }

// graphRows are all rows that match, in order.
func (t *Tenant) graphRows(q *graphQuery) []*entry {
	part, others := narrow(t.sorted(), q.where)
	rows := slices.Clone(part)
	if len(others) > 0 {
		rows = slices.DeleteFunc(rows, func(e *entry) bool {
			return slices.ContainsFunc(others, func(c condition) bool { return !c.matches(&e.Record) })
		})
	}
	order := t.faults.Graph.Order
	if q.order != "" && !t.faults.Graph.IgnoreOrderBy {
		order = OldestUpdate
		if strings.HasSuffix(q.order, " desc") {
			order = NewestUpdate
		}
	}
	switch order {
	case NewestUpdate:
		slices.Reverse(rows)
	case NewestIncident:
		slices.SortFunc(rows, func(a, b *entry) int { return cmp.Compare(b.ID, a.ID) })
	case NoOrder:
		slices.SortFunc(rows, func(a, b *entry) int { return cmp.Compare(mix(uint64(a.ID)), mix(uint64(b.ID))) })
	}
	return rows
}

// graphLink is opaque: what it holds is nobody's business.
func (t *Tenant) graphLink(base string, q *graphQuery) string {
	if t.faults.ForeignNext != "" {
		base = t.faults.ForeignNext
	}
	inner := url.Values{"f": {q.filter}, "o": {q.order}, "t": {strconv.Itoa(q.top)}, "s": {strconv.Itoa(q.skip)}}
	if q.expand {
		inner.Set("e", "1")
	}
	if q.afterGap {
		inner.Set("g", "1")
	}
	return base + graphPath + "?$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(inner.Encode()))
}

func (f *Faults) parseGraphQuery(raw string) (graphQuery, error) {
	q := graphQuery{top: maxGraphTop}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("the query string is malformed")
	}
	for name, given := range values {
		if len(given) > 1 {
			return q, fmt.Errorf("query option '%s' was specified more than once", name)
		}
		switch value := given[0]; name {
		case "$filter":
			q.filter = value
		case "$top":
			q.top, err = number("Top", value, maxGraphTop)
		case "$skip":
			limit := int(^uint(0) >> 1)
			if f.SkipCap > 0 {
				limit = f.SkipCap
			}
			q.skip, err = number("Skip", value, limit)
		case "$expand":
			if q.expand = true; value != "alerts" {
				err = fmt.Errorf("could not find a property named '%s' on type 'microsoft.graph.security.incident'", value)
			}
		case "$orderby":
			if q.order = value; f.Graph.RefuseOrderBy || !slices.Contains([]string{"lastUpdateDateTime", "lastUpdateDateTime asc", "lastUpdateDateTime desc"}, value) {
				err = fmt.Errorf("the query specified in the URI is not valid: $orderby '%s' is not supported", value)
			}
		case "$count":
		case "$skiptoken":
			err = q.resume(value)
		default:
			err = fmt.Errorf("query option '%s' is not allowed", name)
		}
		if err != nil {
			return q, err
		}
	}
	if q.filter != "" {
		q.where, err = f.parseGraphFilter(q.filter)
	}
	return q, err
}

func (q *graphQuery) resume(token string) error {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return errors.New("the skip token is malformed")
	}
	inner, err := url.ParseQuery(string(text))
	if err != nil {
		return errors.New("the skip token is malformed")
	}
	q.filter, q.order = inner.Get("f"), inner.Get("o")
	q.expand, q.afterGap = inner.Has("e"), inner.Has("g")
	if q.top, err = strconv.Atoi(inner.Get("t")); err != nil {
		return errors.New("the skip token is malformed")
	}
	if q.skip, err = strconv.Atoi(inner.Get("s")); err != nil {
		return errors.New("the skip token is malformed")
	}
	return nil
}
