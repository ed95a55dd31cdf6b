package listing

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/reason"
)

// A range is read by its bounds: in order from the second of the last row on, or, where
// there is no order, by halves, down to single seconds, which are read by position.

// applyBounds moves on after a page that was asked for by its bounds alone.
func (l *Listing) applyBounds(r *Range, req *Request, page *Page, secs *seconds, now time.Time) *Error {
	s, n := l.server, len(page.Rows)
	more := l.more(req, page)
	if n == 0 && more {
		if page.Link == "" {
			s.Refuse(OptionCount, now) // and if there are none the next time it was that
			return &Error{Operation: OperationList, Request: *req, Reason: reason.Partial, Err: errCount}
		}
		return l.fromHere(r, req, page, secs, false, now)
	}
	if n == 0 && max(r.Holds, r.EdgeRows) > 0 {
		if err := l.noneCame(req); err != nil {
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
	if n == 0 && l.Prove && l.Known == nil && !r.Again && (l.undivided(r) || r.Edge != 0 && r.EdgeRows == 0) {
		// One answer may be empty for no reason, or for its bounds: then nothing that has to
		// come again tells. A server that has just started may have none yet.
		again := *r
		again.Again = true
		l.pop()
		last := 1 + slices.IndexFunc(l.Todo, func(r Range) bool { return r.Behind != nil }) // before the end is proven
		l.Todo = slices.Insert(l.Todo, last, again)
		return nil
	}
	sorted := !s.Unsorted
	order := l.order(req, secs)
	if l.past(r, req, secs) {
		more = false
	}
	switch {
	case r.Check > 0 && l.before(r, page.Rows) > r.Check:
		l.notLast(r.LastRows)
		l.restart()
		return nil
	case r.Check > 0:
		l.pop()
		return nil
	case r.EdgeRows == 0 && r.LastRows == 0, !r.edged(req), n > 0 && len(secs.all) == 0: // it does not tell
	case r.Down && r.Since == r.Edge && len(secs.all) > 0 && secs.at(r.Edge) == 0:
		// Nothing lies below it, and what lies above came without it.
		if l.Lost++; l.Lost > l.Kept+1 {
			return l.coarse(req, now)
		}
		l.edgeOnly(r, page, secs, more)
		return nil
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
			l.notLast(r.LastRows)
			if !l.sorted() {
				l.afresh() // nor did it have all of its time
				return nil
			}
			more = l.more(req, page)
		}
	default:
		l.edgeOnly(r, page, secs, more)
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
	case !more, r.second(), req.Top == 1, n < s.fullPage(req.Top), !l.halve(r, secs, now):
		// Pages may end anywhere, or the link means nothing, or bounds do not lead on.
		return l.fromHere(r, req, page, secs, false, now)
	}
	return nil
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
		rest.Edge, rest.Down = secs.min, true
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
	}
	if !above {
		over = Range{}
	}
	l.replace(over, under, alone)
}

// edgeOnly is called when a page that goes on from the second of the last row has
// nothing but rows of that second. Where it may have more, it is read by
// position.
func (l *Listing) edgeOnly(r *Range, page *Page, secs *seconds, more bool) {
	n, s := len(page.Rows), l.server
	doubtful := n > 1 && l.full(n) || n > 0 && (s.ShortPages || page.Link != "")
	if !more && n >= r.EdgeRows && !doubtful {
		l.pop()
		return
	}
	l.crowded(r, r.Edge, max(r.EdgeRows, n), page, secs, r.down(), !r.down())
}

// halve cuts a range whose rows are not sorted at the median of those on the
// page, so that each half has rows, or at a second that has half of them. It is
// false where bounds do not lead on: they cannot be sent, or are ignored.
func (l *Listing) halve(r *Range, secs *seconds, now time.Time) bool {
	if !l.server.Takes(OptionUpperBound, now) || !l.server.TakesSince(instant(secs.max), now) {
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
		if !r.down() {
			lower.Edge, lower.EdgeRows = r.Edge, r.EdgeRows
		}
		l.replace(upper, lower)
	default:
		return false
	}
	return true
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

// fromHere reads the range on by position, of which the page is the first. Chain: as long
// as each page is sorted and joins on to the one before, one round is enough.
func (l *Listing) fromHere(r *Range, req *Request, page *Page, secs *seconds, chain bool, now time.Time) *Error {
	r.place = newPlace()
	r.place.form, r.place.chain = req.form(), chain
	return l.applyPosition(r, req, page, secs, now)
}

// notLast notes that a page of n rows was not the last, although it looked so.
func (l *Listing) notLast(n int) {
	s := l.server
	s.FullPages = false
	if l.Largest <= n && (s.PageMax == 0 || s.PageMax == n) {
		s.PageMax = n
	} else {
		s.ShortPages = true
	}
}
