package web

import (
	"context"
	"log/slog"
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/tenant"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTelemetryPathServed: what is accepted is served, whatever else is, and
// takes no other endpoint's place.
func TestTelemetryPathServed(t *testing.T) {
	for _, path := range []string{"/metrics", "/a", "/m365/metrics", "/status/metrics", "/-/metrics", "/debug", "/debug/pprofs", "/~me/metrics.txt", "/-"} {
		t.Run(path, func(t *testing.T) {
			if err := CheckTelemetryPath(path); err != nil {
				t.Fatal(err)
			}
			handler := New(Options{Fleet: none{}, Reloader: none{}, Logger: slog.New(slog.DiscardHandler), TelemetryPath: path, Lifecycle: true, Profiles: true})
			for served, want := range map[string]string{
				path: "process_start_time_seconds", rootPath: "<html", statusPath: "<html", healthyPath: "healthy", readyPath: "ready", pprofPath: "goroutine",
			} {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, served, nil))
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s: got %d, want %q in %.300s", served, w.Code, want, w.Body)
				}
			}
		})
	}
}

// none is a fleet without tenants and a reloader with nothing to do.
type none struct{}

func (none) Tenants() []*tenant.Tenant { return nil }

func (none) Census() (configured, owned int, openFailures uint64) { return 0, 0, 0 }

func (none) Replicas() (s fleet.ReplicaStatus, ok bool) { return s, false }

func (none) Unserved(context.Context) ([]fleet.Unserved, error) { return nil, nil }

func (none) Reload() error { return nil }

func (none) LastReload() (time.Time, error) { return time.Now(), nil }

func TestReloadOnlyWhenAsked(t *testing.T) {
	w := httptest.NewRecorder()
	reloadHandler(false, none{}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/-/reload", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
}

// TestReloadFromAnotherOrigin: a browser is told by any page to post here; only
// what is not a browser, or our own page, is obeyed.
func TestReloadFromAnotherOrigin(t *testing.T) {
	handler := New(Options{Fleet: none{}, Reloader: none{}, Logger: slog.New(slog.DiscardHandler), TelemetryPath: "/metrics", Lifecycle: true})
	for _, test := range []struct {
		header, value string
		want          int
	}{
		{"", "", http.StatusOK},
		{"Origin", "http://example.com", http.StatusOK},
		{"Origin", "https://elsewhere.example", http.StatusForbidden},
		{"Origin", "null", http.StatusForbidden},
		{"Sec-Fetch-Site", "same-origin", http.StatusOK},
		{"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"Sec-Fetch-Site", "same-site", http.StatusForbidden},
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			w, r := httptest.NewRecorder(), httptest.NewRequest(method, "http://example.com/-/reload", nil)
			r.Header.Set(test.header, test.value)
			if handler.ServeHTTP(w, r); w.Code != test.want {
				t.Errorf("%s, %s %s: got %d, want %d", method, test.header, test.value, w.Code, test.want)
			}
		}
	}
}
