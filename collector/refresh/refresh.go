// Package refresh decides when the API is asked: first sync, then deltas at a
// live interval, and a slow sweep from spare quota. One goroutine per tenant,
// the [Loop], owns the mirror; everybody else reads the immutable snapshots
// and statuses that it publishes.
//
// The schedule is the pure function next over phases; the loop obeys it, one
// request at a time. What a request asks for is decided by package listing.
package refresh

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// Source makes one request at a time. Errors are of the type *listing.Error, and
// a call ends with its context.
type Source interface {
	Offer() listing.Offer
	// Authorize has an access token at hand, without a call of the API.
	Authorize(context.Context) error
	// List makes one request of the list.
	List(context.Context, listing.Request) (listing.Page, error)
	// Incident looks one incident up. An error that matches listing.ErrNotFound
	// says that it does not exist, and an answer that is another incident perhaps that it
	// was merged into that.
	Incident(context.Context, int64) (incident.Incident, error)
}

// Ledger grants the calls that may be made. None of its methods waits, except for
// the disk.
type Ledger interface {
	// Ready is the earliest instant at which a call of the pass may be made.
	Ready(now time.Time, p pass.Pass) time.Time
	// Waits notes that a call of the pass waits for nothing but the quota.
	Waits(now time.Time, p pass.Pass)
	// Take asks for the grant of one call; 0: not before the instant at. A grant
	// that is given survives a crash. The error says that none could be recorded for so
	// long that the refresh has failed.
	Take(now time.Time, p pass.Pass) (grant uint64, at time.Time, err error)
	// Cancel takes a grant back whose call is not going to be sent.
	Cancel(grant uint64)
	// Settle ends the call that a grant was taken for.
	Settle(grant uint64, now time.Time)
	// Throttled reports an answer that says that too many calls are made: its
	// header Retry-After as received, and its text. No pass is granted any until
	// some later instant.
	Throttled(now time.Time, retryAfter, message string)
	// Succeeded reports an answer that says nothing of the kind.
	Succeeded()
	// RetryAfter reads the header; zero if it says nothing.
	RetryAfter(now time.Time, header string) time.Time
	// Pace is how far apart refreshes of so many calls have to be, so that they
	// could go on for ever.
	Pace(now time.Time, calls int) time.Duration
	// Reserve keeps room for deltas of so many calls at this interval, which
	// other passes must leave.
	Reserve(now time.Time, calls int, interval time.Duration)
}

// Options are the settings of a [Loop]. Source and Ledger are required.
type Options struct {
	Source Source
	Ledger Ledger
	// Interval between deltas, at least. 0: 30 s.
	Interval time.Duration
	// SweepInterval between sweeps. 0: 6 h.
	SweepInterval time.Duration
	// Overlap of deltas, because changes become visible late. 0: 10 min.
	Overlap time.Duration
	// Lookback and Thresholds as in incident.MirrorOptions. 0: 180 days.
	Lookback   time.Duration
	Thresholds []time.Duration
	// Objectives and Priorities, too.
	Objectives incident.Objectives
	Priorities bool
	// Dimensions, too; the source has to keep the same.
	Dimensions incident.Dimensions
	// Stagger, from 0 to 1, is which part of the interval the tenant's deltas begin
	// at, and by which part of half an interval of sweeps its first sweep comes
	// early, so that many tenants are no burst.
	Stagger float64
	// Store keeps the progress over restarts; nil: nothing is kept.
	Store  Store
	Logger *slog.Logger
	// Clock is ours; nil: the wall clock.
	Clock Clock
}

// Clock is what a loop knows of time.
type Clock interface {
	Now() time.Time
	// Sleep returns at an instant, or as soon as the context ends.
	Sleep(ctx context.Context, until time.Time)
}

// wallClock is the machine's.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Sleep(ctx context.Context, until time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(until)):
	}
}

func (o *Options) setDefaults() {
	o.Interval = cmp.Or(o.Interval, 30*time.Second)
	o.SweepInterval = cmp.Or(o.SweepInterval, 6*time.Hour)
	o.Overlap = cmp.Or(o.Overlap, 10*time.Minute)
	o.Lookback = cmp.Or(o.Lookback, 180*24*time.Hour)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Clock == nil {
		o.Clock = wallClock{}
	}
}

func (o *Options) mirror() incident.MirrorOptions {
	return incident.MirrorOptions{
		Lookback: o.Lookback, Thresholds: o.Thresholds, Objectives: o.Objectives, Priorities: o.Priorities, Dimensions: o.Dimensions,
	}
}

// Loop keeps one tenant's mirror up to date.
type Loop struct {
	opts   Options
	mirror *incident.Mirror
	progress

	delta    *reading // nil between deltas
	deltas   int      // that were begun
	recent   map[int64]recent
	waits    time.Time // since when deltas begin where the one before has, zero if they do not
	laggedAt time.Time // when a sweep was begun for that
	empty    bool      // the last delta reached far back, read nothing, and is not believed yet
	retries  [pass.NumPasses]retry
	clock    clock
	reread   time.Time // when a doubt was last looked up

	deltaOK     bool          // the last delta succeeded
	others      int           // shifts which of too many missing incidents a sweep looks up
	deltaFailed bool          // it has failed; neither before there is one
	answer      time.Duration // see view
	unlisted    int           // open incidents that the lists of their statuses have not shown
	lastPanic   string
	started     time.Time

	unsaved    bool
	publishing bool // the counts are to be published once they are saved

	status    atomic.Pointer[Status]
	snapshot  atomic.Pointer[incident.Snapshot]
	heartbeat atomic.Pointer[time.Time] // its age does not change with the wall clock
}

// New returns a loop that has not made a call yet, and knows nothing: see
// [Loop.Load] and [Loop.Run]. Snapshot, Status and Heartbeat may be called at any
// time by any goroutine and do not wait.
func New(opts Options) *Loop {
	opts.setDefaults()
	l := &Loop{opts: opts, mirror: incident.NewMirror(opts.mirror()), recent: make(map[int64]recent), started: opts.Clock.Now()}
	l.progress = progress{Version: progressVersion, Lookback: opts.Lookback, Server: *listing.NewServer(opts.Source.Offer())}
	l.Draft.Interval, l.Draft.Start = opts.Interval, l.started
	l.clock.beyond = make(map[int64]bool)
	l.publishStatus()
	l.turned()
	return l
}

// Snapshot is the last good one, nil before there is any.
func (l *Loop) Snapshot() *incident.Snapshot { return l.snapshot.Load() }

// Status is how the loop is doing. It is never nil.
func (l *Loop) Status() *Status { return l.status.Load() }

// Heartbeat is when the loop last turned. It turns at least every 30 s and, in
// between, as long as one request takes.
func (l *Loop) Heartbeat() time.Time { return *l.heartbeat.Load() }

func (l *Loop) now() time.Time { return l.opts.Clock.Now() }

func (l *Loop) turned() { l.heartbeat.Store(new(l.now())) }

// Run refreshes until the context ends, whose error it returns. No answer of
// the API ends it, and no panic of its own. It saves its progress after each
// request, and at the end. It is called once, and returns after at most one
// request and one save; a request ends with the context.
func (l *Loop) Run(ctx context.Context) error {
	now := l.now()
	for p := range l.retries {
		l.retries[p].due = now.Add(l.offset())
	}
	l.repace(now, 1)
	l.publishStatus()
	for ctx.Err() == nil {
		l.turned()
		l.step(ctx)
	}
	l.Save()
	return ctx.Err()
}

func (l *Loop) offset() time.Duration {
	return time.Duration(l.opts.Stagger * float64(l.opts.Interval))
}

// step does what the schedule says, once. A panic is a failed step.
func (l *Loop) step(ctx context.Context) {
	task := wait
	defer func() {
		if cause := recover(); cause != nil {
			l.panicked(ctx, task, cause)
		}
	}()
	now := l.now()
	v := l.view(now)
	task, until := next(now, v)
	switch task {
	case wait:
		if p, waits := v.waits(now); waits {
			l.opts.Ledger.Waits(now, p)
		}
		l.sleep(ctx, until)
		return
	case save:
		l.Save()
		l.publish()
		return
	}
	l.unsaved = true
	p := l.passOf(task)
	switch task {
	case lookup:
		l.lookupStep(ctx)
	case reread:
		l.rereadStep(ctx)
	default:
		l.readStep(ctx, p)
	}
	l.retries[p].panics = 0
}

func (l *Loop) passOf(t task) pass.Pass {
	switch {
	case t <= delta:
		return pass.Delta
	case l.Phase < steady:
		return pass.First
	}
	return pass.Sweep
}

func (l *Loop) view(now time.Time) view {
	v := view{
		phase: l.Phase, unsaved: l.unsaved, deltaOK: l.deltaOK, answer: l.answer,
		deltaDue: l.retries[pass.Delta].due, scanDue: l.retries[l.passOf(scanPage)].due,
	}
	if l.Phase == steady {
		if len(l.Doubts) > 0 {
			v.rereadDue = later(later(l.Doubts[0].At, l.reread.Add(rereadPause)), v.scanDue)
		}
		if v.sweeping = l.Scan != nil; v.sweeping {
			v.lookups = l.Scan.Listing.Done()
		} else {
			v.scanDue = later(v.scanDue, l.NextSweep)
		}
	}
	for p := range pass.Pass(pass.NumPasses) {
		v.granted[p] = l.opts.Ledger.Ready(now, p)
	}
	return v
}

// panicked survives a mistake of ours in a task. The pass that it belongs to
// rests, longer each time.
func (l *Loop) panicked(ctx context.Context, t task, cause any) {
	now, p := l.now(), l.passOf(t)
	retry := &l.retries[p]
	retry.panics++
	until := now.Add(min(time.Second<<min(retry.panics, 9), 5*time.Minute))
	l.ended(ctx, p, now, l.mistake(p, cause))
	if t == wait || t == save {
		// No schedule was made, or none was obeyed.
		l.publishStatus()
		l.sleep(ctx, until)
		return
	}
	retry.due = later(retry.due, until)
}

// mistake is the error that a panic is. Its stack is logged, once for the same
// panic again and again.
func (l *Loop) mistake(p pass.Pass, cause any) *listing.Error {
	err := &listing.Error{Operation: listing.OperationList, Reason: reason.Panic, Err: fmt.Errorf("panic: %v", cause)}
	if text := err.Error(); text != l.lastPanic {
		l.lastPanic = text
		l.opts.Logger.Error("A mistake in this program, the last good counts are kept and it is tried again",
			"pass", p.String(), "stack", string(debug.Stack()), "err", err)
	}
	return err
}

// longestSleep keeps the heartbeat coming.
const longestSleep = 30 * time.Second

func (l *Loop) sleep(ctx context.Context, until time.Time) {
	now := l.now()
	l.opts.Clock.Sleep(ctx, now.Add(min(max(until.Sub(now), time.Millisecond), longestSleep)))
}

// publish shows what was saved. That nothing is shown before it is saved keeps
// counters from stepping back after a crash. Counts that are not complete are
// not shown.
func (l *Loop) publish() {
	l.publishStatus()
	if !l.publishing || !l.Draft.Coverage.Open {
		return
	}
	s := l.mirror.Snapshot(l.clock.present(l.PublishedAt))
	s.At = l.PublishedAt
	s.Coverage = l.Draft.Coverage
	s.AlertsAvailable = s.AlertsAvailable && !l.Alerts.Lost
	l.publishing = false
	l.snapshot.Store(s)
}
