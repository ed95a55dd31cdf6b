package client

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

// TestExpansionFails: pages are read with smaller ones, then without alerts, and
// when it is over with alerts again; in between that costs a call now and then.
func TestExpansionFails(t *testing.T) {
	tests := []struct {
		name    string
		fails   func(top int) bool
		unknown bool
		first   int // calls of the first page
		tops    string
	}{
		{"full pages", func(top int) bool { return top > 25 }, false, 5, "&$top=25&$expand"},
		{"all but the smallest", func(top int) bool { return top > 10 }, false, 6, "&$top=10&$expand"},
		{"every page", func(int) bool { return true }, true, 6, "&$top=50&$filter"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newGraphServer(5, time.Second)
				s.expandFails = test.fails
				g, _ := newGraphClient(t, s, nil)
				page := func() incident.Page {
					t.Helper()
					p, err := g.Page(t.Context(), incident.Query{Since: epoch.Add(-time.Hour)}, incident.Cursor{})
					if err != nil {
						t.Fatal(err)
					}
					if len(p.Incidents) != 5 || p.Incidents[0].AlertsUnknown != p.AlertsUnknown {
						t.Fatalf("got %+v", p)
					}
					return p
				}
				began := time.Now()
				if got := page().AlertsUnknown; got != test.unknown {
					t.Errorf("alerts unknown: got %v", got)
				}
				if got := len(s.requests); got != test.first || time.Since(began) > 5*time.Second {
					t.Errorf("the first page took %d calls and %v", got, time.Since(began))
				}
				before := len(s.requests)
				page()
				last := s.requests[len(s.requests)-1].URL.RawQuery
				if got := len(s.requests) - before; got != 1 || !strings.Contains("&"+last, test.tops) {
					t.Errorf("the second page took %d calls, the last %s", got, last)
				}
				// A day of it, a page every half minute: trials become rare.
				before = len(s.requests)
				const pages = 2880
				for range pages {
					time.Sleep(30 * time.Second)
					page()
				}
				if trials := len(s.requests) - before - pages; trials > 31 {
					t.Errorf("%d further calls in a day", trials)
				}
				s.expandFails = nil
				time.Sleep(longestTrial + 2*firstTrial)
				page()
				time.Sleep(2 * firstTrial)
				if page().AlertsUnknown {
					t.Error("alerts are still not read")
				}
				last = s.requests[len(s.requests)-1].URL.RawQuery
				if !strings.HasPrefix(last, "$top=50&$expand=alerts") {
					t.Errorf("full pages are not read again: %s", last)
				}
			})
		})
	}
}

// TestEverythingFails: where the fault is not that of the alerts, they are not
// given up.
func TestEverythingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGraphServer(5, time.Second)
		s.answer = func(*request) *responseOf { return response(502, "<html>") }
		g, _ := newGraphClient(t, s, func(o *Options) { o.Retries = -1 })
		if _, err := g.Page(t.Context(), incident.Query{}, incident.Cursor{}); err == nil || len(s.requests) != 2 {
			t.Errorf("%d calls, %v", len(s.requests), err)
		}
		s.answer = nil
		if p, err := g.Page(t.Context(), incident.Query{}, incident.Cursor{}); err != nil || p.AlertsUnknown {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

// TestExpansionIgnored: rows without a list of alerts do not have none.
func TestExpansionIgnored(t *testing.T) {
	s := newGraphServer(5, time.Second)
	s.noAlerts = true
	g, _ := newGraphClient(t, s, nil)
	if p, err := g.Page(t.Context(), incident.Query{}, incident.Cursor{}); err != nil || !p.AlertsUnknown {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestExpansionRefused: an answer 400 may be about the alerts, too.
func TestExpansionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGraphServer(120, time.Second)
		s.answer = func(r *request) *responseOf {
			if strings.Contains(r.URL.RawQuery, "$expand") {
				return response(400, graphError)
			}
			return nil
		}
		g, _ := newGraphClient(t, s, nil)
		for range 3 {
			seen, _ := readGraph(t, g, incident.Query{Since: epoch.Add(-time.Hour)})
			complete(t, s, seen)
			time.Sleep(10 * time.Minute)
		}
	})
}

// TestPartial: an answer 206 is used, and said once.
func TestPartial(t *testing.T) {
	g, _ := newGraphClient(t, roundTrip(func(*request) *responseOf {
		return response(206, `{"value":[{"id":"1","alerts":[]}]}`, "Warning", `199 - "one provider is late"`)
	}), nil)
	if p, err := g.Page(t.Context(), incident.Query{}, incident.Cursor{}); err != nil || len(p.Incidents) != 1 {
		t.Errorf("got %+v, %v", p, err)
	}
}
