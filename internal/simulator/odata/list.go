package odata

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// Order is an order of rows.
type Order int

// The orders. Among equals that ascend the lowest id is first, among those that
// descend the highest.
const (
	// NewestUpdate is by the last update, descending.
	NewestUpdate Order = iota
	OldestUpdate
	// NewestCreated and OldestCreated are by creation.
	NewestCreated
	OldestCreated
	// NoOrder is one that has nothing to do with anything that a row shows. It
	// is the same every time.
	NoOrder
)

// find finds the rows of a page and whether there are more behind them, and
// counts all that match if the query asks for it. The update time narrows the
// search; other conditions are tried row by row. The usual order without other
// conditions costs no more than the page.
func (x *Exchange) find(q *Query, size int) (rows []*life.Entry, more bool, total int) {
	order := x.Tenant.Index.Sorted()
	if x.Hooks.Visible != nil {
		order = x.Hooks.Visible(x.Now)
	}
	part, others := x.narrow(order, q.where)
	backwards, matches := q.order == NewestUpdate, x.matcher(others)
	if q.order > OldestUpdate || q.Count && matches != nil {
		part = x.arrange(part, matches, q)
		matches, backwards = nil, false
	}
	total, skip := len(part), q.Skip
	if matches == nil {
		skip = min(skip, len(part))
		if backwards {
			part = part[:len(part)-skip]
		} else {
			part = part[skip:]
		}
		skip = 0
	}
	for i := range part {
		e := part[i]
		if backwards {
			e = part[len(part)-1-i]
		}
		if matches != nil && !matches(e) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(rows) == size {
			return rows, true, total
		}
		rows = append(rows, e)
	}
	return rows, false, total
}

// matcher tries what narrow left; nil: every row matches.
func (in *Incidents) matcher(others []Condition) func(*life.Entry) bool {
	if len(others) == 0 && in.Hooks.Hidden == nil {
		return nil
	}
	unit := in.Tenant.Index.Unit()
	return func(e *life.Entry) bool {
		if in.Hooks.Hidden != nil && in.Hooks.Hidden(e.ID) {
			return false
		}
		for i := range others {
			if !others[i].matches(&e.Record, unit) {
				return false
			}
		}
		return true
	}
}

// arranged is what the latest call that needed it searched and sorted: the
// pages of a tenant at rest do it once.
type arranged struct {
	generation uint64
	face       *Face
	order      Order
	filter     string
	rows       []*life.Entry
}

// arrange returns all rows that match, in order.
func (x *Exchange) arrange(part []*life.Entry, matches func(*life.Entry) bool, q *Query) []*life.Entry {
	key := arranged{generation: x.Tenant.Index.Generation, face: x.Face, order: q.order, filter: q.Filter}
	last := &x.arranged
	if last.rows != nil && last.generation == key.generation && last.face == key.face && last.order == key.order && last.filter == key.filter {
		return last.rows
	}
	key.rows = make([]*life.Entry, 0, len(part))
	for _, e := range part {
		if matches == nil || matches(e) {
			key.rows = append(key.rows, e)
		}
	}
	switch q.order {
	case NewestUpdate:
		slices.Reverse(key.rows)
	case NewestCreated:
		slices.SortFunc(key.rows, func(a, b *life.Entry) int { return -byCreation(a, b) })
	case OldestCreated:
		slices.SortFunc(key.rows, byCreation)
	case NoOrder:
		slices.SortFunc(key.rows, func(a, b *life.Entry) int { return cmp.Compare(life.Spread(uint64(a.ID)), life.Spread(uint64(b.ID))) })
	}
	if x.Hooks.Visible == nil { // else the rows may be others every time
		*last = key
	}
	return key.rows
}

func byCreation(a, b *life.Entry) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// since is the index of the first of the sorted entries that was updated at
// or after at.
func since(order []*life.Entry, at time.Time) int {
	i, _ := slices.BinarySearchFunc(order, at, func(e *life.Entry, at time.Time) int {
		if e.Updated.Before(at) {
			return -1
		}
		return 1
	})
	return i
}

// narrow finds the part of the ordered entries that meets the conditions on the
// update time, and the conditions that are left.
func (in *Incidents) narrow(order []*life.Entry, where []Condition) (part []*life.Entry, others []Condition) {
	unit := in.Tenant.Index.Unit()
	for _, c := range where {
		if c.Field != "lastUpdateTime" {
			others = append(others, c)
			continue
		}
		at := c.At.Truncate(unit)
		after := at.Add(unit) // nothing is in between
		from, to := 0, len(order)
		switch c.Operator {
		case "ge":
			from = since(order, at)
		case "gt":
			from = since(order, after)
		case "lt":
			to = since(order, at)
		case "le":
			to = since(order, after)
		case "eq":
			from, to = since(order, at), since(order, after)
		}
		order = order[min(from, len(order)):max(min(from, len(order)), to)]
	}
	return order, others
}

// list answers a call of the list.
func (x *Exchange) list() {
	q, bad := x.parse()
	switch {
	case bad != nil && bad.status == http.StatusOK:
		x.Reply.JSON(bad.status, map[string]any{"value": []any{}})
	case bad != nil:
		x.refuseQuery(bad)
	case x.Hooks.List != nil:
		x.Hooks.List(x, &q)
	default:
		p := x.Page(&q, q.Top)
		if p.More {
			q.Skip += len(p.Rows)
			p.Next = x.Call.Base + x.Face.Link(x.Face.Path, &q)
		}
		x.Reply.Later(http.StatusOK, p.Append)
	}
}
