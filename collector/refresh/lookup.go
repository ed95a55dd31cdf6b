package refresh

import (
	"context"
	"errors"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// missing are the incidents that a sweep should have seen and did not. Each is
// looked up by its id; what is dropped is decided when all answers are there,
// because a list that hides incidents which exist is not to be believed.
type missing struct {
	// Left are those still to be looked up. Gone do not exist any more. Unknown
	// could not be looked up, or lie beyond the bound.
	Left    []int64 `json:"left,omitempty"`
	Gone    []int64 `json:"gone,omitempty"`
	Unknown []int64 `json:"unknown,omitempty"`
	// Found exist, and Hidden of them should have been on the list.
	Found  int `json:"found,omitempty"`
	Hidden int `json:"hidden,omitempty"`
	// Hangs: a look-up got no answer as often as one is tried.
	Hangs bool `json:"hangs,omitempty"`
}

const (
	// maxLookups bounds what one sweep asks for one by one. If more incidents are
	// missing something else is wrong, and the next sweep may tell.
	maxLookups = 100
	// suspicious is how many incidents may be missing without a single lookup that
	// was answered.
	suspicious = 10
	// maxHidden ends a sweep early: the list is not to be believed.
	maxHidden = 5
)

// findMissing is called when a sweep has read the whole list.
func (l *Loop) findMissing(ctx context.Context, now time.Time) {
	m := &l.scan.Missing
	ids := l.mirror.Unseen(l.sweptFrom(), l.sweptOpen(now))
	if len(ids) > maxLookups {
		l.opts.Logger.Warn("A sweep did not see many incidents", "missing", len(ids))
	}
	for i, id := range ids {
		// If they are too many any of them, not the oldest: they may be missing for
		// different reasons.
		if n := len(m.Left); i >= n*len(ids)/maxLookups {
			m.Left = append(m.Left, id)
		} else {
			m.Unknown = append(m.Unknown, id)
		}
	}
	if len(m.Left) == 0 {
		l.completeSweep(ctx, now)
	}
}

// sweptFrom is from when on the sweep has read everything: bounds are in whole
// seconds.
func (l *Loop) sweptFrom() time.Time { return l.lookbackFrom().Add(time.Second) }

// sweptOpen tells that the sweep has read the open incidents of any age: by their
// status, unless the server has refused that meanwhile, or because it had no
// bound.
func (l *Loop) sweptOpen(now time.Time) bool {
	return l.takesOpen(now) || slices.Contains(l.scan.Listing.Whole, listing.Everything(incident.StatusUnknown, time.Time{}))
}

// lookupStep looks up the next of the incidents that the sweep did not see.
func (l *Loop) lookupStep(ctx context.Context) {
	m, retry := &l.scan.Missing, &l.retries[PassSweep]
	if len(m.Left) > 0 {
		id := m.Left[0]
		_, known := l.mirror.Updated(id)
		switch {
		case !known || l.mirror.Seen(id):
		case retry.panics > 1:
			m.Unknown = append(m.Unknown, id)
		case !l.lookUpMissing(ctx, id):
			return
		}
		m.Left, retry.tries = m.Left[1:], 0
	}
	if len(m.Left) == 0 || m.Hidden >= maxHidden {
		l.completeSweep(ctx, time.Now())
	}
}

// lookUpMissing tells whether that settles what there is to know of it.
func (l *Loop) lookUpMissing(ctx context.Context, id int64) bool {
	m := &l.scan.Missing
	in, made, retryAt, failure := l.lookUp(ctx, id)
	now := time.Now()
	switch {
	case !made:
		return false
	case failure == nil:
		m.Found++
		if l.shouldHaveSeen(&in, now) {
			m.Hidden++
		}
		l.apply(&in, PassSweep, l.clock.at(now, time.Time{}), false)
	case errors.Is(failure, listing.ErrNotFound):
		m.Gone = append(m.Gone, id)
	case l.lookupFailed(ctx, now, failure, retryAt):
		return false
	default:
		m.Unknown = append(m.Unknown, id)
	}
	return true
}

// lookupFailed tells whether the same incident is to be looked up again: where
// nothing was said about it, or nothing three times.
func (l *Loop) lookupFailed(ctx context.Context, now time.Time, failure *listing.Error, retryAt time.Time) (again bool) {
	m, retry := &l.scan.Missing, &l.retries[PassSweep]
	retry.tries++
	switch failure.Reason {
	case listing.ReasonThrottled, listing.ReasonAuth:
	case listing.ReasonTimeout, listing.ReasonNetwork:
		// Once one was given up that way while deltas succeed, it is not an outage.
		if retry.tries >= maxTries || m.Hangs && l.deltaOK {
			m.Hangs = true
			return false
		}
	case listing.ReasonServer:
		retry.due = later(now.Add(backoff(retry.tries)), retryAt)
		return retry.tries < maxTries
	default:
		return false
	}
	retry.due = later(now.Add(sweepRetry), retryAt)
	l.ended(ctx, PassSweep, l.scan.Started, failure)
	return true
}

// lookUp makes one request for one incident.
func (l *Loop) lookUp(ctx context.Context, id int64) (in incident.Incident, made bool, retryAt time.Time, failure *listing.Error) {
	made, retryAt, failure = l.attempt(ctx, PassSweep, func(ctx context.Context) (err error) {
		in, err = l.opts.Source.Incident(ctx, id)
		return err
	})
	if made && failure == nil && in.ID != id {
		failure = &listing.Error{Op: "get", Reason: listing.ReasonDecode, Err: errors.New("the answer is another incident")}
	}
	return in, made, retryAt, failure
}

// shouldHaveSeen tells that an incident that exists was in the list's range
// while the sweep read it, and has not moved since.
func (l *Loop) shouldHaveSeen(in *incident.Incident, now time.Time) bool {
	if in.Updated.IsZero() || !in.Updated.Before(l.scan.Listing.Started) {
		return false
	}
	return l.sweptOpen(now) && slices.Contains(openStatuses, in.Status) || in.Updated.After(l.sweptFrom())
}

// completeSweep drops what does not exist any more, unless the list has proven
// to hide what does.
func (l *Loop) completeSweep(ctx context.Context, now time.Time) {
	s, m := l.scan, &l.scan.Missing
	lost := len(m.Gone) + len(m.Unknown)
	unbelieved := len(m.Gone)+m.Found == 0 && lost > suspicious
	l.mirror.EndSweep()
	l.scan, l.publishing, l.nextSweep = nil, now, later(l.nextSweep, now)
	if l.hidden = m.Hidden > 0 || unbelieved; l.hidden {
		l.opts.Logger.Warn("The list hides incidents that exist, nothing is dropped", "hidden", m.Hidden, "missing", lost+m.Hidden)
		l.nextSweep = earlier(l.nextSweep, now.Add(longestScanRetry))
		l.ended(ctx, PassSweep, s.Started, &listing.Error{Op: "list", Reason: listing.ReasonIncomplete, Err: errHidden})
		return
	}
	for _, id := range m.Unknown {
		if l.mirror.Missed(id) {
			m.Gone = append(m.Gone, id) // the sweep before did not see it either
		}
	}
	for _, id := range m.Gone {
		l.doubts.remove(id)
		if l.mirror.Drop(id) {
			l.draft.Corrections[correctionVanished]++
		}
	}
	// Where the server could not deliver alerts in the middle of it, again.
	l.alerts.due = true
	l.opts.Logger.Info("Sweep complete", "calls", s.Calls, "incidents", l.mirror.Len(), "took", now.Sub(s.Started),
		"missed", l.draft.Corrections[correctionMissed], "changed", l.draft.Corrections[correctionChanged],
		"vanished", l.draft.Corrections[correctionVanished])
	l.ended(ctx, PassSweep, s.Started, nil)
}

var errHidden = errors.New("the list hides incidents that exist")

const (
	// rereadEvery is how often an incident is looked up whose last update lies in
	// the server's future, or went backwards: the list may show its next version
	// where no delta looks.
	rereadEvery = 10 * time.Minute
	// rereadPause is between any two of them, so that a server whose header Date
	// lags behind costs little.
	rereadPause = 5 * time.Minute
	// maxDoubts bounds how many are kept in mind.
	maxDoubts = 20
)

// doubts are the incidents whose known last update is not to be trusted.
type doubts struct {
	queue []doubt   // the next to be looked up first
	last  time.Time // when one last was
	// aheadUnknown: since a restart it is not known which lie in the server's future.
	aheadUnknown bool
}

type doubt struct {
	id int64
	at time.Time
}

// add has an incident looked up later.
func (d *doubts) add(id int64, at time.Time) {
	waits := slices.ContainsFunc(d.queue, func(w doubt) bool { return w.id == id })
	if !waits && len(d.queue) < maxDoubts {
		d.queue = append(d.queue, doubt{id, at})
	}
}

func (d *doubts) remove(id int64) {
	d.queue = slices.DeleteFunc(d.queue, func(w doubt) bool { return w.id == id })
}

// due is when the first of them is to be looked up, zero if there is none.
func (d *doubts) due() time.Time {
	if len(d.queue) == 0 {
		return time.Time{}
	}
	return later(d.queue[0].at, d.last.Add(rereadPause))
}

// findAhead finds those that were known before a restart, once the server's
// clock is known.
func (l *Loop) findAhead(now, clock time.Time) {
	if !l.doubts.aheadUnknown {
		return
	}
	l.doubts.aheadUnknown = false
	for _, id := range l.mirror.Ahead(clock.Add(tolerance)) {
		l.doubts.add(id, now)
	}
}

// rereadStep looks the first of them up.
func (l *Loop) rereadStep(ctx context.Context) {
	d, now := &l.doubts, time.Now()
	id := d.queue[0].id
	// First of all, so that others have their turn even if this one fails.
	d.queue, d.last = append(d.queue[1:], doubt{id, now.Add(rereadEvery)}), now
	in, made, retryAt, failure := l.lookUp(ctx, id)
	switch {
	case !made:
	case failure != nil:
		// The list goes on to show it, and a sweep finds out if it does not.
		l.retries[PassSweep].due = later(l.retries[PassSweep].due, retryAt)
	default:
		now = time.Now()
		l.apply(&in, PassSweep, l.clock.at(now, time.Time{}), true)
		l.publishing = now
	}
}
