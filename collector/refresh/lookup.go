package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// missing are the incidents that a sweep should have seen and did not. Each is
// looked up by its id; what is dropped is decided when all answers are there,
// because a list that hides incidents which exist is not to be believed.
type missing struct {
	// Left are those still to be looked up. Gone do not exist any more. Unknown
	// could not be looked up, and Rest are beyond the bound.
	Left    []int64 `json:"left,omitempty"`
	Gone    []int64 `json:"gone,omitempty"`
	Unknown []int64 `json:"unknown,omitempty"`
	Rest    []int64 `json:"rest,omitempty"`
	// Found exist, and Hidden of them should have been on the list.
	Found  int `json:"found,omitempty"`
	Hidden int `json:"hidden,omitempty"`
	// Beyond of those found are older than all that the list has: it may not go back that far.
	Beyond int `json:"beyond,omitempty"`
	// Unlisted: one of the hidden only the list of its status should have had.
	Unlisted bool `json:"unlisted,omitempty"`
	// Merged: an incident that was merged into another one exists. The list may leave out
	// all of those.
	Merged bool `json:"merged,omitempty"`
	// Hangs: a look-up got no answer, or 401, as often as one is tried.
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
	// confirmAfter is when another sweep follows one that found many to be gone.
	confirmAfter = 10 * time.Minute
	// retention is for how long Microsoft keeps incidents, by its documentation.
	retention = 180 * 24 * time.Hour
)

func (l *Loop) findMissing(ctx context.Context, now time.Time) {
	m := &l.Scan.Missing
	ids := l.mirror.Unseen(l.swept(now))
	if len(ids) > maxLookups {
		l.opts.Logger.Warn("A sweep did not see many incidents", "missing", len(ids))
	}
	// What was merged into another incident comes last: a list may leave out all of that, and
	// it would take the room of what is really missing.
	merged := slices.Clone(ids)
	ids = slices.DeleteFunc(ids, l.mirror.Merged)
	merged = slices.DeleteFunc(merged, func(id int64) bool { return !l.mirror.Merged(id) })
	for _, some := range [][]int64{ids, merged} {
		room, taken := maxLookups-len(m.Left), 0
		for i := range some {
			// Any of too many, not the oldest: they may be missing for different reasons.
			id := some[(i+l.others)%len(some)]
			if taken < room && i >= taken*len(some)/room {
				m.Left, taken = append(m.Left, id), taken+1
			} else {
				m.Rest = append(m.Rest, id)
			}
		}
	}
	if len(m.Left) == 0 {
		l.completeSweep(ctx, now)
	}
}

// swept is what the sweep has read: everything since some instant, and the open
// incidents of any age, by their status, unless the server has refused that
// meanwhile, or because it had no bound.
func (l *Loop) swept(now time.Time) (since time.Time, open bool) {
	open = l.readOpen(now)
	for _, r := range l.Scan.Listing.Whole {
		if r.Status != incident.StatusUnknown {
			continue
		}
		if since = r.From(); since.IsZero() {
			return since, true
		}
	}
	return since.Add(time.Second), open // bounds are whole ones
}

// lookupStep looks up the next of the incidents that the sweep did not see. One
// that makes the program panic is left alone.
func (l *Loop) lookupStep(ctx context.Context) {
	m, retry := &l.Scan.Missing, &l.retries[pass.Sweep]
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
		l.completeSweep(ctx, l.now())
	}
}

// lookUpMissing makes one request. It tells whether that settles what there is to
// know of the incident; otherwise it is to be looked up again.
func (l *Loop) lookUpMissing(ctx context.Context, id int64) (settled bool) {
	m, retry := &l.Scan.Missing, &l.retries[pass.Sweep]
	in, failure := l.lookUp(ctx, id)
	now := l.now()
	switch {
	case failure == errNoAnswer:
		return false
	case failure == nil:
		m.Found++
		m.Merged = m.Merged || in.Status == incident.StatusRedirected
		l.noteFound(&in, now)
		l.apply(&in, pass.Sweep, l.clock.at(now), true)
		return true
	case errors.Is(failure, listing.ErrNotFound):
		m.Gone = append(m.Gone, id)
		return true
	}
	// Silent: no answer, or 401, either of which may be due to this one incident. Nothing: the
	// failure is none of the incident's.
	silent := failure.Reason == reason.Timeout || failure.Reason == reason.Network || failure.Reason == reason.Auth && failure.Status != 0
	nothing := failure.Reason == reason.Throttled || failure.Reason == reason.Auth && !silent || failure.Reason == reason.State
	switch {
	case !nothing && retry.due.After(now.Add(longestDeltaRetry)):
		// The server asks to wait for long. The next sweep may look the others up.
		m.Left, m.Rest = m.Left[:1], append(m.Rest, m.Left[1:]...)
	case nothing, silent && !m.Hangs && retry.soon(now):
		// Once one was given up for its silence this is no outage: incidents are looked up
		// only while deltas succeed.
		retry.due = later(retry.due, now.Add(sweepRetry))
		l.ended(ctx, pass.Sweep, l.Scan.Started, failure)
		return false
	case failure.Reason == reason.Server && retry.soon(now):
		return false
	}
	m.Hangs = m.Hangs || silent
	m.Unknown = append(m.Unknown, id)
	return true
}

// noteFound counts an incident that exists as hidden if it should have been on the list: not
// one that has moved since or just before, or was merged, for a list may leave those out; and
// as beyond if it is older than all that the list goes back to.
func (l *Loop) noteFound(in *incident.Incident, now time.Time) {
	m, oldest := &l.Scan.Missing, l.Scan.Oldest
	since, open := l.swept(now)
	recent := in.Updated.After(since)
	listed := recent || open && slices.Contains(openStatuses, in.Status)
	if !listed || in.Status == incident.StatusRedirected || in.Updated.IsZero() || !in.Updated.Before(l.Scan.Listing.Started.Add(-l.opts.Overlap)) {
		return
	}
	if in.Updated.Before(oldest) {
		expired := in.Updated.Before(l.clock.present(now).Add(-retention))
		if expired || m.Beyond < suspicious && (recent || oldest.Before(since)) {
			m.Beyond++
			return
		}
	}
	m.Hidden++
	m.Unlisted = m.Unlisted || !recent
}

func (l *Loop) lookUp(ctx context.Context, id int64) (in incident.Incident, failure *listing.Error) {
	failure = l.attempt(ctx, pass.Sweep, func(ctx context.Context) (err error) {
		in, err = l.opts.Source.Incident(ctx, id)
		return err
	})
	if failure == nil && in.ID != id {
		failure = &listing.Error{Operation: listing.OperationGet, Reason: reason.Decode, Err: errors.New("the answer is another incident")}
		if _, known := l.mirror.Updated(in.ID); known {
			failure.Err = fmt.Errorf("%w: the answer is incident %d, which it may have been merged into", listing.ErrNotFound, in.ID)
		}
	}
	return in, failure
}

// completeSweep drops what does not exist any more, unless the list has proven
// to hide what does.
func (l *Loop) completeSweep(ctx context.Context, now time.Time) {
	s, m := l.Scan, &l.Scan.Missing
	if m.Found == 0 {
		m.Unknown, m.Rest = append(m.Unknown, m.Rest...), nil
	} else if len(m.Gone) == 0 {
		l.others++
	} // and no list may have to show the rest, which are kept until they are looked up
	lost := len(m.Gone) + len(m.Unknown) + len(m.Rest)
	unbelieved := len(m.Gone)+m.Found == 0 && lost > suspicious
	l.mirror.EndSweep()
	l.Scan, l.NextSweep = nil, later(l.NextSweep, now)
	l.PublishedAt, l.publishing = now, true
	if l.Hidden = m.Hidden > 0 || unbelieved; l.Hidden {
		l.opts.Logger.Warn("The list hides incidents that exist, nothing is dropped", "hidden", m.Hidden, "missing", lost+m.Hidden)
		l.NextSweep = earlier(l.NextSweep, now.Add(longestScanRetry))
		if m.Unlisted && l.takesOpen(now) {
			// Everything is read without, and soon.
			l.Server.Refuse(listing.OptionStatus, now)
			l.noteOptions()
			l.NextSweep = earlier(l.NextSweep, now.Add(sweepRetry))
		}
		failure := &listing.Error{Operation: listing.OperationList, Reason: reason.Incomplete, Err: errors.New("the list hides incidents that exist")}
		l.ended(ctx, pass.Sweep, s.Started, failure)
		return
	}
	gone := 0 // and not because the list does not go back that far
	for _, id := range m.Gone {
		if updated, _ := l.mirror.Updated(id); !updated.Before(s.Oldest) {
			gone++
		}
	}
	if gone > suspicious || 2*gone > l.mirror.Len() {
		// Perhaps for a moment only. The next sweep has to say so, too, and the one after
		// that finds what is back.
		m.Unknown, m.Gone = append(m.Unknown, m.Gone...), nil
		l.NextSweep = earlier(l.NextSweep, now.Add(confirmAfter))
	}
	for _, id := range m.Unknown {
		if updated, _ := l.mirror.Updated(id); m.Merged && l.mirror.Merged(id) || m.Beyond > 0 && updated.Before(s.Oldest) {
			continue
		}
		if l.mirror.Missed(id) {
			m.Gone = append(m.Gone, id) // the sweep before did not see it either
		}
	}
	for _, id := range m.Gone {
		l.trust(id)
		if l.mirror.Drop(id) {
			l.Draft.Corrections[correctionVanished]++
		}
	}
	// Where the server could not deliver alerts in the middle of it, again.
	l.Alerts.asked = false
	l.opts.Logger.Info("Sweep complete", "calls", s.Calls, "incidents", l.mirror.Len(), "took", now.Sub(s.Started),
		"missed", l.Draft.Corrections[correctionMissed], "changed", l.Draft.Corrections[correctionChanged],
		"vanished", l.Draft.Corrections[correctionVanished])
	l.ended(ctx, pass.Sweep, s.Started, nil)
}

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

// doubt is an incident whose known last update is not to be trusted, and when it
// is to be looked up.
type doubt struct {
	ID int64     `json:"id"`
	At time.Time `json:"at"`
}

func (l *Loop) doubt(id int64) {
	waits := slices.ContainsFunc(l.Doubts, func(d doubt) bool { return d.ID == id })
	if !waits && len(l.Doubts) < maxDoubts {
		l.Doubts = append(l.Doubts, doubt{id, l.now().Add(rereadEvery)})
	}
}

func (l *Loop) trust(id int64) {
	l.Doubts = slices.DeleteFunc(l.Doubts, func(d doubt) bool { return d.ID == id })
}

func (l *Loop) rereadStep(ctx context.Context) {
	id := l.Doubts[0].ID
	// First of all, so that others have their turn even if this one fails. Then the
	// list goes on to show it, and a sweep finds out if it does not.
	l.reread = l.now()
	l.Doubts = append(l.Doubts[1:], doubt{id, l.reread.Add(rereadEvery)})
	if in, failure := l.lookUp(ctx, id); failure == nil {
		now := l.now()
		l.apply(&in, pass.Sweep, l.clock.at(now), true)
		l.PublishedAt, l.publishing = now, true
	}
}
