// Package tenanttest is what tests of several packages need: the configuration
// of a simulated tenant, and what its series have to be.
package tenanttest

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
)

// Config is that of the simulator's tenant by its native API.
func Config() config.Tenant {
	cfg := config.Default()
	cfg.Name = "contoso"
	cfg.TenantID, cfg.ClientID, cfg.ClientSecret = simulator.DefaultTenantID, simulator.DefaultClientID, simulator.DefaultClientSecret
	cfg.APIURL = "https://api.example"
	cfg.AuthURL, cfg.AuthScope = cfg.APIURL, cfg.APIURL+"/.default"
	return cfg
}

// InMemory is a store that outlives nothing.
func InMemory(t *testing.T) state.Store {
	t.Helper()
	store, err := state.New("memory:", state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// Uptime is that of a machine in a bubble, whose own goes on when the bubble's does not.
func Uptime() (boot string, up time.Duration) { return "", 0 }

// Labels of a sample but tenant, as "label=value,label=value".
func Labels(m *dto.Metric) string {
	var all []string
	for _, l := range m.Label {
		if l.GetName() != "tenant" {
			all = append(all, l.GetName()+"="+l.GetValue())
		}
	}
	return strings.Join(all, ",")
}

// Samples are those of the families, by metric less its prefix, then by labels less the
// tenant.
func Samples(families []*dto.MetricFamily) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	for _, family := range families {
		of := map[string]float64{}
		for _, m := range family.Metric {
			of[Labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		all[strings.TrimPrefix(family.GetName(), "m365_defender_")] = of
	}
	return all
}

// Scrape is what a scrape shows, as [Samples].
func Scrape(t testing.TB, from prometheus.Gatherer) map[string]map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return Samples(families)
}

// Expected is what the series have to be, as [Samples].
func Expected(truth simulator.Truth, thresholds []time.Duration) map[string]map[string]float64 {
	want := map[string]map[string]float64{
		"incidents": {}, "resolved_incidents": {}, "open_incidents_by_service_source": {}, "open_incidents_by_category": {},
		"alerts": {}, "open_incidents_older": {}, "open_incidents_idle": {}, "resolved_incidents_by_detection_source": {}, "alerts_by_investigation_state": {}, "oldest_open_incident_created_timestamp_seconds": {},
		"incidents_redirected": {"": float64(truth.Redirected)},
	}
	for k, n := range truth.Incidents {
		want["incidents"][fmt.Sprintf("assigned=%s,severity=%s,status=%s", k[2], k[0], k[1])] = float64(n)
	}
	for k, n := range truth.Resolved {
		want["resolved_incidents"][fmt.Sprintf("classification=%s,determination=%s,severity=%s", k[1], k[2], k[0])] = float64(n)
	}
	for k, n := range truth.OpenBySource {
		want["open_incidents_by_service_source"][fmt.Sprintf("service_source=%s,severity=%s", k[1], k[0])] = float64(n)
	}
	for k, n := range truth.OpenByCategory {
		want["open_incidents_by_category"][fmt.Sprintf("category=%s,severity=%s", k[1], k[0])] = float64(n)
	}
	for k, n := range truth.Alerts {
		want["alerts"][fmt.Sprintf("service_source=%s,severity=%s,status=%s", k[2], k[0], k[1])] = float64(n)
	}
	for severity, at := range truth.OldestOpen {
		want["oldest_open_incident_created_timestamp_seconds"]["severity="+severity] = float64(at.UnixMilli()) / 1000
	}
	for _, threshold := range thresholds {
		for k, n := range truth.OpenOlder(threshold) {
			want["open_incidents_older"][fmt.Sprintf("assigned=%s,severity=%s,threshold=%dh", k[1], k[0], threshold/time.Hour)] = float64(n)
		}
	}
	for _, threshold := range []time.Duration{24 * time.Hour, 72 * time.Hour, 168 * time.Hour} {
		for severity, n := range truth.OpenIdle(threshold) {
			want["open_incidents_idle"][fmt.Sprintf("severity=%s,threshold=%dh", severity, threshold/time.Hour)] = float64(n)
		}
	}
	for k, n := range truth.Detections {
		want["resolved_incidents_by_detection_source"][fmt.Sprintf("classification=%s,detection_source=%s", k[1], k[0])] = float64(n)
	}
	for state, n := range truth.Investigations {
		want["alerts_by_investigation_state"]["investigation_state="+state] = float64(n)
	}
	return want
}

// Differences is a line for each series that is not as it has to be.
func Differences(want, got map[string]map[string]float64) (lines []string) {
	for name, want := range want {
		got := got[name]
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if got[key] != want[key] {
				lines = append(lines, fmt.Sprintf("%s{%s}: got %v, want %v", name, key, got[key], want[key]))
			}
			delete(want, key)
		}
		for key, n := range want {
			if n != 0 {
				lines = append(lines, fmt.Sprintf("%s{%s} is not there, want %v", name, key, n))
			}
		}
	}
	return lines
}

// Sized is the size of a tenant, smaller where everything costs more.
func Sized(n int) int {
	if Raced {
		return (n + 3) / 4
	}
	return n
}

// Virtual time passes for free but for what happens in it.
func Virtual(d time.Duration) time.Duration {
	if Raced {
		return d / 8
	}
	return d
}

// Busy is how a tenant moves that a great many people work in.
var Busy = map[bool]simulator.Rates{
	false: {Create: 120, Assign: 200, Change: 400, Merge: 40, Resolve: 100, Reopen: 20},
	true:  {Create: 30, Assign: 50, Change: 100, Merge: 10, Resolve: 25, Reopen: 5},
}[Raced]

// ClosedAddress is where nothing listens, nor can for as long as the test lasts:
// the port is that of a connection's other end.
func ClosedAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return "https://" + conn.LocalAddr().String()
}
