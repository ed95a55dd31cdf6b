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
	// Left are those still to be looked up, Unasked those beyond the bound.
	Left    []int64 `json:"left,omitempty"`
	Unasked []int64 `json:"unasked,omitempty"`
	// Gone do not exist any more, Unanswered could not be looked up.
	Gone       []int64 `json:"gone,omitempty"`
	Unanswered []int64 `json:"unanswered,omitempty"`
	// Hidden exist, and should have been on the list.
	Hidden int `json:"hidden,omitempty"`
	Found  int `json:"found,omitempty"`
	Tries  int `json:"tries,omitempty"`
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
	s := l.scan
	if !l.takesOpen(now) && s.bounded() {
		s.allOpen = false
	}
	ids := l.mirror.Unseen(s.since.Add(time.Second), s.allOpen)
	if len(ids) > maxLookups {
		l.opts.Logger.Warn("A sweep did not see many incidents", "missing", len(ids))
		// Any of them, not the oldest: they may be missing for different reasons.
		for i, id := range ids {
			if n := len(s.missing.Left); i == n*len(ids)/maxLookups {
				s.missing.Left = append(s.missing.Left, id)
			} else {
				s.missing.Unasked = append(s.missing.Unasked, id)
			}
		}
	} else {
		s.missing.Left = ids
	}
	if len(s.missing.Left) == 0 {
		l.completeSweep(ctx, now)
	}
}

// lookupStep looks up the next of the incidents that the sweep did not see.
func (l *Loop) lookupStep(ctx context.Context) {
	s := l.scan
	m := &s.missing
	if len(m.Left) == 0 {
		l.completeSweep(ctx, time.Now())
		return
	}
	id := m.Left[0]
	if _, known := l.mirror.Updated(id); known && !l.mirror.Seen(id) {
		in, retryAt, err := l.lookUp(ctx, id)
		now := time.Now()
		switch {
		case errors.Is(err, errNotGranted):
			return
		case errors.Is(err, listing.ErrNotFound):
			m.Gone = append(m.Gone, id)
		case err != nil:
			if l.lookupFailed(ctx, now, asError(err), retryAt) {
				return
			}
			m.Unanswered = append(m.Unanswered, id)
		default:
			m.Found++
			if l.shouldHaveSeen(&in, s) {
				m.Hidden++
			}
			l.applyOne(&in, PassSweep, l.clock(now, time.Time{}), false)
		}
	}
	m.done()
	if len(m.Left) == 0 || m.Hidden >= maxHidden {
		l.completeSweep(ctx, time.Now())
	}
}

// lookupFailed tells whether the same incident is to be looked up again: where
// nothing was said about it, or nothing three times.
func (l *Loop) lookupFailed(ctx context.Context, now time.Time, err *listing.Error, retryAt time.Time) (again bool) {
	m := &l.scan.missing
	m.Tries++
	switch err.Reason {
	case listing.ReasonThrottled, listing.ReasonAuth:
	case listing.ReasonTimeout, listing.ReasonNetwork:
		if m.Tries >= maxTries {
			return false
		}
	case listing.ReasonServer:
		l.scanRetry = later(now.Add(backoff(m.Tries)), retryAt)
		return m.Tries < maxTries
	default:
		return false
	}
	l.scanRetry = later(now.Add(sweepRetry), retryAt)
	l.ended(ctx, PassSweep, l.scan.started, err)
	return true
}

// done goes on to the next incident.
func (m *missing) done() { m.Left, m.Tries = m.Left[1:], 0 }

// giveUp goes on to the next incident although nothing is known of this one.
func (m *missing) giveUp() {
	if len(m.Left) > 0 {
		m.Unanswered = append(m.Unanswered, m.Left[0])
		m.done()
	}
}

// lookUp makes one request for one incident.
func (l *Loop) lookUp(ctx context.Context, id int64) (in incident.Incident, retryAt time.Time, err error) {
	retryAt, err = l.attempt(ctx, PassSweep, func(ctx context.Context) (err error) {
		in, err = l.opts.Source.Incident(ctx, id)
		return err
	})
	if err == nil && in.ID != id {
		err = &listing.Error{Op: "get", Reason: listing.ReasonDecode, Err: errors.New("the answer is another incident")}
	}
	return in, retryAt, err
}

// shouldHaveSeen tells that an incident that exists was in the list's range
// while the sweep read it, and has not moved since.
func (l *Loop) shouldHaveSeen(in *incident.Incident, s *scan) bool {
	if in.Updated.IsZero() || !in.Updated.Before(s.listing.Started) {
		return false
	}
	return s.allOpen && slices.Contains(openStatuses, in.Status) || in.Updated.After(s.since.Add(time.Second))
}

// bounded tells that nothing was read of incidents older than the look-back but
// the open ones.
func (s *scan) bounded() bool {
	return !slices.Contains(s.listing.Whole, listing.Everything(incident.StatusUnknown, time.Time{}))
}

// completeSweep drops what does not exist any more, unless the list has proven
// to hide what does.
func (l *Loop) completeSweep(ctx context.Context, now time.Time) {
	s := l.scan
	m := &s.missing
	lost := len(m.Gone) + len(m.Unanswered) + len(m.Unasked)
	unbelieved := len(m.Gone)+m.Found == 0 && lost > suspicious
	l.endScan(now)
	if m.Hidden > 0 || unbelieved {
		l.opts.Logger.Warn("The list hides incidents that exist, nothing is dropped", "hidden", m.Hidden, "missing", lost+m.Hidden)
		l.nextSweep = earlier(l.nextSweep, now.Add(longestScanRetry))
		l.due(now)
		l.hidden = true
		l.ended(ctx, PassSweep, s.started, &listing.Error{Op: "list", Reason: listing.ReasonIncomplete, Err: errHidden})
		return
	}
	l.hidden = false
	for _, id := range m.Gone {
		l.vanished(id)
	}
	// The others are dropped if the sweep before did not see them either.
	for _, id := range slices.Concat(m.Unanswered, m.Unasked) {
		if l.mirror.Missed(id) {
			l.vanished(id)
		}
	}
	// Where the server could not deliver alerts in the middle of it, again.
	l.alerts.due = true
	l.due(now)
	l.opts.Logger.Info("Sweep complete", "calls", s.calls, "incidents", l.mirror.Len(), "took", now.Sub(s.started),
		"missed", l.draft.Corrections[correctionMissed], "changed", l.draft.Corrections[correctionChanged],
		"vanished", l.draft.Corrections[correctionVanished])
	l.ended(ctx, PassSweep, s.started, nil)
}

var errHidden = errors.New("the list hides incidents that exist")

func (l *Loop) endScan(now time.Time) {
	l.mirror.EndSweep()
	l.scan, l.draft.Sweeping, l.draft.SweepPages = nil, false, 0
	l.nextSweep = later(l.nextSweep, now)
}

func (l *Loop) vanished(id int64) {
	delete(l.rereads, id)
	if l.mirror.Drop(id) {
		l.draft.Corrections[correctionVanished]++
	}
}

// rereadEvery is how often an incident is looked up whose last update lies in
// the server's future, or went backwards: the list may show its next version
// where no delta looks.
const rereadEvery = 10 * time.Minute

const (
	// rereadPause is between any two of them, so that a server whose header Date
	// lags behind costs little.
	rereadPause = 5 * time.Minute
	// maxRereads bounds how many are kept in mind.
	maxRereads = 20
)

// doubt has an incident looked up later.
func (l *Loop) doubt(id int64, at time.Time) {
	if _, waits := l.rereads[id]; !waits && len(l.rereads) < maxRereads {
		l.rereads[id] = at
	}
}

// findAhead finds those that were known before a restart, once the server's
// clock is known.
func (l *Loop) findAhead(now, clock time.Time) {
	if !l.aheadUnknown {
		return
	}
	l.aheadUnknown = false
	for _, id := range l.mirror.Ahead(clock.Add(tolerance)) {
		l.doubt(id, now)
	}
}

// rereadDue is when the first of them is to be looked up, zero if there is none.
func (l *Loop) rereadDue() time.Time {
	due := l.nextReread()
	if due.IsZero() {
		return due
	}
	return later(due, l.reread.Add(rereadPause))
}

func (l *Loop) nextReread() (due time.Time) {
	for _, at := range l.rereads {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	return due
}

// rereadStep looks the first of them up.
func (l *Loop) rereadStep(ctx context.Context) {
	due := l.nextReread()
	for id, at := range l.rereads {
		if !at.Equal(due) {
			continue
		}
		// First of all, so that others have their turn even if this one fails.
		l.reread = time.Now()
		l.rereads[id] = l.reread.Add(rereadEvery)
		in, retryAt, err := l.lookUp(ctx, id)
		now := time.Now()
		switch {
		case errors.Is(err, errNotGranted):
			l.rereads[id] = at
		case err != nil:
			// The list goes on to show it, and a sweep finds out if it does not.
			l.scanRetry = later(l.scanRetry, retryAt)
		default:
			l.applyOne(&in, PassSweep, l.clock(now, time.Time{}), true)
			l.due(now)
		}
		return
	}
}
