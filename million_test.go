//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
)

// TestE2EMillion starts the program on the state of a million incidents and
// looks at how long it takes until the first scrape shows them.
func TestE2EMillion(t *testing.T) {
	const n = 1_000_000
	p := newProgram(t, simulator.Options{})
	p.sim.Fault(simulator.Faults{Status: 500})
	saveMillion(t, p.dir, n)
	for range 3 {
		began := time.Now()
		p.start()
		m := p.until("a scrape", 30*time.Second, func(map[string]map[string]float64) bool { return true })
		took := time.Since(began)
		if got := m["incidents_cached"][""]; got != n {
			t.Errorf("the first scrape shows %v incidents, want %d", got, n)
		}
		if took > 10*time.Second { // three on a machine that does nothing else
			t.Errorf("the first scrape was served after %v", took)
		}
		t.Logf("first scrape after %v, %v s of processor time, %v MiB of state, %v MiB resident", took.Round(10*time.Millisecond), m["process_cpu_seconds_total"][""],
			int(m["state_size_bytes"][""])>>20, int(m["process_resident_memory_bytes"][""])>>20)
		p.kill()
	}
}

func saveMillion(t *testing.T, dir string, n int) {
	t.Helper()
	store, err := state.New("file:"+dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	tenant, err := store.Open(state.Key{Tenant: simulator.DefaultTenantID, API: "defender"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tenant.Close() }()
	cfg, now, r := config.Default(), time.Now(), rand.New(rand.NewPCG(1, 1))
	m := incident.NewMirror(incident.MirrorOptions{Lookback: cfg.Lookback, Thresholds: cfg.AgeThresholds})
	for i := range n {
		at := now.Add(-time.Duration(r.Int64N(int64(170 * 24 * time.Hour))))
		in := incident.Incident{
			ID: int64(i + 1), Created: at.Add(-time.Hour), Updated: at, Assigned: i%3 == 0, Severity: incident.Severity(i % incident.NumSeverities),
			Status: []incident.Status{incident.StatusActive, incident.StatusResolved, incident.StatusRedirected}[i%3],
		}
		for j := range i % 4 {
			in.Alerts = append(in.Alerts, incident.Alert{Source: fmt.Sprint("source_", (i+j)%7), Category: fmt.Sprint("category_", (i*j)%15)})
		}
		m.Apply(&in)
	}
	m.Snapshot(now)
	progress, err := json.Marshal(map[string]any{
		"version": 3, "phase": 3, "lookback": cfg.Lookback, "watermark": map[string]any{"at": now}, "published_at": now, "next_sweep": now.Add(time.Hour),
		"status": refresh.Status{Coverage: incident.Coverage{Open: true, All: true, Statuses: [incident.NumStatuses]bool{true, true, true, true, true, true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tenant.Save(func(full bool) (*incident.Saved, error) {
		s, err := m.Export(full)
		if err == nil {
			s.Progress = progress
		}
		return s, err
	}); err != nil {
		t.Fatal(err)
	}
}
