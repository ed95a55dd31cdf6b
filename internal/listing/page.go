package listing

import (
	"cmp"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Every page is compared with what was asked for and with the pages before it: which
// options were taken, in which order its rows are, and whether there are more.

// shown notes that the range has rows, if it comes without: it was asked for before, by
// the diagnosis, and had some, or it is a list that no row leaves, which has shown some.
func (l *Listing) shown(req *Request, page *Page, secs *seconds) {
	r, form := l.first(), req.form()
	form.Order = Unordered
	if len(page.Rows) > 0 {
		if l.Latest = max(l.Latest, secs.max); len(secs.all) > 0 {
			l.Earliest = min(cmp.Or(l.Earliest, secs.min), secs.min)
		}
		if req.Link == "" {
			l.had = form
		}
		return
	}
	whole := r.Status == incident.StatusUnknown && r.Before == noBefore && l.undivided(r)
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
// ignored on which the page's use depends: the range is asked for again, and the second
// time without it.
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
		if in.AlertsUnknown && page.MoreAlerts[in.ID] == "" {
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
	tooNew := newer*10 > usable || newer > 0 && secs.sorted()
	tooOld := older*10 > usable
	// Sorted rows tell by themselves where the range ends.
	disturbs := tooOld && (l.order(req, secs) != Descending || s.Unsorted)
	if l.odd = (other || tooNew || disturbs) && !l.odd; l.odd {
		return true // one answer shows nothing
	}
	if other {
		s.Refuse(OptionStatus, now)
		again = true
	}
	if tooNew {
		l.refuseUpper(now)
		again = true
	}
	if tooOld {
		s.Refuse(OptionLowerBound, now)
		again = again || disturbs
	}
	if req.Alerts && usable > 0 && bare == usable {
		s.Refuse(OptionAlerts, now)
	}
	if req.Count && page.Count < 0 {
		s.Refuse(OptionCount, now)
	}
	return again
}

// refuseUpper goes on to the next form of an upper bound, and then to none.
func (l *Listing) refuseUpper(now time.Time) {
	if s := l.server; s.Bound == Lt {
		s.Bound = Le
	} else {
		s.Bound = Lt
		s.Refuse(OptionUpperBound, now)
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
	return n >= s.fullPage(req.Top) || page.Link != "" && !s.LinkNoise
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

// learn remembers what the page shows of the server. It is true if pages were
// continued as if rows were sorted, and they are not: then all is read again.
func (l *Listing) learn(r *Range, req *Request, page *Page, secs *seconds, now time.Time) (restart bool) {
	s, n := l.server, len(page.Rows)
	if n >= s.offer.MaxTop && req.Top > 0 {
		s.FullPages = true
	}
	l.Largest = max(l.Largest, n)
	// A page that was cut may be told with the count of the whole one.
	s.Counts = s.Counts || page.Count > max(l.Largest, s.PageMax)
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
		s.Refuse(OptionOrder, now)
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

// byChance is how many rows may follow one another in order by chance.
const byChance = 4

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

// sorted tells that pages have shown that rows are sorted by last update, and by
// nothing else: their times of creation are not sorted.
func (l *Listing) sorted() bool {
	const both, enough = 3, 24 // by chance once in 10^10 pages of five rows
	return min(l.Up, l.Down) >= both && l.Up+l.Down >= enough && !l.Distrust && l.trusts
}

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
