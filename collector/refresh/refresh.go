// Package refresh decides when the API is asked: first sync, then deltas at a
// live interval, and a slow sweep from spare quota. One goroutine per tenant,
// the [Loop], owns the mirror; everybody else reads the immutable snapshots
// and statuses that it publishes.
package refresh

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Source answers one call at a time.
type Source interface {
	// Page reads one page of the answer to a query. An error that matches
	// incident.ErrFilterRefused says that the server cannot select by status.
	Page(context.Context, incident.Query, incident.Cursor) (incident.Page, error)
	// Incident looks one incident up. An error that matches
	// incident.ErrNotFound says that it does not exist.
	Incident(context.Context, int64, incident.Pass) (incident.Incident, error)
}

// Budget is what the schedule needs to know of the quota.
type Budget interface {
	// Ready is the earliest instant at which a call of the pass may be made.
	Ready(now time.Time, pass incident.Pass) time.Time
	// Pace is how far apart refreshes of so many calls have to be, so that they
	// could go on for ever.
	Pace(now time.Time, calls int) time.Duration
	// Reserve keeps room for deltas of so many calls at this interval, which
	// other passes must leave.
	Reserve(calls int, interval time.Duration)
}

// Options are the settings of a [Loop]. Source and Budget are required.
type Options struct {
	Source Source
	Budget Budget
	// Interval between deltas, at least. 0: 30 s.
	Interval time.Duration
	// SweepInterval between sweeps. 0: 6 h.
	SweepInterval time.Duration
	// Overlap of deltas, because changes become visible late. 0: 10 min.
	Overlap time.Duration
	// Lookback and Thresholds as in incident.MirrorOptions. 0: 180 days.
	Lookback   time.Duration
	Thresholds []time.Duration
	// Ascending: the source's pages go from the oldest last update to the newest.
	Ascending bool
	// Offset delays the start, so that many tenants are no burst.
	Offset time.Duration
	// SweepAdvance brings the first sweep forward, for the same reason.
	SweepAdvance time.Duration
	// Store keeps the progress over restarts; nil: nothing is kept.
	Store  Store
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.Interval, 30 * time.Second},
		{&o.SweepInterval, 6 * time.Hour},
		{&o.Overlap, 10 * time.Minute},
		{&o.Lookback, 180 * 24 * time.Hour},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Loop keeps one tenant's mirror up to date.
type Loop struct {
	opts     Options
	mirror   *incident.Mirror
	coverage incident.Coverage

	first   *reading  // nil once the first sync is complete
	sweep   *reading  // nil between sweeps
	borders []borders // of the passes that a change may still disturb
	mends   []mending
	// deltaBorders are those of the last delta.
	deltaBorders borders
	resumed      bool // from a saved state

	// watermark is the newest last update that a complete delta has seen. It
	// comes from the data, never from our clock.
	watermark   time.Time
	watermarkAt time.Time // when it last moved
	publishedAt time.Time // what the counts are as of

	nextDelta, nextSweep time.Time
	retryReading         time.Time     // of first sync or sweep, after a failure
	pageTime             time.Duration // of the last page, to see whether another fits in
	justDelta            bool          // nothing else was done since the last delta
	overran              bool          // the last delta took longer than the interval
	noStatusFilter       bool          // the server cannot select by status
	alerts               alertWatch

	state    Status // the draft of the next published status
	status   atomic.Pointer[Status]
	snapshot atomic.Pointer[incident.Snapshot]
	beat     atomic.Int64
}

// New returns a loop that has not made a call yet, and knows nothing: see Load.
func New(opts Options) *Loop {
	opts.setDefaults()
	l := &Loop{opts: opts}
	l.mirror = incident.NewMirror(l.mirrorOptions())
	l.state.Interval = opts.Interval
	l.alerts.due = true
	l.publishStatus()
	l.heartbeat()
	return l
}

func (l *Loop) mirrorOptions() incident.MirrorOptions {
	return incident.MirrorOptions{Lookback: l.opts.Lookback, Thresholds: l.opts.Thresholds}
}

// Snapshot is the last good one, nil before there is any.
func (l *Loop) Snapshot() *incident.Snapshot { return l.snapshot.Load() }

// Status is how the loop is doing. It is never nil.
func (l *Loop) Status() *Status { return l.status.Load() }

// Run refreshes until the context ends, whose error it returns. No failure of
// the API ends it. It saves its progress after each step, and at the end.
func (l *Loop) Run(ctx context.Context) error {
	now := time.Now().Add(l.opts.Offset)
	if !l.resumed {
		l.first = l.newReading(incident.PassFirst, now)
	}
	l.retryReading, l.nextDelta = now, now
	l.repace(time.Now(), 1)
	l.publishStatus()
	for ctx.Err() == nil {
		l.heartbeat()
		l.step(ctx)
	}
	l.save()
	return ctx.Err()
}

// step does the most urgent thing that may be done now, or waits for one.
func (l *Loop) step(ctx context.Context) {
	now := time.Now()
	if l.first != nil && !l.first.deltas {
		if at := l.firstReady(now); at.After(now) {
			l.sleepUntil(ctx, at)
			return
		}
		l.firstStep(ctx)
		l.save()
		return
	}
	ready, background := l.sweepReady, l.sweepStep
	if l.first != nil {
		ready, background = l.firstReady, l.firstStep
	}
	at := ready(now)
	switch due := !now.Before(l.nextDelta); {
	// Where answers take longer than the interval a delta is always due. Then
	// the rest gets every other call.
	case due && (!l.overran || !l.justDelta || at.After(now)):
		l.delta(ctx)
		l.save()
	case at.After(now):
		l.sleepUntil(ctx, earlier(at, l.nextDelta))
	default:
		l.justDelta = false
		background(ctx)
		l.save()
	}
}

// sleepUntil waits, with a sign of life now and then.
func (l *Loop) sleepUntil(ctx context.Context, at time.Time) {
	for ctx.Err() == nil {
		l.heartbeat()
		d := time.Until(at)
		if d <= 0 {
			return
		}
		timer := time.NewTimer(min(d, 30*time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// page reads one page, once the quota lets it. Waiting here rather than in
// the source keeps the signs of life coming.
func (l *Loop) page(ctx context.Context, q incident.Query, c incident.Cursor) (incident.Page, error) {
	l.sleepUntil(ctx, l.opts.Budget.Ready(time.Now(), q.Pass))
	start := time.Now()
	page, err := l.opts.Source.Page(ctx, q, c)
	l.pageTime = time.Since(start)
	l.heartbeat()
	if err == nil {
		l.alerts.note(page.AlertsUnknown)
	}
	return page, err
}

func (l *Loop) heartbeat() { l.beat.Store(time.Now().UnixNano()) }

// LastSign is when the loop last showed that it is not stuck.
func (l *Loop) LastSign() time.Time { return time.Unix(0, l.beat.Load()) }

func (l *Loop) publish(now time.Time) {
	s := l.mirror.Snapshot(now)
	s.Coverage = l.coverage
	l.publishedAt = now
	s.AlertsAvailable = s.AlertsAvailable && !l.alerts.lost
	l.snapshot.Store(s)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
