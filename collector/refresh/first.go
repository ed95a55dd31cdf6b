package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
)

// firstReady is when the next step of the first sync may be made.
func (l *Loop) firstReady(now time.Time) time.Time {
	if l.first.closing {
		return l.nextDelta
	}
	return later(l.retryReading, l.opts.Budget.Ready(now, incident.PassFirst))
}

// firstStep reads the next page of the first sync.
func (l *Loop) firstStep(ctx context.Context) {
	r := l.first
	now := time.Now()
	l.state.Kinds[r.pass].LastAttempt = now
	if err := l.readPage(ctx, r); err != nil {
		l.retryReading = time.Now().Add(l.state.Interval)
		l.ended(ctx, r.pass, now, err)
		return
	}
	now = time.Now()
	l.tried(r.pass, now, nil)
	l.state.FirstPages = r.pages
	// Not before the stage of open incidents is through: a delta brings
	// resolved ones too, and its calls would delay the first counts.
	if rest := len(r.queries) <= 1; rest && !r.deltas && (!r.newest.IsZero() || len(r.queries) == 0) {
		r.deltas, l.watermark, l.nextDelta = true, r.newest, now
	}
	if r.openRead() && !l.coverage.Open {
		if len(r.queries) <= 1 {
			l.coverage.Open = true
			l.coverage.Statuses = r.known
			// The reading of everything answers to the status unknown.
			l.coverage.Statuses[incident.StatusUnknown] = false
			l.opts.Logger.Info("Open incidents are known", "calls", r.pages, "incidents", l.mirror.Len())
			l.publish(now)
		}
	}
	if len(r.queries) == 0 {
		r.closing, l.nextDelta = true, now
	}
	l.publishStatus()
}

// completeFirst is called when the delta after the last page has succeeded.
func (l *Loop) completeFirst(ctx context.Context, now time.Time) {
	r := l.first
	l.first = nil
	l.coverage.Open, l.coverage.All = true, true
	for status := range l.coverage.Statuses {
		l.coverage.Statuses[status] = true
	}
	if !l.mirror.CountsFlows() {
		l.mirror.StartFlows(r.newest)
	}
	l.nextSweep = now.Add(l.opts.SweepInterval - l.opts.SweepAdvance)
	l.opts.Logger.Info("First sync complete", "calls", r.pages, "incidents", l.mirror.Len(), "took", now.Sub(r.started))
	l.ended(ctx, r.pass, r.started, nil)
}
