// Package listing answers one question for both APIs: has every row of this part
// of the incidents list been read? A [Listing] emits one request after another,
// is given a page or an error for each, and is done when everything is proven to
// be read, never before. It is a pure value: no I/O, no clock, no mirror.
//
// The list is cut into ranges of time in whole seconds. Where rows are sorted
// by last update, a page is continued from the second of its last row, which is
// read again; until pages have shown that they are sorted by nothing else, they
// are joined by position. Where rows are not sorted, a range is halved until a
// page holds it. What seems to be the end is continued in the same way, to
// prove it. A second that no page holds is read by position until two readings
// agree, or until there are as many rows as the server has counted. Every page
// is compared with what was asked, and what the server was seen not to take is
// left out, see [Server].
//
// Nothing here waits or blocks: a request costs the caller one call, and when it
// is made is the caller's decision. A Listing and the Server that it shares with
// other listings of a tenant belong to one goroutine.
package listing

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// Listing is a reading of some ranges of the list. Its exported fields are what
// has to be saved for a later process to go on; it then continues from the start
// of the range that was being read.
type Listing struct {
	// Todo are the ranges still to be read, the next one last; Whole are those that
	// the listing began with.
	Todo  []Range `json:"todo"`
	Whole []Range `json:"whole"`
	// Prove: every end is proven with one more request, which asks again for the
	// second of the last row and what lies behind it; and if nothing is Known the
	// link of an empty page is followed. Otherwise an end is proven only where pages
	// are not known to be what they seem, or when more than a few rows came, so that
	// a quiet tenant costs one request. A count that came with the page proves the
	// end at no cost.
	Prove bool `json:"prove,omitempty"`
	// Started is the server's clock, or where it tells none the reader's, at the
	// first page: what is updated later may be missing.
	Started time.Time `json:"started,omitzero"`
	// Up counts how often, in the pages of this listing that are sorted by last update, a
	// row was created after the one before it, and Down how often before: both happen where
	// rows are not sorted by creation. Asked: an order was asked for. What the server's own
	// is like does not follow from that.
	Up    int  `json:"up,omitempty"`
	Down  int  `json:"down,omitempty"`
	Asked bool `json:"asked,omitempty"`
	// Linked: a page that was continued had a link.
	Linked bool `json:"linked,omitempty"`
	// Kept and Lost count the pages that began with the second that the page before
	// had ended with, and that did not.
	Kept int `json:"kept,omitempty"`
	Lost int `json:"lost,omitempty"`
	// Bounded: an upper bound has selected rows.
	Bounded bool `json:"bounded,omitempty"`
	// Coarse: more were lost than kept. All was begun again.
	Coarse bool `json:"coarse,omitempty"`
	// Distrust: rows were taken to be sorted, and then were not. All was begun again.
	Distrust bool `json:"distrust,omitempty"`
	// Largest is the most rows that a page had.
	Largest int `json:"largest,omitempty"`
	// Latest is the last second of an update that was read, in Unix time.
	Latest int64 `json:"latest,omitempty"`
	// Earliest is the first, 0 if there is none.
	Earliest int64 `json:"earliest,omitempty"`
	// Skipped counts the rows that could not be had.
	Skipped int `json:"skipped,omitempty"`
	// Pending are rows whose alerts are not complete yet.
	Pending []pendingAlerts `json:"pending,omitempty"`

	// Short: the list had more rows than had been read. All was begun again, and no end
	// is believed any more that is not proven by itself.
	Short bool `json:"short,omitempty"`
	// Settled is how many rows have been read of the part of Whole that is being read and
	// lie in none of the ranges still to be read: after a restart they do not come again.
	Settled int `json:"settled,omitempty"`
	// Total is how many rows the server has counted of the part.
	Total int `json:"total,omitempty"`
	// Moved are rows that were updated since the listing began and came after a restart:
	// they may be among those that were read before.
	Moved int `json:"moved,omitempty"`
	// Waived: the end of a range was not proven, because that of the part was to be.
	Waived bool `json:"waived,omitempty"`
	// Unread has a bit for each status that could not be asked for.
	Unread uint16 `json:"unread,omitempty"`
	// Nameless are rows that tell no id. They may be some of the list's.
	Nameless int `json:"nameless,omitempty"`

	// Blank: no incident is known. If none comes, that has to be proven without options.
	Blank bool `json:"blank,omitempty"`

	// Known tells whether the reader has this version of a row, or a later one;
	// nil: it has none. Where the newest come first, what is behind a page of such
	// rows alone is not worth a proof: the listing before has seen it.
	Known func(*incident.Incident) bool `json:"-"`

	server    *Server
	diagnosis diagnosis
	lone      lone
	blank     blank
	leftover  []incident.Incident
	// still counts requests since the last progress, linkFails links that failed, broken
	// the ranges whose reading by links was given up for that.
	still, linkFails, broken int
	// alertFails counts the rows in a row whose further alerts could not be had.
	alertFails int
	// trusts: that rows are sorted can be believed at present, for no page has shown lately
	// that only those are.
	trusts bool
	// ids are the rows that were read of the part, and whether they are settled; those
	// since a restart, if resumed. Read is how many there are. The last page had length.
	part         Range
	ids          map[int64]bool
	read, length int
	resumed      bool
	had          Request // the last list, in any order, of which a page had rows
	// failed: the listing is incomplete, whatever the next page is.
	failed *Error
	// hollow: the last page had no rows although some had to come again.
	hollow bool
	// odd: the last page had rows that were not asked for.
	odd bool
}

// New returns a listing of the ranges, the first of which is read first. It keeps the slice.
// See [Listing.Prove] for prove.
func New(server *Server, prove bool, ranges ...Range) *Listing {
	slices.Reverse(ranges)
	return &Listing{Todo: slices.Clone(ranges), Whole: ranges, Prove: prove, server: server}
}

// Anew is the listing as it was before the first request.
func (l *Listing) Anew() *Listing {
	whole := slices.Clone(l.Whole)
	slices.Reverse(whole)
	next := New(l.server, l.Prove, whole...)
	next.Latest, next.Blank = l.Latest, l.Blank // it is not empty, or may be
	return next
}

// Resume makes a saved listing go on. It returns the rows that were held back
// for their alerts: the links to those are not kept, and the rows have to do
// without.
func (l *Listing) Resume(server *Server) []incident.Incident {
	l.server, l.resumed, l.ids, l.read = server, true, map[int64]bool{}, l.Settled
	for len(l.Pending) > 0 {
		l.withoutAlerts()
	}
	return l.Leftover()
}

// maxStill bounds the requests that bring no progress.
const maxStill = 60

var (
	errNoProgress = errors.New("the server allows no complete reading: neither its order, nor bounds, nor positions, nor its links lead on")
	errLinkCycle  = errors.New("the server's links to further pages lead in a cycle")
	errCoarse     = errors.New("the server's bounds leave out rows of the seconds that were asked for")
	errEmptied    = errors.New("the server answers with an empty list to whatever is asked for, and has incidents")
	errHollow     = errors.New("the server sends no rows where there were some")
	errShort      = errors.New("the list has rows that the server leaves out of its parts")
	errCount      = errors.New("the server counts more rows than it sends")
)

// incomplete is the error of a listing that cannot be finished. What the server
// was believed not to take is doubted.
func (l *Listing) incomplete(req *Request, why error, now time.Time) *Error {
	l.server.doubt(now)
	return &Error{Operation: OperationList, Request: *req, Reason: reason.Incomplete, Err: why}
}

// Next is the request to make now; false: everything is read. Its answer has to
// be handed to [Listing.Apply] or [Listing.Fail] before Next is called again.
func (l *Listing) Next(now time.Time) (Request, bool) {
	if l.lone.asking {
		return Request{Top: min(1, l.server.size(now))}, true
	}
	if len(l.Pending) > 0 {
		p := &l.Pending[0]
		return Request{Link: p.link, AlertsOf: p.Row.ID, Top: 1}, true
	}
	r := l.current(now)
	if r == nil && l.doubted() {
		l.blank.asking = true
		return Request{}, true
	}
	if r == nil {
		return Request{}, false
	}
	req := l.request(r, now)
	l.diagnosis.vary(&req)
	return req, true
}

// Done tells that everything is read.
func (l *Listing) Done() bool { return len(l.Todo) == 0 && len(l.Pending) == 0 && !l.doubted() }

// first is the range that is being read, or is read next.
func (l *Listing) first() *Range { return &l.Todo[len(l.Todo)-1] }

// undivided tells that a range is one of those that the listing is of.
func (l *Listing) undivided(r *Range) bool {
	return slices.Contains(l.Whole, r.part(r.Since, r.Before))
}

// Last is the range that is read last.
func (l *Listing) Last() *Range { return &l.Whole[0] }

// LeftOut tells that incidents of this status were not read by it, because the server did not
// take that.
func (l *Listing) LeftOut(status incident.Status) bool { return l.Unread>>status&1 != 0 }

// current is the range to read next, in a form that can be asked for; nil: none.
func (l *Listing) current(now time.Time) *Range {
	for len(l.Todo) > 0 {
		r := l.first()
		if l.diagnosis.active() {
			return r
		}
		if r.Status != incident.StatusUnknown && !l.server.TakesStatus(r.Status, now) {
			l.Unread |= 1 << r.Status
			l.pop()
			continue
		}
		if r.Behind != nil {
			if !l.provable(r, now) {
				continue
			}
			return r
		}
		if r.place == nil && l.byPosition(r, now) {
			r.place = newPlace()
		}
		if p := r.place; p != nil && p.skip > 0 && !l.server.Takes(OptionSkip, now) {
			p.byLink = true
			p.rewind()
		}
		return r
	}
	return nil
}

// byPosition tells that one of the range's bounds cannot be sent, and that no
// order makes up for it.
func (l *Listing) byPosition(r *Range, now time.Time) bool {
	s := l.server
	upper := r.Before == noBefore || s.Takes(OptionUpperBound, now)
	lower := r.Since == noSince || s.TakesSince(instant(r.Since), now)
	sorted := func(order Order) bool {
		return !s.Unsorted && (s.Direction == order || s.Takes(OptionOrder, now))
	}
	return !upper && !sorted(Ascending) || !lower && (!upper || !sorted(Descending))
}

// request asks for the range with all that the server takes.
func (l *Listing) request(r *Range, now time.Time) Request {
	s := l.server
	req := Request{Status: r.Status, Top: s.size(now)}
	if r.Since != noSince && s.TakesSince(instant(r.Since), now) {
		req.Since = instant(r.Since)
	}
	if r.Before != noBefore && s.Takes(OptionUpperBound, now) {
		req.Before, req.Bound = instant(r.Before), s.Bound
	}
	if s.Takes(OptionOrder, now) {
		req.Order = Ascending
		if r.Since != noSince && req.Since.IsZero() {
			// Then the newest have to come first, or everything is read.
			req.Order = Descending
		}
	}
	if p := r.place; p != nil {
		if form := req.form(); form != p.form {
			if p.form != (Request{}) {
				// A position in another list is none in this one, nor is a gap.
				p.rewind()
				p.open, p.closed = never, false
			}
			p.form = form
		}
		req.Skip, req.Link = p.skip, p.link
		if p.top > 0 {
			req.Top = min(p.top, cmp.Or(req.Top, p.top))
		}
		if len(p.open) > 0 && req.Top > 3 {
			// Pages that end elsewhere show what lies in the gaps.
			req.Top = max(3, min(req.Top, cmp.Or(l.Largest, req.Top))*(7-(p.round-1)%3)/8)
		}
	}
	if b := r.Behind; b != nil && l.failed == nil {
		b.ask(&req, l.Started, s, now)
	}
	req.Alerts = s.offer.Expand && s.Takes(OptionAlerts, now)
	req.Count = req.Skip == 0 && req.Link == "" && s.Takes(OptionCount, now)
	return req
}

// Apply takes in the answer to a request and returns the rows that can be used:
// all of them are facts, wanted or not, and are returned beside an error, too.
//
// The reason of the error is incomplete where the server allows no complete
// reading, and the listing is then of no more use; or partial where the page
// lacks rows that it counts, and the request is to be made again.
func (l *Listing) Apply(now time.Time, req Request, page Page) ([]incident.Incident, *Error) {
	if l.lone.succeeded() {
		l.server.outages = 0
		return nil, nil
	}
	l.Started = cmp.Or(l.Started, page.Date, now)
	if req.AlertsOf != 0 {
		return l.moreAlerts(page, now)
	}
	if l.blank.asking {
		return nil, l.unblank(&req, &page, now)
	}
	rows := l.holdBack(&page, now)
	if l.still++; l.still > maxStill || l.broken > maxBreaks {
		l.failed = l.incomplete(&req, errNoProgress, now)
	}
	if l.failed != nil {
		return rows, l.failed
	}
	l.hollow = l.hollow && len(page.Rows) == 0
	secs := secondsOf(page.Rows)
	l.shown(&req, &page, &secs)
	if l.diagnosis.succeeded(l, now) {
		return rows, nil
	}
	s := l.server
	l.trusts = s.PageOrder.over(now)
	s.sized(req.Top, now)
	r := l.current(now)
	if r == nil {
		return rows, nil
	}
	if l.check(r, &req, &page, &secs, now) {
		return rows, nil
	}
	s.accept(&req, now)
	counts := l.Known == nil && r.Behind == nil
	if counts {
		l.remember(r, &page)
		r = l.first()
	}
	var err *Error
	switch {
	case r.Behind != nil:
		err = l.end(r, &req, &page, now)
	case l.learn(r, &req, &page, &secs, now): // all over again
	case r.place != nil:
		err = l.applyPosition(r, &req, &page, &secs, now)
	default:
		err = l.applyBounds(r, &req, &page, &secs, now)
	}
	for i := range page.Rows {
		if counts {
			l.settle(page.Rows[i].ID, page.Rows[i].Updated)
		}
	}
	left := func(r Range) bool { return r.Behind == nil || s.Takes(OptionSkip, now) }
	if l.Lost > 0 && l.Kept == 0 && !slices.ContainsFunc(l.Todo, left) {
		err = l.coarse(&req, now)
	}
	return rows, err
}

// pop ends the range that is being read.
func (l *Listing) pop() { l.replace() }

// replace puts ranges in the place of the one that is being read, the first to
// be read first.
func (l *Listing) replace(ranges ...Range) {
	was, still := *l.first(), l.still
	l.Todo, l.still = l.Todo[:len(l.Todo)-1], 0
	for _, r := range slices.Backward(ranges) {
		if !r.empty() {
			if r.Since == was.Since && r.Before == was.Before {
				l.still = still // that is no progress
			}
			l.Todo = append(l.Todo, r)
		}
	}
	if p := was.place; p != nil {
		for id := range p.seen {
			l.settle(id, p.sights[id].updated)
		}
	}
}

// noneCame is called where rows had to come again and none did. They may have left, or
// something is wrong with the server: a scan makes the request again in a while.
func (l *Listing) noneCame(req *Request) *Error {
	if l.hollow || l.Known != nil {
		return nil
	}
	l.hollow = true
	return &Error{Operation: OperationList, Request: *req, Reason: reason.Partial, Err: errHollow}
}

// before counts the rows of the range that were there when the listing began.
func (l *Listing) before(r *Range, rows []incident.Incident) (n int) {
	for i := range rows {
		in := &rows[i]
		if in.ID != 0 && !in.Updated.After(l.Started) && r.holds(in.Updated) {
			n++
		}
	}
	return n
}

// restart begins again, and does not rely on an order any more.
func (l *Listing) restart() {
	l.server.Unsorted, l.Distrust = true, true
	l.afresh()
}

// afresh begins again.
func (l *Listing) afresh() { l.Todo, l.ids, l.Unread = slices.Clone(l.Whole), nil, 0 }

// coarse begins again, because bounds have left out rows of the seconds that were asked
// for; the second time without bounds, for an hour. A delta does so only where that was
// seen to be needed, see [Server.Coarse]: what it has missed may be on a machine that is not
// behind.
func (l *Listing) coarse(req *Request, now time.Time) *Error {
	s := l.server
	if l.Coarse && l.Known != nil && !s.Coarse {
		return l.incomplete(req, errCoarse, now)
	}
	if l.Coarse {
		s.Coarse = true // it is, or this is a scan
		if !s.suspend(now, OptionUpperBound, OptionLowerBound) {
			return l.incomplete(req, errCoarse, now)
		}
		l.Distrust = true
	}
	l.Coarse, l.Kept, l.Lost = true, 0, 0
	l.afresh()
	return nil
}

// Check tells what is wrong with a listing that was saved; nil: it can go on
// after [Listing.Resume].
func (l *Listing) Check() error {
	if l == nil {
		return errors.New("there is no listing")
	}
	if len(l.Whole) == 0 {
		return errors.New("nothing to begin again with")
	}
	for _, r := range slices.Concat(l.Todo, l.Whole) {
		if int(r.Status) >= incident.NumStatuses {
			return errors.New("a range of no known status")
		}
	}
	return nil
}
