package refresh

import (
	"context"
	"errors"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// errNotGranted: the quota had no call left after all. Nothing was sent, and
// nothing has failed.
var errNotGranted = errors.New("no call is left in the quota")

// attempt makes one request of the API: it has an access token, takes a grant,
// sends. An attempt that is not sent spends nothing. retryAt is when the server
// wants the pass that asked to ask again, zero if it does not say.
func (l *Loop) attempt(ctx context.Context, pass Pass, send func(context.Context) error) (retryAt time.Time, err error) {
	ledger := l.opts.Ledger
	if err := l.opts.Source.Authorize(ctx); err != nil {
		return time.Time{}, err
	}
	l.beat()
	start := time.Now()
	grant, _ := ledger.Take(start, pass)
	if grant == 0 {
		return time.Time{}, errNotGranted
	}
	settled := false
	defer func() {
		if !settled { // by a panic
			ledger.Settle(grant, time.Now())
		}
	}()
	err = send(ctx)
	now := time.Now()
	ledger.Settle(grant, now)
	settled = true
	l.beat()
	if pass != PassDelta {
		l.answer, l.scanned = now.Sub(start), true
	}
	var e *listing.Error
	switch {
	case err == nil:
		ledger.Succeeded()
	case !errors.As(err, &e):
	case e.Reason == listing.ReasonThrottled:
		// That concerns every call of the tenant.
		ledger.Throttled(now, e.Status, e.RetryAfter, e.Message)
	default:
		if e.Status != 0 && e.Status < 500 {
			ledger.Succeeded()
		}
		retryAt = ledger.RetryAfter(now, e.RetryAfter)
	}
	return retryAt, err
}

// outcome is what became of one request of a listing.
type outcome struct {
	err     *listing.Error // nil: it was answered
	verdict listing.Verdict
	retryAt time.Time
	// idle: no request was made.
	idle bool
	// page is the answer, rows what it has that can be used.
	page listing.Page
	rows []incident.Incident
	// clock is the server's, or ours where it tells none.
	clock time.Time
}

// read makes the next request of a listing and takes in its answer.
func (l *Loop) read(ctx context.Context, pass Pass, from *listing.Listing) (out outcome) {
	req, more := from.Next(time.Now())
	if !more {
		return outcome{idle: true}
	}
	retryAt, err := l.attempt(ctx, pass, func(ctx context.Context) (err error) {
		out.page, err = l.opts.Source.List(ctx, req)
		return err
	})
	now := time.Now()
	if errors.Is(err, errNotGranted) {
		return outcome{idle: true}
	}
	out.clock, out.retryAt = l.clock(now, out.page.Date), retryAt
	if err == nil {
		l.findAhead(now, out.clock)
		for i := range out.page.Rows {
			if out.page.Rows[i].ID == 0 {
				l.draft.Skipped[SkippedNoID]++
			}
		}
		heavy := from.Skipped
		out.rows, out.err = from.Apply(now, req, out.page)
		l.draft.Skipped[SkippedTooHeavy] += uint64(from.Skipped - heavy)
		out.verdict = listing.Failed
	} else {
		out.err = asError(err)
		heavy := from.Skipped
		out.verdict = from.Fail(now, out.err)
		out.rows = from.Leftover()
		if n := from.Skipped - heavy; n > 0 {
			l.draft.Skipped[SkippedTooHeavy] += uint64(n)
			l.opts.Logger.Warn("The server cannot deliver an incident, it is left out", "pass", pass, "err", out.err)
		}
	}
	l.tellOptions()
	return out
}

const (
	// dateSlack is how far the header Date may be ahead of our clock without more
	// ado.
	dateSlack = 5 * time.Minute
	// dateWitnesses is how many incidents have to be updated between the two for it
	// to be believed beyond that.
	dateWitnesses = 3
	// manyWitnesses is how many it takes for it not to be believed because it is
	// behind: to believe it costs calls, not to believe it may cost changes.
	manyWitnesses = 20
	// maxDateOff is when it is not believed at all, or, if it is behind, as soon as
	// as many incidents were updated since.
	maxDateOff = 24 * time.Hour
)

// clock is the server's clock at an instant of ours: what its header Date says,
// as far as that can be believed, because one that is ahead would move the
// watermark past what the server has shown. Otherwise it is as far from ours as
// when it was last believed.
func (l *Loop) clock(now, date time.Time) time.Time {
	off := date.Sub(now)
	switch {
	case date.IsZero():
	case off > maxDateOff, off < -maxDateOff && len(l.beyondServers) >= manyWitnesses:
		l.skew = 0
	case off > dateSlack && len(l.beyondOurs) < dateWitnesses:
	default:
		l.skew = off
	}
	return now.Add(l.skew).Round(0)
}

// compareClocks looks for incidents that one of the two clocks cannot explain and
// the other can.
func (l *Loop) compareClocks(out outcome) {
	if out.page.Date.IsZero() {
		return
	}
	now := time.Now()
	for i := range out.rows {
		switch at := out.rows[i].Updated; {
		case at.After(now.Add(dateSlack)) && !at.After(out.page.Date) && len(l.beyondOurs) < dateWitnesses:
			l.beyondOurs[out.rows[i].ID] = true
		case at.After(out.page.Date.Add(dateSlack)) && !at.After(now) && len(l.beyondServers) < manyWitnesses:
			l.beyondServers[out.rows[i].ID] = true
		}
	}
}

// asError is the error as what every error of a [Source] is.
func asError(err error) *listing.Error {
	var e *listing.Error
	if errors.As(err, &e) {
		return e
	}
	reason := listing.ReasonOther
	if errors.Is(err, context.DeadlineExceeded) {
		reason = listing.ReasonTimeout
	}
	return &listing.Error{Op: "list", Reason: reason, Err: err}
}

// tellOptions logs each option that the server turns out not to take, once, and
// notes all of them for the status.
func (l *Loop) tellOptions() {
	for o := range listing.Option(listing.NumOptions) {
		is := l.server.Unsupported(o)
		if was := l.draft.Unsupported[o]; is && !was {
			l.opts.Logger.Warn("The server does not take an option, it is left out and tried again later", "option", o)
		} else if was && !is {
			l.opts.Logger.Info("The server takes an option again", "option", o)
		}
		l.draft.Unsupported[o] = is
	}
}

// backoff is how long the next attempt waits after so many failed in a row.
func backoff(failures int) time.Duration {
	return min(500*time.Millisecond<<min(failures-1, 10), 30*time.Second)
}
