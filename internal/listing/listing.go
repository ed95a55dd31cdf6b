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
	// Up and Down count how often, in the pages of this listing that are sorted by
	// last update, a row was created after the one before it, and before. Asked: an
	// order was asked for. What the server's own is like does not follow from that.
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
	// Nameless are rows that tell no id. They may be some of the list's.
	Nameless int `json:"nameless,omitempty"`

	// Known tells whether the reader has this version of a row, or a later one;
	// nil: it has none. Where the newest come first, what is behind a page of such
	// rows alone is not worth a proof: the listing before has seen it.
	Known func(*incident.Incident) bool `json:"-"`

	server    *Server
	diagnosis diagnosis
	leftover  []incident.Incident
	// still counts requests since the last progress, linkFails links that failed, broken
	// the ranges whose reading by links was given up for that.
	still, linkFails, broken int
	// alertFails counts the rows in a row whose further alerts could not be had.
	alertFails int
	// trusts: that rows are sorted can be believed at present.
	trusts bool
	// ids are the rows that were read of the part, and whether they are settled; those
	// since a restart, if resumed. Read is how many there are. The last page had length.
	part         Range
	ids          map[int64]bool
	read, length int
	resumed      bool
	had          Request // had rows, in any order
	// failed: the listing is incomplete, whatever the next page is.
	failed *Error
	// hollow: the last page had no rows although some had to come again.
	hollow bool
}

// New returns a listing of the ranges, the first of which is read first. See
// [Listing.Prove] for prove.
func New(server *Server, prove bool, ranges ...Range) *Listing {
	slices.Reverse(ranges)
	return &Listing{Todo: slices.Clone(ranges), Whole: ranges, Prove: prove, server: server}
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
	if len(l.Pending) > 0 {
		p := &l.Pending[0]
		return Request{Link: p.link, AlertsOf: p.Row.ID, Top: 1}, true
	}
	r := l.current(now)
	if r == nil {
		return Request{}, false
	}
	req := l.request(r, now)
	l.diagnosis.vary(&req)
	return req, true
}

// Done tells that everything is read.
func (l *Listing) Done() bool { return len(l.Todo) == 0 && len(l.Pending) == 0 }

// current is the range to read next, in a form that can be asked for; nil: none.
func (l *Listing) current(now time.Time) *Range {
	for len(l.Todo) > 0 {
		r := &l.Todo[len(l.Todo)-1]
		if l.diagnosis.active() {
			return r
		}
		if r.Status != incident.StatusUnknown && !l.server.TakesStatus(r.Status, now) {
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
	lower := r.Since == noSince || s.takesSince(instant(r.Since), now)
	sorted := func(order Order) bool {
		return !s.Unsorted && (s.Direction == order || s.Takes(OptionOrder, now))
	}
	return !upper && !sorted(Ascending) || !lower && (!upper || !sorted(Descending))
}

// request asks for the range with all that the server takes.
func (l *Listing) request(r *Range, now time.Time) Request {
	s := l.server
	req := Request{Status: r.Status}
	if r.Since != noSince && s.takesSince(instant(r.Since), now) {
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
	}
	if b := r.Behind; b != nil && l.failed == nil {
		b.ask(&req, l.Started, s, now)
	}
	req.Top = s.size(now)
	if p := r.place; p != nil {
		if p.top > 0 {
			req.Top = min(p.top, cmp.Or(req.Top, p.top))
		}
		if len(p.open) > 0 && req.Top > 3 {
			// Pages that end elsewhere show what lies in the gaps.
			req.Top = max(3, min(req.Top, cmp.Or(l.Largest, req.Top))*(7-(p.round-1)%3)/8)
		}
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
	l.Started = cmp.Or(l.Started, page.Date, now)
	if req.AlertsOf != 0 {
		return l.moreAlerts(page, now)
	}
	rows := l.holdBack(&page, now)
	if l.still++; l.still > maxStill || l.broken > maxBreaks {
		l.failed = l.incomplete(&req, errNoProgress, now)
	}
	if l.failed != nil {
		return rows, l.failed
	}
	l.hollow = l.hollow && len(page.Rows) == 0
	l.shown(&req, &page)
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
	secs := secondsOf(page.Rows)
	if l.check(r, &req, &page, &secs, now) {
		return rows, nil
	}
	s.accept(&req, now)
	counts := l.Known == nil && r.Behind == nil
	if counts {
		l.count(r, &page)
		r = &l.Todo[len(l.Todo)-1]
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
	was, still := l.Todo[len(l.Todo)-1], l.still
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

// shown notes that the range has rows, if it comes without: it was asked for before, by
// the diagnosis, and had some, or it is a list that no row leaves, which has shown some.
func (l *Listing) shown(req *Request, page *Page) {
	r, form := &l.Todo[len(l.Todo)-1], req.form()
	form.Order = Unordered
	if n := len(page.Rows); n > 0 {
		l.Latest = max(l.Latest, secondsOf(page.Rows).max)
		if req.Link == "" {
			l.had = form
		}
		return
	}
	whole := r.Status == incident.StatusUnknown && r.Before == noBefore && slices.Contains(l.Whole, r.part(r.Since, r.Before))
	some := l.Largest > 0 || l.Latest > 0
	switch {
	case req.Link != "" || req.Skip > 0:
	case whole && l.Known == nil && some && (r.Since == noSince || l.Latest > r.Since+1): // bounds may leave out that second
		r.Holds = max(r.Holds, 2)
	case whole && l.Known != nil && some, l.had == form:
		r.Holds = max(r.Holds, 1)
	}
}

// check compares the rows with what was asked for. It is true if an option was
// ignored on which the page's use depends: it is left out from now on, and the
// range is asked for again.
func (l *Listing) check(r *Range, req *Request, page *Page, secs *seconds, now time.Time) (again bool) {
	s := l.server
	usable, older, newer, others, bare := 0, 0, 0, 0, 0
	for i := range page.Rows {
		in := &page.Rows[i]
		if in.ID == 0 {
			continue
		}
		usable++
		if in.Status != req.Status && in.Status != incident.StatusUnknown {
			others++
		}
		if in.AlertsUnknown {
			bare++
		}
		if in.Updated.IsZero() {
			continue
		}
		// A server that rounds is half a second off.
		if at := in.Updated.Unix(); at < req.Since.Unix()-1 {
			older++
		} else if !req.Before.IsZero() && at > req.Before.Unix() {
			newer++
		}
	}
	other := others*4 > usable && req.Status != incident.StatusUnknown
	if req.Link != "" && s.DirectRows {
		if (older+newer)*10 <= usable && !other {
			return false
		}
		// The link has lost the filter. If the page before was empty, it led to
		// nothing of what was asked for.
		s.LostLinks = true
		if b := r.Behind; b != nil {
			b.leaveLinks()
			return true
		}
		s.LinkNoise = s.LinkNoise || r.place.hops > 0
		r.place.rewind()
		return true
	}
	if other {
		s.refuse(OptionStatus, now)
		again = true
	}
	if newer*10 > usable || newer > 0 && secs.sorted() {
		l.refuseUpper(now)
		again = true
	}
	if older*10 > usable {
		s.refuse(OptionLowerBound, now)
		// Sorted rows tell by themselves where the range ends.
		again = again || l.order(req, secs) != Descending || s.Unsorted
	}
	if req.Alerts && usable > 0 && bare == usable {
		s.refuse(OptionAlerts, now)
	}
	if req.Count && page.Count < 0 {
		s.refuse(OptionCount, now)
	}
	return again
}

// refuseUpper goes on to the next form of an upper bound, and then to none.
func (l *Listing) refuseUpper(now time.Time) {
	if s := l.server; s.Bound == Lt {
		s.Bound = Le
	} else {
		s.Bound = Lt
		s.refuse(OptionUpperBound, now)
	}
}

// more tells whether something of the range is not on the page.
func (l *Listing) more(req *Request, page *Page) bool {
	s, n := l.server, len(page.Rows)
	if l.counted(req, page) {
		return page.Count > n
	}
	if n == 0 {
		return page.Link != "" && (s.EmptyPages || !s.DirectRows || !s.LostLinks && (l.Prove && l.Known == nil || !s.LinkNoise))
	}
	return n >= s.rows(req.Top) || page.Link != "" && !s.LinkNoise
}

// counted tells that the server has said how many rows the range has. A count of
// less than the page has is none, and one of just as much is not believed against
// a link to more, nor where rows may be none of the list's, nor of a full page, of
// which it may be the count, until one of more was seen.
func (l *Listing) counted(req *Request, page *Page) bool {
	n := len(page.Rows)
	junk := slices.ContainsFunc(page.Rows, func(in incident.Incident) bool { return in.ID == 0 })
	return req.Count && (page.Count > n || page.Count == n && page.Link == "" && !junk && n != req.Top && (n < few || l.server.Counts))
}

// applyBounds moves on after a page that was asked for by its bounds alone.
func (l *Listing) applyBounds(r *Range, req *Request, page *Page, secs *seconds, now time.Time) *Error {
	s, n := l.server, len(page.Rows)
	more := l.more(req, page)
	if n == 0 && more {
		if page.Link == "" {
			s.refuse(OptionCount, now) // and if there are none the next time it was that
			return &Error{Operation: OperationList, Request: *req, Reason: reason.Partial, Err: errCount}
		}
		return l.fromHere(r, req, page, secs, false, now)
	}
	if n == 0 && max(r.Holds, r.EdgeRows) > 0 {
		if err := l.empty(req); err != nil {
			return err
		}
	}
	if r.Holds > 0 && n == 0 {
		l.pop()
		if l.Lost++; r.Holds > 1 || !req.Before.IsZero() && !l.Bounded {
			return l.coarse(req, now)
		}
		return nil
	}
	l.Bounded = l.Bounded || n > 0 && !req.Before.IsZero()
	if n == 0 && l.Prove && l.Known == nil && !r.Again && slices.Contains(l.Whole, r.part(r.Since, r.Before)) {
		// A server that has just started may have none yet.
		again := *r
		again.Again = true
		l.pop()
		l.Todo = slices.Insert(l.Todo, 0, again)
		return nil
	}
	sorted := !s.Unsorted
	order := l.order(req, secs)
	if l.past(r, req, secs) {
		more = false
	}
	switch {
	case r.Check > 0 && l.before(r, page.Rows) > r.Check:
		l.short(r.LastRows)
		l.restart()
		return nil
	case r.Check > 0:
		l.pop()
		return nil
	case r.EdgeRows == 0 && r.LastRows == 0, !r.edged(req), n > 0 && len(secs.all) == 0: // it does not tell
	case r.passed(secs):
		// The second has to come again, but for rows that moved. A server that
		// compares more coarsely leaves it out.
		if secs.at(r.Edge) > 0 {
			l.Kept++
		} else if r.LastRows == 0 && (l.Largest >= few || !more) {
			l.Lost++
		}
		if l.Lost > l.Kept+1 {
			return l.coarse(req, now)
		}
		if r.LastRows > 0 {
			// The page before was not the last one, whatever it looked like.
			l.short(r.LastRows)
			if !l.sorted() {
				l.afresh() // nor did it have all of its time
				return nil
			}
			more = l.more(req, page)
		}
	default:
		l.proven(r, page, secs, more)
		return nil
	}
	switch {
	case !more && (n == 0 || l.counted(req, page) || !l.prove(r, n, page.Link, now) || sorted && order == Descending && l.stale(page)):
		l.pop()
	case len(secs.all) == 0, secs.one() && !r.holds(instant(secs.min)):
		// No row tells its time, or a bound is ignored or rounded: time leads nowhere
		// from here.
		return l.fromHere(r, req, page, secs, false, now)
	case sorted && (l.sorted() && (!more || req.Top != 1) || !more && !s.ShortPages):
		l.Linked = l.Linked || more && page.Link != ""
		l.onward(r, page, secs, order, !more)
	case sorted && !l.Distrust && 2*secs.last() < n && s.Takes(OptionSkip, now):
		// Where none was ever updated it does not show by what they are sorted.
		return l.fromHere(r, req, page, secs, true, now)
	case !more && !l.full(n) && page.Link == "":
		l.pop()
	case !more && page.Link == "" && !s.ShortPages && !s.Takes(OptionSkip, now):
		l.split(r, secs, n)
	case !more, r.second(), req.Top == 1, n < s.rows(req.Top):
		// Pages may end anywhere, or the link means nothing.
		return l.fromHere(r, req, page, secs, false, now)
	default:
		if !l.halve(r, secs, now) {
			return l.fromHere(r, req, page, secs, false, now)
		}
	}
	return nil
}

// empty is called where rows had to come again and none did. They may have left, or
// something is wrong with the server: a scan makes the request again in a while.
func (l *Listing) empty(req *Request) *Error {
	if l.hollow || l.Known != nil {
		return nil
	}
	l.hollow = true
	return &Error{Operation: OperationList, Request: *req, Reason: reason.Partial, Err: errHollow}
}

// fromHere reads the range on by position, of which the page is the first. Chain:
// as long as pages follow one another, once is enough.
func (l *Listing) fromHere(r *Range, req *Request, page *Page, secs *seconds, chain bool, now time.Time) *Error {
	r.place = newPlace()
	r.place.form, r.place.chain = req.form(), chain
	return l.applyPosition(r, req, page, secs, now)
}

// sorted tells that pages have shown that rows are sorted by last update, and by
// nothing else: their times of creation are not sorted.
func (l *Listing) sorted() bool {
	const both, enough = 3, 24 // by chance once in 10^10 pages of five rows
	return min(l.Up, l.Down) >= both && l.Up+l.Down >= enough && !l.Distrust && l.trusts
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
func (l *Listing) afresh() { l.Todo, l.ids = slices.Clone(l.Whole), nil }

// coarse begins again, because bounds have left out rows of the seconds that were asked
// for; the second time without bounds, for an hour.
func (l *Listing) coarse(req *Request, now time.Time) *Error {
	s := l.server
	if l.Coarse {
		if !s.leaveOut(now, OptionUpperBound, OptionLowerBound) {
			return l.incomplete(req, errCoarse, now)
		}
		l.Distrust = true
	}
	l.Coarse, l.Kept, l.Lost = true, 0, 0
	l.afresh()
	return nil
}

// byChance is how many rows may follow one another in order by chance.
const byChance = 4

// past tells that sorted rows have left the range: where a bound could not be
// sent, that shows where it ends. A scan relies on that in no part whose order is not
// checked at its end, nor for all that it reads: it is what shows that the list is sorted.
func (l *Listing) past(r *Range, req *Request, secs *seconds) bool {
	if len(secs.all) == 0 || l.server.Unsorted || !l.sorted() {
		return false
	}
	order := l.order(req, secs)
	begins := func(whole Range) bool { return whole.Since == r.Since }
	if l.Known == nil && (slices.ContainsFunc(l.Whole, begins) && order == Descending || !l.checked(r)) {
		return false
	}
	return order == Descending && secs.min < r.Since || order == Ascending && secs.max >= r.Before
}

// checked tells that the end of what the range is a part of is to be proven.
func (l *Listing) checked(r *Range) bool {
	return slices.ContainsFunc(l.Todo, func(part Range) bool {
		return part.Behind != nil && part.Status == r.Status && part.Since <= r.Since && r.Before <= part.Before
	})
}

// order tells which way the rows of a page go. Where they are of one second, it
// is the way that they were asked for, or that rows were last seen to go; none if
// that is not known.
func (l *Listing) order(req *Request, secs *seconds) Order {
	switch {
	case secs.asc && secs.desc:
		return cmp.Or(req.Order, l.server.Direction)
	case secs.asc:
		return Ascending
	case secs.desc:
		return Descending
	}
	return Unordered
}

// learn remembers what the page shows of the server. It is true if pages were
// continued as if rows were sorted, and they are not: then all is read again.
func (l *Listing) learn(r *Range, req *Request, page *Page, secs *seconds, now time.Time) (restart bool) {
	s, n := l.server, len(page.Rows)
	if n >= s.offer.MaxTop && req.Top > 0 {
		s.FullPages = true
	}
	l.Largest = max(l.Largest, n)
	s.Counts = s.Counts || page.Count > n
	s.DirectRows = s.DirectRows || n > 0 && req.Link == ""
	if s.PageMax > 0 && n > s.PageMax {
		if s.PageMax = n; n >= req.Top && req.Top > 0 {
			s.PageMax = 0
		}
	}
	if asked := req.Order != Unordered; asked != l.Asked {
		l.Up, l.Down, l.Asked = 0, 0, asked
	}
	if secs.asc != secs.desc {
		if up, down := turns(page.Rows); up+down >= byChance {
			l.Up, l.Down = l.Up+up, l.Down+down
		}
		s.Unsorted = s.Unsorted && !l.sorted()
		if req.Order == Unordered {
			s.Direction = l.order(req, secs)
		}
	}
	if req.Order != Unordered && (!secs.sorted() || secs.asc != secs.desc && secs.asc != (req.Order == Ascending)) {
		s.refuse(OptionOrder, now)
	}
	if !secs.sorted() {
		if l.sorted() {
			s.PageOrder.extend(now, probeAfter, probeAfter)
		}
		restart = l.sorted() || !l.Distrust && r.place != nil && r.place.chain && r.place.page > 0
		s.Unsorted, l.Up, l.Down = true, 0, 0
	}
	if restart {
		l.restart()
	}
	return restart
}

// stale tells that a page has nothing new.
func (l *Listing) stale(page *Page) bool {
	return l.Known != nil && !l.Prove && !slices.ContainsFunc(page.Rows, func(in incident.Incident) bool { return in.ID != 0 && !l.Known(&in) })
}

// few rows need no proof that a delta has seen them all.
const few = 20

// prove tells whether the end that a page of n rows seems to be is to be proven by
// itself, although that of the whole part may be.
func (l *Listing) prove(r *Range, n int, link string, now time.Time) bool {
	s, linked := l.server, l.Linked && !l.server.LinkNoise
	if l.Short || s.ShortPages || link != "" { // that a link leads to nothing is a guess
		return true
	}
	part := l.checked(r) && s.Takes(OptionSkip, now) && !s.Unsorted
	doubtful := !linked && (n >= few || n > 1 && l.full(n))
	l.Waived = l.Waived || part && doubtful && !l.Prove
	return l.Prove || !part && doubtful
}

// full tells that a page of n rows may be as full as the server's are: it was not seen
// to put more on one, or pages end early for no reason.
func (l *Listing) full(n int) bool {
	return l.Short || l.server.ShortPages || (l.Prove || !l.server.FullPages) && n >= l.Largest
}

// proven is called when a page that goes on from the second of the last row has
// nothing but rows of that second. Where it may have more, it is read by
// position.
func (l *Listing) proven(r *Range, page *Page, secs *seconds, more bool) {
	n, s := len(page.Rows), l.server
	doubtful := n > 1 && l.full(n) || n > 0 && (s.ShortPages || page.Link != "")
	if !more && n >= r.EdgeRows && !doubtful {
		l.pop()
		return
	}
	l.crowded(r, r.Edge, max(r.EdgeRows, n), page, secs, r.Since != r.Edge, r.Since == r.Edge)
}

// crowded reads a second of the range, of which so many rows are known, by
// position, and apart from it what is below or above. If the page has rows of no
// other second, and they are sorted, it is the first of that second; a server
// that counts is asked for its count instead.
func (l *Listing) crowded(r *Range, second int64, rows int, first *Page, secs *seconds, below, above bool) {
	alone, under, over := r.part(second, second+1), r.part(r.Since, second), r.part(second+1, r.Before)
	alone.place, alone.Edge, alone.EdgeRows, alone.Holds = newPlace(), second, rows, rows
	under.Holds, over.Holds = under.count(secs), over.count(secs)
	if first != nil && len(first.Rows) > 0 && !l.server.offer.Count {
		p, n := alone.place, reach(first.Rows)
		l.note(&alone, first.Rows)
		p.pages, p.skip, p.joins = 1, n-overlap(n), overlap(n) > 0
	}
	// If this is empty, that page shows what a link is worth; if it is not, the page
	// before was not the last one.
	under.LastRows, over.LastRows = r.LastRows, r.LastRows
	under.Edge, over.Edge = second, second+1
	if !below {
		under = Range{}
	} else if !above {
		over = Range{}
	}
	l.replace(over, under, alone)
}

// short notes that a page of n rows was not the last, although it looked so.
func (l *Listing) short(n int) {
	s := l.server
	s.FullPages = false
	if l.Largest <= n && (s.PageMax == 0 || s.PageMax == n) {
		s.PageMax = n
	} else {
		s.ShortPages = true
	}
}

// onward goes on after a sorted page from the second of its last row, which comes
// again. Last: there seems to be nothing more.
func (l *Listing) onward(r *Range, page *Page, secs *seconds, order Order, last bool) {
	if secs.one() && (!last || order == Unordered && len(secs.all) > 1) {
		// On both sides of it, for the order may be another one the next time.
		l.crowded(r, secs.min, len(page.Rows), page, secs, true, true)
		return
	}
	rest := r.part(secs.max, r.Before)
	rest.Edge = secs.max
	if order != Ascending {
		// A server that rounds counts half of the second to the next.
		rest = r.part(r.Since, min(secs.min+2, r.Before))
		rest.Edge = secs.min
	}
	rest.EdgeRows = secs.at(rest.Edge)
	if last {
		rest.LastRows = len(page.Rows)
	}
	if rest.Since == r.Since && rest.Before == r.Before {
		rest.place = newPlace()
	}
	l.replace(rest)
}

// halve cuts a range whose rows are not sorted at the median of those on the
// page, so that each half has rows, or at a second that has half of them. It is
// false where bounds do not lead on: they cannot be sent, or are ignored.
func (l *Listing) halve(r *Range, secs *seconds, now time.Time) bool {
	if !l.server.Takes(OptionUpperBound, now) || !l.server.takesSince(instant(secs.max), now) {
		return false
	}
	m, n, last := median(secs), secs.last(), secs.all[len(secs.all)-1]
	switch crowd := secs.sorted() && 2*n >= len(secs.all); {
	case crowd && r.holds(instant(last)):
		l.crowded(r, last, n, nil, secs, true, true)
	case !crowd && r.Since < m && m < r.Before:
		upper, lower := r.part(m, r.Before), r.part(r.Since, m)
		upper.Edge, upper.EdgeRows = m, secs.at(m)
		upper.Holds, lower.Holds = upper.count(secs), lower.count(secs)
		if r.Edge == r.Since {
			lower.Edge, lower.EdgeRows = r.Edge, r.EdgeRows
		}
		l.replace(upper, lower)
	default:
		return false
	}
	return true
}

// split reads the halves of a page's range, to see whether the page of n rows
// had all of it, where no position leads on.
func (l *Listing) split(r *Range, secs *seconds, n int) {
	if secs.one() {
		l.replace(r.part(secs.min+1, r.Before), r.part(r.Since, secs.min))
		return
	}
	m := median(secs)
	upper, lower := r.part(m, r.Before), r.part(r.Since, m)
	upper.Check, lower.Check = upper.count(secs), lower.count(secs)
	upper.LastRows, lower.LastRows = n, n
	l.replace(upper, lower)
}

// median is a second with rows before it and rows at or after it.
func median(secs *seconds) int64 {
	all := slices.Clone(secs.all)
	slices.Sort(all)
	m := all[len(all)/2]
	if m == all[0] {
		i, _ := slices.BinarySearch(all, m+1)
		m = all[min(i, len(all)-1)]
	}
	return m
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
