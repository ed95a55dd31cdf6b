package fleet

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

// many are the tenants of the hosts in a bubble.
type many struct {
	*tenanttest.Hosts
	t   *testing.T
	set *Fleet
}

func (f *many) replace(configs ...config.Tenant) Changes {
	f.t.Helper()
	did, err := f.set.Replace(configs)
	if err != nil {
		f.t.Fatal(err)
	}
	return did
}

func (f *many) of(name string) *tenant.Tenant {
	f.t.Helper()
	for _, t := range f.set.Tenants() {
		if t.String() == name {
			return t
		}
	}
	f.t.Fatalf("there is no tenant %s", name)
	return nil
}

func (f *many) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// logs collects what the fleet says from now on.
func (f *many) logs() *bytes.Buffer {
	var b bytes.Buffer
	f.set.logger = slog.New(slog.NewTextHandler(&b, nil))
	return &b
}

func inFleet(t *testing.T, test func(*many)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &many{t: t, Hosts: tenanttest.NewHosts(t)}
		f.set = New(t.Context(), Options{
			Store: tenanttest.InMemory(t), Logger: slog.New(slog.DiscardHandler),
			NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return f, nil },
		})
		test(f)
		f.set.Stop(time.Minute)
	})
}

// TestReplaceLeavesTheUnchangedAlone: no new token, no lost ledger, not even a
// delayed refresh.
func TestReplaceLeavesTheUnchangedAlone(t *testing.T) {
	inFleet(t, func(f *many) {
		a, b := f.Tenant("a"), f.Tenant("b")
		if got, want := f.replace(a, b), (Changes{Added: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		f.wait(2 * time.Minute)
		before := f.of("a")
		b.Lookback /= 2
		if got, want := f.replace(a, b, f.Tenant("c")), (Changes{Added: 1, Changed: 1, Unchanged: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if f.of("a") != before {
			t.Error("an unchanged tenant was made anew")
		}
		f.wait(2 * time.Minute)
		if got := f.Sims["a"].Meter().Tokens; got != 1 {
			t.Errorf("%d tokens for an unchanged tenant, want 1", got)
		}
		if got, want := f.replace(f.Tenant("a")), (Changes{Removed: 2, Unchanged: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		f.wait(time.Minute)
		calls := f.Sims["b"].Meter().Calls
		f.wait(5 * time.Minute)
		if got := f.Sims["b"].Meter().Calls; got != calls {
			t.Errorf("%d calls of a tenant that was removed", got-calls)
		}
	})
}

// TestReplaceKeepsTheLedger: however often a tenant is changed, renamed,
// removed and added again, no window is exceeded.
func TestReplaceKeepsTheLedger(t *testing.T) {
	inFleet(t, func(f *many) {
		f.Sims["a"] = simulator.New(simulator.Options{Seed: 1, Incidents: 6000, Light: true, TenantID: "id-a", ClientID: "app-a"})
		a := f.Tenant("a")
		a.QuotaShare = 1
		for i := range 60 {
			switch i % 4 {
			case 0:
				a.SweepInterval += time.Hour
			case 1:
				a.Name = fmt.Sprint("renamed-", i)
			case 2:
				f.replace(f.Tenant("other"))
			}
			f.replace(f.Tenant("other"), a)
			f.wait(7 * time.Second)
		}
		m := f.Sims["a"].Meter()
		if m.Throttled > 0 || m.MaxPerMinute > 50 || m.MaxPerMinute < 40 {
			t.Errorf("%d calls in a minute, %d refused; want about 50 and none", m.MaxPerMinute, m.Throttled)
		}
	})
}

// TestReplaceRefusesWhole: one tenant that cannot be made leaves all as they
// were.
func TestReplaceRefusesWhole(t *testing.T) {
	inFleet(t, func(f *many) {
		a := f.Tenant("a")
		f.replace(a)
		before := f.of("a")
		changed, bad := a, f.Tenant("bad")
		changed.Lookback /= 2
		bad.HTTP.TLS.CAFile = "/nowhere/ca.pem"
		_, err := f.set.Replace([]config.Tenant{changed, bad})
		if err == nil || !strings.Contains(err.Error(), "tenant bad: http.tls_config.ca_file: open /nowhere/ca.pem") {
			t.Errorf("got %v", err)
		}
		if all := f.set.Tenants(); len(all) != 1 || all[0] != before {
			t.Errorf("the tenants were changed")
		}
		f.wait(time.Minute)
		if !before.Status(time.Now()).Refresh.Up {
			t.Error("the tenant does not go on")
		}
	})
}

// TestOneTenantsFailureIsItsOwn: a tenant whose answers take longer than
// any caller waits, and one that is refused, delay no other.
func TestOneTenantsFailureIsItsOwn(t *testing.T) {
	inFleet(t, func(f *many) {
		f.replace(f.Tenant("slow"), f.Tenant("dead"), f.Tenant("well"))
		f.Sims["slow"].Fault(simulator.Faults{Delay: time.Hour})
		f.Sims["dead"].SetClientSecret("another")
		f.wait(10 * time.Minute)
		for name, up := range map[string]bool{"slow": false, "dead": false, "well": true} {
			if got := f.of(name).Status(time.Now()).Refresh.Up; got != up {
				t.Errorf("%s: up is %v", name, got)
			}
		}
		if got := f.of("well").Status(time.Now()).Refresh.Passes[0].Refreshes; got < 18 {
			t.Errorf("%d refreshes in 10 minutes, want about 19", got)
		}
		// Nor does replacing it wait for it.
		began := time.Now()
		f.replace(f.Tenant("well"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("replacing took %v", took)
		}
	})
}

// TestStagger: the starts are spread over the interval, alike at every start,
// no tenant starves, and a single tenant does not wait.
func TestStagger(t *testing.T) {
	inFleet(t, func(f *many) {
		var configs []config.Tenant
		for i := range 60 {
			name := fmt.Sprintf("tenant-%03d", i)
			f.Sims[name] = simulator.New(simulator.Options{Seed: 1, Incidents: 20, Light: true, TenantID: "id-" + name, ClientID: "app-" + name})
			configs = append(configs, f.Tenant(name))
		}
		f.replace(configs...)
		perSecond := make([]int, 31)
		began := time.Now()
		seen := map[string]bool{}
		for range 31 {
			f.wait(time.Second)
			for name, sim := range f.Sims {
				if !seen[name] && sim.Meter().Calls > 0 {
					seen[name] = true
					perSecond[int(time.Since(began)/time.Second)-1]++
				}
			}
		}
		if len(seen) != 60 || slices.Max(perSecond) > 8 {
			t.Errorf("%d of 60 started within an interval, by second %v", len(seen), perSecond)
		}
		f.wait(20 * time.Minute)
		low, high := uint64(1<<60), uint64(0)
		for _, t := range f.set.Tenants() {
			n := t.Status(time.Now()).Refresh.Passes[0].Refreshes
			low, high = min(low, n), max(high, n)
		}
		if high > 2*low {
			t.Errorf("from %d to %d refreshes", low, high)
		}
	})
	inFleet(t, func(f *many) {
		f.replace(f.Tenant("alone"))
		f.wait(time.Millisecond)
		if f.Sims["alone"].Meter().Calls == 0 {
			t.Error("a single tenant waits")
		}
	})
	if got := stagger("contoso"); got != stagger("contoso") || got < 0 || got >= 1 {
		t.Errorf("stagger is %v", got)
	}
}

// TestStopIsBounded: what hangs is waited for once, however often the fleet is told to
// stop.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(t.Context(), Options{Logger: slog.New(slog.DiscardHandler)})
		release := make(chan struct{})
		f.loops.Go(func() { <-release })
		began := time.Now()
		f.Stop(10 * time.Second)
		f.Stop(10 * time.Second)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		close(release)
	})
}
