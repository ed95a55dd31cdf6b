package listing

import (
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// place is where the reading of a range is that is read by position, or by the
// server's links: one second with more rows than a page holds, or everything
// where the server does not select by time. Rows that leave the range move those
// behind them forward, so that one round of reading may miss some between two of
// its pages that have no row in common. The range is read until a round finds
// nothing that those before have not seen, and has shown on one page each what
// lies on both sides of such a gap, or was the same once more; or until a
// round has seen as many rows of a second as the server has counted.
type place struct {
	form    Request // the list that it is a place in
	round   int     // 0 is the first
	skip    int
	link    string
	byLink  bool // it goes on by links alone: positions do not lead on
	top     int  // of smaller pages, which show whether links lead on; 0: of pages as usual
	seen    map[int64]struct{}
	fresh   int             // rows of this round that no round before has seen
	sights  map[int64]sight // of this round
	before  map[int64]sight // of the round before
	page    int             // of this round
	first   int64           // second that the last page began with
	at      int             // position of it
	gaps    []int           // the pages of this round that have nothing in common with the one before
	open    []int           // those of the round before that this one has not closed
	closed  bool            // all those of a round were closed
	last    []int64
	joins   bool                // the next page has to have rows of the last one
	breaks  int                 // of rounds, by links that failed
	fails   int                 // of the link
	ended   int                 // rows of the last page, if it looked like the end
	links   map[string]struct{} // that were followed in this round
	hops    int                 // empty pages in a row, and redirects
	hollow  int                 // pages in a row that were empty although they had to join on
	sames   int                 // rows of pages in a row that were the same once more
	pages   int                 // that had something new, one more for each gap
	total   int                 // rows of a second, where the server has counted them
	skipped bool                // a row that makes its page fail, just before this position
	// chain: no row can have been missed, because each page of the first round was sorted
	// and joined on to the one before. After a page that ends with the rows a, b and c, of
	// which b and c have the same second, the next one is asked for from a on, the anchor:
	// behind that come all rows of this second, in any order.
	chain  bool
	anchor int64
}

// sight is where a version of a row was seen.
type sight struct {
	updated time.Time
	page    int
}

// same tells that a row has not changed, as far as it says.
func (s sight) same(as sight) bool { return s.updated.Equal(as.updated) && !s.updated.IsZero() }

func newPlace() *place {
	return &place{seen: map[int64]struct{}{}, links: map[string]struct{}{}, sights: map[int64]sight{}, before: map[int64]sight{}}
}

// never is a gap that no page closes: a round with it cannot be compared with.
var never = []int{0}

// maxHops bounds the empty pages with a link, and the redirects, in a row. A server that
// searches bit by bit sends many; one whose links lead nowhere costs as many, once.
const maxHops = 40

// maxHollow bounds the pages in a row that show nothing where a row has to be.
const maxHollow = 3

// manySames is how many rows in a row show that a position is ignored. One comes again
// wherever another one has come before it.
const manySames = 8

// maxRounds bounds the rounds of one range.
const maxRounds = 12

// maxBreaks bounds the rounds in a row that end with a link that fails, and the ranges that
// are given up for that.
const maxBreaks = 3

var errUnsteady = errors.New("the list changes faster than it can be read, or its rows do not tell when they changed")

// unchanged tells that this round and the one before had the same rows of the range.
// What is beyond it may have ended elsewhere.
func (p *place) unchanged(r *Range) bool {
	within := func(a, b map[int64]sight) bool {
		for id, s := range a {
			if !s.same(b[id]) && (s.updated.IsZero() || r.holds(s.updated)) {
				return false
			}
		}
		return true
	}
	return within(p.sights, p.before) && within(p.before, p.sights)
}

// conditions are those of the list that the place is in. Links that lose them lead on
// through the whole list.
func (p *place) conditions() (all []Option) {
	for _, o := range []Option{OptionStatus, OptionLowerBound, OptionUpperBound} {
		if p.form.carries(o) {
			all = append(all, o)
		}
	}
	return all
}

// restart begins the next round.
func (p *place) restart() {
	p.closed = p.closed || p.round > 0 && len(p.open) == 0
	p.round, p.fresh, p.open = p.round+1, 0, p.gaps
	p.before, p.sights = p.sights, p.before
	p.rewind()
}

// rewind begins the same round again.
func (p *place) rewind() {
	p.skip, p.link, p.last, p.hops, p.fails, p.joins, p.ended, p.page, p.gaps = 0, "", nil, 0, 0, false, 0, 0, nil
	clear(p.links)
	clear(p.sights)
}

// reach is how many rows there are up to the last that can be used: those behind it may
// be none of the list's, and have no position.
func reach(rows []incident.Incident) int {
	for n := len(rows); n > 0; n-- {
		if rows[n-1].ID != 0 {
			return n
		}
	}
	return len(rows)
}

// overlap is how many rows of a page are read again with the next one, so that
// it can be seen to join on.
func overlap(n int) int { return min(1, n/2) }

// applyPosition moves on after a page that was read by position or by link.
func (l *Listing) applyPosition(r *Range, req *Request, page *Page, secs *seconds, now time.Time) *Error {
	s, p, n := l.server, r.place, len(page.Rows)
	same, joined := p.compare(page.Rows)
	anchored := p.page == 0 || slices.ContainsFunc(page.Rows, p.isAnchor)
	p.chain = p.chain && req.Link == "" && n == len(secs.all) && secs.sorted() && (anchored || p.joins)
	if p.sames += n; !same {
		p.sames = 0
	}
	if len(secs.all) > 0 {
		further := p.page > 0 && (req.Link != "" || req.Skip > p.at)
		if first := secs.all[0]; further && secs.asc != secs.desc && (secs.desc && first > p.first || secs.asc && first < p.first) {
			s.PageOrder.extend(now, probeAfter, probeAfter)
		}
		p.first, p.at = secs.all[0], req.Skip
	}
	beyond := req.Skip > 3*(len(p.seen)+s.fullPage(req.Top)) // no list is that long
	switch {
	case (p.sames >= manySames || beyond && n > 0) && req.Link == "":
		// The position was ignored.
		if p.byLink {
			s.Refuse(OptionSkip, now)
			return l.incomplete(req, errNoProgress, now)
		}
		l.leavePositions(p, now)
		return nil
	case n == 0 && req.Link == "" && p.skip > 0 && p.joins:
		// A row of the last page has to come again. It may have left, with those before it;
		// or positions show nothing from here on.
		if err := l.noneCame(req); err != nil {
			return err
		}
		if p.hollow++; p.hollow > maxHollow {
			l.leavePositions(p, now)
			return nil
		}
		p.skip = max(0, p.skip-1-p.hollow*s.fullPage(req.Top)/8)
		return nil
	case (!joined || p.chain && !anchored) && req.Link == "" && p.skip > 0 && p.joins:
		// Rows have left, and what was next is now before this page. One page does not
		// tell any more.
		p.skip = max(0, p.skip-n/2-1)
		p.last, p.joins, p.pages = nil, false, p.pages+1
		return nil
	}
	if req.Count {
		p.total = page.Count
	}
	back := p.hops > 0 && !s.EmptyPages && p.back(page.Rows)
	if n > 0 {
		s.EmptyPages = s.EmptyPages || p.hops > 0 && !back && l.before(r, page.Rows) > 0
		p.hops, p.hollow = 0, 0
	}
	sighted := len(p.sights)
	news := l.note(r, page.Rows) > 0
	if news {
		p.pages++
	}
	if len(p.sights) > sighted {
		l.still = 0 // the round goes on
	}
	more, linked := l.more(req, page), l.Linked && !s.LinkNoise && !s.Takes(OptionSkip, now)
	switch {
	case n == 0:
		p.hops++
		more = more && p.hops <= maxHops
	case back:
		s.LinkNoise, more = true, false
	case req.Link != "" || page.Link != "" || linked:
		more = page.Link != ""
	}
	if p.ended > 0 && news && p.round == 0 {
		l.notLast(p.ended) // what looked like the end was none
	}
	if p.ended = 0; !more {
		p.ended = n
	}
	reached := reach(page.Rows)
	again := overlap(reached)
	if !more && n > 0 && req.Link == "" && l.full(n) && !linked && (reached > 1 || s.Takes(OptionSkip, now)) {
		// It is not known how many rows a page has: the next one has to be empty,
		// unless links are all that leads on, and there is none.
		if more = true; !news {
			again = 0
		}
	}
	if l.past(r, req, secs) {
		more = false
	}
	if p.skipped && n > 0 {
		if p.skipped = false; l.backToBounds(r, req, secs) {
			return nil
		}
	}
	if more {
		if p.chain && l.sorted() {
			l.onward(r, page, secs, l.order(req, secs), false) // by its time
			return nil
		}
		switch ties := secs.last(); {
		case !p.chain:
		case 2*ties < n:
			again, p.anchor = ties+1, page.Rows[n-1-ties].ID
		case n < s.fullPage(req.Top):
			p.chain = false
		default:
			l.restart() // a crowded second
			return nil
		}
		return l.follow(r, req, page, again, now)
	}
	switch {
	case (len(p.sights) == 0 || n == 0 && req.Skip == 0 && req.Link == "") && max(r.EdgeRows, r.Holds, len(p.seen)) > 0:
		if err := l.noneCame(req); err != nil {
			return err
		}
		l.pop()
		if l.Lost++; max(r.EdgeRows, r.Holds, len(p.seen)) > 1 {
			return l.coarse(req, now)
		}
	case p.round == 0 && (p.chain || p.pages <= 1 && req.Link == "" && (req.Skip == 0 || joined)):
		l.pop() // it was one page after all, or none was missed between two
	case p.round > 0 && p.fresh == 0 && (p.closed || len(p.open) == 0 || p.unchanged(r)),
		r.second() && p.total > 0 && p.total == len(p.sights):
		l.pop()
	case p.round >= maxRounds, p.round > 3 && len(p.sights) < 2*p.page: // single rows close no gap
		return l.incomplete(req, errUnsteady, now)
	default:
		p.restart()
		l.still = 0
	}
	return nil
}

// leavePositions goes on by the server's links, where positions do not lead on.
func (l *Listing) leavePositions(p *place, now time.Time) {
	l.server.Refuse(OptionSkip, now)
	p.byLink, p.gaps = true, never
	p.restart()
}

func (p *place) isAnchor(in incident.Incident) bool { return in.ID != 0 && in.ID == p.anchor }

// back tells that a page has nothing but rows of the first page of the round, to which
// none is joined any more. A few of them may have come to where the round is.
func (p *place) back(rows []incident.Incident) bool {
	const many = 5
	known := 0
	for i := range rows {
		in := &rows[i]
		if was := p.sights[in.ID]; in.ID != 0 && was.page == 0 && was.same(sight{updated: in.Updated}) {
			known++
		} else if in.ID != 0 {
			return false
		}
	}
	return known >= many && p.page > 1
}

// compare tells whether a page is the one before once more, and whether it
// joins on to it.
func (p *place) compare(rows []incident.Incident) (same, joined bool) {
	joined = slices.ContainsFunc(rows, func(in incident.Incident) bool { return in.ID != 0 && slices.Contains(p.last, in.ID) })
	same = joined && slices.EqualFunc(rows, p.last, func(in incident.Incident, id int64) bool { return in.ID == id })
	return same, joined
}

// note remembers the rows of a page and counts those that are new. Those that
// were updated after the reading began were not missed before.
func (l *Listing) note(r *Range, rows []incident.Incident) (fresh int) {
	p := r.place
	p.last = p.last[:0]
	first, last, gap := math.MaxInt, 0, p.page > 0 && len(rows) > 0 && !p.skipped
	for i := range rows {
		in := &rows[i]
		p.last = append(p.last, in.ID)
		if in.ID == 0 {
			continue
		}
		is := sight{in.Updated, p.page}
		if was := p.before[in.ID]; was.same(is) {
			first, last = min(first, was.page), max(last, was.page)
		}
		if p.sights[in.ID].same(is) {
			gap = false
		} else {
			p.sights[in.ID] = is
		}
		if _, ok := p.seen[in.ID]; !ok {
			p.seen[in.ID] = struct{}{}
			fresh++
			if in.Updated.IsZero() || l.before(r, rows[i:i+1]) > 0 {
				p.fresh++
			}
		}
	}
	if gap {
		p.gaps = append(p.gaps, p.page)
	}
	p.open = slices.DeleteFunc(p.open, func(page int) bool { return first < page && page <= last })
	if len(rows) > 0 {
		p.page++
	}
	return fresh
}

// follow goes on to the next page, by position, of which so many rows are to be
// those of this one, or by the server's link.
func (l *Listing) follow(r *Range, req *Request, page *Page, again int, now time.Time) *Error {
	s, p, n := l.server, r.place, len(page.Rows)
	reached := reach(page.Rows)
	skips := !p.byLink && s.Takes(OptionSkip, now)
	if skips && n > 0 && req.Link == "" {
		p.skip, p.joins = p.skip+reached-again, again > 0 && page.Rows[reached-1].ID != 0
		return nil
	}
	switch {
	case s.LostLinks && skips, page.Link == "" && (p.top > 0 || reached < 2):
		return l.incomplete(req, errNoProgress, now)
	case s.LostLinks && (s.doubt(now) || s.suspend(now, p.conditions()...)):
		// Positions may have been blamed in vain. If not, there is the whole list.
		p.byLink = false
		p.rewind()
		return nil
	case page.Link == "":
		// Where links lead on, half of these rows have one.
		p.top = reached / 2
		p.rewind()
		return nil
	}
	if _, ok := p.links[page.Link]; ok {
		if n == 0 {
			s.LinkNoise = true
			p.hops = maxHops // and that is the end
			return nil
		}
		return l.incomplete(req, errLinkCycle, now)
	}
	p.links[page.Link] = struct{}{}
	p.link, p.fails = page.Link, 0
	l.Linked = l.Linked || n > 0
	if n > 0 && !p.byLink && p.skip > 0 {
		// The position was as far as it goes.
		p.byLink = true
	}
	return nil
}

// backToBounds leaves the reading by position behind a row that makes its page fail:
// from the second of the next row on, pages are asked for as before, and what
// lies before it is read by position until nothing new comes. It is false where
// rows are not known to be sorted.
func (l *Listing) backToBounds(r *Range, req *Request, secs *seconds) bool {
	p := r.place
	order := l.order(req, secs)
	if !l.sorted() || order == Unordered || len(secs.all) == 0 || p.round > 0 {
		return false
	}
	at := secs.all[0]
	rest, before := r.part(r.Since, at+1), r.part(at, r.Before)
	if order == Ascending {
		rest, before = r.part(at, r.Before), r.part(r.Since, at+1)
	}
	if rest.Since == r.Since && rest.Before == r.Before {
		return false
	}
	rest.Holds = len(secs.all)
	p.restart()
	p.form = Request{}
	maps.DeleteFunc(p.before, func(_ int64, s sight) bool { return !before.holds(s.updated) })
	before.place = p
	l.replace(before, rest)
	return true
}
