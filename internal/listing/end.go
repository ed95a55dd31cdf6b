package listing

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// behind proves the end of a part that a scan has read, however it was read. Where 300 rows
// were read the list is asked for from a position near that on: the rows that it shows there
// have to be among those that were read, and the list has to end at 300. A row more is
// allowed for each that has come since the scan began, wherever that stands. Anything else
// shows that only each page was sorted and not the list, or that pages had ended early.
type behind struct {
	// From is the position that is read from, -1 as long as the part is read itself. Of
	// the rows Seen from there on, Known had been read.
	From  int `json:"from,omitempty"`
	Seen  int `json:"seen,omitempty"`
	Known int `json:"known,omitempty"`
	// Nameless of them tell no id.
	Nameless int `json:"nameless,omitempty"`
	// Back is how often it was begun further up, because nothing came.
	Back int `json:"back,omitempty"`
	// Came is how many rows have come since the part was begun, of CameSeen.
	Came     int  `json:"came,omitempty"`
	CameSeen int  `json:"came_seen,omitempty"`
	Ended    bool `json:"ended,omitempty"`
	// Unread: one of them had not been read.
	Unread bool `json:"unread,omitempty"`
	Asks   asks `json:"asks,omitempty"`
	// Filled: there may be more behind the last page, as far as it showed. Then an empty one
	// is asked for again: one answer may be so for no reason.
	Filled bool `json:"filled,omitempty"`

	link  string              // to follow: of an empty page, or of a redirect
	links int                 // that were followed in a row
	last  []incident.Incident // page from there on
	at    int                 // position of it
	again bool                // the empty page was asked for again
	// checks: the last rows have to come again, for positions may show nothing from some on.
	checks  bool
	doubted int // checks that showed rows where a page had been empty
	sames   int // pages in a row that were the same
}

// asks is what is asked for to prove an end.
type asks uint8

const (
	asksRest  asks = iota // what is behind as many rows
	asksCame              // what has come meanwhile
	asksFront             // the first page, to see whether positions are taken
)

const (
	// rereads is how many rows that were read have to come again.
	rereads = 5
	// surplus is how many more rows than there can be are read on before it is asked why.
	surplus = 100
	// late is how late a row may show up on the list.
	late = 5 * time.Minute
)

// further is how many rows further up it is begun, if none came again: they may have left.
var further = []int{100, 1000, 1 << 30}

// ask makes the next request.
func (b *behind) ask(req *Request, started time.Time, s *Server, now time.Time) {
	switch b.Asks {
	case asksRest:
		req.Skip = b.From + b.Seen
		if b.checks {
			req.Skip = max(b.From, req.Skip-rereads)
		}
	case asksCame:
		if since := started.Add(-late).Truncate(time.Second); s.TakesSince(since, now) && since.After(req.Since) {
			req.Since, req.Skip = since, b.CameSeen
		}
	}
	req.Link = b.link
}

// leaveLinks has the proof go on by position alone.
func (b *behind) leaveLinks() { b.link, b.links = "", maxHops }

// provable tells that a request is to be made of a range whose end is to be proven. If not,
// what is to be read has changed.
func (l *Listing) provable(r *Range, now time.Time) bool {
	b, s, lost := r.Behind, l.server, l.Lost > l.Kept
	skips := s.Takes(OptionSkip, now)
	switch {
	case l.failed != nil:
	case !l.Distrust && (skips && r.Before != noBefore && !s.Takes(OptionUpperBound, now) || !skips && lost):
		l.restart()
		return false
	case skips:
		if b.From < 0 {
			b.From = max(0, l.read-rereads)
		}
		return true
	case lost:
		l.failed = l.coarse(&Request{}, now)
	case b.Unread, b.Seen > 0 && !l.fits(b), lacks(l.Total-l.Skipped-l.Nameless, l.read):
		l.failed = l.unproven(b, &Request{}, now)
	case l.Waived:
		l.Waived = false
		l.afresh()
	default:
		l.pop() // nothing tells more than the pages have
	}
	return l.failed != nil
}

// lacks tells that so many more rows have to be there than are that those cannot have left.
func lacks(all, some int) bool { return all > some+some/10+rereads }

// remember takes note of the rows of a page, and that the end of the part is to be proven.
func (l *Listing) remember(r *Range, page *Page) {
	whole, n := r.part(r.Since, r.Before), reach(page.Rows)
	begun := slices.ContainsFunc(l.Todo, func(r Range) bool { return r.Behind != nil })
	if !begun && l.undivided(r) {
		if l.part != whole || l.ids == nil {
			l.part, l.ids, l.resumed, l.read, l.Settled, l.Nameless, l.Total, l.Moved = whole, map[int64]bool{}, false, 0, 0, 0, 0, 0
		}
		if n > 0 {
			now := *r
			whole.Behind = &behind{From: -1}
			l.Todo = append(l.Todo[:len(l.Todo)-1], whole, now)
		}
	}
	if l.undivided(r) {
		l.Total = max(l.Total, page.Count)
	}
	l.length = n
	for i := range page.Rows {
		id, updated, created := page.Rows[i].ID, page.Rows[i].Updated, page.Rows[i].Created
		if id == 0 && updated.IsZero() {
			continue // it is none of the list's
		} else if id == 0 {
			id = -updated.UnixNano()
		}
		moved := l.resumed && updated.After(l.Started) && created.Before(l.Started)
		settled := moved || l.resumed && !l.held(updated) // before
		switch _, has := l.ids[id]; {
		case has:
			continue
		case id < 0:
			l.Nameless++
		case moved:
			l.Moved++
		case !settled:
			l.read++
		}
		l.ids[id] = settled
	}
}

// held tells that a row lies in a range of the part that is still to be read.
func (l *Listing) held(updated time.Time) bool {
	for _, r := range slices.Backward(l.Todo) {
		if r.Behind != nil {
			break
		}
		if r.holds(updated) {
			return true
		}
	}
	return false
}

// settle counts a row that was read, unless it is to come again.
func (l *Listing) settle(id int64, updated time.Time) {
	if settled, read := l.ids[id]; read && id > 0 && !settled && !l.held(updated) {
		l.ids[id] = true
		l.Settled++
	}
}

// end goes on with the proof of an end.
func (l *Listing) end(r *Range, req *Request, page *Page, now time.Time) *Error {
	n, b := l.tally(r, req, page), r.Behind
	b.link = "" // it has been followed
	switch b.Asks {
	case asksFront:
		return l.endFront(b, req, page, now)
	case asksCame:
		return l.endCame(b, req, page, n)
	default:
		return l.endRest(r, req, page, n, now)
	}
}

// tally counts rows that prove something of an end.
type tally struct {
	known, came, nameless int
	unread                bool
}

func (l *Listing) tally(r *Range, req *Request, page *Page) (n tally) {
	for i := range page.Rows {
		in := &page.Rows[i]
		switch _, has := l.ids[in.ID]; {
		case in.ID == 0 && !in.Updated.IsZero():
			n.nameless++
		case in.ID == 0:
		case has:
			n.known++
		case in.Updated.After(l.Started):
			n.came++
		case l.resumed:
			n.known++ // as far as one can tell
		case l.before(r, page.Rows[i:i+1]) > 0:
			n.came++
			n.unread = true
		case in.Updated.IsZero() && r.Status == incident.StatusUnknown && !in.Created.IsZero() && in.Created.Before(l.Started):
			n.unread = true
		case req.Since.IsZero() && !in.Updated.IsZero() && in.Updated.Unix() < r.Since:
			n.unread = true // it cannot be told what is behind it
		}
	}
	return n
}

// endFront looks whether positions are taken: if so the page is another one.
func (l *Listing) endFront(b *behind, req *Request, page *Page, now time.Time) *Error {
	if b.last == nil { // since a restart
		b.Asks, b.Seen, b.Known, b.Nameless = asksRest, 0, 0, 0
		return nil
	}
	others := 0
	for i := range page.Rows {
		if !slices.ContainsFunc(b.last, func(in incident.Incident) bool { return in.ID == page.Rows[i].ID }) {
			others++
		}
	}
	if 2*others < min(b.at, reach(page.Rows)) {
		l.leaveSkip(b, now)
		return nil
	}
	return l.unproven(b, req, now)
}

// leaveSkip is called when pages from different positions were the same. That tells nothing
// of the list, but that there are rows which had not been read.
func (l *Listing) leaveSkip(b *behind, now time.Time) {
	l.server.Refuse(OptionSkip, now)
	*b = behind{From: -1, Unread: b.Unread}
}

// endCame counts what has come since the part was begun.
func (l *Listing) endCame(b *behind, req *Request, page *Page, n tally) *Error {
	rows := reach(page.Rows)
	b.Came, b.CameSeen = b.Came+n.came, b.CameSeen+rows
	more := rows > 0 && l.more(req, page)
	switch {
	case l.fits(b):
		b.Asks = asksRest
		if b.Ended {
			l.pop()
		}
	case n.came == 0 || !more || req.Since.Before(l.Started.Add(-2*late)):
		b.Asks = asksFront
	}
	return nil
}

// endRest reads what is behind as many rows as were read.
func (l *Listing) endRest(r *Range, req *Request, page *Page, n tally, now time.Time) *Error {
	b, rows, more := r.Behind, reach(page.Rows), l.more(req, page)
	if b.links++; rows == 0 && b.links < maxHops && page.Link != req.Link && more {
		b.link = page.Link
		return nil
	}
	if rows > 0 {
		b.links, b.again = 0, false
		if !b.checks {
			b.doubted = 0
		}
	}
	if rows == 0 {
		if believed, err := l.endEmpty(r, req, now); !believed {
			return err
		}
	}
	if b.checks {
		b.checks = false
		if b.Ended = req.Skip+rows <= b.From+b.Seen; b.Ended {
			b.doubted = 0
			l.ended(b)
		} else {
			b.doubted++
		}
		return nil
	}
	if same := func(a, b incident.Incident) bool { return a.ID == b.ID }; rows == 0 || req.Skip <= b.at || !slices.EqualFunc(page.Rows, b.last, same) {
		b.sames = 0
	} else if b.sames++; b.sames > 1+4/rows { // once more, as many as had come may have pushed it
		// Pages before them were others, and have shown something, unless a link led back.
		b.Seen, b.Known = b.Seen-(b.sames-1)*rows, b.Known-(b.sames-1)*n.known
		b.Unread = b.Unread || req.Link == "" && b.Seen > rows && !l.fits(b)
		l.leaveSkip(b, now)
		return nil
	}
	if rows > 0 {
		b.last, b.at, b.Filled = page.Rows, req.Skip, more
	}
	b.Known, b.Nameless, b.Seen = b.Known+n.known, b.Nameless+n.nameless, b.Seen+rows
	// Pages may end anywhere, if they have not shown all that has to come again, or links
	// mean nothing, or the last one was as short.
	short, left := rows == l.length && b.From > 0, 0
	if r.Status != incident.StatusUnknown && b.From > 0 {
		left = 1 // an open incident that was closed
	}
	sure := b.Known >= l.read-b.From-left && !short && !l.server.LinkNoise && !l.Distrust && !l.server.ShortPages
	b.Ended = rows == 0 || sure && !more
	if n.came > 0 || n.known > 0 && b.sames == 0 {
		l.still = 0
	}
	switch {
	case n.unread:
		b.Unread, b.Asks = true, asksFront
	case b.Known > l.read:
		b.Asks = asksFront // after a restart it is not known which they were
	case b.Ended:
		l.ended(b)
	case b.sames == 0 && b.Known > l.read-b.From+surplus && !l.fits(b):
		b.Asks = asksCame
	}
	return nil
}

// endEmpty tells whether a page without rows is believed to be behind the last row. If not,
// what is asked for next has changed, or there is an error.
func (l *Listing) endEmpty(r *Range, req *Request, now time.Time) (believed bool, err *Error) {
	b := r.Behind
	nothing := b.Seen == 0
	if nothing && b.From > 0 && b.Back < len(further) {
		b.From, b.Back = max(0, b.From-further[b.Back]), b.Back+1
		return false, nil
	}
	// All those that are to come again, of a list that no row leaves.
	fewer := r.Status == incident.StatusUnknown && b.Known < l.read-b.From
	if (nothing || fewer || b.checks) && l.read > 0 {
		if err := l.noneCame(req); err != nil {
			if nothing {
				b.From, b.Back = -1, 0
			}
			return false, err
		}
	}
	switch {
	case b.checks, b.doubted > 1, fewer && lacks(l.read-b.From, b.Known):
		// Positions show nothing from some row on: what was read by them may have ended
		// early, too.
		l.server.Refuse(OptionSkip, now)
		l.afresh()
	case b.doubted > 0, !nothing && (b.Back > 0 || fewer):
		b.checks = true
	case b.Filled && !b.again:
		b.again = true
	default:
		return true, nil
	}
	return false, nil
}

// ended looks for what came meanwhile, if there are more rows than there can be.
func (l *Listing) ended(b *behind) {
	if l.fits(b) {
		l.pop()
		return
	}
	b.Asks = asksCame
}

// fits tells that no more of the rows that were read are further down than others have come
// in their place, or could not be read. Those that tell no id may all be rows of the list.
func (l *Listing) fits(b *behind) bool {
	more, others := b.Known-(l.read-b.From), b.Came+l.Skipped+l.Moved
	named := more + b.Nameless - l.Nameless
	return more <= others || -others <= named && named <= others
}

// unproven begins again, because the list has more rows than had been read. Each row may
// also be there twice.
func (l *Listing) unproven(b *behind, req *Request, now time.Time) *Error {
	switch {
	case l.Lost > l.Kept:
		return l.coarse(req, now) // of what bounds leave out
	case l.Short && b.Unread:
		return l.incomplete(req, errShort, now)
	case l.Short:
		l.pop()
		return nil
	case l.Distrust:
		l.Short = true
	default:
		l.server.PageOrder.extend(now, probeAfter, probeAfter)
	}
	l.restart()
	return nil
}
