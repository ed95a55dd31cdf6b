package client

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// A stretch of time is read completely or again. Where the server keeps the
// order that it is asked for, a stretch has no end, and the next one begins at
// the last update of a page's last row. Where it does not, nobody knows which
// rows a page leaves for the next, and its links count positions that move
// when rows do; so a stretch that does not fit on one page is cut, until what
// is left does. Only what cannot be cut is read by links: rows of one instant.

// stretch is one page being asked for, in one way after another.
type stretch struct {
	q        incident.Query
	c        incident.Cursor
	how, was mode // was: before this page
	noAlerts bool // an answer 400 may be about them
}

// lower is where the stretch begins, zero if it has no beginning.
func (s *stretch) lower() time.Time {
	if s.c.Border.After(s.q.Since) {
		return s.c.Border
	}
	return s.q.Since
}

// terms are the conditions of the filter.
func (s *stretch) terms() (terms []string) {
	if at := s.lower(); !at.IsZero() && !s.how.noSince {
		terms = append(terms, "lastUpdateDateTime ge "+formatTime(at))
	}
	if s.bounded() {
		terms = append(terms, "lastUpdateDateTime lt "+formatTime(s.c.Until))
	}
	if s.q.Status != incident.StatusUnknown {
		terms = append(terms, "status eq '"+graphStatus[s.q.Status]+"'")
	}
	return terms
}

func (s *stretch) bounded() bool { return !s.c.Until.IsZero() && !s.how.noUntil }

// degrade decides what a 400 was about. It is true if there is another way to
// ask.
func (s *stretch) degrade() bool {
	switch {
	case !s.how.noOrder:
		s.how.noOrder = true
	case s.bounded():
		s.how.noUntil = true
	case s.c.Skip > 0 || s.q.Status != incident.StatusUnknown:
		return false
	case !s.noAlerts:
		// Then nothing else was wrong, perhaps.
		s.noAlerts, s.how = true, s.was
	case !s.how.noSince && !s.lower().IsZero():
		s.how.noSince, s.how.noUntil = true, true
	default:
		return false
	}
	return true
}

// hopeless makes an error of a 400 that nothing helps against.
func (s *stretch) hopeless(e *Error) error {
	switch {
	case s.c.Skip > 0:
		e.Reason, e.Err = "other", errIncomplete
	case s.q.Status != incident.StatusUnknown:
		e.Reason, e.Err = "other", ErrFilterRefused
	}
	return e
}

// enoughAscents are too many to be chance, and what many rows of one instant are
// not: a proof that the server keeps the order.
const enoughAscents = 8

// check compares the rows with what was asked for: a server that ignores an
// option is treated as one that refuses it. It is true if the page is of no use
// and another way was found to ask.
func (s *stretch) check(raw *rawPage) (again bool, err error) {
	usable, older, beyond, other, ascents := 0, 0, 0, 0, 0
	lower := s.lower().Truncate(tick)
	var before time.Time
	for i := range raw.rows {
		in := &raw.rows[i]
		if in.ID == 0 {
			continue
		}
		usable++
		if in.Status != s.q.Status && in.Status != incident.StatusUnknown {
			other++
		}
		switch {
		case in.Updated.IsZero():
			continue
		case in.Updated.Before(lower):
			older++
		case s.bounded() && !in.Updated.Before(s.c.Until):
			beyond++
		}
		switch order := in.Updated.Compare(before); {
		case order < 0:
			s.how.noOrder, s.how.ordered = true, false
		case order > 0:
			ascents++
		}
		before = in.Updated
	}
	s.how.ordered = !s.how.noOrder && (s.how.ordered || ascents > enoughAscents)
	switch {
	case s.c.Link != "":
		return false, nil
	case s.q.Status != incident.StatusUnknown && other*4 > usable:
		return false, &Error{Op: "list", Err: ErrFilterRefused, Reason: "other"}
	case beyond*2 > usable:
		s.how.noUntil = true
		return true, nil
	case older*2 > usable && !s.how.noSince:
		s.how.noSince, s.how.noUntil, s.how.noOrder = true, true, true
		return true, nil
	}
	return false, nil
}

// wanted leaves out what was not asked for, in place.
func (s *stretch) wanted(raw *rawPage, alertsUnknown bool) []incident.Incident {
	since := s.q.Since.Truncate(tick)
	for i := range raw.rows {
		raw.rows[i].AlertsUnknown = alertsUnknown
	}
	return slices.DeleteFunc(raw.rows, func(in incident.Incident) bool {
		return in.ID == 0 || !in.Updated.IsZero() && in.Updated.Before(since)
	})
}

// next is the cursor of what follows a page of at most top rows.
func (s *stretch) next(raw *rawPage, top int) (next incident.Cursor, last bool, err error) {
	if s.how.size > 0 {
		top = min(top, s.how.size)
	}
	n, followed := len(raw.rows), s.c.Link != ""
	_, newest := raw.span()
	switch more := raw.nextLink != "" || n >= top && !followed; {
	case !more && s.bounded():
		return s.onward(n, top), false, nil
	case !more:
		return incident.Cursor{}, true, nil
	case s.how.ordered && newest.After(s.lower()):
		return incident.Cursor{Border: newest, Until: s.c.Until}, false, nil
	case s.how.ordered || s.how.noUntil || n == 0 || n < top && s.c.Seen == 0:
		// Ordered, but all of one instant; or links are the only way; or a page that
		// is not full, behind which there may be nothing any more.
		next, err = s.along(raw)
		return next, false, err
	}
	if followed && n == s.c.Seen {
		s.how.size = n
	}
	if next = s.cut(raw); !next.Until.IsZero() {
		return next, false, nil
	}
	next, err = s.along(raw)
	return next, false, err
}

// span is the oldest and the newest last update of the page, but for one that
// cannot be.
func (p *rawPage) span() (oldest, newest time.Time) {
	future := time.Now().Add(24 * time.Hour)
	for i := range p.rows {
		at := p.rows[i].Updated
		switch {
		case at.IsZero() || at.After(future):
			continue
		case oldest.IsZero() || at.Before(oldest):
			oldest = at
		}
		if at.After(newest) {
			newest = at
		}
	}
	return oldest, newest
}

// cut finds a nearer end for a stretch that has more rows than fit on a page,
// of which some are known, nobody knows which. Until is zero if the stretch
// cannot be cut. What it assumes of the order costs calls if wrong, not rows.
func (s *stretch) cut(raw *rawPage) incident.Cursor {
	lower, end := s.lower(), s.c.Until
	oldest, newest := raw.span()
	if oldest.IsZero() {
		return incident.Cursor{}
	}
	span := newest.Sub(oldest)
	next := incident.Cursor{Border: s.c.Border, Peak: s.c.Peak}
	if newest.After(next.Peak) {
		next.Peak = newest
	}
	// Where the newest come first: four times as far back as was seen, until
	// little enough is left.
	next.Until = next.Peak.Add(-4 * max(next.Peak.Sub(oldest), tick))
	switch {
	case span == 0 && oldest.After(lower):
		// Many rows of one instant: first what is before them.
		next.Until = oldest
	case lower.IsZero() && next.Until.Year() < 1980:
		return incident.Cursor{}
	case !next.Until.After(lower):
		// It is dense from the beginning: as long as most of this page is.
		length := span * 4 / 5
		if raw.ascending() {
			length += oldest.Sub(lower)
		}
		if end.IsZero() {
			end = newest
		}
		next.Until = lower.Add(max(min(length, end.Sub(lower)/2).Truncate(tick), tick))
	}
	if !s.c.Until.IsZero() && !next.Until.Before(s.c.Until) {
		return incident.Cursor{}
	}
	return next
}

func (p *rawPage) ascending() bool {
	return slices.IsSortedFunc(p.rows, func(a, b incident.Incident) int { return a.Updated.Compare(b.Updated) })
}

// onward is the stretch after one that was read completely, as long as is
// likely to fill most of a page.
func (s *stretch) onward(n, top int) incident.Cursor {
	next := incident.Cursor{Border: s.c.Until}
	if s.c.Peak.After(s.c.Until) {
		next.Peak = s.c.Peak
	}
	lower := s.lower()
	width := float64(s.c.Until.Sub(lower))
	if lower.IsZero() || width <= float64(tick) || s.how.ordered {
		// It had no beginning, or was an instant: there is nothing to go by. Or it
		// needs no end.
		return next
	}
	width *= min(max(0.8*float64(top)/float64(max(s.c.Seen+n, 1)), 0.5), 8)
	until := s.c.Until.Add(time.Duration(min(width, float64(1<<61))).Truncate(tick))
	if until.Before(time.Now()) {
		next.Until = until
	}
	return next
}
