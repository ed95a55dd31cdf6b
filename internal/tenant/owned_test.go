package tenant

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// TestOwnedSince: since the account was opened, over changes of its settings, and
// of no account that it was before.
func TestOwnedSince(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10, Light: true})
	cfg := tenanttest.Config()
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	one := func(cfg config.Tenant, before *Tenant) *Tenant {
		t.Helper()
		made, err := New(cfg, Dependencies{Store: tenanttest.InMemory(t), Transport: sim.RoundTripper(), Logger: slog.New(slog.DiscardHandler), Replaces: before})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	first := one(cfg, nil)
	if got := ownedSince(t, first); got != nil {
		t.Errorf("got %v before it was opened", got)
	}
	opened := time.UnixMilli(1_800_000_000_123)
	open := func(made *Tenant, at time.Time, want float64) {
		t.Helper()
		if err := made.Open(nil, at); err != nil {
			t.Fatal(err)
		}
		defer made.Close()
		if got := ownedSince(t, made); len(got) != 1 || got[0] != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	open(first, opened, 1_800_000_000.123)
	cfg.Lookback /= 2
	second := one(cfg, first)
	open(second, opened.Add(time.Hour), 1_800_000_000.123)
	cfg.TenantID = "other.example"
	open(one(cfg, second), opened.Add(2*time.Hour), 1_800_007_200.123)
	if got := ownedSince(t, second); len(got) != 1 || got[0] != 1_800_000_000.123 {
		t.Errorf("got %v: the account before was touched", got)
	}
}

func ownedSince(t *testing.T, of *Tenant) (values []float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	for _, source := range of.Series().Sources() {
		registry.MustRegister(source)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "m365_defender_tenant_owned_since_timestamp_seconds" {
			for _, m := range family.GetMetric() {
				values = append(values, m.GetGauge().GetValue())
			}
		}
	}
	return values
}
