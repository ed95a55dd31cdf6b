package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// fleet is many tenants in a bubble, each with a simulator of its own behind
// the host that is its name.
type fleet struct {
	t    *testing.T
	mu   sync.Mutex // of what follows, for RoundTrip
	sims map[string]*simulator.Tenant
	held chan struct{} // nil: requests are answered
	set  *tenants
}

func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _, _ := strings.Cut(r.URL.Host, ".")
	f.mu.Lock()
	sim, held := f.sims[name], f.held
	f.mu.Unlock()
	if held != nil {
		<-held
	}
	return sim.RoundTripper().RoundTrip(r)
}

// tenant is a configuration whose app registration is named after it.
func (f *fleet) tenant(name string) config.Tenant {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sims[name] == nil {
		f.sims[name] = simulator.New(simulator.Options{Seed: 1, Incidents: 300, Light: true, TenantID: "id-" + name, ClientID: "app-" + name})
	}
	cfg := testConfig()
	cfg.Name, cfg.TenantID, cfg.ClientID = name, "id-"+name, "app-"+name
	cfg.APIURL = "https://" + name + ".example"
	cfg.AuthURL, cfg.AuthScope = cfg.APIURL, cfg.APIURL+"/.default"
	if err := cfg.Complete(); err != nil {
		f.t.Fatal(err)
	}
	return cfg
}

func (f *fleet) replace(configs ...config.Tenant) changes {
	f.t.Helper()
	did, err := f.set.replace(configs)
	if err != nil {
		f.t.Fatal(err)
	}
	return did
}

func (f *fleet) of(name string) *tenant {
	f.t.Helper()
	for _, t := range f.set.all() {
		if t.config.Name == name {
			return t
		}
	}
	f.t.Fatalf("there is no tenant %s", name)
	return nil
}

func (f *fleet) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func inFleet(t *testing.T, test func(*fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, sims: map[string]*simulator.Tenant{}, set: newTenants(t.Context(), inMemory(t), slog.New(slog.DiscardHandler))}
		f.set.transports.open = func(config.HTTP, []byte) (http.RoundTripper, error) { return f, nil }
		test(f)
		f.set.stop(time.Minute)
	})
}

// TestReplaceLeavesTheUnchangedAlone: no new token, no lost ledger, not even a
// delayed refresh.
func TestReplaceLeavesTheUnchangedAlone(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.tenant("a"), f.tenant("b")
		if got, want := f.replace(a, b), (changes{Added: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		f.wait(2 * time.Minute)
		before := f.of("a")
		b.Lookback /= 2
		if got, want := f.replace(a, b, f.tenant("c")), (changes{Added: 1, Changed: 1, Unchanged: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if f.of("a") != before {
			t.Error("an unchanged tenant was made anew")
		}
		f.wait(2 * time.Minute)
		if got := f.sims["a"].Meter().Tokens; got != 1 {
			t.Errorf("%d tokens for an unchanged tenant, want 1", got)
		}
		if got, want := f.replace(f.tenant("a")), (changes{Removed: 2, Unchanged: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		f.wait(time.Minute)
		calls := f.sims["b"].Meter().Calls
		f.wait(5 * time.Minute)
		if got := f.sims["b"].Meter().Calls; got != calls {
			t.Errorf("%d calls of a tenant that was removed", got-calls)
		}
	})
}

// TestReplaceKeepsTheLedger: however often a tenant is changed, renamed,
// removed and added again, no window is exceeded.
func TestReplaceKeepsTheLedger(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.sims["a"] = simulator.New(simulator.Options{Seed: 1, Incidents: 6000, Light: true, TenantID: "id-a", ClientID: "app-a"})
		a := f.tenant("a")
		a.QuotaShare = 1
		for i := range 60 {
			switch i % 4 {
			case 0:
				a.SweepInterval += time.Hour
			case 1:
				a.Name = fmt.Sprint("renamed-", i)
			case 2:
				f.replace(f.tenant("other"))
			}
			f.replace(f.tenant("other"), a)
			f.wait(7 * time.Second)
		}
		m := f.sims["a"].Meter()
		if m.Throttled > 0 || m.MaxPerMinute > 50 || m.MaxPerMinute < 40 {
			t.Errorf("%d calls in a minute, %d refused; want about 50 and none", m.MaxPerMinute, m.Throttled)
		}
	})
}

// TestReplaceRefusesWhole: one tenant that cannot be made leaves all as they
// were.
func TestReplaceRefusesWhole(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a := f.tenant("a")
		f.replace(a)
		before := f.of("a")
		changed, bad := a, f.tenant("bad")
		changed.Lookback /= 2
		bad.HTTP.TLS.CAFile = "/nowhere/ca.pem"
		_, err := f.set.replace([]config.Tenant{changed, bad})
		if err == nil || !strings.Contains(err.Error(), "tenant bad: http.tls_config.ca_file: open /nowhere/ca.pem") {
			t.Errorf("got %v", err)
		}
		if all := f.set.all(); len(all) != 1 || all[0] != before {
			t.Errorf("the tenants were changed")
		}
		f.wait(time.Minute)
		if !before.loop.Status().Up {
			t.Error("the tenant does not go on")
		}
	})
}

// TestOneTenantsTroubleIsItsOwn: a tenant whose answers take longer than
// anybody waits, and one that is refused, delay nobody.
func TestOneTenantsTroubleIsItsOwn(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.replace(f.tenant("slow"), f.tenant("dead"), f.tenant("well"))
		f.sims["slow"].Fault(simulator.Faults{Delay: time.Hour})
		f.sims["dead"].SetClientSecret("another")
		f.wait(10 * time.Minute)
		for name, up := range map[string]bool{"slow": false, "dead": false, "well": true} {
			if got := f.of(name).loop.Status().Up; got != up {
				t.Errorf("%s: up is %v", name, got)
			}
		}
		if got := f.of("well").loop.Status().Kinds[0].Refreshes; got < 18 {
			t.Errorf("%d refreshes in 10 minutes, want about 19", got)
		}
		// Nor does replacing it wait for it.
		began := time.Now()
		f.replace(f.tenant("well"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("replacing took %v", took)
		}
	})
}

// TestStagger: the starts are spread over the interval, alike at every start,
// nobody starves, and a single tenant does not wait.
func TestStagger(t *testing.T) {
	inFleet(t, func(f *fleet) {
		var configs []config.Tenant
		for i := range 60 {
			name := fmt.Sprintf("tenant-%03d", i)
			f.sims[name] = simulator.New(simulator.Options{Seed: 1, Incidents: 20, Light: true, TenantID: "id-" + name, ClientID: "app-" + name})
			configs = append(configs, f.tenant(name))
		}
		f.replace(configs...)
		perSecond := make([]int, 31)
		began := time.Now()
		seen := map[string]bool{}
		for range 31 {
			f.wait(time.Second)
			for name, sim := range f.sims {
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
		for _, t := range f.set.all() {
			n := t.loop.Status().Kinds[0].Refreshes
			low, high = min(low, n), max(high, n)
		}
		if high > 2*low {
			t.Errorf("from %d to %d refreshes", low, high)
		}
	})
	inFleet(t, func(f *fleet) {
		f.replace(f.tenant("alone"))
		f.wait(time.Millisecond)
		if f.sims["alone"].Meter().Calls == 0 {
			t.Error("a single tenant waits")
		}
	})
	if got := stagger("contoso"); got != stagger("contoso") || got < 0 || got >= 1 {
		t.Errorf("stagger is %v", got)
	}
}
