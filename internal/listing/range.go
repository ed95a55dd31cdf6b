package listing

import (
	"cmp"
	"math"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Range is a part of a tenant's incidents that is still to be read: those of
// one status, or of all, whose last update lies in [Since, Before), in Unix
// seconds.
type Range struct {
	Since  int64           `json:"since"`
	Before int64           `json:"before"`
	Status incident.Status `json:"status,omitempty"`
	// Edge is the second at which the range borders on the page before. If that page of
	// [100, 900) had the newest rows and ended with two of second 700, what is left is
	// [100, 702), for there are servers that round: Edge is 700, EdgeRows 2, and those two
	// have to come again. Where second 700 is read by itself, Edge of what lies below is 700,
	// too, of what lies above 701, and EdgeRows is 0. LastRows is how many rows that page
	// had, if it looked like the last one. Down: the newest come first.
	Edge     int64 `json:"edge,omitempty"`
	Down     bool  `json:"down,omitempty"`
	EdgeRows int   `json:"edge_rows,omitempty"`
	LastRows int   `json:"last_rows,omitempty"`
	// Check is how many rows a page has shown of the range, which is read again to
	// see whether those were all; 0: it is not.
	Check int `json:"check,omitempty"`

	// Holds is how many rows a page has shown of the range, which is read because there
	// are more.
	Holds int `json:"holds,omitempty"`
	// Again: it has turned out to be empty, and has been asked for once more.
	Again bool `json:"again,omitempty"`
	// Behind: the range has been read, and its end is to be proven.
	Behind *behind `json:"behind,omitempty"`

	place *place
}

const (
	noSince  = math.MinInt64
	noBefore = math.MaxInt64
)

// Everything of a status, or with StatusUnknown of all, last updated at or
// after since; zero: of any age.
func Everything(status incident.Status, since time.Time) Range {
	r := Range{Since: noSince, Before: noBefore, Status: status}
	if !since.IsZero() {
		r.Since = since.Unix()
	}
	return r
}

// Older is what of a status, or with StatusUnknown of all, was last updated from an instant
// on, and before a second.
func Older(status incident.Status, since time.Time, before int64) Range {
	return Range{Status: status, Since: since.Unix(), Before: before}
}

// Endless tells that the range reaches up to any time.
func (r *Range) Endless() bool { return r.Before == noBefore }

// From is where the range begins, zero if it reaches back to any age.
func (r *Range) From() time.Time {
	if r.Since == noSince {
		return time.Time{}
	}
	return instant(r.Since)
}

func instant(second int64) time.Time { return time.Unix(second, 0).UTC() }

// second tells that the range cannot be cut any further.
func (r *Range) second() bool { return r.Before == r.Since+1 }

func (r *Range) holds(at time.Time) bool { return at.Unix() >= r.Since && at.Unix() < r.Before }

// count is how many of the rows lie in the range.
func (r *Range) count(secs *seconds) (n int) {
	for _, at := range secs.all {
		if r.holds(instant(at)) {
			n++
		}
	}
	return n
}

func (r *Range) empty() bool { return r.Since >= r.Before }

// part is a range within this one.
func (r *Range) part(since, before int64) Range {
	return Range{Since: since, Before: before, Status: r.Status}
}

// edged tells that a request can begin with the range's edge.
func (r *Range) edged(req *Request) bool {
	if r.down() {
		return !req.Before.IsZero()
	}
	return !req.Since.IsZero()
}

// down tells that the range goes on from its edge to what is older.
func (r *Range) down() bool { return r.Down || r.Since != r.Edge }

// passed tells that a page goes further than the second that it began with.
func (r *Range) passed(s *seconds) bool {
	down := r.down()
	return len(s.all) > 0 && (r.EdgeRows == 0 || down && s.min < r.Edge || !down && s.max > r.Edge)
}

// seconds are those of the rows that tell their last update.
type seconds struct {
	all       []int64
	min, max  int64
	asc, desc bool
}

func secondsOf(rows []incident.Incident) (s seconds) {
	for i := range rows {
		if in := &rows[i]; in.ID != 0 && !in.Updated.IsZero() {
			s.all = append(s.all, in.Updated.Unix())
		}
	}
	s.asc = slices.IsSorted(s.all)
	s.desc = slices.IsSortedFunc(s.all, func(a, b int64) int { return cmp.Compare(b, a) })
	if len(s.all) > 0 {
		s.min, s.max = slices.Min(s.all), slices.Max(s.all)
	}
	return s
}

func (s *seconds) sorted() bool { return s.asc || s.desc }

// one tells that all rows have the same second.
func (s *seconds) one() bool { return len(s.all) > 0 && s.min == s.max }

// at counts the rows of a second.
func (s *seconds) at(second int64) (n int) {
	for _, t := range s.all {
		if t == second {
			n++
		}
	}
	return n
}

// last counts the rows of the last one's second.
func (s *seconds) last() int {
	if len(s.all) == 0 {
		return 0
	}
	return s.at(s.all[len(s.all)-1])
}

// turns counts, among rows of different seconds, those that were created after
// the one before them, and before it.
func turns(rows []incident.Incident) (up, down int) {
	var last *incident.Incident
	for i := range rows {
		in := &rows[i]
		if in.ID == 0 || in.Created.IsZero() || last != nil && in.Updated.Unix() == last.Updated.Unix() {
			continue
		}
		switch {
		case last == nil:
		case in.Created.After(last.Created):
			up++
		case in.Created.Before(last.Created):
			down++
		}
		last = in
	}
	return up, down
}
