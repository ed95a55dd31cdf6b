package listing

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// TestEndBehindEmptyPages: the proof of an end follows the link of a page without rows,
// and goes on without where that leads nowhere.
func TestEndBehindEmptyPages(t *testing.T) {
	rows := rowsAt(-10, -20, -30)
	for name, test := range map[string]struct {
		page  Page // of the link
		fails *Error
		links int // requests with one
	}{
		"the rows":           {Page{Count: -1, Rows: rows}, nil, 1},
		"nothing":            {Page{Count: -1}, nil, 2},
		"itself":             {Page{Count: -1, Link: "https://here/1"}, nil, 2},
		"another one, again": {Page{Count: -1, Link: "https://here/+"}, nil, maxHops - 1},
		"other rows":         {Page{Count: -1, Rows: rowsAt(-5000, -5001, -5002)}, nil, 1},
		"nowhere":            {Page{}, &Error{Status: 404, Reason: reason.Other}, 1},
		"another place":      {Page{Count: -1, Rows: rows}, &Error{Status: 302, Location: "https://there/", Reason: reason.Other}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(Offer{MaxTop: 100, Skip: true})
			l := New(s, true, Everything(incident.StatusUnknown, noon.Add(-time.Hour)))
			now, followed := noon, 0
			for range 200 {
				req, more := l.Next(now)
				if !more {
					break
				}
				now = now.Add(time.Minute)
				page := Page{Count: -1}
				switch {
				case l.Todo[len(l.Todo)-1].Behind == nil:
					for _, in := range rows {
						if req.Before.IsZero() || in.Updated.Before(req.Before) {
							page.Rows = append(page.Rows, in)
						}
					}
				case req.Link == "":
					page.Link = "https://here/1"
				case test.fails != nil && req.Link != "https://there/":
					failure := *test.fails
					failure.Request = req
					l.Fail(now, &failure)
					followed++
					continue
				default:
					followed++
					page = test.page
					page.Link = strings.Replace(page.Link, "+", req.Link[len("https://here/"):]+"1", 1)
				}
				if _, err := l.Apply(now, req, page); err != nil && err.Reason == reason.Incomplete {
					t.Fatal(err)
				}
			}
			if !l.Done() || followed != test.links {
				t.Errorf("done %v after %d requests with a link, want %d", l.Done(), followed, test.links)
			}
		})
	}
}

// TestEndByCount: where no position is taken, what the server has counted shows that a
// list is sorted in parts only.
func TestEndByCount(t *testing.T) {
	for _, name := range []string{"three groups, no mixture", "two groups", "sorted on each page"} {
		for seed := range uint64(10) {
			m := newModel(rand.New(rand.NewPCG(seed, 7)), 500, true)
			ways[name](m)
			m.graph()
			m.orderBy, m.skip, m.restarts = ignores, refuses, float64(seed%3)*0.05
			l := New(NewServer(m.offer), true, kinds["scan"].ranges(m.now)...)
			got, err := m.read(l, 5000)
			if missing := m.missing(got, m.now, l.Whole...); err != nil || len(missing) > 0 {
				t.Errorf("%s, seed %d: %d are missing after %d calls, %v", name, seed, len(missing), m.calls, err)
			}
		}
	}
}

// TestEndBeyondPositions: a list that is read by position to where those show nothing more is
// not complete, although every page that ends there was asked for again.
func TestEndBeyondPositions(t *testing.T) {
	for seed := range uint64(60) {
		m := newModel(rand.New(rand.NewPCG(seed, 7)), 450, false)
		if seed%2 == 0 {
			m.graph()
		}
		m.script()
		m.order, m.orderBy = []string{"random", "update", "created"}[seed%3], fails
		m.skipCap, m.skipEmpty, m.poisoned = 200, true, []treat{refuses, fails}[seed/2%2]
		// One that makes pages fail has small ones asked for, just where positions end.
		second := m.now.Add(-time.Hour)
		m.poison = m.selected(Request{Since: second, Before: second.Add(time.Second)})[m.skipCap+1+int(seed%10)].ID
		l := New(NewServer(m.offer), true, kinds["scan"].ranges(m.now)...)
		got, err := m.read(l, 5000)
		if missing := m.missing(got, m.now, l.Whole...); err == nil && len(missing) > 1 {
			t.Errorf("seed %d: %d are missing after %d calls", seed, len(missing), m.calls)
		}
	}
}

// TestEndOfSmallPages: where a position shows nothing, a page that begins before it may show
// a row all the same. A row that is refused has pages be so small there that they end with it.
func TestEndOfSmallPages(t *testing.T) {
	for seed := range uint64(20) {
		m := newModel(rand.New(rand.NewPCG(seed, 7)), 390, false)
		for _, name := range []string{"lt ignored", "one row is refused", "nothing beyond a skip"} {
			ways[name](m)
		}
		m.script()
		l := New(NewServer(m.offer), true, kinds["scan"].ranges(m.now)...)
		got, err := m.read(l, 5000)
		if missing := m.missing(got, m.now, l.Whole...); err == nil && len(missing) > 1 {
			t.Errorf("seed %d: %d are missing after %d calls", seed, len(missing), m.calls)
		}
	}
}

// TestEndOfMovingList: positions are not blamed because an incident is opened after a page
// was empty, and another one closed after the last rows have come again.
func TestEndOfMovingList(t *testing.T) {
	var rows []incident.Incident
	open := func(at int) {
		in := rowsAt(at)[0]
		in.ID, in.Status, in.Created = int64(1000+at), incident.StatusActive, in.Updated
		rows = slices.Insert(rows, 0, in)
	}
	for i := range 40 {
		open(-900 + i*10)
	}
	s := NewServer(Offer{MaxTop: 100, Skip: true})
	l := New(s, false, Everything(incident.StatusActive, time.Time{}))
	checked := false
	for now := noon; ; now = now.Add(time.Second) {
		req, more := l.Next(now)
		if !more {
			break
		}
		switch b := l.Todo[len(l.Todo)-1].Behind; {
		case b == nil || b.From < 0:
		case b.Seen == 0 && b.Back == 0 && len(rows) == 40:
			rows = rows[:32]
		case b.checks && b.doubted == 0:
			open(60)
			checked = true
		case b.doubted == 1 && !b.checks:
			rows = rows[:len(rows)-1]
		}
		page := Page{Count: -1, Date: now}
		for _, in := range rows {
			if !in.Updated.Before(req.Since) && (req.Before.IsZero() || in.Updated.Before(req.Before)) {
				page.Rows = append(page.Rows, in)
			}
		}
		page.Rows = page.Rows[min(req.Skip, len(page.Rows)):]
		page.Rows = slices.Clone(page.Rows[:min(req.Top, len(page.Rows))])
		if _, err := l.Apply(now, req, page); err != nil && err.Reason != reason.Partial {
			t.Fatal(err)
		}
	}
	if s.Unsupported(OptionSkip) || !checked {
		t.Errorf("positions are blamed: %t; the end was checked: %t", s.Unsupported(OptionSkip), checked)
	}
}
