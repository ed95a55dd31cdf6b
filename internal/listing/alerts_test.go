package listing

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// partial is a page of two rows, the first with one alert of several.
func partial() Page {
	rows := rowsAt(-1, -2)
	rows[0].Alerts = make([]incident.Alert, 1)
	return Page{Rows: rows, Count: -1, MoreAlerts: map[int64]string{1: "more-1"}}
}

// begun is a listing that was given a partial page.
func begun(t *testing.T) *Listing {
	t.Helper()
	l := New(NewServer(Offer{MaxTop: 100, Skip: true}), false, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
	req, _ := l.Next(noon)
	rows, err := l.Apply(noon, req, partial())
	if err != nil || len(rows) != 1 || rows[0].ID != 2 {
		t.Fatalf("got %v, %v, want the row that is whole", rows, err)
	}
	if req, more := l.Next(noon); !more || req.Link != "more-1" || req.AlertsOf != 1 || l.Done() {
		t.Fatalf("next: %+v", req)
	}
	return l
}

// TestAlertsByLinkAlone: a row that comes with a link and nothing else has all of its
// alerts in the end, and its server is one that delivers them.
func TestAlertsByLinkAlone(t *testing.T) {
	s := NewServer(Offer{MaxTop: 100, Skip: true, Expand: true})
	l := New(s, false, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
	req, _ := l.Next(noon)
	page := partial()
	page.Rows = page.Rows[:1]
	page.Rows[0].Alerts, page.Rows[0].AlertsUnknown = nil, true
	if rows, err := l.Apply(noon, req, page); err != nil || len(rows) > 0 || s.Unsupported(OptionAlerts) {
		t.Fatalf("got %v, %v", rows, err)
	}
	req, _ = l.Next(noon)
	rows, err := l.Apply(noon, req, Page{Alerts: make([]incident.Alert, 3)})
	if err != nil || len(rows) != 1 || len(rows[0].Alerts) != 3 || rows[0].AlertsUnknown {
		t.Errorf("got %+v, %v", rows, err)
	}
}

// TestAlertsAreFollowed to their end, in parts.
func TestAlertsAreFollowed(t *testing.T) {
	l := begun(t)
	for part := 2; part <= 4; part++ {
		req, _ := l.Next(noon)
		if link := fmt.Sprint("more-", part-1); req.Link != link {
			t.Fatalf("the link is %s, want %s", req.Link, link)
		}
		page := Page{Alerts: make([]incident.Alert, 10)}
		if part < 4 {
			page.Link = fmt.Sprint("more-", part)
		}
		rows, err := l.Apply(noon, req, page)
		switch {
		case err != nil:
			t.Fatal(err)
		case part < 4 && len(rows) > 0:
			t.Fatal("a row without all of its alerts")
		case part == 4 && (len(rows) != 1 || rows[0].ID != 1 || len(rows[0].Alerts) != 31 || rows[0].AlertsUnknown):
			t.Fatalf("got %+v", rows)
		}
	}
	if req, _ := l.Next(noon); req.AlertsOf != 0 {
		t.Error("they are asked for again")
	}
}

// TestAlertsWithoutEnd: an incident whose alerts lead in a cycle, or are too
// many, counts as one whose alerts are not known.
func TestAlertsWithoutEnd(t *testing.T) {
	for name, test := range map[string]struct {
		page  func(n int) Page
		calls int
	}{
		"the same link": {func(int) Page { return Page{Link: "more-1"} }, 1},
		"a cycle": {func(n int) Page {
			return Page{Link: [...]string{"further", "more-1"}[(n-1)%2], Alerts: make([]incident.Alert, 1)}
		}, 2},
		"nothing":  {func(n int) Page { return Page{Link: fmt.Sprint("further-", n)} }, maxBlanks + 1},
		"no end":   {func(n int) Page { return Page{Link: fmt.Sprint("further-", n), Alerts: make([]incident.Alert, 1)} }, maxAlertLinks},
		"too many": {func(n int) Page { return Page{Link: fmt.Sprint("further-", n), Alerts: make([]incident.Alert, 5000)} }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := begun(t)
			for n := 1; n <= test.calls; n++ {
				req, _ := l.Next(noon)
				if req.AlertsOf == 0 {
					t.Fatal("the row is lost")
				}
				rows, err := l.Apply(noon, req, test.page(n))
				if err != nil {
					t.Fatal(err)
				}
				if n < test.calls && len(rows) > 0 {
					t.Fatalf("given up after %d calls", n)
				}
				if n == test.calls && (len(rows) != 1 || rows[0].ID != 1 || !rows[0].AlertsUnknown || rows[0].Alerts != nil) {
					t.Errorf("got %+v", rows)
				}
			}
		})
	}
}

// TestAlertsFail: what fails for this row alone is given up, an outage is not.
func TestAlertsFail(t *testing.T) {
	for _, test := range []struct {
		err   Error
		after int // failures; 0: never
	}{
		{Error{Status: 404, Reason: reason.Other}, 1},
		{Error{Reason: reason.Other, Unsent: true}, 1}, // a link to another host, that is not even asked
		{Error{Status: 500, Reason: reason.Server}, 3},
		{Error{Status: 206, Reason: reason.Partial}, 3},
		{Error{Status: 200, Reason: reason.Decode}, 3},
		{Error{Status: 302, Reason: reason.Other, Location: "there"}, 3},
		{Error{Status: 403, Reason: reason.Forbidden}, 3},
		{Error{Reason: reason.Timeout}, 3},
		{Error{Status: 401, Reason: reason.Auth}, 0},
		{Error{Status: 429, Reason: reason.Throttled}, 0},
		{Error{Reason: reason.Network}, 0},
	} {
		t.Run(fmt.Sprint(test.err.Status, test.err.Reason), func(t *testing.T) {
			l := begun(t)
			for n := 1; n <= 300; n++ {
				err := test.err
				err.Request, _ = l.Next(noon)
				verdict := l.Fail(noon, &err)
				rows := l.Leftover()
				if n != test.after {
					if len(rows) > 0 || verdict == RetryNow {
						t.Fatalf("after %d failures: %v, %d rows", n, verdict, len(rows))
					}
					continue
				}
				if len(rows) != 1 || rows[0].ID != 1 || !rows[0].AlertsUnknown || verdict != RetryNow {
					t.Fatalf("after %d failures: %v, %+v", n, verdict, rows)
				}
				if len(l.Leftover()) > 0 {
					t.Error("the row comes twice")
				}
				return
			}
			if test.after > 0 {
				t.Error("never given up")
			}
			// And then it goes on.
			req, _ := l.Next(noon)
			if rows, err := l.Apply(noon, req, Page{}); err != nil || len(rows) != 1 || rows[0].AlertsUnknown {
				t.Errorf("after the outage: %v, %v", rows, err)
			}
		})
	}
}

// TestAlertsOfManyFail: once the further alerts of a few rows could not be had, those
// of others are not asked for, on no page that follows either.
func TestAlertsOfManyFail(t *testing.T) {
	l := New(NewServer(Offer{MaxTop: 5, Skip: true}), false, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
	page := func(seconds ...int) Page {
		page := Page{Rows: rowsAt(seconds...), Count: -1, MoreAlerts: map[int64]string{}}
		for i := range page.Rows {
			page.Rows[i].Alerts = make([]incident.Alert, 1)
			page.MoreAlerts[page.Rows[i].ID] = "more"
		}
		return page
	}
	req, _ := l.Next(noon)
	rows, failure := l.Apply(noon, req, page(-1, -2, -3, -4, -5))
	if failure != nil || len(rows) != 0 {
		t.Fatalf("got %v, %v", rows, failure)
	}
	left, calls := 0, 0
	for ; len(l.Pending) > 0; calls++ {
		err := Error{Status: 500, Reason: reason.Server}
		err.Request, _ = l.Next(noon)
		l.Fail(noon, &err)
		left += len(l.Leftover())
	}
	// Three times the first, and once each of the two that follow.
	if left != 5 || calls != 5 {
		t.Errorf("%d rows after %d calls", left, calls)
	}
	req, _ = l.Next(noon)
	next := page(-5, -6, -7)
	delete(next.MoreAlerts, 3) // and is whole
	rows, failure = l.Apply(noon, req, next)
	if failure != nil || len(rows) != 3 || !rows[1].AlertsUnknown || rows[1].Alerts != nil || rows[2].AlertsUnknown || len(rows[2].Alerts) != 1 {
		t.Errorf("the next page: %+v, %v", rows, failure)
	}
}

// TestAlertsCostLittle: further alerts that cannot be had cost a few calls, then none for a
// minute, for two, and so on, although each listing shows the same rows again; and are
// had once they can be.
func TestAlertsCostLittle(t *testing.T) {
	s, now, calls, broken := NewServer(Offer{MaxTop: 100, Skip: true, Count: true}), noon, 0, true
	delta := func() (whole int) {
		l := New(s, false, Everything(incident.StatusUnknown, noon.AddDate(0, 0, -1)))
		l.Known = func(*incident.Incident) bool { return false }
		for !l.Done() {
			req, _ := l.Next(now)
			page := Page{Rows: rowsAt(-1, -2, -3, -4, -5), Count: 5, MoreAlerts: map[int64]string{}}
			for i := range page.Rows {
				page.MoreAlerts[page.Rows[i].ID] = "a"
			}
			if req.AlertsOf != 0 {
				calls++
				page = Page{Alerts: make([]incident.Alert, 1)}
				if broken {
					page.Link = map[string]string{"a": "b", "b": "a"}[req.Link]
				}
			}
			rows, err := l.Apply(now, req, page)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				if !rows[i].AlertsUnknown && len(rows[i].Alerts) > 0 {
					whole++
				}
			}
		}
		now = now.Add(30 * time.Second)
		return whole
	}
	for range 120 {
		if whole := delta(); whole != 0 {
			t.Fatalf("%d rows have a part of their alerts", whole)
		}
	}
	if calls > 6*6 {
		t.Errorf("%d calls for alerts in an hour", calls)
	}
	now, broken = now.Add(longestWait), false
	if whole := delta(); whole != 5 {
		t.Errorf("%d of 5 rows are whole after it", whole)
	}
}

// TestAlertsOverRestart: a row that was held back is not lost with the process.
func TestAlertsOverRestart(t *testing.T) {
	l := begun(t)
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var next Listing
	if err := json.Unmarshal(data, &next); err != nil {
		t.Fatal(err)
	}
	if err := next.Check(); err != nil {
		t.Fatal(err)
	}
	rows := next.Resume(NewServer(Offer{MaxTop: 100}))
	if len(rows) != 1 || rows[0].ID != 1 || !rows[0].AlertsUnknown || !rows[0].Updated.Equal(partial().Rows[0].Updated) {
		t.Errorf("got %+v", rows)
	}
	if req, _ := next.Next(noon); req.AlertsOf != 0 || req.Link != "" {
		t.Errorf("next: %+v", req)
	}
}

// TestAlertsInAnOutage: where the smallest request fails, too, in whichever way, it is an
// outage, and the row is not given up at once.
func TestAlertsInAnOutage(t *testing.T) {
	for _, as := range []Error{{Status: 500, Reason: reason.Server}, {Status: 404, Reason: reason.Other}, {Reason: reason.Timeout}} {
		l := begun(t)
		for n := range 6 {
			err := Error{Reason: reason.Network}
			if n == 4 {
				err = as
			}
			err.Request, _ = l.Next(noon)
			if smallest := err.Request.AlertsOf == 0; smallest != (n == 4) {
				t.Errorf("request %d: %+v", n, err.Request)
			}
			l.Fail(noon, &err)
		}
		if rows := l.Leftover(); len(rows) > 0 {
			t.Errorf("%v: the row is given up", as.Reason)
		}
	}
}
