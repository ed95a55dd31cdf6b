package listing

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// how a server treats an option.
type treat uint8

const (
	takes treat = iota
	ignores
	refuses
	fails // answers 500
)

// model is a server that lists rows, in memory and in one of many ways.
type model struct {
	rng  *rand.Rand
	now  time.Time
	rows map[int64]*incident.Incident
	next int64

	offer       Offer
	order       string // update, update_asc, created, created_asc, random
	granularity time.Duration
	orderBy     treat
	upper       [2]treat // lt, le
	lower       treat
	status      treat
	count       treat
	skip        treat
	skipCap     int
	cap         int     // rows of a page
	randomPages bool    // pages of any size up to what was asked for
	links       string  // none, full, always, lost
	empty       int     // pages before each with rows
	pageSorted  bool    // rows are sorted on each page alone
	alone       bool    // no page has rows of two groups
	groups      int64   // by which rows are sorted first; 0: they are not
	upperEmpty  bool    // an upper bound selects nothing
	lowerGt     bool    // a lower bound is not part of what it bounds, which is compared in seconds
	skipEmpty   bool    // beyond its cap a position shows nothing, instead of being refused
	skipClamp   bool    // or the page at that position
	pageCount   bool    // counts the rows of the page
	restarts    float64 // how likely the process ends before a request
	weight      int     // $top above it fails
	topText     int
	poison      int64
	poisoned    treat // how a page with that row is answered
	timeless    int64 // every so manieth row tells no last update; 0: none
	nameless    int64 // or has no id that can be read
	junk        bool  // each page ends with a row that is none
	retention   time.Duration
	moving      float64 // chance of a change per call
	flaky       float64
	odd         func(page *Page)   // what one answer is like
	blank       func(Request) bool // is answered as if there were no rows
	calls       int
	log         []string
}

func newModel(rng *rand.Rand, n int, crowded bool) *model {
	m := &model{
		rng: rng, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), rows: make(map[int64]*incident.Incident),
		offer: Offer{MaxTop: 100, Skip: true}, order: "update", granularity: 100 * time.Nanosecond, links: "full", next: 1000, poisoned: fails,
	}
	for i := range n {
		created := m.now.Add(-time.Duration(rng.Int64N(int64(170 * 24 * time.Hour))))
		updated := created.Add(time.Duration(rng.Int64N(int64(m.now.Sub(created)))))
		if crowded && i%4 == 0 {
			hours := [...]time.Duration{1, 2, 3600}[i%3]
			updated = m.now.Add(-time.Hour * hours).Truncate(time.Second).Add(time.Duration(rng.Int64N(1e9)))
		}
		m.add(created, updated.Truncate(100))
	}
	return m
}

// script updates most rows within one second.
func (m *model) script() {
	at := m.now.Add(-time.Hour).Truncate(time.Second)
	for id, r := range m.rows {
		if id%3 != 0 && r.Created.Before(at) {
			r.Updated = at.Add(time.Duration(id))
		}
	}
}

// unchecked is how many rows may be missing where pages look sorted and the list is not:
// any number, if neither positions nor counts that the server is believed to take show it;
// a few, if counts do.
func (m *model) unchecked(s *Server, read int) int {
	skips := m.skip == takes && m.skipCap == 0 && s.Takes(OptionSkip, m.now)
	counts := m.offer.Count && m.count == takes && !m.pageCount && s.Takes(OptionCount, m.now)
	switch {
	case skips || !m.pageSorted && m.groups == 0:
		return 0
	case counts:
		return rereads + read/10
	}
	return len(m.rows)
}

func (m *model) add(created, updated time.Time) {
	m.next++
	m.rows[m.next] = &incident.Incident{ID: m.next, Created: created, Updated: updated, Status: incident.Status(1 + m.rng.IntN(5))}
}

// live lets a moment pass.
func (m *model) live() {
	m.now = m.now.Add(time.Duration(m.rng.Int64N(int64(2 * time.Second))))
	for m.moving > 0 && m.rng.Float64() < m.moving {
		if m.rng.IntN(5) == 0 {
			m.add(m.now, m.now)
			continue
		}
		id := 1001 + m.rng.Int64N(m.next-1000)
		r := m.rows[id]
		r.Updated, r.Status = m.now, incident.Status(1+m.rng.IntN(5))
	}
}

func (m *model) refuse(req *Request, t treat) *Error {
	switch t {
	case refuses:
		return &Error{Operation: OperationList, Request: *req, Status: 400, Reason: reason.Other}
	case fails:
		return &Error{Operation: OperationList, Request: *req, Status: 500, Reason: reason.Server}
	}
	return nil
}

func (m *model) list(req Request) (page Page, err *Error) {
	m.calls++
	m.live()
	asked := req
	defer func() {
		short := func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return t.UTC().Format("0102T150405")
		}
		answer := fmt.Sprint(len(page.Rows), " rows ", page.Count, " ", page.Link != "")
		if err != nil {
			answer = err.Error()
		}
		m.log = append(m.log, fmt.Sprintf("[%s,%s) %v st %d top %d order %d skip %d link %q: %s",
			short(asked.Since), short(asked.Before), asked.Bound, asked.Status, asked.Top, asked.Order, asked.Skip, asked.Link, answer))
	}()
	if m.flaky > 0 && m.rng.Float64() < m.flaky {
		return Page{}, m.refuse(&asked, fails)
	}
	if m.blank != nil && m.blank(req) {
		return Page{Count: -1, Date: m.now}, nil
	}
	blanks := 0 // that led here
	if req.Link != "" {
		// A link holds the query and a position.
		parts := strings.Split(req.Link, "|")
		q := Request{Top: req.Top}
		q.Skip, _ = strconv.Atoi(parts[0])
		blanks, _ = strconv.Atoi(parts[1])
		if m.links != "lost" {
			since, _ := strconv.ParseInt(parts[2], 10, 64)
			before, _ := strconv.ParseInt(parts[3], 10, 64)
			if since != 0 {
				q.Since = time.Unix(since, 0)
			}
			if before != 0 {
				q.Before = time.Unix(before, 0)
			}
			status, _ := strconv.Atoi(parts[4])
			q.Status = incident.Status(status)
			order, _ := strconv.Atoi(parts[5])
			q.Order = Order(order)
			bound, _ := strconv.Atoi(parts[6])
			q.Bound = Bound(bound)
			q.Top, _ = strconv.Atoi(parts[7])
		} else {
			q.Top = m.offer.MaxTop
		}
		req = q
	} else {
		for _, o := range []struct {
			on bool
			t  treat
		}{
			{req.Order != Unordered, m.orderBy}, {!req.Before.IsZero(), m.upper[req.Bound]}, {!req.Since.IsZero(), m.lower},
			{req.Status != 0, m.status}, {req.Count, m.count}, {req.Skip > 0, m.skip},
		} {
			if o.on {
				if err = m.refuse(&asked, o.t); err != nil {
					return Page{}, err
				}
			}
		}
		if m.skipCap > 0 && req.Skip > m.skipCap && !m.skipEmpty && !m.skipClamp {
			return Page{}, m.refuse(&asked, refuses)
		}
		if m.retention > 0 && !req.Since.IsZero() && m.now.Sub(req.Since) > m.retention {
			return Page{}, m.refuse(&asked, refuses)
		}
	}
	if m.topText > 0 && req.Top > m.topText && asked.Link == "" {
		err = m.refuse(&asked, refuses)
		err.TopLimit = m.topText
		return Page{}, err
	}
	if m.weight > 0 && req.Top > m.weight {
		return Page{}, m.refuse(&asked, fails)
	}
	if req.Top == 0 {
		req.Top = m.offer.MaxTop
	}
	rows := m.selected(req)
	page = Page{Count: -1, Date: m.now}
	if req.Count && m.count == takes {
		page.Count = len(rows)
	}
	skip := req.Skip
	if m.skip == ignores && asked.Link == "" {
		skip = 0
	}
	if m.skipClamp && asked.Link == "" {
		skip = min(skip, m.skipCap)
	}
	link := func(skip int, what string) string {
		unix := func(t time.Time) int64 {
			if t.IsZero() {
				return 0
			}
			return t.Unix()
		}
		return fmt.Sprintf("%d|%s|%d|%d|%d|%d|%d|%d", skip, what, unix(req.Since), unix(req.Before), req.Status, req.Order, req.Bound, req.Top)
	}
	if left := m.empty - blanks; left > 0 && skip < len(rows) && m.links != "none" {
		page.Link = link(skip, strconv.Itoa(blanks+1))
		return page, nil
	}
	rows = rows[min(skip, len(rows)):]
	top := req.Top
	if m.cap > 0 {
		top = min(top, m.cap)
	}
	if m.randomPages && top > 1 {
		top = 1 + m.rng.IntN(top)
	}
	more := len(rows) > top
	rows = rows[:min(top, len(rows))]
	if m.alone && len(rows) > 0 {
		for i, r := range rows {
			if r.ID%m.groups != rows[0].ID%m.groups {
				rows, more = rows[:i], true
				break
			}
		}
	}
	if m.skipEmpty && skip > m.skipCap && asked.Link == "" {
		rows, more = nil, false
	}
	if m.pageSorted {
		slices.SortStableFunc(rows, func(a, b *incident.Incident) int { return a.Updated.Compare(b.Updated) })
	}
	if m.pageCount && page.Count >= 0 {
		page.Count = len(rows)
	}
	for _, r := range rows {
		if r.ID == m.poison {
			return Page{}, m.refuse(&asked, m.poisoned)
		}
		row := *r
		if m.timeless > 0 && row.ID%m.timeless == 0 {
			row.Updated = time.Time{}
		}
		if m.nameless > 0 && row.ID%m.nameless == 0 {
			row.ID = 0
		}
		page.Rows = append(page.Rows, row)
	}
	if m.junk && len(page.Rows) > 0 {
		page.Rows = append(page.Rows, incident.Incident{})
	}
	switch {
	case m.links == "none":
	case more, m.links == "always":
		page.Link = link(skip+len(rows), "")
	}
	if m.odd != nil {
		m.odd(&page)
	}
	return page, nil
}

// selected are the rows that a request selects, in the order of the server.
func (m *model) selected(req Request) []*incident.Incident {
	// An instant as the server compares it; in nanoseconds, as it is this that most of the
	// time of all tests here goes to.
	at := func(t time.Time) int64 { n := t.UnixNano(); return n - n%int64(m.granularity) }
	since, before := int64(math.MinInt64), int64(math.MaxInt64)
	if m.lower == takes && !req.Since.IsZero() {
		since = at(req.Since)
	}
	if m.upper[req.Bound] == takes && !req.Before.IsZero() {
		if before = at(req.Before); m.upperEmpty {
			before = math.MinInt64
		}
	}
	order := m.order
	if req.Order != Unordered && m.orderBy == takes {
		order = "update"
		if req.Order == Ascending {
			order = "update_asc"
		}
	}
	type keyed struct { // without a pointer, which costs where rows are moved
		group, key, id int64
		at             int32
	}
	selected := make([]*incident.Incident, 0, len(m.rows))
	rows := make([]keyed, 0, len(m.rows))
	for _, r := range m.rows {
		updated := at(r.Updated)
		if updated < since || updated >= before || m.lowerGt && !req.Since.IsZero() && r.Updated.Unix() <= req.Since.Unix() {
			continue
		}
		if m.status == takes && req.Status != 0 && r.Status != req.Status {
			continue
		}
		row := keyed{id: r.ID, at: int32(len(rows))}
		if m.groups > 0 && order != "update_asc" {
			row.group = r.ID % m.groups
		}
		switch order {
		case "update":
			row.key, row.id = -updated, -r.ID
		case "update_asc":
			row.key = updated
		case "created":
			row.key, row.id = -r.Created.UnixNano(), -r.ID
		case "created_asc":
			row.key = r.Created.UnixNano()
		default:
			row.key = (r.ID * 2654435761) % 65537
		}
		rows, selected = append(rows, row), append(selected, r)
	}
	slices.SortFunc(rows, func(a, b keyed) int {
		switch {
		case a.group != b.group:
			return cmp.Compare(a.group, b.group)
		case a.key != b.key:
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Compare(a.id, b.id)
	})
	sorted := make([]*incident.Incident, len(rows))
	for i, row := range rows {
		sorted[i] = selected[row.at]
	}
	return sorted
}

func (m *model) String() string {
	return fmt.Sprintf("%d rows, order %s, granularity %v, orderby %d, upper %v, lower %d, status %d, count %d, skip %d cap %d, pages %d random %v, links %s, empty %v, weight %d, text %d, poison %d, retention %v, moving %v",
		len(m.rows), m.order, m.granularity, m.orderBy, m.upper, m.lower, m.status, m.count, m.skip, m.skipCap, m.cap, m.randomPages, m.links, m.empty, m.weight, m.topText, m.poison, m.retention, m.moving)
}

var errSteps = errors.New("too many steps")

// read runs a listing to its end, and returns what it has read.
func (m *model) read(l *Listing, steps int) (map[int64]incident.Incident, error) {
	got := make(map[int64]incident.Incident)
	failures := 0
	for range steps {
		if m.restarts > 0 && m.rng.Float64() < m.restarts {
			restart(l, m.now)
			for _, in := range l.Leftover() {
				got[in.ID] = in
			}
		}
		req, ok := l.Next(m.now)
		if !ok {
			return got, nil
		}
		page, err := m.list(req)
		if err == nil {
			var rows []incident.Incident
			rows, err = l.Apply(m.now, req, page)
			for _, r := range rows {
				got[r.ID] = r
			}
			if err != nil && err.Reason != reason.Partial {
				return got, err
			}
			if failures = 0; err != nil {
				m.now = m.now.Add(time.Minute)
			}
			continue
		}
		if verdict := l.Fail(m.now, err); verdict == Failed {
			if failures++; failures > 5 {
				return got, err
			}
		}
		m.now = m.now.Add(time.Second)
	}
	return got, errSteps
}

// restart makes of a listing what a later process goes on with, and of its server.
func restart(l *Listing, now time.Time) {
	var next Listing
	saved := &Server{}
	for from, to := range map[any]any{l: &next, l.server: saved} {
		data, err := json.Marshal(from)
		if err == nil {
			err = json.Unmarshal(data, to)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := next.Check(); err != nil {
		panic(err)
	}
	l.server.Resume(saved, now)
	next.Known = l.Known
	next.leftover = slices.Concat(l.leftover, next.Resume(l.server))
	*l = next
}

// read are the ranges that a listing has read: not those of a status that is not taken.
func read(l *Listing, now time.Time) (ranges []Range) {
	for _, r := range l.Whole {
		if r.Status == incident.StatusUnknown || l.server.TakesStatus(r.Status, now) {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// missing lists the rows that a listing of these ranges should have read: those
// that have been what they are since it began.
func (m *model) missing(got map[int64]incident.Incident, began time.Time, ranges ...Range) (missing []int64) {
	for id, r := range m.rows {
		if !r.Updated.Before(began.Truncate(time.Second)) || id == m.poison || m.nameless > 0 && id%m.nameless == 0 {
			continue
		}
		wanted := slices.ContainsFunc(ranges, func(w Range) bool {
			return (w.Status == 0 || w.Status == r.Status) && (w.Since == noSince || r.Updated.Unix() >= w.Since)
		})
		if g, ok := got[id]; wanted && (!ok || !g.Updated.Equal(r.Updated) && !g.Updated.IsZero()) {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return missing
}
