package refresh

import (
	"context"
	"errors"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// maxLookups bounds what one sweep asks for one by one. If more incidents are
// missing something else is wrong, and the next sweep may tell.
const maxLookups = 100

// sweepReady is when the next step of a sweep may be made.
func (l *Loop) sweepReady(now time.Time) time.Time {
	if l.sweep == nil && now.Before(l.nextSweep) {
		return l.nextSweep
	}
	at := later(l.retryReading, l.opts.Budget.Ready(now, incident.PassSweep))
	// Not while deltas fail, and not if the next one would have to wait for the
	// answer; but once after every delta, lest a slow server is never swept.
	if !l.state.Up || !l.justDelta && at.Add(l.pageTime*3/2).After(l.nextDelta) {
		return later(at, l.nextDelta)
	}
	return at
}

// sweepStep begins a sweep or reads its next page.
func (l *Loop) sweepStep(ctx context.Context) {
	now := time.Now()
	if l.sweep == nil {
		l.mirror.BeginSweep()
		l.sweep = l.newReading(incident.PassSweep, now)
		l.nextSweep = now.Add(l.opts.SweepInterval)
		l.state.Sweeping = true
		l.state.Kinds[incident.PassSweep].LastAttempt = now
	}
	r := l.sweep
	var err error
	if len(r.queries) > 0 {
		if err = l.readPage(ctx, r); err == nil && len(r.queries) == 0 {
			r.lookups = l.unseen(r)
		}
	} else if len(r.lookups) > 0 {
		err = l.lookUp(ctx, r)
	}
	if err != nil {
		l.retryReading = time.Now().Add(sweepRetry)
		l.ended(ctx, r.pass, r.started, err)
		return
	}
	l.state.SweepPages = r.pages
	if len(r.queries) == 0 && len(r.lookups) == 0 {
		l.completeSweep(ctx, r)
		return
	}
	l.publishStatus()
}

// sweepRetry is how long a sweep rests after a failure: nothing waits for it.
const sweepRetry = 5 * time.Minute

// unseen lists the incidents to look up. Those beyond the bound are dropped if
// they were missed by the sweep before, too.
func (l *Loop) unseen(r *reading) []int64 {
	ids := l.mirror.Unseen(r.since, r.openRead())
	if len(ids) <= maxLookups {
		return ids
	}
	l.opts.Logger.Warn("A sweep missed many incidents", "missed", len(ids))
	for _, id := range ids[maxLookups:] {
		if l.mirror.Missed(id) {
			l.vanished(id)
		}
	}
	return slices.Clip(ids[:maxLookups])
}

func (l *Loop) lookUp(ctx context.Context, r *reading) error {
	id := r.lookups[0]
	if _, known := l.mirror.Updated(id); known {
		in, err := l.opts.Source.Incident(ctx, id, r.pass)
		switch {
		case errors.Is(err, incident.ErrNotFound):
			l.vanished(id)
		case err != nil:
			return err
		default:
			l.applyOne(&in, r.pass)
		}
	}
	r.lookups = r.lookups[1:]
	return nil
}

func (l *Loop) vanished(id int64) {
	if l.mirror.Drop(id) {
		l.state.Corrections[correctionVanished]++
	}
}

func (l *Loop) completeSweep(ctx context.Context, r *reading) {
	now := time.Now()
	l.mirror.EndSweep()
	l.sweep, l.state.Sweeping, l.state.SweepPages = nil, false, 0
	// Where the server could not deliver alerts in the middle of it, again.
	l.alerts.due = true
	l.publish(now)
	l.opts.Logger.Info("Sweep complete", "calls", r.pages, "incidents", l.mirror.Len(), "took", now.Sub(r.started),
		"missed", l.state.Corrections[correctionMissed], "changed", l.state.Corrections[correctionChanged],
		"vanished", l.state.Corrections[correctionVanished])
	l.ended(ctx, r.pass, r.started, nil)
}
