package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
)

// delta reads what changed since the last one and, if it is complete,
// publishes the new counts.
func (l *Loop) delta(ctx context.Context) {
	start := time.Now()
	l.state.Kinds[incident.PassDelta].LastAttempt = start
	pages, err := l.readDelta(ctx)
	now := time.Now()
	if err == nil {
		if l.first != nil && l.first.closing {
			l.completeFirst(ctx, now)
		}
		l.repace(now, pages)
		l.rereadAlerts(now)
		if l.coverage.Open {
			l.publish(now)
		}
	}
	l.nextDelta = later(start.Add(l.state.Interval), now)
	l.justDelta, l.overran = true, !now.Before(start.Add(l.state.Interval))
	l.ended(ctx, incident.PassDelta, start, err)
}

// readDelta returns the number of pages it took. The watermark moves only when
// all of them were read, so that nothing is skipped after a failure.
func (l *Loop) readDelta(ctx context.Context) (pages int, err error) {
	q := incident.Query{Since: l.deltaSince(), Pass: incident.PassDelta}
	// Changes may show up late for the length of the overlap. If the watermark
	// has not moved for longer, a page without news ends the delta: otherwise a
	// burst of changes followed by silence would be read again for ever. Where
	// the oldest come first, the news are on the last page; but then nothing can
	// show up any more that is not newer than the watermark.
	settled := !l.watermarkAt.IsZero() && time.Since(l.watermarkAt) > l.opts.Overlap+l.state.Interval
	if settled && l.opts.Ascending && !l.watermark.IsZero() {
		q.Since, settled = l.watermark.Add(resolution), false
	}
	newest := l.watermark
	borders := make(borders)
	var cursor incident.Cursor
	for last := false; !last; {
		page, err := l.page(ctx, q, cursor)
		if err != nil {
			return pages, err
		}
		pages++
		newest = later(newest, newestUpdate(page, time.Now()))
		news := l.apply(page, incident.PassDelta)
		borders.add(q, page)
		cursor, last = page.Next, page.Last || settled && !news
	}
	mended, err := l.mend(ctx)
	if err != nil {
		return pages, err
	}
	if newest.After(l.watermark) || l.watermarkAt.IsZero() {
		l.watermark, l.watermarkAt = newest, time.Now()
	}
	l.retireBorders(borders)
	return pages + mended, nil
}

// resolution of the API's timestamps: nothing lies between two instants.
const resolution = 100 * time.Nanosecond

// deltaSince is where the next delta begins.
func (l *Loop) deltaSince() time.Time {
	if l.watermark.IsZero() {
		// An empty tenant so far: whatever there is now is new.
		return time.Now().Add(-l.opts.Lookback)
	}
	return l.watermark.Add(-l.opts.Overlap)
}

// repace derives the live interval from what a delta costs: all that the quota
// allows, but half of it until the first sync, which needs the other half, is
// complete.
func (l *Loop) repace(now time.Time, calls int) {
	pace := l.opts.Budget.Pace(now, calls)
	if l.first != nil {
		pace *= 2
	}
	interval := max(l.opts.Interval, pace)
	if interval != l.state.Interval {
		l.opts.Logger.Info("Refresh interval changed", "from", l.state.Interval, "to", interval, "calls", calls)
		l.state.Interval = interval
	}
	l.opts.Budget.Reserve(calls, interval)
}

// ahead is how far a server's clock may be ahead of ours before a time of its
// is taken for a mistake, as long as there are others.
const ahead = 24 * time.Hour

// newestUpdate is the newest last update of a page. One far in the future would
// be a watermark behind which nothing is ever new: it counts only if the page
// has no other.
func newestUpdate(page incident.Page, now time.Time) (newest time.Time) {
	var far time.Time
	for i := range page.Incidents {
		if updated := page.Incidents[i].Updated; updated.After(now.Add(ahead)) {
			far = later(far, updated)
		} else {
			newest = later(newest, updated)
		}
	}
	if newest.IsZero() {
		return far
	}
	return newest
}
