package listing

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// behind proves the end of a part that a scan has read, however it was read: the list has
// as many rows, and those behind as many are none but the new ones, or have made room
// for new ones elsewhere. Anything else shows that an order was one of pages alone, or
// that pages had ended early.
type behind struct {
	// From is the position that is read from, -1 as long as the part is read itself. Of
	// the rows Seen from there on, Known had been read.
	From  int `json:"from,omitempty"`
	Seen  int `json:"seen,omitempty"`
	Known int `json:"known,omitempty"`
	// Back is how often it was begun further up, because nothing came.
	Back int `json:"back,omitempty"`
	// Came is how many rows have come since the part was begun, of CameSeen.
	Came     int  `json:"came,omitempty"`
	CameSeen int  `json:"came_seen,omitempty"`
	Ended    bool `json:"ended,omitempty"`
	// Unread: one of them had not been read.
	Unread bool `json:"unread,omitempty"`
	Asks   asks `json:"asks,omitempty"`

	last []incident.Incident // page from there on
	at   int                 // position of it
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
	case asksCame:
		if since := started.Add(-late).Truncate(time.Second); s.takesSince(since, now) && since.After(req.Since) {
			req.Since, req.Skip = since, b.CameSeen
		}
	}
}

// row tells rows apart: one that does not tell its id does so by its time.
func row(in *incident.Incident) int64 {
	if in.ID == 0 {
		return -in.Updated.UnixNano()
	}
	return in.ID
}

// count remembers the rows of a page, and that the end of the part is to be proven.
func (l *Listing) count(r *Range, page *Page) {
	whole, n := r.part(r.Since, r.Before), reach(page.Rows)
	begun := slices.ContainsFunc(l.Todo, func(r Range) bool { return r.Behind != nil })
	if !begun && slices.Contains(l.Whole, whole) {
		if l.part != whole || l.ids == nil {
			l.part, l.ids, l.resumed, l.Rows, l.unsaved = whole, map[int64]struct{}{}, false, 0, 0
		}
		if n > 0 {
			now := *r
			whole.Behind = &behind{From: -1}
			l.Todo = append(l.Todo[:len(l.Todo)-1], whole, now)
		}
	}
	l.fresh = 0
	for i := range page.Rows {
		in := &page.Rows[i]
		if _, ok := l.ids[row(in)]; !ok && listed(in) {
			l.ids[row(in)] = struct{}{}
			l.fresh++
		}
	}
	if r.place != nil {
		l.unsaved += l.fresh
	} else {
		l.Rows += l.fresh
	}
}

// end goes on with the proof of an end.
func (l *Listing) end(r *Range, req *Request, page *Page, now time.Time) *Error {
	b, n := r.Behind, reach(page.Rows)
	known, came, unread := 0, 0, false
	for i := range page.Rows {
		in := &page.Rows[i]
		if !listed(in) {
			continue
		}
		switch _, has := l.ids[row(in)]; {
		case has:
			known++
		case in.Updated.After(l.Started):
			came++
		case l.resumed:
			known++ // as far as one can tell
		case l.before(r, page.Rows[i:i+1]) > 0:
			came++
			unread = true
		case req.Since.IsZero() && !in.Updated.IsZero() && in.Updated.Unix() < r.Since:
			unread = true // it cannot be told what is behind it
		}
	}
	more := n > 0 && l.more(req, page)
	switch b.Asks {
	case asksFront:
		if b.last == nil { // since a restart
			b.Asks, b.Seen, b.Known = asksRest, 0, 0
			return nil
		}
		others := 0
		for i := range page.Rows {
			if !slices.ContainsFunc(b.last, func(in incident.Incident) bool { return row(&in) == row(&page.Rows[i]) }) {
				others++
			}
		}
		if 2*others < min(b.at, n) {
			l.server.refuse(OptionSkip, now) // it is the same page
			return nil
		}
		return l.unproven(b, req, now)
	case asksCame:
		b.Came, b.CameSeen = b.Came+came, b.CameSeen+n
		if b.pushed(l.Rows+l.Skipped) > b.Came {
			if came == 0 || !more || req.Since.Before(l.Started.Add(-2*late)) {
				b.Asks = asksFront
			}
			return nil
		}
		b.Asks = asksRest
	default:
		if n == 0 && page.Link != "" {
			l.pop() // it may lead on, from which position is not known
			return nil
		}
		if n == 0 && b.From > 0 && b.Seen == 0 && b.Back < len(further) {
			b.From, b.Back = max(0, b.From-further[b.Back]), b.Back+1
			return nil
		}
		if n == 0 && l.Rows > 0 && b.Seen == 0 {
			if err := l.empty(req); err != nil {
				b.From, b.Back = -1, 0
				return err
			}
		}
		if n > 0 {
			b.last, b.at = page.Rows, req.Skip
		}
		b.Known, b.Seen, b.Ended = b.Known+known, b.Seen+n, n == 0 // pages may end anywhere
		if came > 0 {
			l.still = 0
		}
		switch {
		case unread:
			b.Unread, b.Asks = true, asksFront
			return nil
		case b.pushed(l.Rows+l.Skipped) > b.Came:
			b.Asks = asksCame
			return nil
		}
	}
	if b.Ended {
		l.pop()
	}
	return nil
}

// pushed is how many of the rows that were read are further down than they can be
// without others in their place.
func (b *behind) pushed(rows int) int { return b.Known - (rows - b.From) }

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
