package listing

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// noon is when the tests of this package begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestPageSize is a server's life: which pages were too heavy or could be had,
// and what is asked for next.
func TestPageSize(t *testing.T) {
	const heavy, had, told, later = "heavy", "had", "told", "later"
	type step struct {
		what string
		top  int           // of the page, or the limit that is told
		pass time.Duration // before it
		want int           // the size from then on
	}
	for name, steps := range map[string][]step{
		"halves down to one": {
			{heavy, 100, 0, 50}, {heavy, 50, 0, 25}, {heavy, 25, 0, 12}, {heavy, 12, 0, 6}, {heavy, 6, 0, 3}, {heavy, 3, 0, 1}, {heavy, 1, 0, 1},
		},
		"grows again after a minute": {
			{heavy, 100, 0, 50}, {had, 50, 0, 50}, {later, 0, 59 * time.Second, 50}, {later, 0, time.Second, 100}, {had, 100, 0, 100},
		},
		"and then at once as far as it goes": {
			{heavy, 100, 0, 50}, {heavy, 50, 0, 25}, {heavy, 25, 0, 12}, {later, 0, time.Minute, 24}, {had, 24, 0, 48}, {had, 48, 0, 96}, {had, 96, 0, 100}, {had, 100, 0, 100},
		},
		"waits twice as long each time that it fails": {
			{heavy, 100, 0, 50},
			{later, 0, time.Minute, 100}, {heavy, 100, 0, 50}, {later, 0, 119 * time.Second, 50},
			{later, 0, time.Second, 100}, {heavy, 100, 0, 50}, {later, 0, 239 * time.Second, 50}, {later, 0, time.Second, 100},
		},
		"an hour at most": {
			{heavy, 100, 0, 50},
			{heavy, 100, time.Hour, 50}, {heavy, 100, time.Hour, 50}, {heavy, 100, time.Hour, 50}, {heavy, 100, time.Hour, 50}, {heavy, 100, time.Hour, 50},
			{heavy, 100, time.Hour, 50}, {heavy, 100, time.Hour, 50}, {later, 0, time.Hour - time.Second, 50}, {later, 0, time.Second, 100},
		},
		"believes a limit for a day": {
			{told, 25, 0, 25}, {had, 25, 0, 25}, {later, 0, 24*time.Hour - time.Second, 25}, {later, 0, time.Second, 50}, {had, 50, 0, 100}, {had, 100, 0, 100}, {later, 0, time.Hour, 100},
		},
		"a limit that still holds": {
			{told, 25, 0, 25}, {later, 0, 24 * time.Hour, 50}, {told, 25, 0, 25}, {later, 0, 23 * time.Hour, 25},
		},
		"heavy below a limit": {
			{told, 40, 0, 40}, {heavy, 40, 0, 20}, {later, 0, time.Minute, 40}, {had, 40, 0, 80}, {told, 40, 0, 40}, {later, 0, time.Hour, 40},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, now := NewServer(Offer{MaxTop: 100}), noon
			for i, step := range steps {
				now = now.Add(step.pass)
				switch step.what {
				case heavy:
					s.shrink(step.top, now)
				case had:
					s.sized(step.top, now)
				case told:
					s.Top, s.Grow = step.top, pause{Until: now.Add(probeAfter)}
				}
				if got := s.size(now); got != step.want {
					t.Fatalf("after step %d, %s %d: got %d, want %d", i, step.what, step.top, got, step.want)
				}
			}
		})
	}
}

// TestTakes: an option that is refused is left out for a day, alerts for a
// minute and then longer, and is used again once it was taken.
func TestTakes(t *testing.T) {
	full := Offer{MaxTop: 50, Order: true, Count: true, Expand: true, Skip: true}
	for o := range Option(NumOptions) {
		s := NewServer(full)
		if !s.Takes(o, noon) || s.Unsupported(o) {
			t.Errorf("%v: not taken although nothing is known", o)
		}
		s.Refuse(o, noon)
		rest := probeAfter
		if o == OptionAlerts {
			rest = firstWait
		}
		if s.Takes(o, noon.Add(rest-1)) || !s.Takes(o, noon.Add(rest)) || !s.Unsupported(o) {
			t.Errorf("%v: not left out for %v", o, rest)
		}
		s.accept(&Request{
			Since: noon.Add(-time.Minute), Before: noon, Status: incident.StatusActive, Order: Ascending, Skip: 1, Alerts: true, Count: true, Top: 1,
		}, noon)
		if s.Unsupported(o) {
			t.Errorf("%v: still left out although it was taken", o)
		}
	}
	s := NewServer(full)
	for o, hours := range map[Option][]float64{
		OptionAlerts: {1. / 60, 2. / 60, 4. / 60, 8. / 60, 16. / 60, 32. / 60, 1, 1},
		OptionOrder:  {24, 24},
	} {
		for i, h := range hours {
			s.Refuse(o, noon)
			if want := time.Duration(h * float64(time.Hour)); s.Takes(o, noon.Add(want-1)) || !s.Takes(o, noon.Add(want)) {
				t.Errorf("%v, refused %d times: not left out for %v", o, i+1, want)
			}
		}
	}
	s.accept(&Request{Link: "x", Alerts: true}, noon)
	if !s.Unsupported(OptionAlerts) {
		t.Error("a link tells nothing of what a request carries")
	}
	s.Refuse(OptionPageSize, noon)
	if got := s.size(noon); got != 0 {
		t.Errorf("no page size is taken: got %d, want none", got)
	}
	bare := NewServer(Offer{MaxTop: 100})
	if bare.Takes(OptionOrder, noon) || bare.Takes(OptionCount, noon) || bare.Takes(OptionSkip, noon) || bare.Unsupported(OptionOrder) {
		t.Error("what is not offered is not asked for, nor missed")
	}
}

// TestTakesPartly: bounds, positions and statuses that are refused only from
// some value on.
func TestTakesPartly(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true})
	day := 24 * time.Hour
	s.OldBound, s.Old.Until = 100*day, noon.Add(day)
	if s.TakesSince(noon.Add(-100*day), noon) || !s.TakesSince(noon.Add(-99*day), noon) || !s.TakesSince(noon.Add(-200*day), noon.Add(day)) {
		t.Error("old bounds")
	}
	if !s.Unsupported(OptionLowerBound) || !s.Takes(OptionLowerBound, noon) {
		t.Error("younger bounds are still taken")
	}
	s.accept(&Request{Since: noon.Add(-99 * day)}, noon)
	if s.OldBound == 0 {
		t.Error("a young bound says nothing of old ones")
	}
	if s.accept(&Request{Since: noon.Add(-150 * day)}, noon); s.OldBound != 0 {
		t.Error("an old bound was taken")
	}
	s.Statuses[incident.StatusAwaitingAction].extend(noon, day, day)
	if s.TakesStatus(incident.StatusAwaitingAction, noon) || !s.TakesStatus(incident.StatusActive, noon) || !s.TakesStatus(incident.StatusAwaitingAction, noon.Add(day)) {
		t.Error("statuses")
	}
	s.Refuse(OptionStatus, noon)
	if s.TakesStatus(incident.StatusActive, noon) {
		t.Error("no status is taken")
	}
}

// TestDoubt: where a list cannot be read without what is left out, that is tried
// again, but not all the time.
func TestDoubt(t *testing.T) {
	s := NewServer(Offer{MaxTop: 50, Order: true, Count: true, Expand: true, Skip: true})
	const day = 24 * time.Hour
	blame := func(now time.Time) {
		for o := range Option(NumOptions) {
			s.Refuse(o, now)
		}
		s.OldBound = time.Hour
		s.Old.extend(now, day, day)
		s.Statuses[incident.StatusActive].extend(now, day, day)
	}
	blame(noon)
	l := New(s, false, Everything(incident.StatusUnknown, noon))
	if err := l.incomplete(&Request{}, errNoProgress, noon); err.Reason != reason.Incomplete {
		t.Errorf("got %v", err)
	}
	for o := range Option(NumOptions) {
		if s.Takes(o, noon) != (o != OptionAlerts) {
			t.Errorf("%v: taken %v", o, s.Takes(o, noon))
		}
	}
	if !s.TakesSince(noon.AddDate(-1, 0, 0), noon) || !s.TakesStatus(incident.StatusActive, noon) {
		t.Error("what is refused in part is not tried again")
	}
	blame(noon)
	if s.doubt(noon.Add(59*time.Minute)) || s.Takes(OptionOrder, noon.Add(59*time.Minute)) {
		t.Error("doubted twice within an hour")
	}
	if !s.doubt(noon.Add(time.Hour)) || !s.Takes(OptionOrder, noon.Add(time.Hour)) {
		t.Error("not doubted after an hour")
	}
}

// TestServerResume: what is saved is as good as what was known, and nonsense
// does no harm.
func TestServerResume(t *testing.T) {
	s := NewServer(Offer{MaxTop: 50, Order: true})
	s.Refuse(OptionOrder, noon)
	s.shrink(50, noon)
	s.Unsorted, s.LostLinks, s.PageMax = true, true, 20
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var saved Server
	if err := json.Unmarshal(data, &saved); err != nil {
		t.Fatal(err)
	}
	next := NewServer(Offer{MaxTop: 50, Order: true})
	next.Resume(&saved, noon)
	if *next != *s {
		t.Errorf("got %+v, want %+v", next, s)
	}
	// A clock that was ahead when it was saved keeps nothing out for longer than a day.
	s.Refuse(OptionStatus, noon.AddDate(0, 7, 0))
	s.Refuse(OptionAlerts, noon.AddDate(0, 7, 0))
	s.Statuses[incident.StatusActive].extend(noon.AddDate(0, 7, 0), probeAfter, probeAfter)
	s.OldBound = time.Hour
	s.Old.extend(noon.AddDate(0, 7, 0), probeAfter, probeAfter)
	s.DoubtedAt = noon.AddDate(0, 7, 0)
	next.Resume(s, noon)
	tomorrow := noon.Add(probeAfter)
	if !next.Takes(OptionStatus, tomorrow) || !next.Takes(OptionAlerts, tomorrow) || !next.TakesStatus(incident.StatusActive, tomorrow) ||
		!next.TakesSince(noon.AddDate(-1, 0, 0), tomorrow) || next.DoubtedAt.After(noon) {
		t.Errorf("got %+v", next)
	}
	for _, top := range []int{-1, 0, 51, 1 << 40} {
		next = NewServer(Offer{MaxTop: 50})
		next.Resume(&Server{Top: top}, noon)
		if got := next.size(noon); got != 50 {
			t.Errorf("saved size %d: asks for %d", top, got)
		}
	}
	if err := json.Unmarshal([]byte(`{"refused":[{"until":"2026-03-01T00:00:00Z"}],"statuses":[],"top":7}`), &saved); err != nil {
		t.Errorf("fewer options than there are: %v", err)
	}
}

func rowsAt(seconds ...int) (rows []incident.Incident) {
	for i, s := range seconds {
		rows = append(rows, incident.Incident{ID: int64(i + 1), Updated: noon.Add(time.Duration(s) * time.Second)})
	}
	return rows
}

func TestSeconds(t *testing.T) {
	for _, test := range []struct {
		rows           []int
		asc, desc, one bool
	}{
		{nil, true, true, false},
		{[]int{5}, true, true, true},
		{[]int{5, 5, 5}, true, true, true},
		{[]int{1, 2, 2}, true, false, false},
		{[]int{3, 3, 1}, false, true, false},
		{[]int{3, 4, 1}, false, false, false},
	} {
		s := secondsOf(append(rowsAt(test.rows...), incident.Incident{}, incident.Incident{ID: 99}))
		if s.asc != test.asc || s.desc != test.desc || s.one() != test.one || s.sorted() != (test.asc || test.desc) || len(s.all) != len(test.rows) {
			t.Errorf("%v: %+v", test.rows, s)
		}
	}
	s := secondsOf(rowsAt(1, 2, 2, 9))
	if at := noon.Unix() + 2; s.at(at) != 2 || s.min != noon.Unix()+1 || s.max != noon.Unix()+9 {
		t.Errorf("%+v", s)
	}
}

// TestMedian: it has rows before it and rows at or after it.
func TestMedian(t *testing.T) {
	for _, test := range []struct {
		rows []int
		want int
	}{
		{[]int{1, 2}, 2}, {[]int{1, 1, 1, 2}, 2}, {[]int{1, 2, 2, 2}, 2}, {[]int{5, 1, 3, 2, 4}, 3}, {[]int{7, 7, 7, 7, 7, 9, 8}, 8},
	} {
		s := secondsOf(rowsAt(test.rows...))
		if got := int(median(&s) - noon.Unix()); got != test.want {
			t.Errorf("%v: got %d, want %d", test.rows, got, test.want)
		}
	}
}

// TestSorted: rows are sorted by last update on purpose if their creation is
// not sorted, on one page or on several.
func TestSorted(t *testing.T) {
	asc, mixed := make([]int, 30), make([]int, 30)
	for i := range asc {
		asc[i], mixed[i] = i, i^1
	}
	desc := slices.Clone(asc)
	slices.Reverse(desc)
	few := []int{4, 3, 5, 1, 2}
	for _, test := range []struct {
		created [][]int
		want    bool
	}{
		{nil, false}, {[][]int{desc}, false}, {[][]int{asc}, false}, {[][]int{make([]int, 30)}, false},
		{[][]int{mixed}, true}, {[][]int{mixed[:24]}, false}, {[][]int{mixed[:14], mixed[:14]}, true},
		{[][]int{few, few, few, few, few}, false}, {[][]int{few, few, few, few, few, few}, true},
		{slices.Repeat([][]int{{4, 3, 5}}, 20), false},
	} {
		l := New(NewServer(Offer{MaxTop: 100}), false)
		for _, page := range test.created {
			rows := rowsAt(asc...)[:len(page)]
			for i, at := range page {
				rows[i].Created = rowsAt(at)[0].Updated
			}
			secs := secondsOf(rows)
			l.trusts = true
			l.learn(&Range{}, &Request{}, &Page{Rows: append(rows, incident.Incident{ID: 50}, incident.Incident{Created: noon})}, &secs, noon)
		}
		if got := l.sorted(); got != test.want {
			t.Errorf("%v: got %v, want %v", test.created, got, test.want)
		}
		// The order that was asked for says nothing of the server's own, nor the other
		// way round.
		rows := rowsAt(1)
		secs := secondsOf(rows)
		if l.learn(&Range{}, &Request{Order: Ascending}, &Page{Rows: rows}, &secs, noon); l.sorted() {
			t.Errorf("%v: sorted although pages in an order that was asked for have not shown it", test.created)
		}
	}
}

// TestOneOddPage: one page of rows that were not asked for shows nothing, two of them do.
func TestOneOddPage(t *testing.T) {
	since := noon.Add(-time.Minute)
	for name, test := range map[string]struct {
		of  Range
		odd []incident.Incident
		is  Option
	}{
		"since":  {Everything(incident.StatusUnknown, since), rowsAt(-5000, -30, -4000, -10), OptionLowerBound},
		"status": {Everything(incident.StatusActive, time.Time{}), rowsAt(-30, -20, -10), OptionStatus},
	} {
		for i := range test.odd {
			test.odd[i].Status = incident.StatusResolved
		}
		for _, pages := range []int{1, 2} {
			s := NewServer(Offer{MaxTop: 100, Skip: true})
			l := New(s, false, test.of)
			for range pages {
				req, _ := l.Next(noon)
				if _, err := l.Apply(noon, req, Page{Count: -1, Rows: test.odd}); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.Unsupported(test.is); got != (pages == 2) {
				t.Errorf("%s: after %d odd pages it is left out: %v", name, pages, got)
			}
			if l.Done() {
				t.Errorf("%s: it is done by %d odd pages", name, pages)
			}
		}
	}
}
