package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// TestHealth: a loop that does not turn any more makes the exporter unhealthy, so that
// a platform starts it again; an API that fails, in whatever way, does not, nor does it
// take the exporter out of service.
func TestHealth(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	inFleet(t, logger, func(f *served) {
		configs := []config.Tenant{f.Tenant("first"), f.Tenant("second")}
		reload := f.reloader(logger, configs...)
		full := New(Options{Fleet: f, Reloader: reload, Logger: logger, TelemetryPath: "/metrics"})
		ask := func(code int, want ...string) {
			t.Helper()
			for _, h := range []http.Handler{full, Probes(f)} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/-/healthy", nil))
				if w.Code != code {
					t.Errorf("healthy: got %d, want %d: %s", w.Code, code, w.Body)
				}
				for _, part := range want {
					if !strings.Contains(w.Body.String(), part) {
						t.Errorf("%q is not in %s", part, w.Body)
					}
				}
				w = httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/-/ready", nil))
				if w.Code != http.StatusOK {
					t.Errorf("ready: got %d: %s", w.Code, w.Body)
				}
			}
		}
		state := func(want string) {
			t.Helper()
			w := httptest.NewRecorder()
			full.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status?format=json&q=first", nil))
			if !strings.Contains(w.Body.String(), `"state":"`+want+`"`) {
				t.Errorf("it is not %s: %s", want, w.Body)
			}
		}
		ask(http.StatusOK)
		f.wait(2 * time.Minute)
		state("up")
		for name, faults := range map[string]simulator.Faults{
			"slow": {Delay: time.Hour}, "down": {Status: 503}, "forbidden": {Status: 403}, "throttled": {Status: 429, RetryAfter: "3600"},
		} {
			f.Sims["first"].Fault(faults)
			for range 12 {
				f.wait(5 * time.Minute)
				ask(http.StatusOK)
			}
			f.Sims["first"].Fault(simulator.Faults{})
			if f.wait(2 * time.Hour); f.Sims["first"].Meter().Calls == 0 {
				t.Errorf("%s: no call", name)
			}
			state("up")
		}

		release := f.Hold()
		f.wait(time.Minute)
		ask(http.StatusOK)
		f.wait(3 * time.Minute)
		ask(http.StatusServiceUnavailable, "tenant first: the refresh loop has had no heartbeat for ")
		state("stuck")
		scraped := httptest.NewRecorder()
		full.ServeHTTP(scraped, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(scraped.Body.String(), `m365_defender_up{tenant="first"} 0`) {
			t.Error("it hangs and is up")
		}
		release()
		f.wait(2 * time.Minute)
		ask(http.StatusOK)
		state("up")
	})
}
