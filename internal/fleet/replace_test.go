package fleet

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

// shows fails the test unless the tenant has all its counts.
func (f *many) shows(name string) {
	f.t.Helper()
	if s := f.of(name).Status(time.Now()).Snapshot; s == nil || s.Rows != 300 {
		f.t.Errorf("the counts of %s are gone", name)
	}
}

func spent(l *tenant.AccountLedger) int { return l.Usage(time.Now())[1].Used }

// TestChangedTenantsAreShown: while their tenants before them end, however long that
// takes and however often they are changed meanwhile, there is no gap.
func TestChangedTenantsAreShown(t *testing.T) {
	inFleet(t, func(f *many) {
		a := f.Tenant("a")
		f.replace(a)
		f.wait(5 * time.Minute)
		first := f.of("a")
		before := spent(first.Ledger())
		release := f.Hold()
		f.wait(time.Minute) // into a call
		for range 3 {
			a.Lookback -= time.Hour
			f.replace(a)
			f.wait(time.Second)
			f.shows("a")
			if f.of("a") != first {
				t.Error("a replacement is shown before it has begun")
			}
		}
		release()
		synctest.Wait()
		f.shows("a")
		if got := f.of("a"); got.Config().Lookback != a.Lookback || got == first {
			t.Errorf("the last replacement is not shown: %v", got.Config().Lookback)
		}
		if got := spent(f.of("a").Ledger()); got < before {
			t.Errorf("%d calls are remembered, want %d at least", got, before)
		}
		f.wait(5 * time.Minute)
		f.shows("a")
		if !f.of("a").Status(time.Now()).Refresh.Up {
			t.Error("the last replacement does not refresh")
		}
	})
}

// TestOtherAPIAndBack: each has a state and a ledger of its own, and goes on
// from them.
func TestOtherAPIAndBack(t *testing.T) {
	inFleet(t, func(f *many) {
		native := f.Tenant("a")
		graph := native
		graph.API, graph.QuotaPerMinute, graph.QuotaPerHour = config.Graph, 150, 0
		f.replace(native)
		f.wait(5 * time.Minute)
		before := spent(f.of("a").Ledger())
		f.replace(graph)
		f.wait(time.Minute)
		if got := len(f.of("a").Ledger().Usage(time.Now())); got != 1 {
			t.Errorf("%d windows over Graph, want 1", got)
		}
		f.replace(native)
		f.shows("a")
		if got := spent(f.of("a").Ledger()); got < before {
			t.Errorf("%d calls are remembered, want %d at least", got, before)
		}
	})
}

// TestAddedAgain: a tenant that was removed has its counts and its ledger as
// soon as it is there again.
func TestAddedAgain(t *testing.T) {
	inFleet(t, func(f *many) {
		a, b := f.Tenant("a"), f.Tenant("b")
		f.replace(a, b)
		f.wait(5 * time.Minute)
		before := spent(f.of("a").Ledger())
		f.replace(b)
		f.wait(time.Minute)
		f.replace(a, b)
		f.shows("a")
		if got := spent(f.of("a").Ledger()); got != before {
			t.Errorf("%d calls are remembered, want %d", got, before)
		}
		f.replace(b)
		f.wait(2 * time.Hour)
		f.replace(b)
		if got := len(f.set.accounts); got != 1 {
			t.Errorf("%d accounts are kept, want 1", got)
		}
	})
}

// TestCaseOfTheTenantID: an id that is spelled otherwise is no change, and where
// something else is changed with it, state and ledger are still the tenant's.
func TestCaseOfTheTenantID(t *testing.T) {
	for _, scheme := range []string{"memory:", "file:" + t.TempDir()} {
		inFleet(t, func(f *many) {
			store, err := state.New(scheme, state.Options{Uptime: tenanttest.Uptime})
			if err != nil {
				t.Fatal(err)
			}
			f.t.Cleanup(func() { _ = store.Close() })
			f.set.store = store
			a := f.Tenant("a")
			f.replace(a)
			f.wait(5 * time.Minute)
			first, before := f.of("a"), spent(f.of("a").Ledger())
			a.TenantID = "ID-A"
			if got, want := f.replace(a), (Changes{Unchanged: 1}); got != want || f.of("a") != first {
				t.Errorf("%s: got %+v, want %+v", scheme, got, want)
			}
			a.SweepInterval += time.Hour
			f.replace(a)
			f.wait(0)
			f.shows("a")
			if got := spent(f.of("a").Ledger()); got < before {
				t.Errorf("%s: %d calls are remembered, want %d at least", scheme, got, before)
			}
			// Removed and added again under a name that is the id.
			f.replace(f.Tenant("other"))
			f.wait(time.Minute)
			a.TenantID, a.Name = "Id-A", "Id-A"
			f.replace(a)
			f.shows("Id-A")
			if got := spent(f.of("Id-A").Ledger()); got < before {
				t.Errorf("%s: %d calls are remembered, want %d at least", scheme, got, before)
			}
			f.wait(5 * time.Minute)
			if s := f.of("Id-A").Status(time.Now()).Refresh; !s.Up {
				t.Errorf("%s: not up: %s", scheme, s.LastError)
			}
		})
	}
}

// TestStopWhileReplacing: what is opened is closed, and nothing is started
// behind the back of who stops.
func TestStopWhileReplacing(t *testing.T) {
	inFleet(t, func(f *many) {
		a := f.Tenant("a")
		f.replace(a)
		f.wait(time.Minute)
		release := f.Hold()
		f.wait(time.Minute)
		a.Lookback /= 2
		f.replace(a, f.Tenant("b"))
		go f.set.Stop(time.Minute)
		synctest.Wait()
		if _, err := f.set.Replace([]config.Tenant{f.Tenant("c")}); !errors.Is(err, ErrStopping) {
			t.Errorf("got %v", err)
		}
		release()
		f.set.Stop(time.Minute)
		for _, name := range []string{"a", "b"} {
			f.free(name)
		}
	})
}

// free fails the test if a tenant's state is open.
func (f *many) free(name string) {
	f.t.Helper()
	s, err := f.set.store.Open(state.Key{Tenant: "id-" + name, API: config.Defender})
	if err != nil {
		f.t.Error(err)
		return
	}
	_ = s.Close()
}

// served are the names of the tenants.
func (f *many) served() string {
	var names []string
	for _, t := range f.set.Tenants() {
		names = append(names, t.String())
	}
	return strings.Join(names, " ")
}

// census fails the test unless so many tenants are there.
func (f *many) census(configured, owned int, openFailures uint64) {
	f.t.Helper()
	if c, o, n := f.set.Census(); c != configured || o != owned || n != openFailures {
		f.t.Errorf("%d configured, %d owned, %d failures to open; want %d, %d, %d", c, o, n, configured, owned, openFailures)
	}
}

// TestSomeStatesInUse: the others are served, and those in use as soon as they are
// free; in the order of the configuration, and without a touch to the others.
func TestSomeStatesInUse(t *testing.T) {
	inFleet(t, func(f *many) {
		log := f.logs()
		var held []state.Tenant
		for _, id := range []string{"id-a", "id-c"} {
			s, err := f.set.store.Open(state.Key{Tenant: id, API: config.Defender})
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, s)
		}
		all := []config.Tenant{f.Tenant("a"), f.Tenant("b"), f.Tenant("c"), f.Tenant("d")}
		if got, want := f.replace(all...), (Changes{Added: 2}); got != want || f.served() != "b d" {
			t.Errorf("got %+v, want %+v; %s are served", got, want, f.served())
		}
		f.census(4, 2, 2)
		f.wait(2 * time.Minute)
		if n := strings.Count(log.String(), "level=WARN"); n != 2 || f.served() != "b d" {
			t.Errorf("said %d times, want once for each:\n%s", n, log)
		}
		b, calls := f.of("b"), f.Sims["a"].Meter().Calls
		if calls > 0 {
			t.Errorf("%d calls of a tenant that is not served", calls)
		}
		_ = held[0].Close()
		f.wait(reviewEvery)
		if f.served() != "a b d" || f.of("b") != b {
			t.Errorf("%s are served", f.served())
		}
		f.wait(5 * time.Minute)
		if !f.of("a").Status(time.Now()).Refresh.Up {
			t.Error("a does not refresh")
		}
		// What is not in the configuration any more is not tried.
		f.replace(all[0], all[1], all[3])
		_ = held[1].Close()
		f.wait(2 * reviewEvery)
		if f.census(3, 3, 21); f.served() != "a b d" {
			t.Errorf("%s are served", f.served())
		}
		if n := strings.Count(log.String(), "could be opened"); n != 1 {
			t.Errorf("said %d times that a is served:\n%s", n, log)
		}
	})
}

// TestAllStatesInUse: another process is at work. The configuration is refused, and
// what there was goes on.
func TestAllStatesInUse(t *testing.T) {
	inFleet(t, func(f *many) {
		for _, id := range []string{"id-b", "id-c"} {
			if _, err := f.set.store.Open(state.Key{Tenant: id, API: config.Defender}); err != nil {
				t.Fatal(err)
			}
		}
		f.replace(f.Tenant("a"))
		_, err := f.set.Replace([]config.Tenant{f.Tenant("b"), f.Tenant("c")})
		if !errors.Is(err, state.ErrInUse) || !strings.HasPrefix(err.Error(), "tenant b: ") || f.served() != "a" {
			t.Errorf("got %v, %s are served", err, f.served())
		}
		f.wait(time.Minute)
		f.census(1, 1, 0)
	})
}

// TestOwned: nothing is made for a tenant that is not run here, not even what its
// requests would be carried by; what comes or goes touches no other.
func TestOwned(t *testing.T) {
	inFleet(t, func(f *many) {
		owned := map[string]bool{"a": true, "b": true}
		f.set.owns = func(cfg config.Tenant) bool { return owned[cfg.Name] }
		made := 0
		f.set.transports.open = func(config.HTTP, []byte) (http.RoundTripper, error) {
			made++
			return f, nil
		}
		others := f.Tenant("c")
		others.HTTP.TLS.ServerName = "elsewhere"
		all := []config.Tenant{f.Tenant("a"), f.Tenant("b"), others}
		if got, want := f.replace(all...), (Changes{Added: 2}); got != want || f.served() != "a b" || made != 1 {
			t.Errorf("got %+v, want %+v; %s are served, %d transports", got, want, f.served(), made)
		}
		f.wait(2 * time.Minute)
		a, calls := f.of("a"), f.Sims["b"].Meter().Calls
		f.census(3, 2, 0)
		owned["b"], owned["c"] = false, true
		f.set.Review()
		if f.served() != "a c" || f.of("a") != a || made != 2 {
			t.Errorf("%s are served, %d transports", f.served(), made)
		}
		f.wait(5 * time.Minute)
		if got := f.Sims["b"].Meter().Calls; got != calls {
			t.Errorf("%d calls of a tenant that was given up", got-calls)
		}
		if f.Sims["c"].Meter().Calls == 0 {
			t.Error("a tenant that was taken does not refresh")
		}
		f.free("b")
		owned["b"] = true
		f.set.Review()
		f.wait(time.Minute)
		if f.served() != "a b c" {
			t.Errorf("%s are served", f.served())
		}
		f.shows("b")
		if got := f.Sims["b"].Meter(); got.MaxPerMinute > 40 || f.of("b").Ledger().Usage(time.Now())[1].Used < calls {
			t.Errorf("%d calls in a minute; the ledger of before was lost", got.MaxPerMinute)
		}
		// One whose certificate authorities are gone is left out, when its turn comes.
		others.HTTP.TLS.CAFile = "/nowhere/ca.pem"
		owned["c"] = false
		f.replace(all[0], all[1], others)
		owned["c"] = true
		f.set.Review()
		f.census(3, 2, 1)
	})
}

// TestDeadLoginHoldsNoTenant: a login host that does not answer delays neither a
// stop nor a replacement.
func TestDeadLoginHoldsNoTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := tenanttest.Config()
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		set := New(t.Context(), Options{
			Store: tenanttest.InMemory(t), Logger: slog.New(slog.DiscardHandler),
			NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return deadHost{}, nil },
		})
		if _, err := set.Replace([]config.Tenant{cfg}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		began := time.Now()
		set.Stop(time.Minute)
		if took := time.Since(began); took > 0 {
			t.Errorf("the stop took %v", took)
		}
	})
}

// deadHost never answers.
type deadHost struct{}

func (deadHost) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
