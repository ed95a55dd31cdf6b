package refresh

import (
	"time"

	"m365_defender_exporter/internal/pass"
)

// phase is how far the reading of a tenant has come.
type phase uint8

// The phases, in their order. Each begins when the one before is complete; a
// look-back that grows leads back to fullScan.
const (
	openScan   phase = iota // the open incidents are read for the first time
	fullScan                // the rest of the look-back is; deltas run beside it
	finalDelta              // what changed since then is, and the first sync is complete
	steady                  // deltas, and a sweep now and then
)

// task is what the loop does next. Those after delta run beside the deltas.
type task uint8

const (
	wait     task = iota // for the instant that comes with it
	save                 // the progress, and publish it
	delta                // the next request of a delta
	scanPage             // the next request of the first sync or of a sweep
	lookup               // the next of the incidents that a sweep did not see
	reread               // an incident whose last update lies in the server's future
)

// view is all that the schedule depends on, as of one instant. Instants that
// are zero have passed.
type view struct {
	phase   phase
	unsaved bool
	// deltaOK: the last delta succeeded. Sweeps wait until it does.
	deltaOK bool
	// deltaDue is when the next delta begins, or the next request of the one that
	// is under way may be made.
	deltaDue time.Time
	// scanDue is the same for the first sync or the sweep; sweeping: one is under
	// way. lookups are left of it.
	scanDue  time.Time
	sweeping bool
	lookups  bool
	// rereadDue is when an incident is to be read again by its id.
	rereadDue time.Time
	// answer is how long the last request took that was none of a delta's, zero if
	// none was made since the last delta.
	answer time.Duration
	// granted is when the quota has a call left for each pass.
	granted [pass.NumPasses]time.Time
}

// next decides what the loop does now or, for wait, until when nothing is to be
// done. It depends on nothing but its arguments.
//
// Deltas come first, but for the first reading of the open incidents, without
// which they have nothing to add to. What runs beside them must be over by the
// time the next one is due, as far as the last answer tells; but between two
// deltas one request may always be made, so that a slow server is read, too.
func next(now time.Time, v view) (task, time.Time) {
	deltaAt := later(v.deltaDue, v.granted[pass.Delta])
	switch {
	case v.unsaved:
		return save, now
	case v.phase == openScan:
		return at(now, scanPage, later(v.scanDue, v.granted[pass.First]))
	case v.phase == finalDelta, !v.deltaDue.After(now):
		return at(now, delta, deltaAt)
	}
	background, due := v.background()
	if later(now, due).Add(v.answer + v.answer/2).After(deltaAt) {
		return wait, deltaAt
	}
	return at(now, background, due)
}

// background is what runs beside the deltas, and when.
func (v *view) background() (background task, due time.Time) {
	background, due = scanPage, v.scanDue
	switch {
	case v.phase == fullScan:
		return scanPage, later(due, v.granted[pass.First])
	case v.lookups:
		background = lookup
	case !v.sweeping && !v.rereadDue.IsZero() && v.rereadDue.Before(due):
		background, due = reread, v.rereadDue
	}
	if !v.deltaOK {
		due = later(due, v.deltaDue)
	}
	return background, later(due, v.granted[pass.Sweep])
}

// waits tells which pass waits for nothing but the quota, if one does.
func (v *view) waits(now time.Time) (p pass.Pass, waits bool) {
	switch {
	case v.phase != openScan && !v.deltaDue.After(now):
		return pass.Delta, v.granted[pass.Delta].After(now)
	case v.phase < finalDelta && !v.scanDue.After(now):
		return pass.First, v.granted[pass.First].After(now)
	case v.phase == steady && v.deltaOK && !v.scanDue.After(now):
		return pass.Sweep, v.granted[pass.Sweep].After(now)
	}
	return 0, false
}

// at is a task once its instant has come, and waiting until then.
func at(now time.Time, t task, due time.Time) (task, time.Time) {
	if due.After(now) {
		return wait, due
	}
	return t, now
}

// phased is the first instant after now that lies offset after a multiple of
// the interval: tenants that were all delayed drift back to instants of their
// own. It is counted from now, so that it is reached whatever becomes of the wall clock.
func phased(now time.Time, interval, offset time.Duration) time.Time {
	at := now.Add(-offset).Truncate(interval).Add(interval + offset)
	return now.Add(at.Sub(now.Round(0)))
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
