package simulator

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Order is an order of the rows that nobody asked for by $orderby.
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

// descends tells whether the tenant's own order is to be read backwards.
func (o Order) descends() bool { return o == NewestUpdate }

// Pages are how rows are spread over pages.
type Pages struct {
	// Cap is the most rows of a page, whatever was asked for; 0: none. Ragged
	// pages have a number of rows between one and what was asked for.
	Cap    int
	Ragged bool
	// Empty puts an empty page with a link before every page that has rows. The
	// link has a token, whatever the shape of others is. There are none where
	// Links.None is set, since they would lead nowhere.
	Empty bool
}

// size is the number of rows of a page.
func (p *Pages) size(q *query, seed uint64) int {
	size := q.top
	if p.Cap > 0 {
		size = min(size, p.Cap)
	}
	if p.Ragged && size > 1 {
		size = 1 + int(mix(seed^uint64(q.skip)+uint64(len(q.filter)))%uint64(size))
	}
	return size
}

// list finds the rows of a page and whether there are more behind them, and
// counts all that match if the query asks for it. The update time narrows the
// search; other conditions are tried row by row. The usual order without other
// conditions costs no more than the page.
func (t *Tenant) list(q *query, size int) (rows []*entry, more bool, total int) {
	part, others := t.narrow(t.visible(), q.where)
	backwards, matches := q.order.descends(), t.matcher(others)
	if q.order > OldestUpdate || q.count && matches != nil {
		part = t.arrange(part, matches, q)
		matches, backwards = nil, false
	}
	total, skip := len(part), q.skip
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
func (t *Tenant) matcher(others []condition) func(*entry) bool {
	if len(others) == 0 && t.faults.Hide <= 0 {
		return nil
	}
	unit := t.unit()
	return func(e *entry) bool {
		if chosen(e.ID, t.faults.Hide, saltHide) {
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
	graph      bool
	order      Order
	filter     string
	rows       []*entry
}

// arrange returns all rows that match, in order.
func (t *Tenant) arrange(part []*entry, matches func(*entry) bool, q *query) []*entry {
	key := arranged{generation: t.generation, graph: q.graph, order: q.order, filter: q.filter}
	last := &t.arranged
	if last.rows != nil && last.generation == key.generation && last.graph == key.graph && last.order == key.order && last.filter == key.filter {
		return last.rows
	}
	key.rows = make([]*entry, 0, len(part))
	for _, e := range part {
		if matches == nil || matches(e) {
			key.rows = append(key.rows, e)
		}
	}
	switch q.order {
	case NewestUpdate:
		slices.Reverse(key.rows)
	case NewestCreated:
		slices.SortFunc(key.rows, func(a, b *entry) int { return -byCreation(a, b) })
	case OldestCreated:
		slices.SortFunc(key.rows, byCreation)
	case NoOrder:
		slices.SortFunc(key.rows, func(a, b *entry) int { return cmp.Compare(mix(uint64(a.ID)), mix(uint64(b.ID))) })
	}
	if t.faults.Stale.Age == 0 { // else the rows are of another instant every time
		*last = key
	}
	return key.rows
}

func byCreation(a, b *entry) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// narrow finds the part of the ordered entries that meets the conditions on the
// update time, and the conditions that are left.
func (t *Tenant) narrow(order []*entry, where []condition) (part []*entry, others []condition) {
	unit := t.unit()
	for _, c := range where {
		if c.field != "lastUpdateTime" {
			others = append(others, c)
			continue
		}
		at := c.at.Truncate(unit)
		after := at.Add(unit) // nothing is in between
		from, to := 0, len(order)
		switch c.operator {
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

func (t *Tenant) answerList(rep *reply, c *call, now time.Time) {
	q, bad := t.parseQuery(c, now)
	if bad != nil {
		t.refuseQuery(rep, c, bad)
		return
	}
	f := &t.faults
	if f.Heavy.refuses(&q, c.graph) {
		rep.hang = f.Heavy.Hang
		t.refuseStatus(rep, cmp.Or(f.Heavy.Status, http.StatusGatewayTimeout))
		return
	}
	rows, more, total := t.list(&q, f.Pages.size(&q, t.opts.Seed))
	p := &page{base: c.base, graph: c.graph, expand: q.expand || !c.graph, prefer: prefers(c), shapes: f.shapes()}
	rep.status, rep.page = http.StatusOK, p
	if q.count {
		p.count = strconv.Itoa(total)
	}
	if f.Pages.Empty && !q.afterGap && !f.Links.None && len(rows) > 0 {
		p.next = t.gapLink(c, &q)
		return
	}
	if t.poisons(rows, p.expand) {
		rep.page = nil
		t.refuseStatus(rep, cmp.Or(f.Poison.Status, http.StatusInternalServerError))
		return
	}
	p.rows = rows
	p.next = t.nextLink(c, &q, len(rows), more)
	if t.partial() {
		f.Partial.apply(rep)
	}
}

// refuseQuery answers to a query that is not taken.
func (t *Tenant) refuseQuery(rep *reply, c *call, bad *refusal) {
	if bad.status != http.StatusBadRequest {
		t.refuseStatus(rep, bad.status)
		return
	}
	rep.refuse(bad.status, c.flavour().code, bad.text, t.traceID())
}
