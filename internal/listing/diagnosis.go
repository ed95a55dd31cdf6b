package listing

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// A request that fails may be too heavy, or carry an option that the server does
// not take, or want a row that the server cannot deliver; or nothing works at
// all. The diagnosis finds out which, one request at a time: each is a variation
// of the one that failed. Nothing is concluded from one failure: what is blamed
// has failed, gone away without it, and failed again with it.

// step is a kind of variation of the request that failed.
type step uint8

// The steps, in the order in which they are made.
const (
	again   step = iota // the same once more: failures pass
	alive               // the smallest request there is
	small               // the same with fewer and fewer rows
	without             // without options, one more each time
	beyond              // one row, further down
	bare                // without options, and one row only
)

// variation is one of the request that failed, the nth of its kind.
type variation struct {
	step step
	n    int
}

type diagnosis struct {
	base    Request // what failed
	refused bool    // the server has refused it, rather than failed
	// lone: it has failed as requests do in an outage, again and again, while the smallest
	// one succeeds. Variations are judged in the same way: one success proves nothing. No
	// row is given up, and the option that is blamed is left out for an hour only.
	lone bool
	// variations are still to be tried, the next one first; none: nothing is wrong.
	variations []variation
	// confirming: a variation went well, and what it left out is tried once more.
	confirming bool
	options    []Option // that base carries, in the order in which they are left out
}

func (d *diagnosis) active() bool { return len(d.variations) > 0 && d.variations[0].step != again }

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

// living are the smallest requests. Another row the second time: the first may
// be one that cannot be had. Then with nothing at all.
var living = []Request{{Top: 1}, {Top: 1, Skip: 7}, {}}

// lighter are the parts of a page that are tried when it may be too heavy, and
// light is a page that is not.
var lighter = []int{2, 8, 64}

const light = 10

// blames lists the options in the order in which they are left out, the likeliest
// first: of a request that the server failed at, and of one that it refused. A
// row that makes every page fail must not be blamed on an option that changes
// which rows come: it is looked for between the first and the second list.
var blames = [2][2][]Option{
	{{OptionAlerts, OptionCount}, {OptionOrder, OptionSkip, OptionUpperBound, OptionStatus, OptionLowerBound}},
	{{OptionCount, OptionOrder, OptionAlerts, OptionPageSize}, {OptionSkip, OptionUpperBound, OptionStatus, OptionLowerBound}},
}

// plan lists the variations that find out why a request fails.
func (d *diagnosis) plan() {
	which := blames[0]
	switch {
	case d.refused:
		which = blames[1]
	case d.lone:
		d.shrink()
	default:
		d.variations = append(d.variations, variation{again, 0})
		for n := range living {
			d.variations = append(d.variations, variation{alive, n})
		}
		d.shrink()
	}
	d.planWithout(which[0])
	if d.refused {
		d.shrink() // one of the rows may be why
	}
	if !d.lone {
		for n := range 3 {
			d.variations = append(d.variations, variation{beyond, n})
		}
	}
	d.planWithout(which[1])
	if !d.lone && !d.refused && d.base.Top > 1 { // it may be both, an option and the size
		for n := range d.options {
			d.variations = append(d.variations, variation{bare, n + 1})
		}
	}
}

// shrink plans to ask for fewer rows.
func (d *diagnosis) shrink() {
	for n := range lighter {
		if d.base.Top > 1 {
			d.variations = append(d.variations, variation{small, n})
		}
	}
}

// planWithout plans to do without those options that the request carries.
func (d *diagnosis) planWithout(options []Option) {
	for _, o := range options {
		if d.base.carries(o) {
			d.options = append(d.options, o)
			d.variations = append(d.variations, variation{without, len(d.options)})
		}
	}
}

// vary makes the request that the diagnosis needs of the one that is due.
func (d *diagnosis) vary(req *Request) {
	if !d.active() {
		return
	}
	v := d.variations[0]
	*req = d.base
	switch v.step {
	case alive:
		*req = living[v.n]
	case small:
		if !d.confirming {
			req.Top = max(1, req.Top/lighter[v.n])
		}
	case without, bare:
		if d.confirming {
			v.n--
		}
		for _, o := range d.options[:v.n] {
			req.drop(o)
		}
		if req.Top = min(light, req.Top); v.step == bare {
			req.Top = min(1, req.Top)
		}
	case beyond:
		if req.Top = 1; !d.confirming {
			req.Skip += 1 + v.n
		}
	}
}

// succeeded is called with every page. It is true if that was an answer to the
// diagnosis and not to the listing.
func (d *diagnosis) succeeded(l *Listing, now time.Time) bool {
	if !d.active() {
		*d, l.server.outages = diagnosis{}, 0
		return false
	}
	v := d.variations[0]
	switch {
	case v.step == alive:
		l.server.outages = 0
		d.variations = slices.DeleteFunc(d.variations, func(v variation) bool { return v.step == alive })
		if v.n == len(living)-1 && d.base.Top > 0 {
			// Only without a page size.
			d.variations, d.options = nil, nil
			d.planWithout([]Option{OptionPageSize})
			d.planWithout(slices.Concat(blames[0][:]...))
		}
	case v.step == small && !d.lone:
		l.server.shrink(2*d.base.Top/lighter[v.n], now)
		*d = diagnosis{}
	case v.step == beyond && d.base.Top == 0:
		// A page size is taken after all, and a page of this one may do.
		l.server.Refused[OptionPageSize] = pause{}
		l.server.shrink(2*light, now)
		*d = diagnosis{}
	case !d.confirming:
		d.confirming = true
	case v.step == without && d.refused && d.base.Top > light:
		// It is not the option: a row further down the page, or its size.
		l.server.shrink(d.base.Top, now)
		*d = diagnosis{}
	default:
		*d = diagnosis{} // it has passed by itself
	}
	return true
}

// placed is the place in the range that is being read, a new one if there was none.
func (l *Listing) placed() *place {
	r := l.first()
	if r.place == nil {
		r.place = newPlace()
	}
	return r.place
}

// Fail takes in the failure of a request and says what to do. What is found out
// is remembered by the [Server]. Rows that are given up on with it are returned
// by [Listing.Leftover].
func (l *Listing) Fail(now time.Time, err *Error) Verdict {
	switch {
	case err.Unsent && err.Request.Link == "": // there is no access token
		return passing(err)
	case l.lone.asking: // an outage after all
		l.lone, l.diagnosis = lone{}, diagnosis{}
		return passing(err)
	}
	if len(l.Pending) > 0 {
		return l.alertsFailed(err, now)
	}
	if l.blank.asking {
		return l.blankFailed(err)
	}
	refused, failed := classify(err)
	// What is throttled is no fault of what was asked for. Only a redirect is given up for it,
	// or a link behind empty pages: the list itself may be asked.
	alone := everywhere(err) && (err.Reason != reason.Throttled || l.redirected()) && l.lone.again()
	if refused || failed {
		// The server has answered: what else has failed is begun anew.
		if l.lone = (lone{}); l.diagnosis.lone {
			l.diagnosis = diagnosis{}
		}
	}
	failed = failed || alone && err.Reason != reason.Throttled
	if refused || failed {
		if l.still++; l.still > maxStill {
			l.still = 0
			l.server.doubt(now)
			return Failed
		}
	}
	d := &l.diagnosis
	b := l.first().Behind
	switch {
	case b == nil:
	case err.Location != "":
		if b.links++; b.links <= maxHops && !d.active() {
			b.link = err.Location
			return RetryNow
		}
		b.link, b.links, *d = "", 0, diagnosis{}
		return Failed
	case err.Request.Link != "" && (alone || !everywhere(err)):
		b.leaveLinks()
		return RetryLater
	}
	if err.Location != "" {
		p := l.placed()
		if p.hops++; p.hops <= maxHops {
			p.link = err.Location
			return RetryNow
		}
		p.rewind() // it led nowhere, and the list itself may be back
		*d = diagnosis{}
		return Failed
	}
	if err.TopLimit > 0 && err.TopLimit < err.Request.Top && !d.active() {
		l.server.Top, l.server.Grow = err.TopLimit, pause{Until: now.Add(probeAfter)} // it is believed
		return RetryNow
	}
	if err.Request.Link != "" && (alone || !everywhere(err)) {
		return l.linkFailed(failed, now)
	}
	if !refused && !failed {
		if !d.lone {
			*d = diagnosis{}
		}
		return passing(err)
	}
	if len(d.variations) == 0 {
		d.lone = alone
		return l.begin(err, refused, now)
	}
	v := d.variations[0]
	switch {
	case d.confirming:
		switch v.step {
		case beyond:
			if b != nil {
				b.Seen++ // it was skipped before
				l.Skipped = max(l.Skipped, 1)
			} else {
				p := l.placed()
				p.skipped = true
				p.skip++
				l.Skipped++
			}
			l.server.Top = 0 // the pages were not too heavy
		case small:
			l.server.shrink(2*d.base.Top/lighter[v.n], now)
		default:
			l.blame(d.options[v.n-1], now)
		}
		*d = diagnosis{}
		return RetryNow
	case v.step == without && d.refused && failed:
		// It is refused no more, and fails for another reason.
		d.confirming = true
		return RetryNow
	case v.step == alive && v.n == len(living)-1:
		return l.outage()
	}
	if d.variations = d.variations[1:]; len(d.variations) == 0 {
		*d = diagnosis{}
		return Failed
	}
	return RetryNow
}

// outage ends a diagnosis that has found nothing that works.
func (l *Listing) outage() Verdict {
	l.server.outages++
	l.diagnosis = diagnosis{}
	l.still = 0 // an outage tells nothing of what is read
	return Failed
}

// passing tells whether a failure that is not about the request may have passed
// in a moment.
func passing(err *Error) Verdict {
	switch err.Reason {
	case reason.Network, reason.Timeout, reason.Partial, reason.Server:
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
func classify(err *Error) (refused, failed bool) {
	switch {
	case err.Reason == reason.Throttled || err.Reason == reason.Auth || err.Reason == reason.Forbidden || err.Reason == reason.Partial:
	case err.TooLarge, err.Reason == reason.Timeout, err.Reason == reason.Decode, err.Status >= serverError && err.Status != notImplemented:
		failed = true
	case err.Status >= badRequest:
		refused = true
	}
	return refused, failed
}

// begin looks at the first failure of a request.
func (l *Listing) begin(err *Error, refused bool, now time.Time) Verdict {
	d, s, top := &l.diagnosis, l.server, err.Request.Top
	switch {
	case refused:
	case err.TooLarge && top != 1, s.Top > 0 && top > s.Top:
		// Too heavy, or still too heavy.
		s.shrink(top, now)
		return RetryNow
	case s.outages&(s.outages-1) != 0 && !d.lone:
		// One more outage, as the last times. After 0, 1, 2, 4, 8 and so on it is looked into.
		return l.outage()
	}
	*d = diagnosis{base: err.Request, refused: refused, lone: d.lone}
	d.plan()
	if err.TooLarge || err.Reason == reason.Timeout {
		d.variations = d.variations[1:]
	}
	if d.active() {
		return RetryNow
	}
	return RetryLater
}

// blame leaves the option out that made the request fail.
func (l *Listing) blame(o Option, now time.Time) {
	s, base := l.server, &l.diagnosis.base
	if l.diagnosis.lone {
		s.suspend(now, o)
		return
	}
	switch o {
	case OptionUpperBound:
		l.refuseUpper(now)
		return
	case OptionAlerts:
		s.Grow = pause{} // the pages may not have been too heavy
	case OptionStatus:
		if base.Status != incident.StatusActive {
			s.Statuses[base.Status].extend(now, probeAfter, probeAfter)
			return
		}
	case OptionLowerBound:
		// One that is older than what the server keeps says nothing of others.
		if age := now.Sub(base.Since); age > time.Hour {
			s.OldBound = age
			s.Old.extend(now, probeAfter, probeAfter)
			return
		}
	}
	s.Refuse(o, now)
}

// everywhere tells that a failure may be that of every request at present, rather than of
// what was asked for.
func everywhere(err *Error) bool {
	if refused, failed := classify(err); refused || failed {
		return false
	}
	alerts := err.Request.AlertsOf != 0
	switch err.Reason {
	case reason.Throttled, reason.Network:
		return true
	case reason.Partial:
		return !alerts
	case reason.Auth:
		return alerts || err.Request.Link == ""
	case reason.Forbidden:
		return err.Request.Link == ""
	}
	return false
}

// redirected tells that what is read now is at the end of a redirect, or behind empty pages.
func (l *Listing) redirected() bool {
	r := l.first()
	return r.Behind != nil && r.Behind.links > 0 || r.place != nil && r.place.hops > 0
}

// lone finds out whether what looks like an outage is the failure of one request alone: one
// that fails again and again, and once more after the smallest one did not.
type lone struct {
	fails  int  // in a row
	asking bool // the smallest request is made next
	works  bool // it went well
}

// again takes note of a failure, and tells whether it is that of the request alone.
func (f *lone) again() (alone bool) {
	const many = 4
	if alone = f.works; alone {
		*f = lone{} // what fails next has to show it by itself
		return true
	}
	f.fails++
	f.asking = f.fails == many
	return false
}

// succeeded takes note of a page. It is true if that was the smallest one, and no answer to
// the listing.
func (f *lone) succeeded() (smallest bool) {
	smallest = f.asking
	*f = lone{works: smallest}
	return smallest
}

// linkFailed tries a link once more if that may help, and then goes on without it: from
// the beginning of the round, and where that fails again and again by bounds.
func (l *Listing) linkFailed(mayPass bool, now time.Time) Verdict {
	p := l.placed()
	if p.fails++; p.fails == 1 && mayPass {
		return RetryLater
	}
	if l.linkFails++; p.hops > 0 && l.server.DirectRows && !l.server.EmptyPages && l.linkFails > 2 {
		// It was that of an empty page, and leads nowhere.
		l.server.LostLinks, l.server.LinkNoise = true, true
	}
	p.rewind()
	l.diagnosis = diagnosis{}
	if p.breaks++; p.breaks > maxBreaks {
		l.broken++
		l.server.doubt(now)
		// By bounds, if they are taken.
		l.first().place = nil
		l.server.Unsorted, l.Distrust = true, true
		return Failed
	}
	return RetryLater
}
