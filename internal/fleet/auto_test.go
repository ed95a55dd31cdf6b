package fleet

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// auto is a tenant whose API is not decided, in a fleet in a bubble that can be
// restarted.
type auto struct {
	*many
	cfg  config.Tenant
	sim  *simulator.Tenant
	url  string // of its state
	said bytes.Buffer
	end  func()
	// blank: the native API answers that there are no incidents.
	blank atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (a *auto) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.blank.Load() && strings.HasPrefix(r.URL.Path, "/api/incidents") {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"value":[]}`)), Request: r}, nil
	}
	return a.many.RoundTrip(r)
}

func inAuto(t *testing.T, roles []string, test func(*auto)) {
	t.Helper()
	withState(t, "memory:", roles, test)
}

func withState(t *testing.T, url string, roles []string, test func(*auto)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &auto{many: &many{t: t, Hosts: tenanttest.NewHosts(t)}, url: url}
		a.Sims["a"] = simulator.New(simulator.Options{Seed: 1, Incidents: 400, Light: true, TenantID: "id-a", ClientID: "app-a"})
		a.cfg, a.sim = a.auto("a"), a.Sims["a"]
		a.sim.SetRoles(roles...)
		a.begin()
		defer func() { a.end() }()
		test(a)
	})
}

// auto is the configuration of a tenant of the hosts that may be read by either API.
func (f *many) auto(name string) config.Tenant { return undecided(f.Tenant(name)) }

func undecided(cfg config.Tenant) config.Tenant {
	cfg.API, cfg.QuotaPerMinute, cfg.QuotaPerHour, cfg.QuotaShare = config.Auto, config.ByAPI, config.ByAPI, 1
	return cfg
}

// begin is a new life of the exporter.
func (a *auto) begin() {
	a.t.Helper()
	store, err := state.New(a.url, state.Options{Uptime: tenanttest.Uptime})
	if err != nil {
		a.t.Fatal(err)
	}
	a.set = New(a.t.Context(), Options{
		Store: store, Logger: slog.New(slog.NewTextHandler(&a.said, nil)),
		NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return a, nil },
	})
	a.replace(a.cfg)
	a.end = func() {
		a.set.Stop(time.Minute)
		if err := store.Close(); err != nil {
			a.t.Error(err)
		}
	}
}

func (a *auto) restart() {
	a.end()
	a.begin()
}

// reads fails the test unless the tenant is read by the API, for this reason.
func (a *auto) reads(api, reason string) {
	a.t.Helper()
	of := a.of("a")
	if got := of.Config().API; got != api {
		a.t.Errorf("it is read by %s, want %s\n%s", got, api, &a.said)
	}
	all := series(a.t, of)
	active, fallback := all["api_active"], all["api_fallback"]
	for _, name := range config.APIs() {
		if got := active["api="+name] == 1; got != (name == api) {
			a.t.Errorf("api_active: %v", active)
		}
	}
	for _, why := range []string{"gone", "role"} {
		if got := fallback["reason="+why] == 1; got != (why == reason) || len(fallback) != 2 {
			a.t.Errorf("api_fallback: %v, want %s", fallback, reason)
		}
	}
}

// frugal fails the test if any window of an API was exceeded.
func (a *auto) frugal() {
	a.t.Helper()
	frugal(a.t, a.sim)
}

func frugal(t testing.TB, sim *simulator.Tenant) {
	t.Helper()
	if m := sim.Meter(); m.MaxPerMinute > 50 || m.MaxPerHour > 1500 || m.MaxGraphPerMinute > 150 || m.Throttled > 0 {
		t.Errorf("%d calls in a minute, %d in an hour, %d of Graph in a minute, %d refused", m.MaxPerMinute, m.MaxPerHour, m.MaxGraphPerMinute, m.Throttled)
	}
}

func (a *auto) native() int { return a.sim.Meter().Calls + a.sim.Meter().Gets }

var bothRoles = []string{simulator.DefaultRole, simulator.DefaultGraphRole}

// TestAutoGoneFromTheStart: what the answer is that the API is gone, it has to last.
func TestAutoGoneFromTheStart(t *testing.T) {
	for name, retired := range map[string]simulator.Retired{"404": {Status: 404}, "410": {Status: 410}, "no host": {NoHost: true}} {
		t.Run(name, func(t *testing.T) {
			inAuto(t, bothRoles, func(a *auto) {
				a.sim.Fault(simulator.Faults{Retired: retired})
				a.wait(9*time.Minute + 50*time.Second)
				if a.reads(config.Defender, ""); a.sim.Meter().GraphCalls > 0 {
					t.Error("Graph was asked")
				}
				a.wait(2 * time.Minute)
				a.reads(config.Graph, "gone")
				calls := a.native()
				a.wait(time.Hour)
				if exact(t, a.sim, a.of("a")); a.native() != calls {
					t.Errorf("%d calls of the native API since", a.native()-calls)
				}
				a.frugal()
				if n := strings.Count(a.said.String(), "is read by Microsoft Graph from now on"); n != 1 || !strings.Contains(a.said.String(), "reason=gone since=") {
					t.Errorf("said %d times:\n%s", n, &a.said)
				}
			})
		})
	}
}

// TestAutoGoneLater: the counts are served until Graph takes over, and are exact soon
// after.
func TestAutoGoneLater(t *testing.T) {
	inAuto(t, bothRoles, func(a *auto) {
		a.sim.Live(tenanttest.Busy)
		a.wait(30 * time.Minute)
		a.reads(config.Defender, "")
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 410}})
		for a.of("a").Config().API == config.Defender {
			if a.of("a").Status(time.Now()).Open == nil {
				t.Fatal("the counts are gone")
			}
			a.wait(time.Second)
		}
		a.wait(20 * time.Second)
		calls := a.native()
		a.wait(time.Hour)
		a.sim.Rest()
		a.wait(2 * time.Minute)
		a.reads(config.Graph, "gone")
		exact(t, a.sim, a.of("a"))
		if a.frugal(); a.native() != calls {
			t.Errorf("%d calls of the native API since", a.native()-calls)
		}
		// Calls are counted over both.
		if got := series(t, a.of("a"))["api_requests_total"]; got["code=410,operation=list"] == 0 || got["code=200,operation=list"] < float64(a.sim.Meter().GraphCalls) {
			t.Errorf("the counters do not go on: %v", got)
		}
	})
}

// TestAutoOutages: none of these shows that the API is gone, however long it lasts.
func TestAutoOutages(t *testing.T) {
	outages := map[string]func(minute int) simulator.Faults{
		"gone for nine minutes": func(minute int) (f simulator.Faults) {
			if minute >= 3 && minute < 12 {
				f.Retired.Status = 404
			}
			return f
		},
		"gone at times": func(minute int) (f simulator.Faults) {
			if f.Retired.Status = 404; minute%8 == 0 {
				f.Retired.Status = 503
			}
			return f
		},
		"no answer": func(int) simulator.Faults { return simulator.Faults{Hang: true} },
		"dropped":   func(int) simulator.Faults { return simulator.Faults{Drop: simulator.DropBeforeHeaders} },
		"no login": func(int) (f simulator.Faults) {
			f.Token.Status = 503
			return f
		},
	}
	for _, status := range []int{400, 401, 429, 500, 502, 503, 504} {
		outages[fmt.Sprint(status)] = func(int) simulator.Faults { return simulator.Faults{Retired: simulator.Retired{Status: status}} }
	}
	for name, at := range outages {
		t.Run(name, func(t *testing.T) {
			inAuto(t, bothRoles, func(a *auto) {
				for minute := range 15 + int(tenanttest.Virtual(30*time.Minute)/time.Minute) {
					a.sim.Fault(at(minute))
					a.wait(time.Minute)
				}
				if a.reads(config.Defender, ""); a.sim.Meter().GraphCalls > 0 {
					t.Error("Graph was asked")
				}
				a.sim.Fault(simulator.Faults{})
				a.wait(20 * time.Minute)
				exact(t, a.sim, a.of("a"))
			})
		})
	}
}

// TestAutoRoles: who has the role for one API only is read by that, at once.
func TestAutoRoles(t *testing.T) {
	for _, test := range []struct {
		name, api, reason string
		roles             []string
	}{
		{"both", config.Defender, "", bothRoles},
		{"native only", config.Defender, "", bothRoles[:1]},
		{"Graph only", config.Graph, "role", bothRoles[1:]},
		{"Graph, to write", config.Graph, "role", []string{"SecurityIncident.ReadWrite.All"}},
		{"neither", config.Defender, "", []string{"Machine.Read.All"}},
		{"none", config.Defender, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inAuto(t, test.roles, func(a *auto) {
				a.wait(5 * time.Second)
				a.reads(test.api, test.reason)
				a.wait(30 * time.Minute)
				a.reads(test.api, test.reason)
				if test.name != "neither" && test.name != "none" {
					exact(t, a.sim, a.of("a"))
					return
				}
				if s := a.of("a").Status(time.Now()).Refresh; s.Up || !strings.Contains(s.LastError, "403") {
					t.Errorf("it is up, or says %s", s.LastError)
				}
				if n := strings.Count(a.said.String(), "nor can Microsoft Graph"); n != 1 || a.sim.Meter().GraphCalls > 0 {
					t.Errorf("said %d times:\n%s", n, &a.said)
				}
				a.sim.SetRoles(simulator.DefaultGraphRole)
				a.wait(askEvery + time.Minute)
				a.reads(config.Graph, "role")
			})
		})
	}
	t.Run("refused with the role", func(t *testing.T) {
		inAuto(t, bothRoles, func(a *auto) {
			a.wait(10 * time.Minute)
			a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 403}})
			a.wait(9 * time.Minute)
			a.reads(config.Defender, "")
			a.sim.Fault(simulator.Faults{})
			a.wait(time.Minute)
			a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 403}})
			a.wait(9 * time.Minute)
			a.reads(config.Defender, "")
			a.wait(2 * time.Minute)
			a.reads(config.Graph, "role")
		})
	})
	t.Run("not in the directory", func(t *testing.T) {
		inAuto(t, bothRoles, func(a *auto) {
			a.end()
			var f simulator.Faults
			f.Token.Code, f.Token.Count = 500011, 1 // the first, which is the native API's
			a.sim.Fault(f)
			a.begin()
			a.wait(time.Minute)
			a.reads(config.Graph, "role")
		})
	})
}

// TestAutoGoneWithoutGraph: where Graph cannot be read either there is nothing to be
// had from it.
func TestAutoGoneWithoutGraph(t *testing.T) {
	inAuto(t, bothRoles[:1], func(a *auto) {
		a.wait(10 * time.Minute)
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 404}})
		a.wait(30 * time.Minute)
		a.reads(config.Defender, "")
		if s := a.of("a").Status(time.Now()); s.Open == nil || s.Refresh.Up {
			t.Error("the counts are gone, or it is up")
		}
		a.sim.Fault(simulator.Faults{})
		a.wait(2 * time.Minute)
		exact(t, a.sim, a.of("a"))
	})
}

// fallen is a tenant that is read by Graph because the native API is gone.
func fallen(t *testing.T, url string, test func(*auto)) {
	t.Helper()
	withState(t, url, bothRoles, func(a *auto) {
		a.wait(20 * time.Minute)
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 404}})
		a.wait(15 * time.Minute)
		a.reads(config.Graph, "gone")
		test(a)
	})
}

// TestAutoReloaded: what changes nothing about the tenant changes nothing, and what
// does has the native API tried, without a gap.
func TestAutoReloaded(t *testing.T) {
	fallen(t, "memory:", func(a *auto) {
		before, calls := a.of("a"), a.native()
		if got, want := a.replace(a.cfg), (Changes{Unchanged: 1}); got != want || a.of("a") != before {
			t.Errorf("got %+v, want %+v", got, want)
		}
		a.wait(20 * time.Minute)
		if a.native() != calls {
			t.Errorf("%d calls of the native API", a.native()-calls)
		}
		a.cfg.SweepInterval += time.Hour
		a.replace(a.cfg)
		for range 30 {
			if a.of("a").Status(time.Now()).Open == nil {
				t.Fatal("the counts are gone")
			}
			a.wait(time.Second)
		}
		if a.reads(config.Graph, "gone"); a.native() != calls+1 {
			t.Errorf("the native API was called %d times, want once", a.native()-calls)
		}
		// It fails in another way: nobody knows, and it is tried until it answers.
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 503}})
		a.cfg.SweepInterval += time.Hour
		a.replace(a.cfg)
		a.wait(2*tryEvery + time.Minute)
		if a.reads(config.Graph, "gone"); a.native() != calls+4 {
			t.Errorf("the native API was called %d times, want 4", a.native()-calls)
		}
		exact(t, a.sim, a.of("a"))
		a.sim.Fault(simulator.Faults{})
		a.wait(tryEvery)
		a.reads(config.Defender, "")
		a.wait(2 * time.Minute)
		exact(t, a.sim, a.of("a"))
		a.frugal()
	})
}

// TestAutoRestarted: the API that was in use last goes on where it was, and the native
// one is tried.
func TestAutoRestarted(t *testing.T) {
	fallen(t, "file:"+t.TempDir(), func(a *auto) {
		for i := range uint64(3) {
			a.sim.Create(simulator.Spec{Severity: "High"})
			a.wait(2 * time.Minute)
			created := series(t, a.of("a"))["incidents_created_total"]["severity=high"]
			calls := a.native()
			a.end()
			time.Sleep(time.Duration(i*i*i) * time.Hour) // for longer than any window sees
			a.begin()
			if got := a.of("a").Status(time.Now()); a.of("a").Config().API != config.Graph || got.Snapshot == nil {
				t.Fatalf("%d: it does not go on with Graph", i)
			}
			a.wait(time.Minute)
			a.reads(config.Graph, "gone")
			exact(t, a.sim, a.of("a"))
			if got := series(t, a.of("a"))["incidents_created_total"]["severity=high"]; got != created || created != float64(i+1) {
				t.Errorf("%d: %v created, before %v", i, got, created)
			}
			if got := a.native() - calls; got != 1 {
				t.Errorf("%d: the native API was called %d times, want once", i, got)
			}
		}
		a.sim.Fault(simulator.Faults{})
		a.restart()
		a.wait(2 * time.Minute)
		a.reads(config.Defender, "")
		exact(t, a.sim, a.of("a"))
		if got := series(t, a.of("a"))["incidents_created_total"]["severity=high"]; got != 0 {
			t.Errorf("%v created by a counter that begins anew", got)
		}
		a.restart()
		if a.of("a").Status(time.Now()).Snapshot == nil {
			t.Error("it does not go on with the native API")
		}
		a.wait(time.Minute)
		a.reads(config.Defender, "")
		// The second time what Graph had counted is of no use.
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{NoHost: true}})
		a.wait(12 * time.Minute)
		a.reads(config.Graph, "gone")
		exact(t, a.sim, a.of("a"))
		if got := series(t, a.of("a"))["incidents_created_total"]["severity=high"]; got != 0 {
			t.Errorf("%v created by a counter that begins anew", got)
		}
		a.frugal()
	})
}

// TestAutoBlank: a native API that answers with no incidents is none that can be read
// again, as long as Graph shows some.
func TestAutoBlank(t *testing.T) {
	fallen(t, "file:"+t.TempDir(), func(a *auto) {
		a.sim.Fault(simulator.Faults{})
		a.blank.Store(true)
		a.restart()
		a.wait(30 * time.Minute)
		a.reads(config.Graph, "")
		exact(t, a.sim, a.of("a"))
		a.blank.Store(false)
		a.wait(15 * time.Minute)
		a.reads(config.Defender, "")
		exact(t, a.sim, a.of("a"))
		a.frugal()
	})
}

// TestAutoBlankAlone: where Graph does not let the application read, a native API
// without incidents is what there is.
func TestAutoBlankAlone(t *testing.T) {
	inAuto(t, []string{simulator.DefaultRole}, func(a *auto) {
		a.blank.Store(true)
		a.replace(a.cfg.By(config.Graph))
		a.wait(time.Minute)
		a.replace(a.cfg)
		a.wait(15 * time.Minute)
		a.reads(config.Defender, "")
	})
}

// TestAutoBlankEarly: a native API without incidents says nothing as long as Graph,
// which can be read, has not been.
func TestAutoBlankEarly(t *testing.T) {
	inAuto(t, bothRoles, func(a *auto) {
		a.blank.Store(true)
		a.sim.Fault(simulator.Faults{Delay: 5 * time.Second}) // Graph has its open incidents after a minute
		a.replace(a.cfg.By(config.Graph))
		a.replace(a.cfg)
		a.wait(time.Hour)
		a.reads(config.Graph, "")
		exact(t, a.sim, a.of("a"))
	})
}

// TestAutoFromGraph: a tenant that was read by Graph, by its own setting, goes on with
// it until the native API has answered.
func TestAutoFromGraph(t *testing.T) {
	inAuto(t, bothRoles, func(a *auto) {
		a.replace(a.cfg.By(config.Graph))
		a.wait(10 * time.Minute)
		if got := a.of("a").Config().API; got != config.Graph || len(series(t, a.of("a"))["api_fallback"]) > 0 {
			t.Errorf("it is read by %s", got)
		}
		a.replace(a.cfg)
		a.wait(2 * time.Minute)
		a.reads(config.Defender, "")
		exact(t, a.sim, a.of("a"))
	})
}

// beginAuto is a herd of tenants that may be read by either API.
func beginAuto(h *herd, n int) (configs []config.Tenant) {
	for _, cfg := range h.tenants(n) {
		configs = append(configs, undecided(cfg))
		h.Sims[cfg.Name].SetRoles(bothRoles...)
	}
	return configs
}

// each fails the test unless each tenant is served once, by the API, and exact.
func (h *herd) each(configs []config.Tenant, api string) {
	h.t.Helper()
	if why := h.unserved(configs); why != "" {
		h.t.Error(why)
	}
	for _, l := range h.all {
		if l.over.Load() {
			continue
		}
		for _, of := range l.Tenants() {
			if got := of.Config().API; got != api {
				h.t.Errorf("%s is read by %s, want %s", of, got, api)
			}
			exact(h.t, h.Sims[of.String()], of)
		}
	}
	for _, sim := range h.Sims {
		frugal(h.t, sim)
	}
}

// TestAutoReplicas: a tenant moves with both of its states, and who takes it goes on
// with the API that was in use.
func TestAutoReplicas(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := beginAuto(h, 8)
		a := h.begin("a", 0, configs...)
		h.begin("b", 0, configs...)
		h.wait(10 * time.Minute)
		h.each(configs, config.Defender)
		for _, sim := range h.Sims {
			sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 404}})
		}
		h.wait(15 * time.Minute)
		h.each(configs, config.Graph)
		if all, err := a.Unserved(t.Context()); err != nil || len(all) == 0 || slices.ContainsFunc(all, func(u Unserved) bool { return u.Owner != "b" }) {
			t.Errorf("the other one's: %+v, %v", all, err)
		}
		calls := map[string]int{}
		for name, sim := range h.Sims {
			calls[name] = sim.Meter().Calls
		}
		had := a.served()
		a.kill()
		h.wait(14 * time.Second)
		if why := h.unserved(configs); why != "" || len(had) == 0 {
			t.Errorf("%v: %s", had, why)
		}
		for _, of := range h.all[1].Tenants() {
			if of.Status(time.Now()).Open == nil || of.Config().API != config.Graph {
				t.Errorf("%s does not go on from what there is", of)
			}
		}
		h.wait(time.Minute)
		h.each(configs, config.Graph)
		for name, sim := range h.Sims {
			moved := 0
			if strings.Contains(strings.Join(had, " "), name) {
				moved = 1
			}
			if got := sim.Meter().Calls - calls[name]; got != moved {
				t.Errorf("%s: %d calls of the native API, want %d", name, got, moved)
			}
		}
		if s, _ := h.all[1].Replicas(); s.Takeovers["silent"] != uint64(len(had)) {
			t.Errorf("takeovers %v, want %d", s.Takeovers, len(had))
		}
		// Back to the one that begins again, and stopped there.
		a = h.begin("a", 0, configs...)
		h.wait(time.Minute)
		if h.each(configs, config.Graph); len(a.served()) != len(had) {
			t.Errorf("%v came back, want %v", a.served(), had)
		}
		a.stop()
		h.wait(time.Minute)
		h.each(configs, config.Graph)
	})
}

// TestAutoKilledInTheSwitch: at whatever moment around the switch the process dies, no
// window is exceeded, and the counts become exact by Graph.
func TestAutoKilledInTheSwitch(t *testing.T) {
	by := map[string]int{}
	steps := tenanttest.Sized(32)
	for step := range steps {
		at := 10*time.Minute + 16750*time.Millisecond + time.Duration(step)*4*time.Second/time.Duration(steps)
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			inHerd(t, func(h *herd) {
				configs := beginAuto(h, 1)
				sim := h.Sims[configs[0].Name]
				f := simulator.Faults{Retired: simulator.Retired{Status: 404}, Delay: 300 * time.Millisecond}
				f.Token.Delay = 300 * time.Millisecond
				sim.Fault(f)
				a := h.begin("a", 0, configs...)
				h.wait(at)
				by[a.Tenants()[0].Config().API]++
				by["calls"] += min(1, sim.Meter().GraphCalls)
				a.kill()
				h.begin("a", 0, configs...)
				h.wait(30 * time.Minute)
				h.each(configs, config.Graph)
			})
		})
	}
	if by[config.Defender] == 0 || by[config.Graph] == 0 || by["calls"] == 0 {
		t.Errorf("killed while it was read by %v: not around the switch", by)
	}
	t.Log(by)
}

// TestAutoStateElsewhere: a tenant whose state for Graph cannot be opened stays where it
// is.
func TestAutoStateElsewhere(t *testing.T) {
	inAuto(t, bothRoles, func(a *auto) {
		held, err := a.set.store.Open(state.Key{Tenant: "id-a", API: config.Graph})
		if err != nil {
			t.Fatal(err)
		}
		a.wait(10 * time.Minute)
		a.sim.SetRoles(simulator.DefaultGraphRole)
		a.sim.ExpireTokens()
		a.wait(10 * time.Minute)
		a.reads(config.Defender, "")
		if a.of("a").Status(time.Now()).Open == nil || !strings.Contains(a.said.String(), "its API is not changed yet") {
			t.Errorf("the counts are gone, or it is not said:\n%s", &a.said)
		}
		_ = held.Close()
		a.wait(askEvery + time.Minute)
		a.reads(config.Graph, "role")
		exact(t, a.sim, a.of("a"))
	})
}

// TestAutoAddedAgain: a tenant that was removed goes on with the API that it was read
// by, where nothing is kept on a disk, too.
func TestAutoAddedAgain(t *testing.T) {
	inFleet(t, func(f *many) {
		other, cfg := f.Tenant("other"), f.auto("a")
		sim := f.Sims["a"]
		sim.SetRoles(bothRoles...)
		f.replace(other, cfg)
		f.wait(10 * time.Minute)
		sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 404}})
		f.wait(20 * time.Minute)
		f.replace(other)
		f.wait(5 * time.Minute)
		f.replace(other, cfg)
		if of := f.of("a"); of.Config().API != config.Graph || of.Status(time.Now()).Snapshot == nil {
			t.Errorf("it is read by %s", of.Config().API)
		}
		f.wait(2 * time.Minute)
		exact(t, sim, f.of("a"))
		frugal(t, sim)
		// In the moment in which the native API is tried.
		release := f.Hold()
		changed := cfg
		changed.SweepInterval += time.Hour
		f.replace(other, changed)
		f.wait(time.Minute)
		f.replace(other)
		f.replace(other, cfg)
		release()
		f.wait(2 * time.Minute)
		if got := f.of("a").Config().API; got != config.Graph {
			t.Errorf("it is read by %s", got)
		}
		exact(t, sim, f.of("a"))
		frugal(t, sim)
		// Under the id of another tenant nothing is known of it.
		moved := f.auto("b")
		moved.Name = "a"
		f.Sims["b"].SetRoles(bothRoles...)
		f.replace(other, moved)
		f.wait(2 * time.Minute)
		if got := f.of("a").Config(); got.API != config.Defender || got.TenantID != "id-b" {
			t.Errorf("it is read by %s", got.API)
		}
		exact(t, f.Sims["b"], f.of("a"))
	})
}

// TestAutoFileChanged: what changes outside the configuration is no reason to try the
// native API again.
func TestAutoFileChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fallen(t, "memory:", func(a *auto) {
		write("sixteen bytes...")
		a.cfg.Assignees, a.cfg.AssigneesKeyFile = config.AssigneesCount, path
		a.replace(a.cfg)
		a.wait(10 * time.Minute)
		calls := a.native()
		write("sixteen others..")
		if got, want := a.replace(a.cfg), (Changes{Changed: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		a.wait(10 * time.Minute)
		if a.reads(config.Graph, "gone"); a.native() != calls {
			t.Errorf("%d calls of the native API", a.native()-calls)
		}
		exact(t, a.sim, a.of("a"))
	})
}

// TestAutoBlankLater: that Graph did not let the application read for a while makes no
// native API without incidents what there is, once Graph is read again.
func TestAutoBlankLater(t *testing.T) {
	inAuto(t, bothRoles, func(a *auto) {
		a.replace(a.cfg.By(config.Graph))
		a.wait(10 * time.Minute)
		a.sim.Fault(simulator.Faults{Retired: simulator.Retired{Status: 503}})
		a.replace(a.cfg) // the native API is tried every ten minutes
		a.wait(time.Minute)
		exact(t, a.sim, a.of("a"))
		a.sim.SetRoles(simulator.DefaultRole) // Graph does not let it read
		a.wait(15 * time.Minute)
		a.sim.SetRoles(bothRoles...)
		for n := 0; n < 2000 && series(t, a.of("a"))["up"][""] == 0; n++ {
			a.wait(2 * time.Second)
		}
		exact(t, a.sim, a.of("a"))
		a.blank.Store(true)
		a.sim.Fault(simulator.Faults{})
		a.wait(15 * time.Minute)
		a.reads(config.Graph, "")
		exact(t, a.sim, a.of("a"))
	})
}
