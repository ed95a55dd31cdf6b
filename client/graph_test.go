package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

type contextOf = context.Context

// readGraph reads page after page, with a cursor that is saved and loaded in
// between, and returns the ids that were seen.
func readGraph(t *testing.T, from source, q incident.Query) (seen map[int64]bool, pages int) {
	t.Helper()
	seen = map[int64]bool{}
	var c incident.Cursor
	for last := false; !last; pages++ {
		if pages > 400 {
			t.Fatal("the pages do not end")
		}
		page, err := from.Page(t.Context(), q, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range page.Incidents {
			seen[in.ID] = true
		}
		saved, err := json.Marshal(page.Next)
		if err != nil {
			t.Fatal(err)
		}
		c, last = incident.Cursor{}, page.Last
		if err := json.Unmarshal(saved, &c); err != nil {
			t.Fatal(err)
		}
	}
	return seen, pages
}

func complete(t *testing.T, s *graphServer, seen map[int64]bool) {
	t.Helper()
	missing := 0
	for id := range s.rows {
		if !seen[id] {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d rows were never seen", missing, len(s.rows))
	}
}

// TestGraphPagesAreComplete: in every way that a server may be, all rows are
// read, and no more calls are made than it takes.
func TestGraphPagesAreComplete(t *testing.T) {
	tests := []struct {
		name  string
		n     int
		gap   time.Duration
		be    func(*graphServer)
		calls int // at most
	}{
		{"nothing", 0, time.Second, nil, 1},
		{"one page", 49, time.Second, nil, 1},
		{"exactly one page", 50, time.Second, nil, 2},
		{"twelve pages", 570, time.Second, nil, 12},
		{"ties across a border", 120, 0, nil, 8},
		{"close together", 250, 100 * time.Nanosecond, nil, 6},
		{"empty pages", 200, time.Second, func(s *graphServer) { s.emptyFirst = true }, 11},
		{"smaller pages than asked for", 120, time.Second, func(s *graphServer) { s.pageCap = 25 }, 6},
		{"no links", 200, time.Second, func(s *graphServer) { s.noLinks = true }, 5},
		{"no links, one instant", 130, 0, func(s *graphServer) { s.noLinks = true }, 8},
		{"a deep skip is refused", 2000, time.Second, func(s *graphServer) { s.skipCap = 500 }, 42},
		{"order ignored, one instant in front", 200, time.Second, func(s *graphServer) {
			s.ignoreOrder, s.order = true, "created"
			for id := range int64(60) {
				s.rows[id+1] = row{epoch, "Active"}
			}
		}, 30},
		{"order ignored", 570, time.Second, func(s *graphServer) { s.ignoreOrder = true }, 35},
	}
	for _, order := range []string{"newest", "oldest", "created", "none"} {
		unordered := func(s *graphServer) { s.refuseOrder, s.order, s.skipCap = true, order, 500 }
		for _, test := range []struct {
			name  string
			n     int
			gap   time.Duration
			be    func(*graphServer)
			calls int
		}{
			{"one page", 49, time.Second, nil, 2},
			{"a thousand, a minute apart", 1000, time.Minute, nil, 52},
			{"ties across a border", 120, 0, nil, 8},
			{"close together", 250, 100 * time.Nanosecond, nil, 36},
			{"empty pages", 300, time.Second, func(s *graphServer) { s.emptyFirst = true }, 70},
			{"smaller pages than asked for", 120, time.Second, func(s *graphServer) { s.pageCap = 25 }, 28},
			{"no upper bound", 450, time.Second, func(s *graphServer) { s.refuseLt = true }, 12},
			{"upper bound ignored", 450, time.Second, func(s *graphServer) { s.ignoreUpper = true }, 12},
		} {
			also := test.be
			test.name, test.be = "order "+order+", "+test.name, func(s *graphServer) {
				unordered(s)
				if also != nil {
					also(s)
				}
			}
			tests = append(tests, test)
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newGraphServer(test.n, test.gap)
			if test.be != nil {
				test.be(s)
			}
			g, l := newGraphClient(t, s, nil)
			for _, q := range []incident.Query{{Since: epoch.Add(-30 * 24 * time.Hour)}, {Status: incident.StatusActive}} {
				before := len(s.requests)
				seen, _ := readGraph(t, g, q)
				complete(t, s, seen)
				if calls := len(s.requests) - before; calls > test.calls {
					t.Errorf("%d calls, want at most %d", calls, test.calls)
				}
			}
			if l.taken != len(s.requests) || l.settled != l.taken {
				t.Errorf("%d calls on %d grants, %d settled", len(s.requests), l.taken, l.settled)
			}
			for _, r := range s.requests {
				if got := r.Header.Get("Prefer"); got != "include-unknown-enum-members" {
					t.Fatalf("Prefer: %q for %s", got, r.URL)
				}
			}
			before := len(s.requests)
			_, pages := readGraph(t, g, incident.Query{Since: epoch.Add(-30 * 24 * time.Hour)})
			if calls := len(s.requests) - before; calls > pages {
				t.Errorf("%d calls for %d pages: what the server cannot do is tried again", calls, pages)
			}
		})
	}
}

// TestGraphMovingRows: rows that move away while pages are read cost none of
// those that stay, whatever order the server has.
func TestGraphMovingRows(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := newGraphServer(800, time.Minute)
		s.order = []string{"newest", "oldest", "created", "none"}[seed%4]
		s.refuseOrder = seed%8 < 6
		newest, q := epoch, incident.Query{}
		if seed%3 == 0 {
			q.Since = epoch.Add(-24 * time.Hour)
		}
		moved := map[int64]bool{}
		s.before = func(int) {
			for range r.IntN(5) {
				id := 1 + r.Int64N(800)
				newest = newest.Add(time.Second)
				s.rows[id], moved[id] = row{newest, "Active"}, true
			}
		}
		g, _ := newGraphClient(t, s, nil)
		seen, _ := readGraph(t, g, q)
		for id := range s.rows {
			if !seen[id] && !moved[id] {
				t.Errorf("seed %d: row %d was lost", seed, id)
			}
		}
	}
}

// TestGraphCircles: links that lead nowhere end in an error, soon.
func TestGraphCircles(t *testing.T) {
	page := func(n int, link string) *http.Response {
		rows := strings.TrimSuffix(strings.Repeat(`{"id":"7","lastUpdateDateTime":"2026-11-24T00:00:00Z","alerts":[]},`, n), ",")
		return response(200, fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"https://graph.example/v1.0/security/incidents?$skiptoken=%s"}`, rows, link))
	}
	calls := 0
	tests := []struct {
		name   string
		answer func(*http.Request) *http.Response
		calls  int
	}{
		{"a link to itself", func(*http.Request) *http.Response { return page(0, "a") }, 2},
		{"two links in turn", func(*http.Request) *http.Response { return page(0, fmt.Sprint(calls%2)) }, 8},
		{"five links in turn", func(*http.Request) *http.Response { return page(0, fmt.Sprint(calls%5)) }, 16},
		{"empty pages without end", func(*http.Request) *http.Response { return page(0, fmt.Sprint(calls)) }, 24},
		{"the same rows without end", func(*http.Request) *http.Response { return page(50, fmt.Sprint(calls)) }, 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			calls = 0
			g, _ := newGraphClient(t, roundTrip(func(r *request) *responseOf { calls++; return test.answer(r) }), nil)
			var c incident.Cursor
			var err error
			for err == nil && calls < 100 {
				var page incident.Page
				page, err = g.Page(t.Context(), incident.Query{Since: epoch}, c)
				c = page.Next
			}
			if !errors.Is(err, errCircle) && !errors.Is(err, errNoProgress) {
				t.Errorf("got %v", err)
			}
			if calls > test.calls {
				t.Errorf("%d calls, want at most %d", calls, test.calls)
			}
		})
	}
}

// TestGraphForeignLink: no token goes to another host.
func TestGraphForeignLink(t *testing.T) {
	for _, link := range []string{"https://elsewhere.example/v1.0/security/incidents", "http://graph.example/x", "//elsewhere.example/x", "https://graph.example:444/x"} {
		g, _ := newGraphClient(t, roundTrip(func(r *request) *responseOf {
			if r.URL.Host != "graph.example" || r.URL.Scheme != "https" {
				t.Errorf("a request went to %s", r.URL)
			}
			return response(200, fmt.Sprintf(`{"value":[],"@odata.nextLink":%q}`, link))
		}), nil)
		page, err := g.Page(t.Context(), incident.Query{}, incident.Cursor{})
		if err != nil || page.Last {
			t.Fatalf("%+v, %v", page, err)
		}
		if _, err := g.Page(t.Context(), incident.Query{}, page.Next); !errors.Is(err, errForeignHost) {
			t.Errorf("%s: got %v", link, err)
		}
	}
}

func TestGraphLinkRefused(t *testing.T) {
	for _, status := range []int{400, 404, 410} {
		g, _ := newGraphClient(t, roundTrip(func(r *request) *responseOf {
			if strings.Contains(r.URL.RawQuery, "skiptoken") {
				return response(status, graphError)
			}
			return response(200, `{"value":[],"@odata.nextLink":"https://graph.example/v1.0/security/incidents?$skiptoken=old"}`)
		}), nil)
		page, err := g.Page(t.Context(), incident.Query{Since: epoch}, incident.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Page(t.Context(), incident.Query{Since: epoch}, page.Next); !errors.Is(err, incident.ErrCursorRefused) {
			t.Errorf("%d: got %v", status, err)
		}
	}
}

// TestGraphRequest: what is sent, to the letter.
func TestGraphRequest(t *testing.T) {
	s := newGraphServer(101, 1500*time.Millisecond)
	g, _ := newGraphClient(t, s, nil)
	q := incident.Query{Since: epoch.Add(-time.Hour), Status: incident.StatusInProgress}
	for id, r := range s.rows {
		s.rows[id] = row{r.updated, "inProgress"}
	}
	page, err := g.Page(t.Context(), q, incident.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Page(t.Context(), q, page.Next); err != nil {
		t.Fatal(err)
	}
	const base = "https://graph.example/v1.0/security/incidents?$top=50&$expand=alerts&$filter=lastUpdateDateTime ge "
	for i, want := range []string{
		base + "2026-11-23T23:00:00Z and status eq 'inProgress'&$orderby=lastUpdateDateTime asc",
		base + "2026-11-23T23:58:43.5Z and status eq 'inProgress'&$orderby=lastUpdateDateTime asc",
	} {
		got, err := url.PathUnescape(s.requests[i].URL.String())
		if err != nil || got != want {
			t.Errorf("call %d\ngot  %s\nwant %s", i, got, want)
		}
		if strings.ContainsAny(s.requests[i].URL.RawQuery, " +") {
			t.Errorf("not escaped: %s", s.requests[i].URL.RawQuery)
		}
	}
}

func TestGraphStatusRefused(t *testing.T) {
	s := newGraphServer(250, time.Second)
	s.answer = func(r *request) *responseOf {
		if strings.Contains(r.URL.RawQuery, "status") {
			return response(400, graphError)
		}
		return nil
	}
	g, _ := newGraphClient(t, s, nil)
	if _, err := g.Page(t.Context(), incident.Query{Status: incident.StatusActive}, incident.Cursor{}); !errors.Is(err, incident.ErrFilterRefused) {
		t.Errorf("got %v, want %v", err, incident.ErrFilterRefused)
	}
	before := len(s.requests)
	readGraph(t, g, incident.Query{Since: epoch.Add(-time.Hour)})
	if calls := len(s.requests) - before; calls > 6 {
		t.Errorf("%d calls: the order was given up for the status", calls)
	}
}

func TestGraphLookup(t *testing.T) {
	expanded := 0
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGraphClient(t, roundTrip(func(r *request) *responseOf {
			switch id := strings.TrimPrefix(r.URL.Path, "/v1.0/security/incidents/"); {
			case id == "5" && r.URL.RawQuery == "$expand=alerts":
				return response(200, `{"id":"5","redirectIncidentId":"9","status":"redirected","alerts":[{"severity":"low"}]}`)
			case id == "6" && r.URL.RawQuery != "":
				expanded++
				return response(503, "")
			case id == "6":
				return response(200, `{"id":"6","status":"awaitingAction"}`)
			}
			return response(404, graphError)
		}), nil)
		in, err := g.Incident(t.Context(), 5, incident.PassSweep)
		if err != nil || in.ID != 5 || in.RedirectID != 9 || in.Status != incident.StatusRedirected || len(in.Alerts) != 1 || in.AlertsUnknown {
			t.Errorf("got %+v, %v", in, err)
		}
		in, err = g.Incident(t.Context(), 6, incident.PassSweep)
		if err != nil || in.Status != incident.StatusAwaitingAction || !in.AlertsUnknown || expanded != 3 {
			t.Errorf("got %+v, %v, %d attempts with alerts", in, err, expanded)
		}
		if _, err := g.Incident(t.Context(), 7, incident.PassSweep); !errors.Is(err, incident.ErrNotFound) {
			t.Errorf("got %v, want %v", err, incident.ErrNotFound)
		}
	})
}
