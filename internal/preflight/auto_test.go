package preflight

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// TestCheckAuto: both APIs are tried, one that works is enough, and which one the
// tenant is read by is said as the fleet decides it.
func TestCheckAuto(t *testing.T) {
	both := []string{simulator.DefaultRole, simulator.DefaultGraphRole}
	for name, test := range map[string]struct {
		roles   []string
		retired simulator.Retired
		ok      bool
	}{
		"both":         {roles: both, ok: true},
		"native-only":  {roles: both[:1], ok: true},
		"graph-only":   {roles: both[1:], ok: true},
		"neither":      {},
		"gone":         {roles: both, retired: simulator.Retired{Status: 404}, ok: true},
		"gone-no-role": {roles: both[:1], retired: simulator.Retired{Status: 410}},
		"refused":      {roles: both, retired: simulator.Retired{Status: 403}, ok: true},
		"outage":       {roles: both, retired: simulator.Retired{Status: 503}, ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChecked(t, simulator.Options{Seed: 3, Incidents: 40})
			c.sim.SetRoles(test.roles...)
			c.sim.Fault(simulator.Faults{Retired: test.retired})
			c.config.API = config.Auto
			if err := c.config.Complete(); err != nil {
				t.Fatal(err)
			}
			o := Options{
				Tenants: []config.Tenant{c.config}, Store: c.store, Logger: slog.New(slog.DiscardHandler),
				Transport: func(config.HTTP) (http.RoundTripper, error) { return c.shared(), nil },
			}
			var text bytes.Buffer
			if ok := Run(t.Context(), o, &text); ok != test.ok {
				t.Errorf("ok is %v", ok)
			}
			got := ports.ReplaceAllString(text.String(), "127.0.0.1:PORT")
			golden(t, filepath.Join("testdata", "check-auto-"+name+".txt"), instants.ReplaceAllString(durations.ReplaceAllString(got, "in TIME"), "INSTANT"))
			o.JSON = true
			text.Reset()
			Run(t.Context(), o, &text)
			var report Report
			if err := json.Unmarshal(text.Bytes(), &report); err != nil || len(report.Tenants) != 2 || report.OK != test.ok || report.Tenants[0].API != config.Defender || report.Tenants[1].API != config.Graph {
				t.Errorf("got %v\n%s", err, &text)
			}
		})
	}
}
