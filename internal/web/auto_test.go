package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// TestFallbackIsShown: the status page tells by which API a tenant is read, and why.
func TestFallbackIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := tenanttest.NewHosts(t)
		cfg := hosts.Tenant("contoso")
		cfg.API, cfg.QuotaPerMinute, cfg.QuotaPerHour = config.Auto, config.ByAPI, config.ByAPI
		hosts.Sims["contoso"].SetRoles(simulator.DefaultGraphRole)
		logger := slog.New(slog.DiscardHandler)
		f := fleet.New(t.Context(), fleet.Options{
			Store: tenanttest.InMemory(t), Logger: logger,
			NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return hosts, nil },
		})
		defer f.Stop(time.Minute)
		configs := []config.Tenant{cfg}
		reload, err := fleet.NewReloader(f, configs, func() ([]config.Tenant, error) { return configs, nil }, logger)
		if err != nil {
			t.Fatal(err)
		}
		h := New(Options{Fleet: f, Reloader: reload, Logger: logger, TelemetryPath: "/metrics"})
		ask := func(path string) string {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Body.String()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var status struct {
			Tenants []struct {
				API      string `json:"api"`
				Fallback string `json:"api_fallback"`
			} `json:"tenants"`
		}
		if err := json.Unmarshal([]byte(ask("/status?format=json")), &status); err != nil || len(status.Tenants) != 1 {
			t.Fatalf("got %+v, %v", status, err)
		}
		if got := status.Tenants[0]; got.API != config.Graph || got.Fallback != "role" {
			t.Errorf("got %+v", got)
		}
		if page := ask("/"); !strings.Contains(page, "the native API refuses the application") || !strings.Contains(page, "graph (fallback)") {
			t.Errorf("got\n%s", page)
		}
	})
}
