package client

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// finish makes a page of what was read, and remembers how.
func (d *Defender) finish(a *asking, raw *rawPage) (incident.Page, error) {
	n := len(raw.rows)
	page := incident.Page{Unusable: raw.unusable, Next: a.next(raw)}
	if page.Next.Anchor != 0 {
		at, _ := raw.border()
		d.ability.remember(page.Next.Anchor, at)
	}
	page.Incidents, page.Last = a.wanted(raw)
	if a.c.Short && len(page.Incidents) == 0 {
		// A link on a short page led nowhere: that is just this server's way.
		a.how.linkNoise = true
	}
	d.ability.learn(a.how, d.opts.Logger)
	switch {
	case n == 0, a.follow && raw.nextLink == "":
		page.Last = true
	case n < pageSize:
		page.Last = page.Last || raw.nextLink == "" || a.how.linkNoise
		page.Next.Short = true
	}
	if a.follow && !page.Last && raw.nextLink == a.c.Link {
		// The link leads to itself.
		return incident.Page{}, &Error{Op: "list", Err: errIncomplete, Reason: "other"}
	}
	return page, nil
}

// wanted leaves out what was not asked for, in place. It is the end when rows
// are older than what was asked for: the lower bound is not kept, and the
// order says that nothing newer follows.
func (a *asking) wanted(raw *rawPage) (rows []incident.Incident, end bool) {
	since := a.q.Since.Truncate(tick)
	rows = raw.rows
	if len(rows) > 0 && a.c.Anchor != 0 && rows[0].ID == a.c.Anchor {
		rows = rows[1:]
	}
	return slices.DeleteFunc(rows, func(in incident.Incident) bool {
		older := !in.Updated.IsZero() && in.Updated.Before(since)
		end = end || older
		// The server's link may have lost the filter.
		stray := a.follow && a.q.Status != incident.StatusUnknown && in.Status != a.q.Status && in.Status != incident.StatusUnknown
		return in.ID == 0 || older || stray
	}), end
}

// next is the cursor of what follows the page.
func (a *asking) next(raw *rawPage) incident.Cursor {
	border, ties := raw.border()
	if !a.bound && (a.how.op == borderNone || border.IsZero()) {
		return a.nextPosition(raw)
	}
	total := len(raw.rows)
	next := incident.Cursor{Seen: a.c.Seen + total, Link: raw.nextLink}
	newest := a.c.Border
	if a.how.exactness == slack && !border.IsZero() {
		border, ties = border.Add(slackTime), 0
		// A border that has hardly moved would bring the same rows once more.
		newest = newest.Add(-slackTime)
	}
	if border.IsZero() || !a.c.Border.IsZero() && !border.Before(newest) {
		// The whole page lies at one instant: go on behind it.
		next.Border, next.Skip = a.c.Border, a.skip+total
		return next
	}
	next.Border, next.Skip = border, ties
	// A page of one row would come for ever if the next began with it.
	if last := raw.rows[total-1].ID; a.how.exactness == unproven && last != 0 && total > 1 {
		next.Skip, next.Anchor = ties-1, last
	}
	return next
}

// nextPosition is the cursor where there are no borders. It goes back to the
// last row that can be known again.
func (a *asking) nextPosition(raw *rawPage) incident.Cursor {
	total := len(raw.rows)
	at := a.skip + total
	next := incident.Cursor{Skip: at, Seen: at, Link: raw.nextLink}
	for i := total - 1; i > 0 && !a.follow; i-- {
		if id := raw.rows[i].ID; id != 0 {
			next.Skip, next.Anchor = at-total+i, id
			break
		}
	}
	return next
}

// border is the oldest last update of the page, and how many rows at its end
// have it. Rows that do not tell count as if they had it.
func (p *rawPage) border() (at time.Time, ties int) {
	for i := len(p.rows) - 1; i >= 0; i-- {
		updated := p.rows[i].Updated
		switch {
		case updated.IsZero():
		case at.IsZero():
			at = updated
		case !updated.Equal(at):
			return at, ties
		}
		ties++
	}
	return at, ties
}

// index is where the row with this id stands, -1 if it is not there.
func (p *rawPage) index(id int64) int {
	for i := range p.rows {
		if id != 0 && p.rows[i].ID == id {
			return i
		}
	}
	return -1
}
