package simulator

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
)

func TestMeterCounts(t *testing.T) {
	everywhere(t, "meter", Options{Incidents: 1}, func(t *testing.T, tenant *Tenant, c *caller) {
		c.page("$top=1")
		c.get("/api/incidents/?$skip=0")
		c.get("/api/incidents/17")
		c.get("/elsewhere")
		m := tenant.Meter()
		if m.Calls != 2 || m.Gets != 1 || m.Tokens != 1 || m.Other != 1 || m.MaxPerMinute != 2 || m.MaxPerHour != 2 || m.MaxGetsPerMinute != 1 {
			t.Errorf("got %+v", m)
		}
		if len(m.Log) != 5 || m.Log[2].Query != "$skip=0" || m.Log[3].Status != http.StatusNotFound || m.Log[0].Method != http.MethodPost {
			t.Errorf("got log %+v", m.Log)
		}
	})
}

func TestLimits(t *testing.T) {
	everywhere(t, "list", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		for range 50 {
			c.page("")
		}
		a := c.get("/api/incidents")
		code, message := errorCode(t, a)
		if a.status != http.StatusTooManyRequests || code != "429" {
			t.Errorf("got %d %s, want 429", a.status, code)
		}
		if want := "API calls quota exceeded! maximum allowed 50 per 00:01:00"; len(message) < len(want) || message[:len(want)] != want {
			t.Errorf("got %q", message)
		}
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 || s > 60 {
			t.Errorf("got Retry-After %q", a.header.Get("Retry-After"))
		}
		tenant.Fault(Faults{NoRetryAfter: true, ThrottleBody: faults.ThrottleBodyEmpty})
		if a = c.get("/api/incidents"); a.status != http.StatusTooManyRequests || a.body != "" || a.header.Get("Retry-After") != "" {
			t.Errorf("got %d %q %v", a.status, a.body, a.header)
		}
		if got := tenant.Meter().Throttled; got != 2 {
			t.Errorf("got %d throttled, want 2", got)
		}
		if a = c.get("/api/incidents/1"); a.status != http.StatusNotFound {
			t.Errorf("by id: got %d, want its own limits", a.status)
		}
	})
}

// TestRetryAfter holds the server to its word: not a moment too early, and not
// too late.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inProcess(t, New(Options{Limits: []Limit{{Period: time.Minute, Calls: 5}, {Period: time.Hour, Calls: 8}}}))
		status := func() int { return c.do(context.Background(), "/api/incidents").status }
		for i := range 5 {
			if got := status(); got != http.StatusOK {
				t.Fatalf("call %d: got %d", i, got)
			}
			time.Sleep(time.Second)
		}
		// The window has calls at 0 to 4 s; a sixth at 5 s is refused and counts.
		a := c.get("/api/incidents")
		if got, want := a.header.Get("Retry-After"), "56"; a.status != http.StatusTooManyRequests || got != want {
			t.Fatalf("got %d, Retry-After %q, want %q", a.status, got, want)
		}
		time.Sleep(56 * time.Second)
		if got := status(); got != http.StatusOK {
			t.Errorf("after the wait: got %d", got)
		}
		time.Sleep(5 * time.Minute)
		status() // the eighth in the hour
		a = c.get("/api/incidents")
		if _, message := errorCode(t, a); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("got %d %s", a.status, message)
		}
	})
}
