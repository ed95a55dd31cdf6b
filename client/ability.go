package client

import (
	"log/slog"
	"sync"
	"time"

	"m365_defender_exporter/internal/incident"
)

// ability is what the server was seen to be able to do. What it refuses is
// not tried again.
type ability struct {
	mu  sync.Mutex
	now paging
}

// paging is the present way to ask for pages.
type paging struct {
	op        borderOp
	opWorked  bool
	exactness exactness
	noSince   bool // a lower bound of lastUpdateTime is refused
	links     bool // $skip is refused: the server's own links are followed
	linkNoise bool // a short page is the last one even if it carries a link
}

// borderOp is how the upper end of a page is asked for.
type borderOp uint8

const (
	borderLe borderOp = iota
	borderLt
	borderNone // $skip alone
)

// exactness says whether a border can be trusted to the tick.
type exactness uint8

const (
	// unproven: the next page has to begin with the last row of this one.
	unproven exactness = iota
	exact
	// slack: the server compares times more precisely than it shows them, so
	// that pages have to overlap.
	slack
)

// slackTime is what a border is widened by where it is not exact.
const slackTime = time.Second

func (a *ability) load() paging {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

func (a *ability) change(f func(*paging)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.now)
}

// lower is a change for the worse, which is said once: it is not undone.
func (a *ability) lower(logger *slog.Logger, message string, f func(*paging)) {
	a.change(f)
	logger.Warn(message)
}

// adapt turns a cursor that was made with other abilities in mind into one
// that can be used.
func (p paging) adapt(c incident.Cursor) incident.Cursor {
	if p.op == borderNone && !c.Border.IsZero() {
		// A few rows once more, in case some have left the list meanwhile.
		return incident.Cursor{Skip: max(0, c.Seen-10), Seen: c.Seen, Link: c.Link}
	}
	return c
}

// next is the cursor of what follows the page.
func (p paging) next(c incident.Cursor, raw *rawPage) incident.Cursor {
	total := raw.len()
	next := incident.Cursor{Seen: c.Seen + total, Link: raw.nextLink}
	var last *incident.Incident
	if len(raw.rows) > 0 {
		last = &raw.rows[len(raw.rows)-1]
	}
	if p.op == borderNone {
		next.Skip = c.Skip + total
		if last != nil && raw.tail == 0 {
			next.Skip, next.Anchor = next.Skip-1, last.ID
		}
		return next
	}
	border, ties := raw.border()
	newest := c.Border
	if p.exactness == slack && !border.IsZero() {
		border, ties = border.Add(slackTime), 0
		// A border that has hardly moved would bring the same rows once more.
		newest = newest.Add(-slackTime)
	}
	if border.IsZero() || !c.Border.IsZero() && !border.Before(newest) {
		// The whole page lies at one instant: go on behind it.
		next.Border, next.Skip = c.Border, c.Skip+total
		return next
	}
	next.Border, next.Skip = border, ties
	if p.exactness == unproven && last != nil && raw.tail == 0 {
		next.Skip, next.Anchor = ties-1, last.ID
	}
	return next
}

// border is the oldest last update of the page, and how many rows at its end
// have it. Rows that do not tell count as if they had it.
func (p *rawPage) border() (at time.Time, ties int) {
	ties = p.tail
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
