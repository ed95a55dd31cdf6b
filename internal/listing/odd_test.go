package listing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// TestOddAnswers: whichever answer of a reading is the first odd one, and whatever is odd
// about it and the next ones, the list is read whole or is not said to be.
func TestOddAnswers(t *testing.T) {
	short := func(page *Page, n int) {
		page.Rows, page.Link = page.Rows[:min(n, len(page.Rows))], ""
	}
	odds := map[string]struct {
		lasts int // answers
		odd   func(*Page)
	}{
		"short":       {1, func(page *Page) { short(page, len(page.Rows)*6/10) }},
		"two short":   {2, func(page *Page) { short(page, len(page.Rows)*6/10) }},
		"smaller":     {1 << 30, func(page *Page) { short(page, 50) }},
		"empty":       {1, func(page *Page) { short(page, 0) }},
		"three empty": {3, func(page *Page) { short(page, 0); page.Count = min(page.Count, 0) }},
		"six empty":   {6, func(page *Page) { short(page, 0); page.Count = min(page.Count, 0) }},
	}
	for _, name := range []string{
		"as documented", "no links", "by creation", "by update ascending", "never updated", "hardly, by creation",
		"Graph", "Graph, order ignored", "Graph without count", "no order", "no skip", "skip ignored",
		"nothing beyond a skip", "the same beyond a skip",
	} {
		for what, odd := range odds {
			for _, kind := range []string{"scan", "open"} {
				for script := range 2 {
					if script == 1 && (name == "no skip" || name == "skip ignored") {
						continue // links alone lead through a crowded second
					}
					for from, calls := 1+script, 2; from <= calls && from < 60; from += 2 {
						m := newModel(rand.New(rand.NewPCG(1, 7)), 450, false)
						if ways[name](m); script == 1 {
							m.script()
						}
						if what == "smaller" {
							m.links = "none"
						}
						var since time.Time
						m.odd = func(page *Page) {
							if m.calls == from {
								since = m.now
							}
							if m.calls >= from && m.calls < from+odd.lasts && (odd.lasts > 9 || m.now.Sub(since) < 30*time.Second) {
								odd.odd(page)
							}
						}
						s, began := NewServer(m.offer), m.now
						l := New(s, kinds[kind].prove, kinds[kind].ranges(m.now)...)
						got, err := m.read(l, 2000)
						// Where nothing was listed of one the first sync is followed by a sweep.
						parts := slices.DeleteFunc(slices.Clone(l.Whole), func(r Range) bool {
							for _, in := range got {
								if in.Status == r.Status || r.Status == incident.StatusUnknown {
									return false
								}
							}
							return true
						})
						if missing := m.missing(got, began, parts...); err == nil && len(missing) > 0 {
							t.Errorf("%s, %s, script %d, %s from answer %d on: %d are missing after %d calls\n%s", name, kind, script, what, from, len(missing), m.calls, tail(m.log))
						}
						calls = m.calls
					}
				}
			}
		}
	}
}

// TestNothingLeft: rows that one part of a scan has shown cannot have left the other one,
// of all that was updated since: if that has none it is read in other ways, and not believed.
func TestNothingLeft(t *testing.T) {
	for _, at := range []int{-5, -7200} {
		l := New(NewServer(Offer{MaxTop: 100, Skip: true}), true, Everything(incident.StatusActive, time.Time{}), Everything(incident.StatusUnknown, noon.Add(-time.Hour)))
		done, now := false, noon
		for range 100 {
			req, more := l.Next(now)
			if done = !more; done {
				break
			}
			page := Page{Count: -1}
			if req.Status == incident.StatusActive && req.Skip == 0 {
				page.Rows = rowsAt(at)
				page.Rows[0].Status = req.Status
			}
			if _, err := l.Apply(now, req, page); err != nil && err.Reason == reason.Incomplete {
				break
			}
			now = now.Add(time.Minute)
		}
		if old := at < -3600; done != old {
			t.Errorf("updated at %ds: done %v, want %v", at, done, old)
		}
	}
}

// TestEmptyOnce: one answer is empty for no reason, after pages have become so small that the
// one before it ends a list just where it was believed to: because larger ones fail, because
// the server cuts them, without a size that is asked for, or before a restart.
func TestEmptyOnce(t *testing.T) {
	becomes := map[string]func(m *model, s *Server, rows int){
		"too heavy":      func(m *model, _ *Server, rows int) { m.weight = rows },
		"cut":            func(m *model, _ *Server, rows int) { m.cap = rows },
		"of no set size": func(m *model, s *Server, rows int) { m.cap = rows; s.Refuse(OptionPageSize, m.now) },
	}
	for _, name := range []string{"creation, sorted pages", "sorted on each page", "two groups", "as documented"} {
		for how, become := range becomes {
			for n := range 8 {
				rows, small, restart := []int{1, rereads}[n%2], n/2%3, n/2 == 3
				for from, calls := small+1, small+2; from <= calls && from < small+20; from++ {
					m := newModel(rand.New(rand.NewPCG(1, 7)), 318, false)
					ways[name](m)
					s := NewServer(m.offer)
					if small == 0 {
						become(m, s, rows)
					}
					m.odd = func(page *Page) {
						if m.calls == small {
							become(m, s, rows)
						}
						if m.restarts = 0; restart && m.calls == from-1 {
							m.restarts = 1
						}
						if m.calls == from {
							page.Rows, page.Link = nil, ""
						}
					}
					l := New(s, true, kinds["scan"].ranges(m.now)...)
					got, err := m.read(l, 60) // what ends too early does so by then
					if missing := m.missing(got, m.now, l.Whole...); err == nil && len(missing) > 0 {
						t.Errorf("%s, pages of %d, %s from answer %d on, %d empty, restarted %t: %d are missing after %d calls",
							name, rows, how, small, from, restart, len(missing), m.calls)
					}
					calls = m.calls
				}
			}
		}
	}
}
