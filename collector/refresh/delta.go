package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// deltaRead is a delta under way.
type deltaRead struct {
	listing *listing.Listing
	created time.Time
	// began is when it was last begun: a delta that has failed goes on at the next
	// interval.
	began   time.Time
	running bool
	calls   int
	tries   int       // that failed since it was begun
	newest  time.Time // last update that is not in the server's future
}

const (
	// maxTries is how often a delta fails in a row before it counts as failed, and
	// waits for the next interval.
	maxTries = 3
	// maxDeltaAge is when a delta that goes on failing is begun anew: what it has
	// read by then is too old to be worth keeping.
	maxDeltaAge = 10 * time.Minute
	// longestDeltaRetry is how long a delta rests at most that turned out to be
	// incomplete several times in a row.
	longestDeltaRetry = 5 * time.Minute
	// proveEvery is how many deltas there are to one that takes nothing about the
	// server's pages for granted.
	proveEvery = 20
)

// deltaStep makes the next request of the delta.
func (l *Loop) deltaStep(ctx context.Context) {
	now := time.Now()
	if l.delta == nil || !l.delta.running {
		l.beginDelta(now)
	}
	d := l.delta
	out := l.read(ctx, PassDelta, d.listing)
	now = time.Now()
	if out.idle && !d.listing.Done() {
		return
	}
	if !out.idle {
		d.calls++
		l.apply(out, PassDelta)
	}
	if out.err != nil {
		l.deltaFailed(ctx, now, &out)
		return
	}
	d.tries = 0
	if d.listing.Done() {
		l.deltaDone(ctx, now)
	}
}

func (l *Loop) beginDelta(now time.Time) {
	l.draft.Kinds[PassDelta].LastAttempt = now
	if d := l.delta; d != nil && now.Sub(d.created) < maxDeltaAge {
		d.began, d.running, d.tries = now, true, 0
		l.deltaRetry = time.Time{}
		return
	}
	prove := l.deltas%proveEvery == proveEvery-1
	l.deltas++
	reading := listing.New(l.server, prove, listing.Everything(incident.StatusUnknown, l.marks.since(l.opts.Overlap)))
	reading.Known = func(in *incident.Incident) bool {
		updated, known := l.mirror.Updated(in.ID)
		return known && updated.Equal(in.Updated)
	}
	if l.delta != nil {
		reading.Inherit(l.delta.listing)
	}
	l.delta = &deltaRead{listing: reading, created: now, began: now, running: true}
	l.deltaRetry = time.Time{}
}

// deltaFailed decides when to go on after a failure.
func (l *Loop) deltaFailed(ctx context.Context, now time.Time, out *outcome) {
	d := l.delta
	switch {
	case out.verdict == listing.RetryNow && out.retryAt.IsZero():
		return
	case out.verdict != listing.Failed && out.retryAt.IsZero():
		if d.tries++; d.tries < maxTries {
			l.deltaRetry = now.Add(backoff(d.tries))
			return
		}
	}
	d.running = false
	if out.err.Reason == listing.ReasonIncomplete {
		// There is nothing to go on with, and to read it again hardly ever helps.
		d.created = time.Time{}
		l.incompletes++
		out.retryAt = later(out.retryAt, now.Add(min(l.draft.Interval<<min(l.incompletes-1, 10), longestDeltaRetry)))
	}
	l.nextDelta = later(phased(now, l.draft.Interval, l.offset()), out.retryAt)
	l.scanned = false
	l.ended(ctx, PassDelta, d.began, out.err)
}

// deltaDone takes a complete delta into account.
func (l *Loop) deltaDone(ctx context.Context, now time.Time) {
	d := l.delta
	l.delta, l.scanned, l.incompletes = nil, false, 0
	l.marks.move(d.created, d.newest)
	if l.phase == finalDelta {
		l.completeFirst(ctx, now)
	}
	l.repace(now, d.calls)
	l.rereadAlerts(now)
	l.nextDelta = phased(now, l.draft.Interval, l.offset())
	l.due(now)
	l.ended(ctx, PassDelta, d.began, nil)
}

// repace derives the live interval from what a delta costs: all that the quota
// allows, but half of it until the first sync, which needs the other half, is
// complete.
func (l *Loop) repace(now time.Time, calls int) {
	pace := l.opts.Ledger.Pace(now, calls)
	if l.phase != steady {
		pace *= 2
	}
	interval := max(l.opts.Interval, pace)
	if interval != l.draft.Interval {
		l.opts.Logger.Info("Refresh interval changed", "from", l.draft.Interval, "to", interval, "calls", calls)
		l.draft.Interval = interval
	}
	l.opts.Ledger.Reserve(now, calls, interval)
}

// watermark is up to when the changes are known, by the server's clock: those
// that were visible when the last complete delta began.
type watermark struct {
	at time.Time
	// asOf is when, by our clock, the server's clock had reached at; zero: it is
	// not known since a restart.
	asOf time.Time
}

// since is where the next delta begins, zero as long as nothing is known.
func (w *watermark) since(overlap time.Duration) time.Time {
	if w.at.IsZero() {
		return w.at
	}
	return w.at.Add(-overlap)
}

// move takes in a complete delta that was begun at an instant of ours. The
// server's clock has gone on as ours has; the newest last update that it has
// shown may say that it is further.
func (w *watermark) move(began, newest time.Time) {
	if passed := began.Sub(w.asOf); !w.asOf.IsZero() && passed > 0 {
		w.at = w.at.Add(passed)
	}
	w.asOf = began
	w.at = later(w.at, newest)
}

// start begins from the server's clock at the first page of the first sync, or
// ours if that is behind. If it tells none, or one that is far behind and not
// believed, ours is not trusted by a day, nor where that is past all that the
// page has.
func (w *watermark) start(clock, date, newest, now time.Time) {
	if date.IsZero() || date.Before(clock) {
		if clock = clock.Add(-24 * time.Hour); !newest.IsZero() {
			clock = earlier(clock, newest)
		}
	}
	w.at, w.asOf = clock, now
}
