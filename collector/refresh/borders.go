package refresh

import (
	"context"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Pages are read from time border to time border: the next page begins at the
// last update B of the last row, and leaves out the rows at B that were seen.
// If one of those rows changes in between, it moves away from B, and the next
// page leaves out a row that nobody has seen. Reading every border twice would
// prevent that, at a price in every pass; instead the borders are remembered,
// and when a row turns out to have moved away from one, the page there is read
// again. The delta after a pass is sure to show every such row.
//
// Where the oldest come first, what changes moves ahead of the reading, and
// only rows of one instant that do not fit on a page are left out like that.

// borders are the instants at which pages of a pass began, with the queries
// they belong to.
type borders map[int64][]incident.Query

func (b borders) add(q incident.Query, page incident.Page) {
	if page.Last || !page.Next.Passes() {
		return
	}
	at := page.Next.Border.UnixNano()
	if !slices.Contains(b[at], q) {
		b[at] = append(b[at], q)
	}
}

// mending is a page to be read again.
type mending struct {
	query  incident.Query
	border time.Time
}

// moved notes that an incident is no longer where it was in the order.
func (l *Loop) moved(from time.Time) {
	if from.IsZero() {
		return
	}
	for _, b := range l.borders {
		for _, q := range b[from.UnixNano()] {
			// Mending is part of the delta that found out.
			q.Pass = incident.PassDelta
			if m := (mending{q, from}); !slices.Contains(l.mends, m) {
				l.mends = append(l.mends, m)
			}
		}
	}
}

// mend reads again where a border was disturbed.
func (l *Loop) mend(ctx context.Context) (pages int, err error) {
	for len(l.mends) > 0 {
		m := l.mends[0]
		cursor := incident.Cursor{Border: m.border}
		for more := true; more; {
			page, err := l.page(ctx, m.query, cursor)
			if err != nil {
				return pages, err
			}
			pages++
			l.apply(page, incident.PassDelta)
			// More than a page of ties at this one instant: go on to its end.
			more = !page.Last && page.Next.Border.Equal(m.border)
			cursor = page.Next
		}
		l.mends = l.mends[1:]
	}
	l.mends = nil
	return pages, nil
}

// retireBorders is called after each delta: it has shown every row that moved
// before it began, so that only the borders of readings still in progress and
// its own have to be watched further.
func (l *Loop) retireBorders(own borders) {
	l.borders, l.deltaBorders = l.borders[:0], own
	for _, r := range []*reading{l.first, l.sweep} {
		if r != nil && !r.closing {
			l.borders = append(l.borders, r.borders)
		}
	}
	if len(own) > 0 {
		l.borders = append(l.borders, own)
	}
}
