package tenant

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// inGraph is inBubble over Microsoft Graph.
func inGraph(t *testing.T, o simulator.Options, fault simulator.Faults, test func(*bubble)) {
	t.Helper()
	inBubble(t, o, func(c *config.Tenant) { c.API = config.Graph }, func(b *bubble) {
		b.sim.Fault(fault)
		test(b)
	})
}

// restAndCheck lets the tenant rest and wants the exact truth an interval later.
func (b *bubble) restAndCheck() {
	b.t.Helper()
	b.sim.Rest()
	b.wait(2 * b.tenant.loop.Status().Interval)
	b.exact()
	m := b.sim.Meter()
	if m.Throttled > 0 || m.MaxGraphPerMinute > 120 {
		b.t.Errorf("%d calls in 60 s, %d answers 429", m.MaxGraphPerMinute, m.Throttled)
	}
	if m.Calls+m.Gets > 0 || m.ForeignWithCredentials > 0 {
		b.t.Errorf("calls went elsewhere: %+v", m)
	}
}

// steady wants one call an interval once nothing moves.
func (b *bubble) steady() {
	b.t.Helper()
	b.wait(12 * time.Minute) // changes are read again for the overlap
	before := b.sim.Meter().GraphCalls
	b.wait(30 * time.Minute)
	if got := b.sim.Meter().GraphCalls - before; got > 60 {
		b.t.Errorf("a steady tenant cost %d calls in 60 intervals", got)
	}
}

// TestGraphMovingTenant is the main job over the other API.
func TestGraphMovingTenant(t *testing.T) {
	for name, fault := range map[string]simulator.Takes{
		"ordered":   {},
		"unordered": {OrderBy: simulator.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			o := simulator.Options{Seed: 3, Incidents: tenanttest.Sized(3000), Rates: tenanttest.Busy}
			often := func(c *config.Tenant) { c.API, c.SweepInterval = config.Graph, time.Hour }
			inBubble(t, o, often, func(b *bubble) {
				b.sim.Fault(simulator.Faults{Delay: 200 * time.Millisecond, SkipCap: 500, Takes: fault})
				b.wait(10 * time.Minute)
				b.restAndCheck()
				b.sim.Live(tenanttest.Busy)
				b.wait(150 * time.Minute)
				b.restAndCheck()
				if b.tenant.loop.Status().Passes[pass.Sweep].LastSuccess.IsZero() {
					t.Error("no sweep was complete")
				}
				if got := b.series("sweep_corrections_total"); got["kind=missed"]+got["kind=changed"]+got["kind=vanished"] > 0 {
					t.Errorf("nothing was to be corrected: %v", got)
				}
				if got := b.series("api_quota_limit"); got["window=minute"] != 150 || len(got) != 1 {
					t.Errorf("limits: %v", got)
				}
			})
		})
	}
}

// TestGraphOddServers: servers that do less than documented, or do it
// differently, are read completely all the same.
func TestGraphOddServers(t *testing.T) {
	tests := []struct {
		name  string
		fault simulator.Faults
	}{
		{"no order, oldest first", simulator.Faults{SkipCap: 500, Takes: simulator.Takes{OrderBy: simulator.Refused}, Order: simulator.OldestUpdate}},
		{"no order at all", simulator.Faults{SkipCap: 500, Takes: simulator.Takes{OrderBy: simulator.Refused}, Order: simulator.NoOrder}},
		{"order ignored", simulator.Faults{Takes: simulator.Takes{OrderBy: simulator.Ignored}, Order: simulator.NewestCreated}},
		{"empty pages", simulator.Faults{Pages: simulator.Pages{Empty: true}}},
		{"empty pages, no order", simulator.Faults{Takes: simulator.Takes{OrderBy: simulator.Refused}, Pages: simulator.Pages{Empty: true}}},
		{"no lt either", simulator.Faults{Takes: simulator.Takes{OrderBy: simulator.Refused, Lt: simulator.Refused}}},
		{"no status filter", simulator.Faults{Takes: simulator.Takes{Status: simulator.Refused}}},
		{"no awaiting action", simulator.Faults{RefuseStatusValues: []string{"AwaitingAction"}}},
		{"small pages only", simulator.Faults{Heavy: simulator.Heavy{Top: 10, Status: 500, WithAlerts: true}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := simulator.Options{Seed: 7, Incidents: tenanttest.Sized(800), Rates: tenanttest.Busy, Mix: simulator.Mix{AwaitingAction: 0.05, Active: 0.2, InProgress: 0.2, Resolved: 0.3, Redirected: 0.2}}
			inGraph(t, o, test.fault, func(b *bubble) {
				at := b.sim.Now().Add(-time.Hour)
				for range 120 { // one instant, more than a page
					b.sim.Create(simulator.Spec{Created: at, Updated: at})
				}
				b.wait(20 * time.Minute)
				b.restAndCheck()
				if !test.fault.Pages.Empty {
					b.steady()
				}
			})
		})
	}
}

// TestGraphFaults: the last good counts stay, up is 0, the reason is counted;
// and when it is over the counts become exact again by themselves.
func TestGraphFaults(t *testing.T) {
	tests := []struct {
		name   string
		fault  simulator.Faults
		reason string
	}{
		{"500", simulator.Faults{Status: 500}, "server"},
		{"503 with Retry-After", simulator.Faults{Status: 503, RetryAfter: "20"}, "server"},
		{"429 without Retry-After", simulator.Faults{Status: 429}, "throttled"},
		{"403", simulator.Faults{Status: 403}, "forbidden"},
		{"torn", simulator.Faults{Torn: true}, "decode"},
		{"slow", simulator.Faults{Delay: time.Minute}, "timeout"},
		{"redirect", simulator.Faults{Redirect: simulator.Foreign + "/v1.0/security/incidents"}, "other"},
		{"foreign links", simulator.Faults{Links: simulator.Links{Host: simulator.Foreign}, Pages: simulator.Pages{Empty: true}}, "incomplete"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inGraph(t, simulator.Options{Seed: 5, Incidents: 400, Rates: tenanttest.Busy}, simulator.Faults{}, func(b *bubble) {
				b.wait(5 * time.Minute)
				known := b.series("incidents")
				b.sim.Fault(test.fault)
				b.wait(10 * time.Minute)
				if got := b.series("incidents"); !maps.Equal(got, known) {
					t.Errorf("the last good counts are gone: %v", got)
				}
				if b.value("up", "") != 0 || b.value("refresh_failures_total", "kind=delta,reason="+test.reason) == 0 {
					t.Errorf("up %v, failures %v", b.value("up", ""), b.series("refresh_failures_total"))
				}
				b.sim.Fault(simulator.Faults{})
				b.wait(16 * time.Minute) // the longest wait that no server prescribed
				b.sim.Rest()
				b.wait(2 * b.tenant.loop.Status().Interval)
				if b.value("up", "") != 1 {
					t.Errorf("not up again: %s", b.tenant.loop.Status().LastError)
				}
				b.exact()
				if m := b.sim.Meter(); m.MaxGraphPerMinute > 120 || m.ForeignWithCredentials > 0 {
					t.Errorf("%d calls in a minute, %d tokens to another host", m.MaxGraphPerMinute, m.ForeignWithCredentials)
				}
			})
		})
	}
}

// alertSeries are made of alerts: not shown when those are not known.
var alertSeries = []string{
	"alerts", "open_incidents_by_service_source", "open_incidents_by_category", "resolved_incidents_by_detection_source", "alerts_by_investigation_state",
}

// TestGraphWithoutAlerts: while every expanded query fails the incidents are
// counted exactly, one interval later at most, the series made of alerts are
// withdrawn, and all of it comes back by itself.
func TestGraphWithoutAlerts(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("from the start %v", early), func(t *testing.T) {
			inGraph(t, simulator.Options{Seed: 11, Incidents: 700, Rates: tenanttest.Busy}, simulator.Faults{}, func(b *bubble) {
				if !early {
					b.wait(5*time.Minute + time.Second)
				}
				b.sim.Fault(simulator.Faults{Takes: simulator.Takes{Alerts: 500}})
				if early {
					b.wait(5 * time.Minute)
				}
				b.sim.Rest()
				want := b.sim.Truth(b.sim.Now(), b.tenant.config.Lookback).Incidents
				b.wait(2 * b.tenant.loop.Status().Interval)
				got := b.series("incidents")
				for k, n := range want {
					if v := got[fmt.Sprintf("assigned=%s,severity=%s,status=%s", k[2], k[0], k[1])]; v != float64(n) {
						t.Errorf("incidents %v: got %v, want %d", k, v, n)
					}
				}
				withdrawn := func() {
					t.Helper()
					if b.value("alerts_available", "") != 0 || b.value("up", "") != 1 {
						t.Errorf("available %v, up %v", b.value("alerts_available", ""), b.value("up", ""))
					}
					for _, name := range alertSeries {
						if n := len(b.series(name)); n > 0 {
							t.Errorf("%d series of %s", n, name)
						}
					}
				}
				withdrawn()
				b.sim.Live(tenanttest.Busy)
				b.wait(3 * time.Hour)
				withdrawn()
				before := b.sim.Meter().GraphCalls
				b.wait(time.Hour)
				if got := b.sim.Meter().GraphCalls - before; got > 500 {
					t.Errorf("%d calls in an hour without alerts", got)
				}
				b.sim.Fault(simulator.Faults{})
				b.wait(80 * time.Minute) // the longest wait for a trial, and a sweep
				b.restAndCheck()
				if b.value("alerts_available", "") != 1 {
					t.Error("alerts are not available again")
				}
				if got := b.series("sweep_corrections_total"); got["kind=missed"]+got["kind=changed"] > 0 {
					t.Errorf("nothing was to be corrected: %v", got)
				}
			})
		})
	}
}

// TestGraphMissingRole: a token without the role is told apart from none.
func TestGraphMissingRole(t *testing.T) {
	inBubble(t, simulator.Options{Incidents: 10, NoRoles: true}, func(c *config.Tenant) { c.API = config.Graph }, func(b *bubble) {
		b.wait(2 * time.Minute)
		if got := b.value("refresh_failures_total", "kind=first,reason=forbidden"); got == 0 {
			t.Errorf("failures: %v", b.series("refresh_failures_total"))
		}
		if text := b.tenant.loop.Status().LastError; !strings.Contains(text, "SecurityIncident.Read.All") {
			t.Errorf("error: %s", text)
		}
	})
}

// TestGraphOddRows: rows of every odd shape cost nothing of the rest.
func TestGraphOddRows(t *testing.T) {
	inGraph(t, simulator.Options{Seed: 4, Incidents: 60}, simulator.Faults{OddRows: true}, func(b *bubble) {
		b.wait(5 * time.Minute)
		b.exact()
	})
}

// TestOneTruth: one tenant read through both APIs is one exposition.
func TestOneTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{
			Seed: 21, Incidents: 1500, Light: true, Rates: tenanttest.Busy,
			Mix: simulator.Mix{Redirected: 3, Resolved: 4, Active: 2, InProgress: 2, AwaitingAction: 1, Classified: 0.9},
		})
		sim.SetRoles(simulator.DefaultRole, simulator.DefaultGraphRole)
		for _, s := range []simulator.Spec{
			{Status: "New", Severity: "UnSpecified", AssignedTo: "\u200bSomebody@Example.com ", Tags: []string{"vip", "another"}}, {Status: "Paused", Severity: "Catastrophic"},
			{Status: "Resolved", Classification: "TruePositive", Determination: "CompromisedUser"},
			{Status: "Resolved", Classification: "FalsePositive", Determination: "Clean"},
			{Alerts: []simulator.Alert{
				{ServiceSource: "MicrosoftSentinel", Category: "Some new category", Severity: "High", Status: "New", Devices: 2, Entities: 3},
				{ServiceSource: "MicrosoftThreatIntelligence", Category: "SomeNewCategory", Severity: "UnSpecified", Status: "InProgress"},
				{ServiceSource: "Microsoft365Defender", Category: "", Severity: "Low", Status: "Resolved"},
				{ServiceSource: "MicrosoftApplicationProtection", Category: "Exfiltration", Severity: "Low", Status: "Resolved"},
			}},
		} {
			sim.Create(s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var seen []*bubble
		done := make(chan struct{})
		for _, api := range config.APIs() {
			cfg := tenanttest.Config()
			cfg.API, cfg.Dimensions = api, everyDimension
			if err := cfg.Complete(); err != nil {
				t.Fatal(err)
			}
			b := &bubble{t: t, sim: sim, registry: prometheus.NewPedanticRegistry()}
			var err error
			if b.tenant, err = New(cfg, Dependencies{Transport: sim.RoundTripper(), Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			for _, source := range b.tenant.sources() {
				prometheus.WrapRegistererWith(prometheus.Labels{"tenant": cfg.Name}, b.registry).MustRegister(source)
			}
			go func() {
				b.tenant.Run(ctx)
				done <- struct{}{}
			}()
			seen = append(seen, b)
		}
		seen[0].wait(time.Hour)
		sim.Rest()
		seen[0].wait(11 * time.Minute)
		native, graph := seen[0].exposition(), seen[1].exposition()
		if native != graph {
			g := strings.Split(graph, "\n")
			for i, line := range strings.Split(native, "\n") {
				if i >= len(g) || g[i] != line {
					t.Errorf("line %d\nnative %s\ngraph  %s", i, line, append(g, "")[min(i, len(g))])
					break
				}
			}
		}
		if n := strings.Count(native, "\n"); n < 200 {
			t.Errorf("an exposition of %d lines proves little:\n%s", n, native)
		}
		cancel()
		<-done
		<-done
	})
}

// exposition is what depends on the incidents, less the histograms' and the
// counters', which tell how often it was looked at, and what only Graph has.
func (b *bubble) exposition() string {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	var text bytes.Buffer
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "m365_defender_")
		switch {
		case strings.HasPrefix(name, "api_"), strings.HasPrefix(name, "token_"), strings.HasPrefix(name, "refresh"),
			name == "unrecognized_values_total", name == "incident_time_to_assign_seconds", name == "open_incidents_by_priority":
			continue
		}
		for _, m := range family.Metric {
			if h := m.Histogram; h != nil {
				h.SampleSum = new(float64(float32(h.GetSampleSum()))) // in which order it was added up may differ
			}
		}
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			b.t.Fatal(err)
		}
	}
	return text.String()
}

// TestForeignLinksSpendNothing: a link that is not followed is no call, and spends none.
func TestForeignLinksSpendNothing(t *testing.T) {
	fault := simulator.Faults{
		Links: simulator.Links{Host: simulator.Foreign},
		Takes: simulator.Takes{Skip: simulator.Refused, OrderBy: simulator.Refused, Lt: simulator.Refused, Le: simulator.Refused},
	}
	inGraph(t, simulator.Options{Seed: 7, Incidents: 900}, fault, func(b *bubble) {
		b.wait(50 * time.Second)
		if used, calls := b.tenant.ledger.Usage(time.Now())[0].Used, b.sim.Meter().GraphCalls; used != calls {
			t.Errorf("%d grants are spent for %d calls", used, calls)
		}
	})
}
