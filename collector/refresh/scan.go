package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// scan is a reading of everything: of the first sync, in two parts, or of a
// sweep. It is as long as many deltas.
type scan struct {
	pass    Pass
	started time.Time // by our clock
	since   time.Time // where the look-back begins
	listing *listing.Listing
	calls   int
	tries   int // that failed in a row
	// restarts counts how often it was begun again because it could not be
	// completed.
	restarts int
	// allOpen: every open incident is part of it, of any age.
	allOpen bool
	missing missing
}

// openStatuses in the order in which they are read.
var openStatuses = []incident.Status{incident.StatusActive, incident.StatusInProgress, incident.StatusAwaitingAction}

// takesOpen tells whether the server selects by the statuses of open incidents.
// One that it has never heard of has none.
func (l *Loop) takesOpen(now time.Time) bool {
	return l.server.TakesStatus(incident.StatusActive, now) && l.server.TakesStatus(incident.StatusInProgress, now)
}

// everything are the ranges of a reading of everything: the open incidents of
// any age, and all within the look-back. Without the former all of any age.
func (l *Loop) everything(since, now time.Time) []listing.Range {
	if !l.takesOpen(now) {
		return []listing.Range{listing.Everything(incident.StatusUnknown, time.Time{})}
	}
	return append(l.open(), listing.Everything(incident.StatusUnknown, since))
}

func (l *Loop) open() (ranges []listing.Range) {
	for _, status := range openStatuses {
		ranges = append(ranges, listing.Everything(status, time.Time{}))
	}
	return ranges
}

// newScan begins a reading for the present phase.
func (l *Loop) newScan(now time.Time) *scan {
	s := &scan{pass: PassFirst, started: now, since: lookbackFrom(now, l.opts.Lookback), allOpen: true}
	l.ranges(s, now)
	return s
}

// lookbackFrom is where the look-back begins.
func lookbackFrom(now time.Time, lookback time.Duration) time.Time {
	return now.Add(-lookback).Round(0).UTC()
}

// ranges gives the scan what it has to read, all of it.
func (l *Loop) ranges(s *scan, now time.Time) {
	switch {
	case l.phase == openScan:
		s.listing = listing.New(l.server, false, l.open()...)
	case l.phase == fullScan && l.coverage.Open:
		s.listing = listing.New(l.server, true, listing.Everything(incident.StatusUnknown, s.since))
	case l.phase == fullScan:
		s.listing = listing.New(l.server, true, listing.Everything(incident.StatusUnknown, time.Time{}))
	default:
		s.pass = PassSweep
		s.listing = listing.New(l.server, true, l.everything(s.since, now)...)
	}
}

// scanStep makes the next request of the first sync or of a sweep, which it
// begins if none is under way.
func (l *Loop) scanStep(ctx context.Context) {
	now := time.Now()
	if l.scan == nil {
		l.scan = l.newScan(now)
		if l.phase == steady {
			l.mirror.BeginSweep()
			l.nextSweep = now.Add(l.opts.SweepInterval)
			l.draft.Sweeping = true
		}
	}
	s := l.scan
	l.draft.Kinds[s.pass].LastAttempt = now
	start := now
	out := l.read(ctx, s.pass, s.listing)
	now = time.Now()
	if out.idle && !s.listing.Done() {
		return
	}
	if !out.idle {
		s.calls++
		l.apply(out, s.pass)
		l.scanned = true
	}
	if out.err != nil {
		l.scanFailed(ctx, now, &out)
		return
	}
	if !out.idle {
		s.tries = 0
		l.succeeded(s.pass)
		if s.pass == PassFirst && l.marks.at.IsZero() {
			l.marks.start(earlier(out.clock, now), out.page.Date, newest(out.rows), start)
		}
	}
	if s.pass == PassFirst {
		l.draft.FirstPages = s.calls
	} else {
		l.draft.SweepPages = s.calls
	}
	if s.listing.Done() {
		l.scanDone(ctx, now)
	}
}

const (
	// sweepRetry is how long a sweep rests after it has failed; nothing waits for
	// it. A first sync rests for an interval.
	sweepRetry = time.Minute
	// longestScanRetry is how long it rests at most after it has failed often.
	longestScanRetry = 30 * time.Minute
)

// scanFailed decides when to go on after a failure.
func (l *Loop) scanFailed(ctx context.Context, now time.Time, out *outcome) {
	s := l.scan
	if out.verdict == listing.RetryNow && out.retryAt.IsZero() {
		return
	}
	if out.verdict != listing.Failed && out.retryAt.IsZero() {
		if s.tries++; s.tries < maxTries {
			l.scanRetry = now.Add(backoff(s.tries))
			return
		}
	}
	s.tries = 0
	pause := sweepRetry
	if s.pass == PassFirst {
		pause = min(l.draft.Interval, longestScanRetry)
	}
	if out.err.Reason == listing.ReasonIncomplete {
		// To read it all again is expensive, and hardly ever of use.
		l.ranges(s, now)
		pause = min(pause<<min(s.restarts, 10), longestScanRetry)
		s.restarts++
	}
	l.scanRetry = later(now.Add(pause), out.retryAt)
	l.ended(ctx, s.pass, s.started, out.err)
}

// scanDone goes on to the next phase, or to what a sweep did not see.
func (l *Loop) scanDone(ctx context.Context, now time.Time) {
	s := l.scan
	switch l.phase {
	case openScan:
		if l.takesOpen(now) {
			l.coverage.Open = true
			for _, status := range openStatuses {
				l.coverage.Statuses[status] = l.server.TakesStatus(status, now)
			}
			l.opts.Logger.Info("Open incidents are known", "calls", s.calls, "incidents", l.mirror.Len())
			l.due(now)
		} else {
			l.opts.Logger.Warn("The server does not select by status: open counts are published only when everything is read")
		}
		l.phase, l.nextDelta = fullScan, now
		l.ranges(s, now)
	case fullScan:
		l.phase, l.nextDelta, l.delta = finalDelta, now, nil
	case steady:
		l.findMissing(ctx, now)
	}
}

// completeFirst is called when the delta after the first sync's last page is
// complete.
func (l *Loop) completeFirst(ctx context.Context, now time.Time) {
	s := l.scan
	l.scan, l.phase = nil, steady
	l.coverage.Open, l.coverage.All = true, true
	for status := range l.coverage.Statuses {
		l.coverage.Statuses[status] = true
	}
	if !l.mirror.CountsFlows() {
		l.mirror.StartFlows(s.listing.Started)
	}
	l.nextSweep = now.Add(l.opts.SweepInterval - time.Duration(l.opts.Stagger*float64(l.opts.SweepInterval)/2))
	l.opts.Logger.Info("First sync complete", "calls", s.calls, "incidents", l.mirror.Len(), "took", now.Sub(s.started))
	l.ended(ctx, PassFirst, s.started, nil)
}

// apply takes rows into the mirror.
func (l *Loop) apply(out outcome, pass Pass) {
	l.compareClocks(out)
	l.alerts.note(out.rows, l.server.Unsupported(listing.OptionAlerts))
	for i := range out.rows {
		l.applyOne(&out.rows[i], pass, out.clock, false)
	}
}

func newest(rows []incident.Incident) (at time.Time) {
	for i := range rows {
		at = later(at, rows[i].Updated)
	}
	return at
}

// tolerance is how far two clocks of the server may be apart: one writes the
// rows, the other the header Date, in whole seconds.
const tolerance = 2 * time.Second

// applyOne takes in one version of an incident, by the server's clock. If it is
// known to be the present one it counts whatever its last update says.
func (l *Loop) applyOne(in *incident.Incident, pass Pass, clock time.Time, present bool) {
	before, known := l.mirror.Updated(in.ID)
	if !known && l.agedOut(in) {
		return
	}
	limit := clock.Add(tolerance)
	if in.Updated.After(limit) {
		// Such a row must not hide what is newer than the watermark, and its next
		// version may seem to be older than itself.
		l.doubt(in.ID, time.Now().Add(rereadEvery))
	} else {
		delete(l.rereads, in.ID)
		if d := l.delta; pass == PassDelta && d != nil {
			d.newest = later(d.newest, in.Updated)
		}
	}
	settled := before.Before(l.marks.since(l.opts.Overlap))
	lacking := l.mirror.LacksAlerts(in.ID)
	apply := l.mirror.Apply
	if present || before.After(limit) || pass == PassSweep && settled {
		apply = l.mirror.Correct
	}
	change := apply(in)
	if change == incident.Stale && pass == PassSweep {
		// It has gone backwards, unless the server is late to show what it has shown
		// before.
		l.doubt(in.ID, time.Now().Add(rereadEvery))
	}
	// A sweep corrects only what the deltas had their chance to see, and alerts
	// that could not be had are no mistake of theirs.
	if pass != PassSweep || lacking || !in.Updated.Before(l.marks.since(l.opts.Overlap)) {
		return
	}
	switch change {
	case incident.Added:
		l.draft.Corrections[correctionMissed]++
	case incident.Changed:
		l.draft.Corrections[correctionChanged]++
	}
}

// agedOut tells that an incident has left the look-back: a long reading began
// before it did.
func (l *Loop) agedOut(in *incident.Incident) bool {
	return !in.Open() && !in.Updated.IsZero() && !time.Now().Before(in.Updated.Add(l.opts.Lookback))
}
