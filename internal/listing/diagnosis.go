package listing

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// A request that fails may be too heavy, or carry an option that the server does
// not take, or want a row that the server cannot deliver; or nothing works at
// all. The diagnosis finds out which, one request at a time: each is a variation
// of the one that failed. Nothing is concluded from one failure: what is blamed
// has failed, gone away without it, and failed again with it.

// stage is how far a diagnosis has come.
type stage uint8

const (
	healthy    stage = iota
	again            // the same once more: failures pass
	alive            // the smallest request there is
	small            // the same with few rows
	options          // without options, one more each time
	confirm          // the last of them put back
	single           // the same with one row
	beyond           // one row further
	confirmRow       // that row once more
)

type diagnosis struct {
	stage   stage
	base    Request // what failed
	refused bool    // the server has refused it, rather than failed
	tries   int     // within the stage
	without []Option
	rows    bool // it is not one row that fails
	noTop   bool // nothing was answered but a request without a page size
	outages int  // in a row
}

func (d *diagnosis) active() bool { return d.stage > again }

// Verdict says what to do after a failure.
type Verdict uint8

// The verdicts.
const (
	// RetryNow: the next request is another one, and may be made at once.
	RetryNow Verdict = iota
	// RetryLater: the same may succeed in a moment.
	RetryLater
	// Failed: nothing can be had at present.
	Failed
)

// smallTop is a page that is light wherever any is.
const smallTop = 10

// blames lists the options in the order in which they are left out, the likeliest
// first: of a request that the server failed at, and of one that it refused. The
// former's first ones do not change which rows are meant.
var blames = [2][]Option{
	{OptionPageSize, OptionAlerts, OptionCount, OptionOrder, OptionSkip, OptionUpperBound, OptionStatus, OptionLowerBound},
	{OptionCount, OptionOrder, OptionAlerts, OptionPageSize, OptionSkip, OptionUpperBound, OptionStatus, OptionLowerBound},
}

const (
	// harmless is how many of them do not change which rows are meant; one row that
	// makes every page fail must not be blamed on the others.
	harmless = 3
	mostly   = 4 // the same of those refused; without an order other rows come first
	// maxAlive is how many requests are tried to see whether any is answered.
	maxAlive = 3
)

// vary makes the request that the diagnosis needs of the one that is due.
func (d *diagnosis) vary(req *Request) {
	switch d.stage {
	case healthy, again:
		return
	case alive:
		// Another row the second time: the first may be one that cannot be had. Then
		// with nothing at all.
		*req = [maxAlive]Request{{Top: 1}, {Top: 1, Skip: 7}, {}}[d.tries]
		return
	case small:
		*req = d.base
		req.Top = min(smallTop, req.Top)
	case options:
		*req = d.base
		req.leaveOut(d.without)
	case confirm:
		*req = d.base
		req.leaveOut(d.without[:len(d.without)-1])
	case single, confirmRow:
		*req = d.base
		req.Top = 1
	case beyond:
		*req = d.base
		req.Top = 1
		req.Skip += 1 + d.tries
	}
	if d.stage == options || d.stage == confirm {
		req.Top = min(smallTop, req.Top)
	}
}

func (r *Request) leaveOut(without []Option) {
	for _, o := range without {
		switch o {
		case OptionOrder:
			r.Order = Unordered
		case OptionUpperBound:
			r.Before = time.Time{}
		case OptionLowerBound:
			r.Since = time.Time{}
		case OptionStatus:
			r.Status = incident.StatusUnknown
		case OptionAlerts:
			r.Alerts = false
		case OptionCount:
			r.Count = false
		case OptionPageSize:
			r.Top = 0
		case OptionSkip:
			r.Skip = 0
		}
	}
}

// nextWithout leaves one more of the options out that the request carries;
// false: there is none.
func (d *diagnosis) nextWithout() bool {
	carried := d.base.options()
	list := blames[0]
	if d.refused {
		list = blames[1]
	}
	if !d.rows {
		list = list[:harmless]
		if d.refused {
			list = blames[1][:mostly]
		}
	}
	for _, o := range list {
		if o == OptionPageSize && !d.refused && !d.noTop {
			continue // without it the page may be too heavy
		}
		if carried[o] && !slices.Contains(d.without, o) {
			d.without = append(d.without, o)
			return true
		}
	}
	return false
}

func (d *diagnosis) end() { *d = diagnosis{outages: d.outages} }

// succeeded is called with every page. It is true if that was an answer to the
// diagnosis and not to the listing.
func (d *diagnosis) succeeded(l *Listing, now time.Time) bool {
	trial := d.active()
	switch d.stage {
	case healthy, again:
		d.end()
		d.outages = 0
	case alive:
		d.noTop = d.tries == maxAlive-1
		d.outages, d.tries = 0, 0
		switch {
		case d.noTop:
			d.leaveOutNext()
		case l.single():
			d.stage = beyond
		case d.base.Top > smallTop:
			d.stage = small
		default:
			d.leaveOutNext()
		}
	case small:
		l.server.shrink(d.base.Top, now)
		d.end()
	case options:
		d.stage = confirm
	case confirm:
		if d.refused && d.base.Top > smallTop {
			// It is not the option: a row further down the page, or its size.
			l.server.shrink(d.base.Top, now)
		}
		d.end() // or it has passed by itself
	case confirmRow:
		d.end()
	case single:
		// One of the next rows, or all of them together.
		p := l.placed()
		p.single, p.singles, p.most = true, 0, min(smallTop, l.server.rows(d.base.Top))
		d.end()
	case beyond:
		d.stage = confirmRow
	}
	return trial
}

// leaveOutNext goes on to the next options to leave out, or to what comes after
// them; false: there is nothing left to try.
func (d *diagnosis) leaveOutNext() bool {
	d.stage, d.tries = options, 0
	if d.nextWithout() {
		return true
	}
	if d.rows {
		d.end()
		return false
	}
	d.stage = single
	return true
}

// single tells that one row at a time is being read.
func (l *Listing) single() bool {
	p := l.Todo[len(l.Todo)-1].place
	return p != nil && p.single
}

// placed is the place in the range that is being read.
func (l *Listing) placed() *place {
	r := &l.Todo[len(l.Todo)-1]
	if r.place == nil {
		r.place = newPlace(l.Started)
	}
	return r.place
}

// Fail takes in the failure of a request and says what to do. What is found out
// is remembered by the [Server].
func (l *Listing) Fail(now time.Time, err *Error) Verdict {
	if len(l.Pending) > 0 {
		return l.alertsFailed(err)
	}
	if len(l.Todo) == 0 {
		return Failed
	}
	refused, heavy := classify(err)
	if refused || heavy {
		if l.still++; l.still > maxStill {
			l.still = 0
			return Failed
		}
	}
	d := &l.diagnosis
	if err.Location != "" {
		if p := l.placed(); p.hops < maxHops {
			p.link = err.Location
			p.hops++
			return RetryNow
		}
	}
	if err.TopLimit > 0 && err.TopLimit < err.Request.Top && !d.active() {
		l.server.limitTop(err.TopLimit, now)
		return RetryNow
	}
	if err.Request.Link != "" && (refused || heavy || err.unsent()) {
		return l.linkFailed(refused || err.unsent())
	}
	if !refused && !heavy {
		d.end()
		return passing(err)
	}
	switch d.stage {
	case healthy:
		return l.begin(err, refused, now)
	case again:
		d.stage, d.tries = alive, 0
		return RetryNow
	case alive:
		if d.tries++; d.tries < maxAlive {
			return RetryNow
		}
		d.outages++
		d.end()
		l.still = 0 // an outage tells nothing of what is read
		return Failed
	case small, options:
		if d.refused && heavy {
			// It is refused no more, and fails for another reason.
			d.stage = confirm
			return RetryNow
		}
		if d.leaveOutNext() {
			return RetryNow
		}
		return Failed
	case confirm:
		l.blame(d.without[len(d.without)-1], now)
		d.end()
		return RetryNow
	case single:
		d.stage, d.tries = beyond, 0
		return RetryNow
	case beyond:
		if d.tries++; d.tries < 3 && (heavy || refused && l.single()) {
			return RetryNow
		}
		if d.rows = true; d.leaveOutNext() {
			return RetryNow
		}
		return Failed
	case confirmRow:
		p := l.placed()
		p.single, p.skipped = true, true
		p.skip++
		l.Skipped++
		l.server.Top = 0 // the pages were not too heavy
		d.end()
		return RetryNow
	}
	return Failed
}

// passing tells whether a failure that is not about the request may have passed
// in a moment.
func passing(err *Error) Verdict {
	switch err.Reason {
	case ReasonNetwork, ReasonTimeout, ReasonPartial, ReasonServer:
		return RetryLater
	}
	return Failed
}

// HTTP statuses.
const (
	badRequest     = 400
	serverError    = 500
	notImplemented = 501
)

// classify tells whether the server has refused a request, or has failed at it
// in a way that may be due to what was asked for.
func classify(err *Error) (refused, heavy bool) {
	switch {
	case err.Reason == ReasonThrottled || err.Reason == ReasonAuth || err.Reason == ReasonForbidden || err.Reason == ReasonPartial:
	case err.TooLarge, err.Reason == ReasonTimeout, err.Reason == ReasonDecode:
		heavy = true
	case err.Status == notImplemented:
		refused = true
	case err.Status >= serverError:
		heavy = true
	case err.Status >= badRequest:
		refused = true
	}
	return refused, heavy
}

// begin looks at the first failure of a request.
func (l *Listing) begin(err *Error, refused bool, now time.Time) Verdict {
	d := &l.diagnosis
	*d = diagnosis{base: err.Request, refused: refused, outages: d.outages}
	switch {
	case refused && l.single():
		d.stage = beyond
		return RetryNow
	case refused:
		if d.leaveOutNext() {
			return RetryNow
		}
		return Failed
	case err.TooLarge && err.Request.Top != 1 && err.Request.Link == "":
		l.server.shrink(err.Request.Top, now)
		d.end()
		return RetryNow
	case l.server.Top > 0 && err.Request.Top > l.server.Top:
		// A larger page was tried, and is still too heavy.
		l.server.shrink(err.Request.Top, now)
		d.end()
		return RetryNow
	case d.outages > 0 && d.outages&(d.outages-1) != 0:
		// Nothing at all was had the last times: one request tells.
		d.outages++
		d.end()
		l.still = 0
		return Failed
	case err.TooLarge, err.Reason == ReasonTimeout:
		d.stage = alive
		return RetryNow
	}
	d.stage = again
	return RetryLater
}

// blame leaves the option out that made the request fail.
func (l *Listing) blame(o Option, now time.Time) {
	s, base := l.server, &l.diagnosis.base
	switch o {
	case OptionUpperBound:
		l.refuseUpper(now)
		return
	case OptionStatus:
		if base.Status != incident.StatusActive {
			s.Statuses[base.Status] = now
			return
		}
	case OptionLowerBound:
		// One that is older than what the server keeps says nothing of others.
		if age := now.Sub(base.Since); age > time.Hour {
			s.OldBound, s.OldBoundAt = age, now
			return
		}
	}
	s.refuse(o, now)
}

// linkFailed goes on without a link that the server does not take any more.
func (l *Listing) linkFailed(refused bool) Verdict {
	r := &l.Todo[len(l.Todo)-1]
	empty := r.place != nil && r.place.hops > 0
	if l.linkFails++; empty && l.server.DirectRows && (refused || l.linkFails > 2) {
		// It was that of an empty page, and leads nowhere.
		l.server.LostLinks, l.server.LinkNoise = true, true
	}
	if r.place != nil {
		if r.place.breaks++; r.place.breaks > maxPasses {
			r.place.breaks = 0
			return Failed
		}
		r.place.rewind()
	}
	l.diagnosis.end()
	return RetryLater
}
