package service

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
)

// TestDemo: the tenants are different ones, and what is in the way of one of them
// is in its way for a part of each day only.
func TestDemo(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	ids, seeds := map[string]bool{}, map[uint64]bool{}
	for number := range MaxDemo {
		o := Demo(number)
		ids[o.TenantID], seeds[o.Seed] = true, true
		if (o.Trouble != nil) != (number == DemoTroubled) {
			t.Errorf("%d: trouble where there should be none, or none", number)
		}
	}
	if len(ids) != MaxDemo || len(seeds) != MaxDemo || Demo(0).TenantID != DefaultTenantID {
		t.Errorf("got %d tenant ids and %d seeds", len(ids), len(seeds))
	}
	minutes := map[Trouble]int{}
	for range 14 {
		today := map[Trouble]int{}
		for range 24 * 60 {
			today[demoTrouble(now)]++
			now = now.Add(time.Minute)
		}
		for trouble, n := range today {
			minutes[trouble] += n
		}
	}
	if n := minutes[QuotaSpent] / 14; n < 2*60 || n > 6*60 {
		t.Errorf("the quota is spent for %d minutes a day", n)
	}
	if n := minutes[RolesRevoked] / 14; n < 30 || n > 80 {
		t.Errorf("the roles are revoked for %d minutes a day", n)
	}
}

// TestTrouble: what it does to calls, and that they are as usual afterwards.
func TestTrouble(t *testing.T) {
	now, trouble := time.Date(2026, 11, 24, 9, 0, 20, 0, time.UTC), NoTrouble
	s := New(Options{Now: func() time.Time { return now }, Trouble: func(time.Time) Trouble { return trouble }})
	header := http.Header{"Authorization": {"Bearer " + s.Entra.Issue("api", now)["access_token"].(string)}}
	for _, test := range []struct {
		trouble Trouble
		status  int
		wait    string
	}{
		{NoTrouble, http.StatusOK, ""}, {QuotaSpent, http.StatusTooManyRequests, "40"},
		{RolesRevoked, http.StatusForbidden, ""}, {NoTrouble, http.StatusOK, ""},
	} {
		trouble = test.trouble
		rep := s.Answer(&wire.Call{Method: http.MethodGet, Path: "/api/incidents", Header: header})
		if got := rep.Header.Get("Retry-After"); rep.Status != test.status || got != test.wait {
			t.Errorf("trouble %d: got %d and Retry-After %q, want %d and %q", test.trouble, rep.Status, got, test.status, test.wait)
		}
		if test.trouble == QuotaSpent && !strings.Contains(string(rep.Body), "maximum allowed 50 per 00:01:00") {
			t.Errorf("got %s", rep.Body)
		}
	}
	if got := s.Meter().Throttled; got != 1 {
		t.Errorf("%d calls were throttled, want 1", got)
	}
}
