package tenant

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// bubble is a simulated tenant and an exporter of it in a synctest bubble: all
// that runs for real but the network.
type bubble struct {
	t        *testing.T
	sim      *simulator.Tenant
	tenant   *Tenant
	registry *prometheus.Registry
}

func inBubble(t *testing.T, o simulator.Options, change func(*config.Tenant), test func(*bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Light = true
		b := &bubble{t: t, sim: simulator.New(o)}
		cfg := tenanttest.Config()
		if change != nil {
			change(&cfg)
		}
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		if cfg.API == config.Graph && !o.NoRoles {
			b.sim.SetRoles(simulator.DefaultGraphRole)
		}
		stop := b.start(cfg, tenanttest.InMemory(t))
		test(b)
		stop()
	})
}

// start makes the exporter and runs it until it is told to stop.
func (b *bubble) start(cfg config.Tenant, store state.Store) (stop func()) {
	b.t.Helper()
	b.construct(cfg, store)
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		b.tenant.Run(ctx)
		close(done)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (b *bubble) construct(cfg config.Tenant, store state.Store) {
	b.t.Helper()
	var err error
	if b.tenant, err = New(cfg, Dependencies{
		Store:     store,
		Transport: b.sim.RoundTripper(),
		Logger:    slog.New(slog.DiscardHandler),
	}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.tenant.Open(nil, time.Now()); err != nil {
		b.t.Fatal(err)
	}
	b.registry = prometheus.NewPedanticRegistry()
	for _, source := range b.tenant.series.Sources() {
		prometheus.WrapRegistererWith(prometheus.Labels{"tenant": cfg.Name}, b.registry).MustRegister(source)
	}
}

func (b *bubble) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// series are all samples of one metric, as "label=value,label=value" with its value.
func (b *bubble) series(name string) map[string]float64 { return b.scrape()[name] }

func (b *bubble) scrape() map[string]map[string]float64 {
	b.t.Helper()
	return tenanttest.Scrape(b.t, b.registry)
}

func (b *bubble) value(name, labels string) float64 {
	b.t.Helper()
	v, ok := b.series(name)[labels]
	if !ok {
		b.t.Errorf("%s{%s} is not there", name, labels)
	}
	return v
}

// exact fails the test if any series differs from the truth.
func (b *bubble) exact() {
	b.t.Helper()
	cfg := b.tenant.config
	snapshot := b.tenant.loop.Snapshot()
	if snapshot == nil {
		b.t.Fatalf("nothing is known: %s", b.tenant.loop.Status().LastError)
	}
	truth := b.sim.Truth(snapshot.At, cfg.Lookback)
	for _, line := range tenanttest.Differences(tenanttest.Expected(truth, cfg.AgeThresholds), b.scrape()) {
		b.t.Error(line)
	}
}

// frugal fails the test if the tenant's own meter has seen more than the
// limits in any window, or had to throttle.
func (b *bubble) frugal(perMinute, perHour int) {
	b.t.Helper()
	m := b.sim.Meter()
	if got := m.MaxPerMinute; got > perMinute {
		b.t.Errorf("%d calls in 60 s, want at most %d", got, perMinute)
	}
	if got := m.MaxPerHour; got > perHour {
		b.t.Errorf("%d calls in 3,600 s, want at most %d", got, perHour)
	}
	if m.Throttled > 0 {
		b.t.Errorf("%d answers 429", m.Throttled)
	}
}

// TestMovingTenant is the main job: 12,000 incidents that keep moving, counted
// exactly once they rest, within every window, at both shares.
func TestMovingTenant(t *testing.T) {
	for _, test := range []struct {
		share              float64
		perMinute, perHour int
		then               time.Duration
	}{{1, 50, 1500, 7 * time.Hour}, {0.8, 40, 1200, time.Hour}} { // the first past a sweep
		t.Run(fmt.Sprint(test.share), func(t *testing.T) {
			o := simulator.Options{Seed: 3, Incidents: tenanttest.Sized(12_000), Rates: tenanttest.Busy}
			inBubble(t, o, func(c *config.Tenant) { c.QuotaShare = test.share }, func(b *bubble) {
				b.sim.Fault(simulator.Faults{Delay: 200 * time.Millisecond})
				openCalls := 0
				for openCalls == 0 {
					b.wait(50 * time.Millisecond)
					if len(b.series("incidents")) > 0 {
						openCalls = b.sim.Meter().Calls
					}
				}
				open := len(b.sim.IDs("Active")) + len(b.sim.IDs("InProgress"))
				// Counts appear a moment after the call that completes them.
				if limit := (open+99)/100 + 4; openCalls > limit {
					t.Errorf("counts of %d open incidents after %d calls, want at most %d", open, openCalls, limit)
				}
				b.wait(10 * time.Minute)
				b.sim.Rest()
				b.wait(2 * b.tenant.loop.Status().Interval)
				b.exact()
				b.sim.Live(tenanttest.Busy)
				b.wait(tenanttest.Virtual(test.then))
				b.sim.Rest()
				b.wait(2 * b.tenant.loop.Status().Interval)
				b.exact()
				b.frugal(test.perMinute, test.perHour)
				if got := b.series("sweep_corrections_total"); got["kind=missed"]+got["kind=changed"]+got["kind=vanished"] > 0 {
					t.Errorf("nothing was to be corrected: %v", got)
				}
				if got := b.value("api_quota_limit", "window=minute"); got != 50 {
					t.Errorf("limit: got %v", got)
				}
			})
		})
	}
}

// TestFaults goes through everything that the tenant can do wrong: the last
// good counts stay, up is 0, the reason is counted; and when it is over the
// counts become exact again by themselves.
func TestFaults(t *testing.T) {
	tests := []struct {
		name   string
		fault  simulator.Faults
		reason string
	}{
		{"500", simulator.Faults{Status: 500}, "server"},
		{"503 with Retry-After", simulator.Faults{Status: 503, RetryAfter: "20"}, "server"},
		{"429 with Retry-After", simulator.Faults{Status: 429, RetryAfter: "30"}, "throttled"},
		{"429 without", simulator.Faults{Status: 429}, "throttled"},
		{"401", simulator.Faults{Status: 401}, "auth"},
		{"403", simulator.Faults{Status: 403}, "forbidden"},
		{"405 with an empty body", simulator.Faults{Status: 405, EmptyBody: true}, "other"},
		{"torn", simulator.Faults{Torn: true}, "decode"},
		{"not JSON", simulator.Faults{NotJSON: true}, "decode"},
		{"dropped", simulator.Faults{Drop: simulator.DropBeforeHeaders}, "network"},
		{"dropped in the middle", simulator.Faults{Drop: simulator.DropMidBody}, "network"},
		{"slow", simulator.Faults{Delay: time.Minute}, "timeout"},
		{"slow body", simulator.Faults{Drip: 2 * time.Minute}, "timeout"},
		{"huge", simulator.Faults{Padding: 3 << 20}, "decode"},
		{"redirect", simulator.Faults{Redirect: "https://elsewhere.example/api/incidents"}, "other"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := simulator.Options{Seed: 5, Incidents: 600, Rates: tenanttest.Busy}
			small := func(c *config.Tenant) { c.MaxResponseBytes = 2 << 20 }
			inBubble(t, o, small, func(b *bubble) {
				b.wait(5 * time.Minute)
				known := b.series("incidents")
				b.sim.Fault(test.fault)
				b.wait(10 * time.Minute)
				if got := b.series("incidents"); !maps.Equal(got, known) {
					t.Errorf("the last good counts are gone: %v", got)
				}
				if b.value("up", "") != 0 {
					t.Error("up")
				}
				if b.value("refresh_failures_total", "kind=delta,reason="+test.reason) == 0 {
					t.Errorf("not counted as %s: %v", test.reason, b.series("refresh_failures_total"))
				}
				b.sim.Fault(simulator.Faults{})
				b.wait(16 * time.Minute) // the longest wait that no server prescribed
				b.sim.Rest()
				b.wait(2 * b.tenant.loop.Status().Interval)
				if b.value("up", "") != 1 {
					t.Errorf("not up again: %s", b.tenant.loop.Status().LastError)
				}
				b.exact()
				if got := b.sim.Meter().MaxPerMinute; got > 40 {
					t.Errorf("%d calls in a minute", got)
				}
			})
		})
	}
}

// TestOddServers: servers that can do less than documented, or do it
// differently, are read completely all the same.
func TestOddServers(t *testing.T) {
	tests := []struct {
		name  string
		fault simulator.Faults
	}{
		{"no le", simulator.Faults{Takes: simulator.Takes{Le: simulator.Refused}}},
		{"neither le nor lt", simulator.Faults{Takes: simulator.Takes{Le: simulator.Refused, Lt: simulator.Refused}}},
		{"le ignored", simulator.Faults{Takes: simulator.Takes{Le: simulator.Ignored, Lt: simulator.Ignored}}},
		{"no status filter", simulator.Faults{Takes: simulator.Takes{Status: simulator.Refused}}},
		{"status ignored", simulator.Faults{Takes: simulator.Takes{Status: simulator.Ignored}}},
		{"no awaiting action", simulator.Faults{RefuseStatusValues: []string{"AwaitingAction"}}},
		{"no ge", simulator.Faults{Takes: simulator.Takes{Since: simulator.Refused}}},
		{"ge ignored", simulator.Faults{Takes: simulator.Takes{Since: simulator.Ignored}}},
		{"skip capped", simulator.Faults{SkipCap: 150}},
		{"no link", simulator.Faults{Links: simulator.Links{None: true}}},
		{"link everywhere", simulator.Faults{Links: simulator.Links{Always: true, Shape: simulator.LinkFull}}},
		{"full link", simulator.Faults{Links: simulator.Links{Shape: simulator.LinkFull}}},
		{"foreign link", simulator.Faults{Links: simulator.Links{Host: simulator.Foreign}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := simulator.Options{Seed: 7, Incidents: tenanttest.Sized(1500), Rates: tenanttest.Busy}
			inBubble(t, o, nil, func(b *bubble) {
				b.sim.Fault(test.fault)
				b.wait(20 * time.Minute)
				b.sim.Rest()
				b.wait(2 * b.tenant.loop.Status().Interval)
				b.exact()
				b.frugal(40, 1200)
				b.wait(12 * time.Minute) // changes are read again for the overlap
				before := b.sim.Meter().Calls
				b.wait(30 * time.Minute)
				if got := b.sim.Meter().Calls - before; got > 60 {
					t.Errorf("a steady tenant cost %d calls in 60 intervals", got)
				}
			})
		})
	}
}

func TestClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			o := simulator.Options{Seed: 9, Incidents: 400, Rates: tenanttest.Busy, Skew: skew}
			inBubble(t, o, nil, func(b *bubble) {
				b.wait(time.Hour)
				b.sim.Rest()
				b.wait(time.Minute)
				if got, want := b.series("incidents"), b.sim.Truth(time.Now(), b.tenant.config.Lookback).Incidents; got["assigned=false,severity=high,status=active"] !=
					float64(want[[3]string{"high", "active", "false"}]) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// TestExpiringTokens: tokens are renewed before they end, and at once when
// the API no longer takes them.
func TestExpiringTokens(t *testing.T) {
	o := simulator.Options{Seed: 1, Incidents: 200, TokenLifetime: 20 * time.Minute}
	inBubble(t, o, nil, func(b *bubble) {
		b.wait(2 * time.Hour)
		if m := b.sim.Meter(); refused(m) > 0 || m.Tokens < 7 || m.Tokens > 9 {
			t.Errorf("%d refused calls, %d tokens in two hours", refused(m), m.Tokens)
		}
		b.sim.ExpireTokens()
		b.wait(time.Minute)
		if m := b.sim.Meter(); refused(m) != 1 || b.value("up", "") != 1 {
			t.Errorf("%d refused calls, up %v", refused(m), b.value("up", ""))
		}
	})
}

// refused counts the calls that were answered 401.
func refused(m simulator.Meter) (n int) {
	for _, r := range m.Log {
		if r.Status == http.StatusUnauthorized {
			n++
		}
	}
	return n
}

func TestWrongSecret(t *testing.T) {
	inBubble(t, simulator.Options{Incidents: 10}, func(c *config.Tenant) { c.ClientSecret = "s3cr3t-in-nobodys-log" }, func(b *bubble) {
		b.wait(5 * time.Minute)
		if got := b.value("refresh_failures_total", "kind=first,reason=auth"); got < 5 {
			t.Errorf("failures: %v", got)
		}
		// What is refused is not asked again and again.
		if got := b.value("token_failures_total", "reason=invalid_client"); got < 3 || got > 5 {
			t.Errorf("token failures: %v", got)
		}
		text := b.tenant.loop.Status().LastError
		if strings.Contains(text, "s3cr3t") || !strings.Contains(text, "AADSTS7000215") || !strings.Contains(text, "client secret is wrong") {
			t.Errorf("error: %s", text)
		}
		if m := b.sim.Meter(); m.Calls > 0 {
			t.Errorf("%d calls without a token", m.Calls)
		}
	})
}

// TestWithdrawal: after cache.max-age without a refresh the gauges go, and
// what tells why stays.
func TestWithdrawal(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 2, Incidents: 300}, nil, func(b *bubble) {
		b.wait(5 * time.Minute)
		b.sim.Fault(simulator.Faults{Status: http.StatusInternalServerError})
		b.wait(59 * time.Minute)
		if len(b.series("incidents")) == 0 {
			t.Error("withdrawn too early")
		}
		b.wait(2 * time.Minute)
		if got := b.series("incidents"); len(got) > 0 {
			t.Errorf("still there: %v", got)
		}
		if len(b.series("up")) == 0 || len(b.series("incidents_created_total")) == 0 {
			t.Error("up and the counters have to stay")
		}
	})
}

// TestScrapesCostNothing: no number of scrapes causes a call.
func TestScrapesCostNothing(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 2, Incidents: 300}, nil, func(b *bubble) {
		b.wait(5 * time.Minute)
		before := b.sim.Meter()
		for range 200 {
			b.series("incidents")
		}
		synctest.Wait()
		if after := b.sim.Meter(); after.Calls != before.Calls || after.Tokens != before.Tokens {
			t.Errorf("scrapes made %d calls", after.Calls-before.Calls)
		}
	})
}

// TestOddRows: rows of every odd shape cost nothing of the rest.
func TestOddRows(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 4, Incidents: 60}, nil, func(b *bubble) {
		b.sim.Fault(simulator.Faults{OddRows: true})
		b.wait(5 * time.Minute)
		b.exact()
		if b.value("unrecognized_values_total", "field=severity") == 0 {
			t.Error("an unknown severity was not counted")
		}
	})
}
