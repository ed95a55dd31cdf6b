package listing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

func TestClassify(t *testing.T) {
	for _, test := range []struct {
		err            Error
		refused, heavy bool
	}{
		{Error{Status: 400, Reason: reason.Other}, true, false},
		{Error{Status: 404, Reason: reason.Other}, true, false},
		{Error{Status: 501, Reason: reason.Server}, true, false},
		{Error{Status: 500, Reason: reason.Server}, false, true},
		{Error{Status: 503, Reason: reason.Server}, false, true},
		{Error{Status: 504, Reason: reason.Timeout}, false, true},
		{Error{Reason: reason.Timeout}, false, true},
		{Error{Status: 200, Reason: reason.Decode}, false, true},
		{Error{Status: 200, Reason: reason.Decode, TooLarge: true}, false, true},
		{Error{Status: 206, Reason: reason.Partial}, false, false},
		{Error{Status: 429, Reason: reason.Throttled}, false, false},
		{Error{Status: 500, Reason: reason.Throttled}, false, false}, // throttling that is told as a failure
		{Error{Status: 401, Reason: reason.Auth}, false, false},
		{Error{Status: 403, Reason: reason.Forbidden}, false, false},
		{Error{Reason: reason.Network}, false, false},
		{Error{Reason: reason.Other}, false, false},
	} {
		if refused, heavy := classify(&test.err); refused != test.refused || heavy != test.heavy {
			t.Errorf("%d %v: got refused %v, heavy %v", test.err.Status, test.err.Reason, refused, heavy)
		}
	}
}

// TestDiagnosis is a table of servers: each fails for one reason, and what is
// found out is that and nothing else.
func TestDiagnosis(t *testing.T) {
	full := Offer{MaxTop: 100, Order: true, Count: true, Expand: true, Skip: true}
	refusal := func(r *Request) *Error { return &Error{Request: *r, Status: 400, Reason: reason.Other} }
	failure := func(r *Request) *Error { return &Error{Request: *r, Status: 500, Reason: reason.Server} }
	hang := func(r *Request) *Error { return &Error{Request: *r, Reason: reason.Timeout} }
	for _, test := range []struct {
		name   string
		answer func(*Request) *Error
		want   string // options that are left out then
		size   int
		most   int // requests
	}{
		{"takes all", func(*Request) *Error { return nil }, "", 100, 1},
		{"refuses the order", func(r *Request) *Error {
			if r.Order != Unordered {
				return refusal(r)
			}
			return nil
		}, "order", 100, 7},
		{"fails at the order", func(r *Request) *Error {
			if r.Order != Unordered {
				return failure(r)
			}
			return nil
		}, "order", 100, 14},
		{"refuses the count", func(r *Request) *Error {
			if r.Count {
				return refusal(r)
			}
			return nil
		}, "count", 100, 5},
		{"refuses alerts", func(r *Request) *Error {
			if r.Alerts {
				return refusal(r)
			}
			return nil
		}, "alerts", 100, 14},
		{"refuses the lower bound", func(r *Request) *Error {
			if !r.Since.IsZero() {
				return refusal(r)
			}
			return nil
		}, "lower_bound", 100, 14},
		{"refuses with 501", func(r *Request) *Error {
			if r.Count {
				return &Error{Request: *r, Status: 501, Reason: reason.Server}
			}
			return nil
		}, "count", 100, 5},
		{"fails at large pages", func(r *Request) *Error {
			if r.Top > 60 {
				return failure(r)
			}
			return nil
		}, "page_size", 50, 6},
		{"hangs at large pages", func(r *Request) *Error {
			if r.Top > 60 {
				return hang(r)
			}
			return nil
		}, "page_size", 50, 6},
		{"sends too much", func(r *Request) *Error {
			if r.Top > 30 {
				return &Error{Request: *r, Status: 200, Reason: reason.Decode, TooLarge: true}
			}
			return nil
		}, "page_size", 25, 4},
		{"tells its limit", func(r *Request) *Error {
			if r.Top > 25 {
				err := refusal(r)
				err.TopLimit = 25
				return err
			}
			return nil
		}, "page_size", 25, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewServer(full)
			l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
			l.Known = func(*incident.Incident) bool { return false }
			requests := 0
			for ; !l.Done() && requests < 100; requests++ {
				req, _ := l.Next(noon)
				if err := test.answer(&req); err != nil {
					if l.Fail(noon, err) == Failed {
						t.Fatalf("failed at request %d: %+v", requests, req)
					}
					continue
				}
				if _, err := l.Apply(noon, req, Page{Count: 0}); err != nil {
					t.Fatal(err)
				}
			}
			var left []string
			for o := range Option(NumOptions) {
				if s.Unsupported(o) {
					left = append(left, o.String())
				}
			}
			if got := strings.Join(left, " "); got != test.want || s.size(noon) != test.size {
				t.Errorf("left out: got %q and pages of %d, want %q and %d", got, s.size(noon), test.want, test.size)
			}
			if requests > test.most {
				t.Errorf("%d requests, want at most %d", requests, test.most)
			}
		})
	}
}

// TestOutageTellsNothing: nothing is concluded from failures while nothing works,
// they do not add up to a list that cannot be read, and become fewer.
func TestOutageTellsNothing(t *testing.T) {
	for _, e := range []Error{
		{Status: 500, Reason: reason.Server}, {Status: 200, Reason: reason.Decode}, {Reason: reason.Timeout}, {Reason: reason.Network},
		{Status: 206, Reason: reason.Partial}, {Status: 401, Reason: reason.Auth}, {Status: 403, Reason: reason.Forbidden},
		{Status: 429, Reason: reason.Throttled}, {Status: 500, Reason: reason.Throttled},
	} {
		t.Run(fmt.Sprint(e.Status, e.Reason), func(t *testing.T) {
			s := NewServer(Offer{MaxTop: 100, Order: true, Count: true, Expand: true, Skip: true})
			before := *s
			l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
			failed := 0
			for range 2000 {
				err := e
				err.Request, _ = l.Next(noon)
				if l.Fail(noon, &err) == Failed {
					failed++
				}
			}
			// Those that may pass in a moment are for the schedule to give up.
			if _, heavy := classify(&e); heavy && failed < 1500 {
				t.Errorf("%d of 2000 failures end a refresh", failed)
			}
			if s.outages = 0; *s != before {
				t.Errorf("learned from an outage: %+v", s)
			}
			for range 10 {
				req, more := l.Next(noon)
				if !more {
					break
				}
				if _, err := l.Apply(noon, req, Page{Count: 0}); err != nil {
					t.Fatalf("after the outage: %v", err)
				}
			}
			if !l.Done() {
				t.Error("not done after the outage")
			}
		})
	}
}

// TestForeignLink: a link that the client refuses leads nowhere, and is left.
func TestForeignLink(t *testing.T) {
	l := New(NewServer(Offer{MaxTop: 2}), false, Everything(incident.StatusUnknown, time.Time{}))
	req, _ := l.Next(noon)
	// Two rows of one second fill the page: only a link leads on.
	for n := 0; req.Link == ""; n++ {
		page := Page{Count: -1}
		if at := rowsAt(-1)[0].Updated; !at.Before(req.Since) && (req.Before.IsZero() || at.Before(req.Before)) {
			page.Rows, page.Link = rowsAt(-1, -1), "https://elsewhere"
		}
		if _, err := l.Apply(noon, req, page); err != nil || n > 5 {
			t.Fatalf("%v after %d requests", err, n)
		}
		req, _ = l.Next(noon)
	}
	l.Fail(noon, &Error{Request: req, Reason: reason.Other})
	if req, _ := l.Next(noon); req.Link != "" {
		t.Errorf("asked again: %+v", req)
	}
}

// TestLinksThatFail: a link is followed once more before the list is begun again, a
// refused one is not. Where that leads nowhere, what had been refused is tried again.
func TestLinksThatFail(t *testing.T) {
	s := NewServer(Offer{MaxTop: 2, Skip: true})
	s.Refuse(OptionSkip, noon)
	s.Refuse(OptionUpperBound, noon)
	s.Unsorted = true
	l := New(s, false, Everything(incident.StatusUnknown, time.Time{}))
	var asked []string
	for _, fails := range []int{0, 500, 0, 500, 500, 0, 400, 0, 500, 500, 0, 500, 500, 0} {
		req, _ := l.Next(noon)
		asked = append(asked, req.Link)
		if fails == 0 {
			if _, err := l.Apply(noon, req, Page{Rows: rowsAt(-1, -2), Link: fmt.Sprint(len(asked)), Count: -1}); err != nil {
				t.Fatal(err)
			}
		} else if verdict := l.Fail(noon, &Error{Request: req, Status: fails, Reason: reason.Other}); verdict != RetryLater && len(asked) < 13 {
			t.Errorf("request %d: %v", len(asked), verdict)
		}
	}
	if want := []string{"", "1", "1", "3", "3", "", "6", "", "8", "8", "", "11", "11", ""}; !slices.Equal(asked, want) {
		t.Errorf("got %q, want %q", asked, want)
	}
	if !s.Takes(OptionSkip, noon) || !s.Takes(OptionUpperBound, noon) {
		t.Error("positions and bounds are not tried again")
	}
}

// TestBlamedInVain: positions that have been refused are tried again before the
// conditions are left out because links lose them.
func TestBlamedInVain(t *testing.T) {
	for _, skip := range []treat{takes, refuses} {
		m := newModel(rand.New(rand.NewPCG(3, 7)), 1500, true)
		m.links, m.skip = "lost", skip
		s, began := NewServer(m.offer), m.now
		s.Refuse(OptionSkip, m.now)
		l := New(s, true, kinds["scan"].ranges(m.now)...)
		got, err := m.read(l, 500)
		if missing := m.missing(got, began, l.Whole...); err != nil || len(missing) > 0 {
			t.Errorf("positions %d: %d are missing, %v\n%s", skip, len(missing), err, tail(m.log))
		}
		if is, want := s.Takes(OptionLowerBound, m.now), skip == takes; is != want || s.Takes(OptionSkip, m.now) != want {
			t.Errorf("positions %d: bounds are taken: %v, positions %v", skip, is, s.Takes(OptionSkip, m.now))
		}
		if later := m.now.Add(time.Hour); !s.Takes(OptionLowerBound, later) || !s.Takes(OptionUpperBound, later) {
			t.Error("bounds are not tried again after an hour")
		}
	}
}

// TestSizeAfterAll: rows that make a page fail may be taken for a page size that is
// refused. That a small page can be had shows otherwise.
func TestSizeAfterAll(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true})
	s.Refuse(OptionPageSize, noon)
	l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
	for n := 0; !s.Takes(OptionPageSize, noon); n++ {
		req, _ := l.Next(noon)
		if n > 5 {
			t.Fatalf("not taken after %d requests: %+v", n, req)
		}
		if req.Top != 0 {
			if _, err := l.Apply(noon, req, Page{Rows: rowsAt(-1), Count: -1}); err != nil {
				t.Fatal(err)
			}
		} else if l.Fail(noon, &Error{Request: req, Status: 400, Reason: reason.Other}) != RetryNow {
			t.Fatalf("%+v", req)
		}
	}
	if req, _ := l.Next(noon); req.Top != light {
		t.Errorf("%+v", req)
	}
}

// TestSavedListing goes on, and nonsense is refused.
func TestSavedListing(t *testing.T) {
	l := New(NewServer(Offer{MaxTop: 100}), true, Everything(incident.StatusActive, time.Time{}), Everything(incident.StatusUnknown, noon))
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var next *Listing
	if err := json.Unmarshal(data, &next); err != nil {
		t.Fatal(err)
	}
	if err := next.Check(); err != nil {
		t.Error(err)
	}
	if !slices.Equal(next.Todo, l.Todo) || !slices.Equal(next.Whole, l.Whole) || next.Prove != l.Prove {
		t.Errorf("got %+v, want %+v", next, l)
	}
	next.Resume(NewServer(Offer{MaxTop: 100}))
	if req, more := next.Next(noon); !more || req.Status != incident.StatusActive || req.Top != 100 {
		t.Errorf("next: %+v", req)
	}
	for _, bad := range []string{
		`null`, `{"todo":[{"status":200}],"whole":[{}]}`, `{"whole":[{"status":99}]}`, `{"todo":[{"since":1,"before":2}]}`,
	} {
		var l *Listing
		if err := json.Unmarshal([]byte(bad), &l); err != nil {
			t.Fatal(err)
		}
		if l.Check() == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

// TestRestarts: a scan that ends and goes on in another process, in the middle of a
// crowded second too, misses nothing.
func TestRestarts(t *testing.T) {
	for name, way := range ways {
		for seed := range uint64(10) {
			m := newModel(rand.New(rand.NewPCG(seed, 7)), 300, true)
			way(m)
			m.restarts = 0.05
			if m.poison != 0 || m.timeless != 0 {
				continue
			}
			s, began := NewServer(m.offer), m.now
			l := New(s, true, kinds["scan"].ranges(m.now)...)
			got, err := m.read(l, 3000)
			if missing := m.missing(got, began, l.Whole...); err != nil || len(missing) > 0 {
				t.Errorf("%s, seed %d: %d are missing after %d calls, %v\n%s", name, seed, len(missing), m.calls, err, tail(m.log))
			}
		}
	}
}

// TestManyRestarts: a process that hardly ever gets to make more than a request or two goes
// on where it was, and does not take the list for another one.
func TestManyRestarts(t *testing.T) {
	for name, often := range map[string]float64{
		"as documented": 0.6, "by update ascending": 0.6, "Graph": 0.6, "hardly ever updated": 0.6, "by creation": 0.6,
		"lt fails": 0.1, "no order": 0.1, "Graph, order ignored": 0.1, "empty pages": 0.1,
	} {
		for seed := range uint64(20) {
			m := newModel(rand.New(rand.NewPCG(seed, 7)), 450, true)
			ways[name](m)
			m.restarts = often
			began := m.now
			l := New(NewServer(m.offer), true, kinds["scan"].ranges(m.now)...)
			got, err := m.read(l, 300)
			if missing := m.missing(got, began, l.Whole...); err != nil || len(missing) > 0 || l.Short || l.Distrust && often > 0.5 && name != "by creation" {
				t.Errorf("%s, seed %d: %d are missing, %v, begun again without trust %v\n%s", name, seed, len(missing), err, l.Distrust, tail(m.log))
			}
			if len(got) != l.Settled {
				t.Errorf("%s, seed %d: %d rows were read, %d counted", name, seed, len(got), l.Settled)
			}
		}
	}
}

// TestScript: a script has updated most rows within one second, and the process ends and
// goes on in the middle of it.
func TestScript(t *testing.T) {
	for _, names := range [][]string{
		{"no lower bound", "an upper bound of none"},
		{"Graph, no lower bound", "an upper bound of none"},
		{"Graph, no lower bound", "an upper bound of none", "gt"},
		{"creation, sorted pages", "some rows have no id"},
		{"no skip", "small pages"},
	} {
		for seed := range uint64(30) {
			m := newModel(rand.New(rand.NewPCG(seed, 7)), 150, false)
			for _, name := range names {
				ways[name](m)
			}
			m.script()
			m.restarts = 0.2
			began := m.now
			l := New(NewServer(m.offer), true, kinds["scan"].ranges(m.now)...)
			got, err := m.read(l, 3000)
			if missing := m.missing(got, began, l.Whole...); err != nil || len(missing) > 0 {
				t.Errorf("%q, seed %d: %d are missing after %d calls, %v\n%s", names, seed, len(missing), m.calls, err, tail(m.log))
			}
		}
	}
}

// TestRedirects are followed a few times in a row, and what they led to is
// forgotten if that was nowhere: the list itself may be back.
func TestRedirects(t *testing.T) {
	l := New(NewServer(Offer{MaxTop: 100, Skip: true}), false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
	moved := func(to string) Verdict {
		req, _ := l.Next(noon)
		return l.Fail(noon, &Error{Request: req, Status: 302, Reason: reason.Other, Location: to})
	}
	for range 3 {
		for n := range maxHops {
			to := fmt.Sprint("/wait/", n)
			if moved(to) != RetryNow {
				t.Fatalf("redirect %d is not followed", n)
			}
			if req, _ := l.Next(noon); req.Link != to {
				t.Fatalf("got %+v, want %s", req, to)
			}
		}
		if got := moved("/wait/again"); got != Failed {
			t.Errorf("after %d redirects: %v", maxHops, got)
		}
		if req, _ := l.Next(noon); req.Link != "" || req.Since.IsZero() {
			t.Fatalf("the list itself is not asked for: %+v", req)
		}
	}
	// Once more, to where no redirect is followed, or nothing is allowed.
	for _, err := range []Error{{Status: 302, Reason: reason.Other}, {Status: 403, Reason: reason.Forbidden}, {Status: 401, Reason: reason.Auth}} {
		moved("/login")
		err.Request, _ = l.Next(noon)
		l.Fail(noon, &err)
		if req, _ := l.Next(noon); req.Link != "" {
			t.Errorf("after %d: %+v", err.Status, req)
		}
	}
	if moved("/there") != RetryNow {
		t.Error("not followed any more")
	}
	req, _ := l.Next(noon)
	rows, err := l.Apply(noon, req, Page{Rows: rowsAt(-1), Count: -1})
	if err != nil || len(rows) != 1 {
		t.Errorf("got %v, %v", rows, err)
	}
}

// TestLimitThatExplainsNothing: a page size below the limit that the server tells was
// not what it refused.
func TestLimitThatExplainsNothing(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true})
	l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
	for _, limit := range []int{100, 1000} {
		req, _ := l.Next(noon)
		if l.Fail(noon, &Error{Request: req, Status: 400, Reason: reason.Other, TopLimit: limit}); s.Top != 0 || !l.diagnosis.active() {
			t.Errorf("limit %d: asks for pages of %d", limit, s.size(noon))
		}
		l.diagnosis = diagnosis{}
	}
}

// TestClockBack: the clock goes back between a request and its answer, to before what
// the request carries was tried again.
func TestClockBack(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true})
	s.Refuse(OptionStatus, noon.Add(-probeAfter))
	l := New(s, false, Everything(incident.StatusActive, time.Time{}))
	req, more := l.Next(noon)
	if !more {
		t.Fatal("the status is not tried again")
	}
	if rows, err := l.Apply(noon.Add(-time.Hour), req, Page{Rows: rowsAt(-1), Count: -1}); err != nil || len(rows) != 1 {
		t.Errorf("got %v, %v", rows, err)
	}
}

// TestCountWithoutRows: the server counts rows and sends none, nor a link to any. If
// that happens once the page is partial; then it is the count that is wrong.
func TestCountWithoutRows(t *testing.T) {
	for _, sends := range []int{0, 1} {
		s := NewServer(Offer{MaxTop: 50, Order: true, Count: true, Skip: true})
		l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
		req, _ := l.Next(noon)
		if _, err := l.Apply(noon, req, Page{Count: 1}); err == nil || err.Reason != reason.Partial || l.Done() {
			t.Fatalf("got %v, done %v", err, l.Done())
		}
		req, _ = l.Next(noon)
		if rows, err := l.Apply(noon, req, Page{Rows: rowsAt(-1)[:sends], Count: -1}); err != nil || len(rows) != sends || req.Count {
			t.Errorf("got %v, %v to %+v", rows, err, req)
		}
	}
}

// TestCountOfOthers: rows on a page that are none of the list's do not make up for
// those that the server has counted.
func TestCountOfOthers(t *testing.T) {
	for _, test := range []struct {
		rows  []incident.Incident
		count int
		link  string
		want  bool
	}{
		{rowsAt(-1, -2), 2, "", true}, {rowsAt(-1, -2), 3, "", true}, {rowsAt(-1, -2), 1, "", false}, {rowsAt(-1, -2), 2, "x", false},
		{append(rowsAt(-1, -2), incident.Incident{}), 3, "", false}, {append(rowsAt(-1, -2), incident.Incident{}), 4, "", true},
	} {
		page := Page{Rows: test.rows, Count: test.count, Link: test.link}
		if got := New(NewServer(Offer{}), false).counted(&Request{Count: true}, &page); got != test.want || New(NewServer(Offer{}), false).counted(&Request{}, &page) {
			t.Errorf("%d rows, counted %d, link %q: got %v", len(test.rows), test.count, test.link, got)
		}
	}
}

// TestAlertsOfOneRow: pages have become smaller because of a row whose alerts make
// each page fail. Once they are left out pages grow again at once.
func TestAlertsOfOneRow(t *testing.T) {
	s := NewServer(Offer{MaxTop: 50, Order: true, Count: true, Expand: true, Skip: true})
	s.shrink(2, noon)
	l := New(s, false, Everything(incident.StatusUnknown, noon.Add(-time.Minute)))
	for n := 0; !l.Done(); n++ {
		req, _ := l.Next(noon)
		if n > 20 {
			t.Fatalf("never done: %+v", req)
		}
		if req.Alerts {
			l.Fail(noon, &Error{Request: req, Status: 500, Reason: reason.Server})
		} else if _, err := l.Apply(noon, req, Page{Count: 0}); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Unsupported(OptionAlerts) || s.size(noon) < 4 {
		t.Errorf("alerts left out %v, pages of %d", s.Unsupported(OptionAlerts), s.size(noon))
	}
}

// TestOneLinkFails: one failure of the link of an empty page says nothing of the links of
// such pages, which lead to all rows there are.
func TestOneLinkFails(t *testing.T) {
	for what, failure := range map[string]Error{
		"500":              {Operation: OperationList, Status: 500, Reason: reason.Server},
		"401":              {Operation: OperationList, Status: 401, Reason: reason.Auth},
		"403":              {Operation: OperationList, Status: 403, Reason: reason.Forbidden},
		"410, it is over":  {Operation: OperationList, Status: 410, Reason: reason.Other},
		"no token":         {Operation: OperationList, Reason: reason.Auth},
		"something else":   {Operation: OperationList, Reason: reason.Other},
		"connection reset": {Operation: OperationList, Reason: reason.Network},
	} {
		for kind := range kinds {
			t.Run(what+" "+kind, func(t *testing.T) {
				m := newModel(rand.New(rand.NewPCG(1, 7)), 500, false)
				m.graph()
				m.count = refuses
				s := NewServer(m.offer)
				if _, err := m.read(New(s, true, kinds["scan"].ranges(m.now)...), 1000); err != nil {
					t.Fatal(err)
				}
				m.empty = 1 // from now on
				l := New(s, kinds[kind].prove, kinds[kind].ranges(m.now)...)
				for failed := false; !failed; {
					req, more := l.Next(m.now)
					if !more {
						t.Fatal("no link was followed")
					}
					if failed = req.Link != ""; failed {
						failure.Request = req
						l.Fail(m.now, &failure)
						restart(l, m.now)
						break
					}
					page, err := m.list(req)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := l.Apply(m.now, req, page); err != nil {
						t.Fatal(err)
					}
				}
				for _, l := range []*Listing{l, New(s, kinds[kind].prove, kinds[kind].ranges(m.now)...)} {
					began := m.now
					got, err := m.read(l, 5000)
					if missing := m.missing(got, began, l.Whole...); err == nil && len(missing) > 0 {
						t.Errorf("done, and %d of %d rows are missing", len(missing), len(m.rows))
					}
				}
			})
		}
	}
}

// TestLinksAgain: that links lead to nothing is found out again after a day.
func TestLinksAgain(t *testing.T) {
	s := NewServer(Offer{})
	s.LinkNoise, s.LostLinks = true, true
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, 23 * time.Hour} {
		if s.Renew(now.Add(after)); !s.LinkNoise || !s.LostLinks {
			t.Errorf("forgotten after %v", after)
		}
	}
	if s.Renew(now.Add(probeAfter)); s.LinkNoise || s.LostLinks {
		t.Error("for good")
	}
}
