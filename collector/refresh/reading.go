package refresh

import (
	"cmp"
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

// reading is a delta under way, or a scan: a reading of everything, of the first
// sync, in two parts, or of a sweep. A scan is as long as many deltas, and saved.
type reading struct {
	Listing *listing.Listing `json:"listing"`
	Started time.Time        `json:"started"` // by our clock
	Calls   int              `json:"calls"`
	Missing missing          `json:"missing"` // of a sweep
	// Shown are the statuses that the list has shown, a bit each, before open counts are published.
	Shown  uint      `json:"shown,omitempty"`
	Oldest time.Time `json:"oldest,omitzero"` // last update that was read
	// began is when a delta was last begun, zero while it rests: one that has failed
	// goes on at the next interval.
	began  time.Time
	newest time.Time          // last update that is not in the server's future, of a delta
	shown  map[int64]struct{} // by a delta
	far    bool               // a delta reads what the next one does not read again
}

// retry is when a pass goes on, and what kept it from that.
type retry struct {
	due    time.Time // when its next request may be made
	tries  int       // that failed in a row
	voids  int       // readings in a row that could not be completed
	panics int       // in a row
}

const (
	// maxTries is how often a request fails in a row before its refresh counts as
	// failed. A delta then waits for the next interval, a first sync for as long.
	maxTries = 3
	// sweepRetry is how long a sweep rests then; nothing waits for it.
	sweepRetry = time.Minute
	// longestDeltaRetry and longestScanRetry are how long it rests at most if it
	// turned out to be incomplete several times in a row.
	longestDeltaRetry = 5 * time.Minute
	longestScanRetry  = 30 * time.Minute
	// maxDeltaAge is when a delta that goes on failing is begun anew: what it has
	// read by then is too old to be worth keeping.
	maxDeltaAge = 10 * time.Minute
	// maxGrantAge is how old a grant may be when its call is sent.
	maxGrantAge = 10 * time.Second
	// proveEvery is how many deltas there are to one that takes nothing about the
	// server's pages for granted.
	proveEvery = 20
)

// soon has the next request made in a moment, and is false if too many have failed for that.
func (r *retry) soon(now time.Time) bool {
	const moment = 500 * time.Millisecond
	if r.tries++; r.tries >= maxTries {
		return false
	}
	r.due = later(r.due, now.Add(moment*time.Duration(r.tries)))
	return true
}

// errNoAnswer: the quota had no call left after all, or the process ends. Nothing has
// failed, and nothing follows from it.
var errNoAnswer = &listing.Error{Operation: listing.OperationList, Reason: reason.Throttled, Err: errors.New("no call is left in the quota")}

// attempt makes one request of the API: it has an access token, takes a grant,
// sends. An attempt that is not sent spends nothing. After a failure the pass
// waits for as long as the server asks it to.
func (l *Loop) attempt(ctx context.Context, p pass.Pass, send func(context.Context) error) (failure *listing.Error) {
	ledger := l.opts.Ledger
	if err := l.opts.Source.Authorize(ctx); err != nil {
		failure := *asError(err)
		failure.Unsent = true
		return &failure
	}
	l.turned()
	start := l.now()
	grant, _, err := ledger.Take(start, p)
	if err != nil {
		return &listing.Error{Operation: listing.OperationList, Reason: reason.State, Err: err}
	}
	if grant == 0 {
		return errNoAnswer
	}
	if took := l.now().Sub(start); took > maxGrantAge {
		// This process has slept, or saving the grant has: others may have stopped
		// waiting for it.
		ledger.Cancel(grant)
		return &listing.Error{Operation: listing.OperationList, Reason: reason.State, Err: fmt.Errorf("it took %v to save that a call is made, which is too long", took)}
	}
	err = func() (err error) {
		defer func() { // after a panic, too
			if err != nil && asError(err).Unsent {
				ledger.Cancel(grant)
			} else {
				ledger.Settle(grant, l.now())
			}
		}()
		return send(ctx)
	}()
	now := l.now()
	l.turned()
	if p != pass.Delta {
		l.answer = now.Sub(start)
	}
	if err == nil {
		ledger.Succeeded()
		return nil
	}
	if failure = asError(err); failure.Reason == reason.Throttled && !failure.Unsent {
		// That concerns every call of the tenant.
		ledger.Throttled(now, failure.RetryAfter, failure.Limits)
		return failure
	}
	if ctx.Err() != nil {
		return errNoAnswer
	}
	if failure.Status != 0 && failure.Status < 500 {
		ledger.Succeeded()
	}
	if !errors.Is(failure, listing.ErrNotFound) { // that is what there is to know
		l.retries[p].due = later(l.retries[p].due, ledger.RetryAfter(now, failure.RetryAfter))
	}
	return failure
}

// asError is the error as what every error of a [Source] is.
func asError(err error) *listing.Error {
	e := &listing.Error{Operation: listing.OperationList, Reason: reason.Other, Err: err}
	errors.As(err, &e)
	return e
}

// readStep makes the next request of a delta, the first sync or a sweep, which
// it begins if none is under way.
func (l *Loop) readStep(ctx context.Context, p pass.Pass) {
	begun := l.now()
	r := l.begin(p, begun)
	req, more := r.Listing.Next(begun)
	if !more {
		l.readDone(ctx, p)
		return
	}
	var page listing.Page
	failure := l.attempt(ctx, p, func(ctx context.Context) (err error) {
		page, err = l.opts.Source.List(ctx, req)
		return err
	})
	switch {
	case failure == errNoAnswer:
		return
	case failure != nil && failure.Reason == reason.State:
		// Nothing was sent: it says nothing of the server.
		l.readFailed(ctx, p, failure, listing.Failed)
		return
	}
	now := l.now()
	l.clock.learn(now, page.Date, page.Rows)
	clock := l.clock.at(now)
	r.Calls++
	var rows []incident.Incident
	var newest time.Time
	verdict, skipped := listing.Failed, r.Listing.Skipped
	known := l.knownAlerts(p, &page)
	if failure == nil {
		believed := page
		believed.Date = l.clock.date(now)
		rows, failure = r.Listing.Apply(now, req, believed)
	} else {
		verdict = r.Listing.Fail(now, failure)
		rows = r.Listing.Leftover()
	}
	l.noteAlerts(rows)
	l.noteOptions()
	l.noteSkipped(p, page.Rows, r.Listing.Skipped-skipped, failure)
	for i := range rows {
		if known[rows[i].ID] {
			rows[i].Alerts, rows[i].AlertsUnknown = nil, true
		}
		at := rows[i].Updated
		newest = later(newest, at)
		if !at.IsZero() && (r.Oldest.IsZero() || at.Before(r.Oldest)) {
			r.Oldest = at
		}
		l.apply(&rows[i], p, clock, false)
	}
	if failure != nil {
		l.readFailed(ctx, p, failure, verdict)
		return
	}
	if l.unlisted > maxHidden {
		l.withdrawOpen(now)
		return
	}
	l.retries[p].tries = 0
	if p == pass.First && l.Watermark.At.IsZero() {
		l.Watermark.start(earlier(clock, now), page.Date, newest, begun)
	}
	if p != pass.Delta {
		l.succeeded(p)
	}
	if r.Listing.Done() {
		l.readDone(ctx, p)
	}
}

// begin begins a reading of the pass, or goes on with the one that is under way.
// After a panic it is begun again: the rest of a page may not have been taken in.
func (l *Loop) begin(p pass.Pass, now time.Time) *reading {
	again := l.retries[p].panics > 0
	if p != pass.Delta {
		l.Draft.Passes[p].LastAttempt = now
		switch {
		case l.Scan == nil:
			l.beginScan(now)
		case l.Phase == fullScan && !l.canAskOlder(now):
			l.Scan.Listing = l.newListing(now)
		case again:
			l.Scan.Listing = l.Scan.Listing.Anew()
		}
		return l.Scan
	}
	before := l.delta
	if before != nil && !before.began.IsZero() && !again {
		return before
	}
	l.Draft.Passes[p].LastAttempt = now
	if before == nil || again || now.Sub(before.Started) >= maxDeltaAge {
		far := l.Watermark.asOf.IsZero() || now.Sub(l.Watermark.asOf) > max(l.opts.Overlap/2, 2*l.Draft.Interval)
		l.delta = &reading{Started: now, Listing: l.newDelta(far, now), far: far, shown: make(map[int64]struct{})}
	}
	l.delta.began = now
	return l.delta
}

// canAskOlder is false where the listing is of what is older, and the server turned out to
// refuse bounds that are so old.
func (l *Loop) canAskOlder(now time.Time) bool {
	older := l.Scan.Listing.Last()
	return older.Status == incident.StatusUnknown || l.Server.TakesSince(older.From(), now)
}

// newDelta is of what has changed since the watermark. One that reaches far back is
// proven: what it misses nothing but a sweep would read.
func (l *Loop) newDelta(far bool, now time.Time) *listing.Listing {
	l.Server.Renew(now)
	l.deltas++
	reading := listing.New(&l.Server, far || l.deltas%proveEvery == 0, listing.Everything(incident.StatusUnknown, l.Watermark.begin(l.opts.Overlap)))
	reading.Known = func(in *incident.Incident) bool {
		updated, known := l.mirror.Updated(in.ID)
		return known && !updated.Before(in.Updated)
	}
	return reading
}

func (l *Loop) beginScan(now time.Time) {
	l.Scan = &reading{Started: now}
	l.Scan.Listing = l.newListing(now)
	if l.Phase == steady {
		l.mirror.BeginSweep()
		l.NextSweep = now.Add(l.opts.SweepInterval)
	}
}

// openShown are the statuses that every tenant has sooner or later.
const openShown = 1<<incident.StatusActive | 1<<incident.StatusInProgress

// openStatuses in the order in which they are read.
var openStatuses = []incident.Status{incident.StatusActive, incident.StatusInProgress, incident.StatusAwaitingAction}

// takesOpen tells whether the server selects by the statuses of open incidents.
// One that it has never heard of has none.
func (l *Loop) takesOpen(now time.Time) bool {
	return l.Server.TakesStatus(incident.StatusActive, now) && l.Server.TakesStatus(incident.StatusInProgress, now)
}

// readStatus tells whether the scan has read all incidents of a status by that. What the
// server takes now it may have refused meanwhile.
func (l *Loop) readStatus(status incident.Status, now time.Time) bool {
	return l.Server.TakesStatus(status, now) && !l.Scan.Listing.LeftOut(status)
}

// readOpen is likewise of the open incidents.
func (l *Loop) readOpen(now time.Time) bool {
	return l.readStatus(incident.StatusActive, now) && l.readStatus(incident.StatusInProgress, now)
}

// newListing is of all that the scan has to read: the open incidents of any age,
// and all within the look-back. Where the former are not to be had everything
// is read.
func (l *Loop) newListing(now time.Time) *listing.Listing {
	next := l.scanListing(now)
	next.Blank = l.mirror.Len() == 0
	if before := l.Scan.Listing; before != nil {
		next.Latest = before.Latest // it is not empty
	}
	return next
}

func (l *Loop) scanListing(now time.Time) *listing.Listing {
	l.Server.Renew(now)
	var ranges []listing.Range
	open := l.Phase == openScan || l.Phase == steady && l.takesOpen(now)
	since := time.Time{}
	if l.Windowed {
		since = l.ancient(now)
	}
	if open {
		for _, status := range openStatuses {
			ranges = append(ranges, listing.Everything(status, since))
		}
	}
	if l.Phase == openScan {
		return listing.New(&l.Server, false, ranges...)
	}
	if open || l.Phase == fullScan && l.Draft.Coverage.Open {
		since = l.clock.present(l.Scan.Started).Add(-l.opts.Lookback)
	}
	return listing.New(&l.Server, true, append(ranges, listing.Everything(incident.StatusUnknown, since))...)
}

// readFailed decides when to go on after a failure.
func (l *Loop) readFailed(ctx context.Context, p pass.Pass, failure *listing.Error, verdict listing.Verdict) {
	now, retry := l.now(), &l.retries[p]
	if verdict != listing.Failed && !retry.due.After(now) && (verdict == listing.RetryNow || retry.soon(now)) {
		return // it goes on, unless the server asks to wait for longer
	}
	retry.tries = 0
	r, pause, longest := l.Scan, l.Draft.Interval, longestScanRetry
	switch p {
	case pass.Delta:
		r, longest = l.delta, longestDeltaRetry
	case pass.Sweep:
		pause = sweepRetry
	}
	started, due := r.Started, now.Add(min(pause, longest))
	if p == pass.Delta {
		started, r.began, l.answer = r.began, time.Time{}, 0
		due = phased(now, l.Draft.Interval, l.offset())
	}
	if failure.Reason == reason.Incomplete {
		// There is nothing to go on with. To read it all again is expensive, and
		// hardly ever of use.
		due = later(due, now.Add(min(pause<<min(retry.voids, 10), longest)))
		retry.voids++
		if p == pass.Delta {
			r.Started = time.Time{}
			// It is no machine that is behind if it lasts.
			l.Server.Coarse = l.Server.Coarse || retry.voids > 3
		} else {
			r.Listing = l.newListing(now)
		}
	}
	retry.due = later(retry.due, due)
	l.ended(ctx, p, started, failure)
}

// readDone takes a complete reading into account.
func (l *Loop) readDone(ctx context.Context, p pass.Pass) {
	now := l.now()
	l.retries[p].tries, l.retries[p].voids = 0, 0
	switch {
	case p == pass.Delta:
		l.deltaDone(ctx, now)
	case p == pass.Sweep:
		l.findMissing(ctx, now)
	case l.Phase == openScan:
		l.openDone(now)
	case l.Scan.Listing.Last().Status != incident.StatusUnknown:
		l.Scan.Listing = l.newListing(now)
	case l.Scan.Listing.Last().From().IsZero() && l.Server.Takes(listing.OptionLowerBound, now):
		// A list may leave out what is old where no time is asked for.
		before := cmp.Or(l.Scan.Listing.Earliest, now.Unix())
		l.Scan.Listing = listing.New(&l.Server, true, listing.Older(incident.StatusUnknown, l.ancient(now), before))
	default:
		if older, first := l.Scan.Listing.Last(), l.Scan.Listing.Earliest; !older.Endless() && first != 0 && first < older.Before {
			l.noteWindow()
		}
		// The delta that follows completes the first sync.
		l.Phase, l.delta = finalDelta, nil
		if l.deltaOK { // or it waits for as long as the server has asked for
			l.retries[pass.Delta].due = now
		}
	}
}

// noteWindow notes that lists leave out what is old.
func (l *Loop) noteWindow() {
	if l.Windowed {
		return
	}
	l.Windowed = true
	l.opts.Logger.Warn("The list leaves out what is old where no time is asked for; from now on one is asked for")
}

// ancient is before every incident.
func (l *Loop) ancient(now time.Time) time.Time { return l.clock.present(now).AddDate(-20, 0, 0) }

func (l *Loop) openDone(now time.Time) {
	if l.readOpen(now) {
		l.Draft.Coverage.Open, l.PublishedAt, l.publishing = true, now, true
		for _, status := range openStatuses {
			l.Draft.Coverage.Statuses[status] = l.readStatus(status, now)
		}
		l.opts.Logger.Info("Open incidents are known", "calls", l.Scan.Calls, "incidents", l.mirror.Len())
	} else {
		l.opts.Logger.Warn("The server does not select by status: open counts are published only when everything is read")
	}
	l.Phase, l.retries[pass.Delta].due = fullScan, now
	if l.Draft.Coverage.Open && !l.Windowed && l.Server.TakesSince(l.ancient(now), now) {
		l.Scan.Listing = l.olderOpen(now)
	} else {
		l.Scan.Listing = l.newListing(now)
	}
}

// olderOpen is of the open incidents that their lists may have left out, where no time was
// asked for: what is older than all that they have shown, or if that is nothing than the
// look-back, which is read next.
func (l *Loop) olderOpen(now time.Time) *listing.Listing {
	var ranges []listing.Range
	lookback := l.clock.present(l.Scan.Started).Add(-l.opts.Lookback).Unix()
	for _, status := range openStatuses {
		ranges = append(ranges, listing.Older(status, l.ancient(now), cmp.Or(l.Scan.Listing.Earliest, lookback)))
	}
	next := listing.New(&l.Server, false, ranges...)
	next.Latest = l.Scan.Listing.Latest // that something was there is known
	return next
}

func (l *Loop) deltaDone(ctx context.Context, now time.Time) {
	d := l.delta
	l.delta, l.answer = nil, 0
	// After an outage, or a restart, the first answers may be empty lists. One that
	// skips all of that time is believed when the next delta says the same.
	l.Watermark.Held = l.behind(d, now)
	if l.empty = d.far && d.newest.IsZero() && !l.empty; !l.empty {
		l.Watermark.move(d.Started, now, d.newest)
	}
	if l.Phase == finalDelta {
		l.completeFirst(ctx, now)
	}
	l.repace(now, d.Calls)
	l.sweepForAlerts(now)
	l.retries[pass.Delta].due = phased(now, l.Draft.Interval, l.offset())
	l.PublishedAt, l.publishing = now, true
	l.ended(ctx, pass.Delta, d.began, nil)
}

func (l *Loop) completeFirst(ctx context.Context, now time.Time) {
	s, c := l.Scan, &l.Draft.Coverage
	l.Scan, l.Phase = nil, steady
	c.Open, c.All = true, true
	for status := range c.Statuses {
		c.Statuses[status] = true
	}
	if !l.mirror.CountsFlows() {
		l.mirror.StartFlows(s.Listing.Started, now)
	}
	l.NextSweep = now.Add(l.opts.SweepInterval - time.Duration(l.opts.Stagger*float64(l.opts.SweepInterval)/2))
	switch {
	case l.mirror.DimensionsMissing() > 0:
		l.NextSweep = now // some of it was read before they were asked for
	case s.Shown&openShown != openShown, s.Listing.Largest == 0, l.Server.PageOrder.Wait > 0:
		// A sweep soon. Few tenants have no incident, or none that is new or in work: a
		// server that has just started may have none yet. Or the order that the open ones
		// were read by has turned out to be none.
		l.NextSweep = earlier(l.NextSweep, now.Add(sweepRetry))
	}
	l.opts.Logger.Info("First sync complete", "calls", s.Calls, "incidents", l.mirror.Len(), "took", now.Sub(s.Started))
	l.ended(ctx, pass.First, s.Started, nil)
}

// repace derives the live interval from what a delta costs: all that the quota
// allows, but half of it until the first sync, which needs the other half, is
// complete.
func (l *Loop) repace(now time.Time, calls int) {
	pace := l.opts.Ledger.Pace(now, calls)
	if l.Phase != steady {
		pace *= 2
	}
	interval := max(l.opts.Interval, pace)
	if interval != l.Draft.Interval {
		l.opts.Logger.Info("Refresh interval changed", "from", l.Draft.Interval, "to", interval, "calls", calls)
		l.Draft.Interval = interval
	}
	l.opts.Ledger.Reserve(now, calls, interval)
}

// withdrawOpen shows open counts no more, and reads everything: open incidents were not
// among those that the server has selected by their status.
func (l *Loop) withdrawOpen(now time.Time) {
	l.opts.Logger.Warn("The server selects by status and leaves out incidents of that status: open counts are withdrawn until everything is read")
	l.Server.Refuse(listing.OptionStatus, now)
	l.unlisted, l.Draft.Coverage, l.publishing = 0, incident.Coverage{}, false
	l.snapshot.Store(nil)
	l.Scan.Listing = l.newListing(now)
	l.noteOptions()
}

// apply takes in one version of an incident, by the server's clock. If it is
// known to be the present one it counts whatever its last update says.
func (l *Loop) apply(in *incident.Incident, p pass.Pass, clock time.Time, present bool) {
	before, known := l.mirror.Updated(in.ID)
	if !known && !in.Open() && !in.Updated.IsZero() && !l.clock.present(l.now()).Before(in.Updated.Add(l.opts.Lookback)) {
		return // It has left the look-back since a long reading began.
	}
	limit, since := clock.Add(tolerance), l.Watermark.since(l.opts.Overlap)
	if in.Updated.After(limit) {
		// Such a row must not hide what is newer than the watermark, and its next
		// version may seem to be older than itself.
		l.doubt(in.ID)
	} else if p == pass.Delta {
		l.delta.newest = later(l.delta.newest, in.Updated)
	}
	if p == pass.First && l.Phase == fullScan && !known && l.Draft.Coverage.Open && slices.Contains(openStatuses, in.Status) &&
		l.Draft.Coverage.Statuses[in.Status] && in.Updated.Before(since) {
		if older := l.Scan.Listing.Last(); older.Status != incident.StatusUnknown && !in.Updated.IsZero() && in.Updated.Unix() < older.Before {
			l.noteWindow()
		} else {
			l.unlisted++
		}
	}
	if p == pass.First && (l.Phase == openScan || !l.Draft.Coverage.Open) {
		l.Scan.Shown |= 1 << in.Status
	}
	lacking := l.mirror.LacksAlerts(in.ID)
	// A sweep may show an incident with an earlier last update than is known. That may be
	// right, and what was known wrong; or the list comes from a machine that is behind. Two
	// sweeps in a row have to say so, each by the newest version that it has seen.
	first := p == pass.Sweep && !l.mirror.Seen(in.ID)
	older := first && known && before.Before(since) && in.Updated.Before(before)
	take := l.mirror.Apply
	if present || before.After(limit) || older && l.mirror.Older(in.ID) {
		take = l.mirror.Correct
	}
	l.mirror.KnownUntil(l.Watermark.At)
	change := take(in)
	switch {
	case change == incident.Stale && (first || p != pass.Sweep):
		// It has gone backwards, unless the server is late to show what it has shown
		// before.
		l.doubt(in.ID)
		if p == pass.Delta && in.Updated.Unix() == before.Unix() {
			l.delta.shown[in.ID] = struct{}{} // its time has lost what is less than a second
		}
	case change != incident.Stale && !in.Updated.After(limit):
		l.trust(in.ID)
		if p == pass.Delta {
			l.delta.shown[in.ID] = struct{}{}
		}
		if !since.IsZero() && !in.Updated.Before(since) {
			l.expect(in)
		}
	}
	if p != pass.Sweep {
		return
	}
	// A sweep corrects only what the deltas had their chance to see, and alerts
	// that could not be had are no mistake of theirs.
	if lacking || !in.Updated.Before(since) {
		return
	}
	switch change {
	case incident.Added:
		l.Draft.Corrections[correctionMissed]++
	case incident.Changed:
		l.Draft.Corrections[correctionChanged]++
	}
}
