package listing

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// TestLoneAndRefused: what is refused after it was found that only one request fails begins
// a diagnosis of its own.
func TestLoneAndRefused(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true, Order: true, Count: true})
	l := New(s, false, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
	for n := range 9 {
		req, _ := l.Next(noon)
		switch {
		case n < 4, n == 6:
			l.Fail(noon, &Error{Reason: reason.Network, Request: req})
		case n == 4:
			if rows, err := l.Apply(noon, req, Page{Rows: rowsAt(-1), Count: -1}); req.Top != 1 || len(rows) > 0 || err != nil {
				t.Errorf("%+v: %d rows, %v", req, len(rows), err)
			}
		case n == 5, n == 7:
			l.Fail(noon, &Error{Reason: reason.Other, Status: 400, Request: req})
		}
	}
	for o := range Option(NumOptions) {
		if s.Unsupported(o) {
			t.Errorf("%v is left out", o)
		}
	}
}

// TestLoss: of every kind of server three of ten answers get lost. Nothing is left out that
// is not where none is lost, and no reading is whole that lacks a row.
func TestLoss(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		for _, kind := range []string{"scan", "open"} {
			var known [NumOptions]bool
			for seed := range uint64(4) { // the first without loss
				rng := rand.New(rand.NewPCG(seed, 9))
				m := newModel(rand.New(rand.NewPCG(1, 7)), 300, false)
				ways[name](m)
				s, began := NewServer(m.offer), m.now
				l := New(s, kinds[kind].prove, kinds[kind].ranges(m.now)...)
				got := map[int64]incident.Incident{}
				for range 3000 {
					req, more := l.Next(m.now)
					if !more {
						if missing := m.missing(got, began, read(l, m.now)...); len(missing) > 0 {
							t.Errorf("%s, %s, seed %d: %d are missing", name, kind, seed, len(missing))
						}
						break
					}
					if seed > 0 && rng.IntN(10) < 3 {
						l.Fail(m.now, &Error{Reason: reason.Network, Request: req})
						m.now = m.now.Add(time.Second)
						continue
					}
					page, err := m.list(req)
					if err != nil {
						l.Fail(m.now, err)
						m.now = m.now.Add(time.Second)
						continue
					}
					rows, err := l.Apply(m.now, req, page)
					for _, in := range rows {
						got[in.ID] = in
					}
					if err != nil && err.Reason != reason.Partial {
						break
					}
					if err != nil {
						m.now = m.now.Add(time.Minute)
					}
				}
				for o := range Option(NumOptions) {
					known[o] = known[o] || seed == 0 && s.Unsupported(o)
					if s.Unsupported(o) && !known[o] {
						t.Errorf("%s, %s, seed %d: %v is left out", name, kind, seed, o)
					}
				}
			}
		}
	}
}
