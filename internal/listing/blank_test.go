package listing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// TestBlank: an option that is answered with no rows at all does not make the list empty,
// whatever else the server does.
func TestBlank(t *testing.T) {
	for name, way := range ways {
		for o := range Option(NumOptions) {
			if o == OptionSkip {
				continue // is not asked for at first
			}
			for _, kind := range []string{"scan", "open"} {
				m := newModel(rand.New(rand.NewPCG(1, 7)), 300, false)
				if way(m); m.empty > 0 || m.poison != 0 && o == OptionPageSize {
					continue // an empty page with a link is what an empty list looks like, too; sizes are tried again
				}
				m.offer.Expand = true
				m.blank = func(req Request) bool {
					if o == OptionPageSize {
						return req.Top > 20
					}
					return req.carries(o)
				}
				s, began := NewServer(m.offer), m.now
				l := New(s, kinds[kind].prove, kinds[kind].ranges(m.now)...)
				l.Blank = true
				got, err := m.read(l, 3000)
				what := fmt.Sprintf("%s, %v, %s", name, o, kind)
				if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Reason != reason.Incomplete) && m.timeless == 0 {
					t.Errorf("%s: %v after %d calls\n%s", what, err, m.calls, tail(m.log))
				}
				if err != nil {
					continue
				}
				var ranges []Range
				for _, r := range read(l, m.now) {
					if r.Status == incident.StatusUnknown || !l.LeftOut(r.Status) {
						ranges = append(ranges, r)
					}
				}
				if missing := m.missing(got, began, ranges...); len(missing) > l.Skipped+m.unchecked(s, len(got)) {
					t.Errorf("%s: %d of %d are missing after %d calls\n%s", what, len(missing), len(missing)+len(got), m.calls, tail(m.log))
				}
			}
		}
	}
}

// TestVainBound: what is empty by a bound, for some answers, is not believed to be so,
// whatever becomes of that bound.
func TestVainBound(t *testing.T) {
	for name, way := range ways {
		for o, become := range map[Option]func(*model, treat){
			OptionUpperBound: func(m *model, how treat) { m.upper = [2]treat{how, how} },
			OptionLowerBound: func(m *model, how treat) { m.lower = how },
		} {
			for answers := range 6 {
				for _, how := range []treat{takes, ignores, refuses, fails} {
					m := newModel(rand.New(rand.NewPCG(1, 7)), 300, true)
					if way(m); m.empty > 0 || m.alone && o == OptionLowerBound {
						continue // an empty page with a link is what an empty list looks like, or a page the end of one
					}
					m.script()
					from, to := answers/3*3, answers/3*3+1+answers%3 // nothing comes with these
					n := 0
					m.blank = func(req Request) bool {
						if !req.carries(o) {
							return false
						}
						if n++; n > to && how != takes {
							become(m, how)
						}
						return from < n && n <= to
					}
					s, began := NewServer(m.offer), m.now
					l := New(s, true, kinds["scan"].ranges(m.now)...)
					l.Blank = true
					got, err := m.read(l, 3000)
					if missing := m.missing(got, began, l.Whole...); err == nil && len(missing) > l.Skipped+m.unchecked(s, len(got)) {
						t.Errorf("%s, %v %d to %d, then %d: %d of %d are missing after %d calls\n%s", name, o, from+1, to, how, len(missing), len(missing)+len(got), m.calls, tail(m.log))
					}
				}
			}
		}
	}
}

// TestBlankFails: a list that cannot be asked for without options is empty where it is with
// them.
func TestBlankFails(t *testing.T) {
	for _, err := range []Error{
		{Status: 500, Reason: reason.Server}, {Status: 400, Reason: reason.Other}, {Status: 403, Reason: reason.Forbidden}, {Status: 206, Reason: reason.Partial},
		{Reason: reason.Network}, {Reason: reason.Timeout}, {Status: 302, Reason: reason.Other, Location: "https://api.example/x"}, {Status: 200, Reason: reason.Decode},
	} {
		l := New(NewServer(Offer{MaxTop: 100, Skip: true}), true, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
		l.Blank = true
		calls := 0
		for req, more := l.Next(noon); more && calls < 20; req, more = l.Next(noon) {
			if calls++; req == (Request{}) {
				l.Fail(noon, &err)
			} else if _, err := l.Apply(noon, req, Page{Count: -1}); err != nil {
				t.Error(err)
			}
		}
		if !l.Done() || calls > 5 {
			t.Errorf("%v: done %v after %d calls", err.Error(), l.Done(), calls)
		}
	}
}

// TestBlankAfterAll: where nothing is to be read, that costs one request more.
func TestBlankAfterAll(t *testing.T) {
	for _, kind := range []string{"scan", "open"} {
		for _, status := range []incident.Status{0, incident.StatusResolved} { // none, or others only
			var calls [2]int
			for i := range calls {
				m := newModel(rand.New(rand.NewPCG(1, 7)), 3, false)
				for id, r := range m.rows {
					if r.Status, r.Updated = status, r.Updated.AddDate(-1, 0, 0); status == 0 {
						delete(m.rows, id)
					}
				}
				l := New(NewServer(m.offer), kinds[kind].prove, kinds[kind].ranges(m.now)...)
				l.Blank = i == 1
				if got, err := m.read(l, 100); err != nil || len(got) > 0 {
					t.Errorf("%s: %v, %v", kind, got, err)
				}
				calls[i] = m.calls
			}
			if calls[1] != calls[0]+1 {
				t.Errorf("%s: %v calls", kind, calls)
			}
		}
	}
}

// TestSmallPagesWithout: pages that have to be small, of a server that does not take an
// option besides.
func TestSmallPagesWithout(t *testing.T) {
	for most := range 12 {
		for _, how := range []treat{refuses, fails} {
			for what, not := range map[string]func(*model){
				"order": func(m *model) { m.orderBy = how },
				"count": func(m *model) { m.count = how },
				"both":  func(m *model) { m.orderBy, m.count = how, how },
				"upper": func(m *model) { m.upper, m.orderBy = [2]treat{how, how}, ignores },
				"lower": func(m *model) { m.lower = how },
			} {
				m := newModel(rand.New(rand.NewPCG(1, 7)), 60, false)
				m.graph()
				not(m)
				m.weight = most + 1
				s, began := NewServer(m.offer), m.now
				l := New(s, true, kinds["scan"].ranges(m.now)...)
				got, err := m.read(l, 2000)
				if err != nil {
					t.Errorf("pages of %d without %s (%v): %v after %d calls\n%s", most+1, what, how, err, m.calls, tail(m.log))
				} else if missing := m.missing(got, began, read(l, m.now)...); len(missing) > l.Skipped {
					t.Errorf("pages of %d without %s (%v): %d are missing", most+1, what, how, len(missing))
				}
			}
		}
	}
}
