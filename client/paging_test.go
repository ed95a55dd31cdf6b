package client

import (
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

// readAll reads page after page and fails the test unless every row that was
// there from the beginning to the end was seen.
func readAll(t *testing.T, d *Defender, s *server, q incident.Query) (pages int) {
	t.Helper()
	seen := map[int64]bool{}
	var c incident.Cursor
	for last := false; !last; pages++ {
		if pages > 200 {
			t.Fatal("the pages do not end")
		}
		page, err := d.Page(t.Context(), q, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range page.Incidents {
			seen[in.ID] = true
		}
		c, last = page.Next, page.Last
	}
	missing := 0
	for id, r := range s.rows {
		if !seen[id] && !r.updated.Before(q.Since) {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d rows were never seen", missing, len(s.rows))
	}
	return pages
}

// TestPagesAreComplete: in every way that a server may be, all rows are read,
// and no more calls are made than it takes.
func TestPagesAreComplete(t *testing.T) {
	tests := []struct {
		name  string
		n     int
		gap   time.Duration
		be    func(*server)
		calls int // at most
	}{
		{"nothing", 0, time.Second, nil, 1},
		{"one page", 99, time.Second, nil, 1},
		{"exactly one page", 100, time.Second, nil, 2},
		{"twelve pages", 1150, time.Second, nil, 12},
		{"ties across a border", 300, 0, nil, 4},
		{"a page of one instant", 1000, 0, nil, 11},
		{"close together", 500, 100 * time.Nanosecond, nil, 6},
		{"no le", 550, time.Second, func(s *server) { s.refuseLe = true }, 7},
		{"neither", 550, time.Second, func(s *server) { s.refuseLe, s.refuseLt = true, true }, 9},
		{"upper bound ignored", 550, time.Second, func(s *server) { s.ignoreUpper = true }, 8},
		{"no lower bound", 550, time.Second, func(s *server) { s.refuseSince = true }, 8},
		{"times shown in seconds", 550, 400 * time.Millisecond, func(s *server) { s.shown = time.Second }, 9},
		{"times shown in milliseconds", 550, 100 * time.Microsecond, func(s *server) { s.shown = time.Millisecond }, 8},
		{"links everywhere", 550, time.Second, func(s *server) { s.links = "always" }, 7},
		{"bare links", 550, time.Second, func(s *server) { s.links = "bare" }, 6},
		{"smaller pages than asked for", 260, time.Second, func(s *server) { s.pageCap, s.links = 50, "full" }, 7},
		{"no skip, only links", 550, time.Second, func(s *server) {
			s.refuseLe, s.refuseLt, s.skipCap, s.links = true, true, 150, "bare"
			s.skipCap = 1000
		}, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(test.n, test.gap)
			if test.be != nil {
				test.be(s)
			}
			d, l := newClient(t, s, nil)
			q := incident.Query{Since: epoch.Add(-time.Hour)}
			readAll(t, d, s, q)
			if len(s.requests) > test.calls {
				t.Errorf("%d calls, want at most %d", len(s.requests), test.calls)
			}
			if l.taken != len(s.requests) || l.settled != l.taken {
				t.Errorf("%d calls on %d grants, %d settled", len(s.requests), l.taken, l.settled)
			}
			// What the server cannot do is not tried again.
			before := len(s.requests)
			pages := readAll(t, d, s, q)
			if calls := len(s.requests) - before; calls > pages {
				t.Errorf("%d calls for %d pages the second time", calls, pages)
			}
		})
	}
}

// TestLinksWhereNothingElseWorks follows the server's own links.
func TestLinksWhereNothingElseWorks(t *testing.T) {
	s := newServer(550, time.Second)
	s.refuseLe, s.refuseLt, s.links = true, true, "full"
	s.before = func(int) {
		// $skip is refused unless it comes from a link.
		r := s.requests[len(s.requests)-1]
		s.refuseSkip = !strings.Contains(r.URL.RawQuery, "via=link")
	}
	d, _ := newClient(t, s, nil)
	readAll(t, d, s, incident.Query{Since: epoch.Add(-time.Hour)})
}

// TestIncompleteIsAnError: a server that allows no complete reading is not
// read as if it had ended.
func TestIncompleteIsAnError(t *testing.T) {
	for _, links := range []string{"", "bare"} {
		s := newServer(550, time.Second)
		s.refuseLe, s.refuseLt, s.skipCap, s.links = true, true, 250, links
		d, _ := newClient(t, s, nil)
		var c incident.Cursor
		for range 10 {
			page, err := d.Page(t.Context(), incident.Query{}, c)
			if err != nil {
				if !strings.Contains(err.Error(), "no complete reading") {
					t.Errorf("got %v", err)
				}
				break
			}
			if page.Last {
				t.Error("a part was taken for the whole")
				break
			}
			c = page.Next
		}
	}
}

// TestMovingRows: rows that move away while pages are read cost none of those
// that stay, but the one behind a border that moved, which the caller mends.
func TestMovingRows(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := newServer(800, time.Second)
		if seed%2 == 1 {
			s.refuseLe, s.refuseLt = true, true
		}
		newest := epoch
		moved := map[int64]bool{}
		s.before = func(int) {
			for range r.IntN(5) {
				id := 1 + r.Int64N(800)
				newest = newest.Add(time.Second)
				s.rows[id], moved[id] = row{newest, "Active"}, true
			}
		}
		d, _ := newClient(t, s, nil)
		borders := map[time.Time]bool{}
		seen := map[int64]bool{}
		var c incident.Cursor
		for last := false; !last; {
			page, err := d.Page(t.Context(), incident.Query{}, c)
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range page.Incidents {
				seen[in.ID] = true
			}
			c, last = page.Next, page.Last
			borders[c.Border] = true
		}
		lost := 0
		for id := range s.rows {
			if !seen[id] && !moved[id] {
				lost++
			}
		}
		disturbed := 0
		for id := range moved {
			if borders[epoch.Add(-time.Duration(id-1)*time.Second)] {
				disturbed++
			}
		}
		if lost > disturbed {
			t.Errorf("seed %d: %d rows were lost at %d disturbed borders", seed, lost, disturbed)
		}
	}
}

func TestStatusFilter(t *testing.T) {
	s := newServer(250, time.Second)
	for id := range int64(100) {
		s.rows[id+1] = row{s.rows[id+1].updated, "Resolved"}
	}
	d, _ := newClient(t, s, nil)
	page, err := d.Page(t.Context(), incident.Query{Status: incident.StatusResolved}, incident.Cursor{})
	if err != nil || len(page.Incidents) != 100 {
		t.Fatalf("%d rows, %v", len(page.Incidents), err)
	}
	for _, in := range page.Incidents {
		if in.Status != incident.StatusResolved {
			t.Fatalf("got %v", in.Status)
		}
	}
	t.Run("ignored", func(t *testing.T) {
		for id := range s.rows {
			s.rows[id] = row{s.rows[id].updated, []string{"Active", "Resolved"}[id%2]}
		}
		blind, _ := newClient(t, roundTrip(func(r *request) *responseOf {
			q := r.URL.Query()
			q.Del("$filter")
			r.URL.RawQuery = q.Encode()
			resp, _ := s.RoundTrip(r)
			return resp
		}), nil)
		_, err := blind.Page(t.Context(), incident.Query{Status: incident.StatusResolved}, incident.Cursor{})
		if !errors.Is(err, incident.ErrFilterRefused) {
			t.Errorf("got %v, want %v", err, incident.ErrFilterRefused)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s.answer = func(*request) *responseOf { return response(400, `{"error":{"code":"ODataError","message":"no"}}`) }
		_, err := d.Page(t.Context(), incident.Query{Status: incident.StatusActive}, incident.Cursor{})
		if !errors.Is(err, incident.ErrFilterRefused) {
			t.Errorf("got %v, want %v", err, incident.ErrFilterRefused)
		}
	})
}

// TestRequest: what is sent, to the letter.
func TestRequest(t *testing.T) {
	s := newServer(101, 1500*time.Millisecond)
	d, _ := newClient(t, s, func(o *Options) { o.UserAgent = "test/1" })
	q := incident.Query{Since: epoch.Add(-time.Hour), Status: incident.StatusActive}
	page, err := d.Page(t.Context(), q, incident.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Page(t.Context(), q, page.Next); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"https://api.example/api/incidents?$top=100&$filter=lastUpdateTime ge 2026-11-23T23:00:00Z and status eq 'Active'",
		"https://api.example/api/incidents?$top=100&$filter=lastUpdateTime ge 2026-11-23T23:00:00Z and status eq 'Active' and lastUpdateTime le 2026-11-23T23:57:31.5Z",
	} {
		got, err := url.PathUnescape(s.requests[i].URL.String())
		if err != nil || got != want {
			t.Errorf("call %d\ngot  %s\nwant %s", i, got, want)
		}
		if strings.ContainsAny(s.requests[i].URL.RawQuery, " +") {
			t.Errorf("not escaped: %s", s.requests[i].URL.RawQuery)
		}
	}
	if got := s.requests[0].Header.Get("User-Agent"); got != "test/1" {
		t.Errorf("user agent: %s", got)
	}
}
