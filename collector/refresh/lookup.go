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
		step := len(ids) / maxLookups
		for i := range ids {
			if i%step == 0 && len(s.missing.Left) < maxLookups {
				s.missing.Left = append(s.missing.Left, ids[i])
			} else {
				s.missing.Unasked = append(s.missing.Unasked, ids[i])
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
			e := asError(err)
			m.Tries++
			outage := e.Reason == listing.ReasonThrottled || e.Reason == listing.ReasonAuth
			if outage || m.Tries < maxTries && (e.Status == 0 || e.Status >= 500) {
				// That may not be about this incident.
				l.scanRetry = later(now.Add(backoff(m.Tries)), retryAt)
				if outage {
					l.scanRetry = later(l.scanRetry, now.Add(sweepRetry))
					l.ended(ctx, PassSweep, s.started, e)
				}
				return
			}
			m.Unanswered = append(m.Unanswered, id)
		default:
			m.Found++
			if l.shouldHaveSeen(&in, s) {
				m.Hidden++
			}
			l.applyOne(&in, PassSweep, l.clock(now, time.Time{}))
		}
	}
	m.Left, m.Tries = m.Left[1:], 0
	if len(m.Left) == 0 || m.Hidden >= maxHidden {
		l.completeSweep(ctx, time.Now())
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
	delete(l.ahead, id)
	if l.mirror.Drop(id) {
		l.draft.Corrections[correctionVanished]++
	}
}

// rereadEvery is how often an incident is looked up whose last update lies in
// the server's future: the list may show its next version where no delta looks.
const rereadEvery = 10 * time.Minute

const (
	// rereadPause is between any two of them, so that a server whose header Date
	// lags behind costs little.
	rereadPause = 5 * time.Minute
	// maxAhead bounds how many are kept in mind.
	maxAhead = 20
)

// rereadDue is when the first of them is, zero if there is none.
func (l *Loop) rereadDue() (due time.Time) {
	for _, at := range l.ahead {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	if due.IsZero() {
		return due
	}
	return later(due, l.reread.Add(rereadPause))
}

// rereadStep looks the first of them up.
func (l *Loop) rereadStep(ctx context.Context) {
	now := time.Now()
	for id, at := range l.ahead {
		if at.After(now) {
			continue
		}
		l.reread = now
		in, _, err := l.lookUp(ctx, id)
		now := time.Now()
		switch {
		case errors.Is(err, errNotGranted):
			return
		case err != nil:
			// The list goes on to show it, and a sweep finds out if it does not.
		default:
			l.applyOne(&in, PassSweep, now)
			l.due(now)
		}
		if _, still := l.ahead[id]; still {
			l.ahead[id] = now.Add(rereadEvery)
		}
		return
	}
}
