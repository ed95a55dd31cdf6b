package refresh

import (
	"context"
	"errors"
	"time"

	"m365_defender_exporter/internal/incident"
)

// reading is a reading of everything, a page at a time: first the open
// incidents of any age, status by status, then all within the look-back. The
// first sync is one, and every sweep.
type reading struct {
	pass    incident.Pass
	started time.Time
	since   time.Time
	// queries still to be answered, the first one from cursor on.
	queries []incident.Query
	cursor  incident.Cursor
	// newest is the newest last update of the first answer that had any: what
	// changes after the reading began is newer.
	newest  time.Time
	known   [incident.NumStatuses]bool
	borders borders
	pages   int
	// deltas may run: there is a watermark to begin from.
	deltas bool
	// closing: everything was read, and a last delta makes it complete.
	closing bool
	// lookups are incidents that a sweep did not see.
	lookups []int64
}

// openStatuses in the order in which they are read.
var openStatuses = []incident.Status{incident.StatusActive, incident.StatusInProgress, incident.StatusAwaitingAction}

func (l *Loop) newReading(pass incident.Pass, now time.Time) *reading {
	r := &reading{pass: pass, started: now, since: now.Add(-l.opts.Lookback).Round(0).UTC(), borders: make(borders)}
	if !l.noStatusFilter {
		for _, status := range openStatuses {
			r.queries = append(r.queries, incident.Query{Status: status, Pass: pass})
		}
	}
	r.queries = append(r.queries, incident.Query{Since: r.since, Pass: pass})
	l.borders = append(l.borders, r.borders)
	return r
}

// probes are how far back a recent last update is looked for.
var probes = [...]time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

// probing tells that the first pages of a reading are such.
func (l *Loop) probing(r *reading) bool {
	return l.opts.Ascending && r.pass == incident.PassFirst && r.newest.IsZero() && r.pages < len(probes)
}

// probe looks for a recent last update. Where the oldest come first, a reading
// that begins at the beginning tells only at its end what is new, and a delta
// from its first page on would read everything once more. Our clock says where
// to look, but what is found is the server's.
func (l *Loop) probe(ctx context.Context, r *reading) error {
	q := incident.Query{Since: r.started.Add(-probes[r.pages]), Pass: r.pass}
	page, err := l.page(ctx, q, incident.Cursor{})
	if err != nil {
		return err
	}
	r.pages++
	r.newest = newestUpdate(page, time.Now())
	l.apply(page, r.pass)
	return nil
}

// openRead tells that the open incidents were all read.
func (r *reading) openRead() bool {
	return r.known[incident.StatusActive] && r.known[incident.StatusInProgress]
}

// readPage reads one page, applies it, and moves on.
func (l *Loop) readPage(ctx context.Context, r *reading) error {
	if l.probing(r) {
		return l.probe(ctx, r)
	}
	q := r.queries[0]
	page, err := l.page(ctx, q, r.cursor)
	if q.Status != incident.StatusUnknown && errors.Is(err, incident.ErrFilterRefused) {
		l.statusRefused(r, q.Status)
		r.pages++
		return nil
	}
	if errors.Is(err, incident.ErrCursorRefused) {
		r.cursor = incident.Cursor{Border: r.cursor.Border, Until: r.cursor.Until, Peak: r.cursor.Peak}
	}
	if err != nil {
		return err
	}
	r.pages++
	if r.newest.IsZero() {
		r.newest = newestUpdate(page, time.Now())
	}
	l.apply(page, r.pass)
	r.borders.add(q, page)
	r.cursor = page.Next
	if page.Last {
		r.known[q.Status] = true
		r.queries, r.cursor = r.queries[1:], incident.Cursor{}
	}
	return nil
}

// statusRefused goes on without what the server cannot select. If it is but
// one status that this server has never heard of, only that one is left to the
// reading of everything.
func (l *Loop) statusRefused(r *reading, status incident.Status) {
	r.cursor = incident.Cursor{}
	if status == incident.StatusActive {
		l.noStatusFilter = true
		r.queries = r.queries[len(r.queries)-1:]
		l.opts.Logger.Warn("The server does not select by status: open counts are published only when everything was read")
		return
	}
	r.queries = r.queries[1:]
	l.opts.Logger.Debug("The server does not know this status", "status", status)
}

// apply takes a page into the mirror and tells whether anything in it was new.
func (l *Loop) apply(page incident.Page, pass incident.Pass) (news bool) {
	for i := range page.Incidents {
		news = l.applyOne(&page.Incidents[i], pass) || news
	}
	return news
}

func (l *Loop) applyOne(in *incident.Incident, pass incident.Pass) bool {
	before, known := l.mirror.Updated(in.ID)
	if !known && l.agedOut(in) {
		return false
	}
	lacking := l.mirror.LacksAlerts(in.ID)
	change := l.mirror.Apply(in)
	if change == incident.Same || change == incident.Stale {
		return false
	}
	if known && !before.Equal(in.Updated) {
		l.moved(before)
	}
	// A sweep corrects only what the deltas had their chance to see, and alerts
	// that could not be had are no mistake of theirs.
	if pass == incident.PassSweep && !lacking && in.Updated.Before(l.watermark.Add(-l.opts.Overlap)) {
		if change == incident.Added {
			l.state.Corrections[correctionMissed]++
		} else {
			l.state.Corrections[correctionChanged]++
		}
	}
	return true
}

// agedOut tells that an incident has left the look-back: a long reading began
// before it did.
func (l *Loop) agedOut(in *incident.Incident) bool {
	return !in.Open() && !in.Updated.IsZero() && !time.Now().Before(in.Updated.Add(l.opts.Lookback))
}
