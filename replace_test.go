package main

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
)

// hold makes all requests hang, whatever their contexts say, until release.
func (f *fleet) hold() (release func()) {
	held := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = held
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = nil
		close(held)
	}
}

// shows fails the test unless the tenant has all its counts.
func (f *fleet) shows(name string) {
	f.t.Helper()
	if s := f.of(name).loop.Snapshot(); s == nil || s.Rows != 300 {
		f.t.Errorf("the counts of %s are gone", name)
	}
}

func spent(l *quota.Ledger) int { return l.Usage(time.Now())[1].Used }

// TestChangedTenantsAreShown: while their predecessors end, however long that
// takes and however often they are changed meanwhile, there is no gap.
func TestChangedTenantsAreShown(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a := f.tenant("a")
		f.replace(a)
		f.wait(5 * time.Minute)
		first := f.of("a")
		before := spent(first.ledger)
		release := f.hold()
		f.wait(time.Minute) // into a call
		for range 3 {
			a.Lookback -= time.Hour
			f.replace(a)
			f.wait(time.Second)
			f.shows("a")
			if f.of("a") != first {
				t.Error("a successor is shown before it has begun")
			}
		}
		release()
		synctest.Wait()
		f.shows("a")
		if got := f.of("a"); got.config.Lookback != a.Lookback || got == first {
			t.Errorf("the last successor is not shown: %v", got.config.Lookback)
		}
		if got := spent(f.of("a").ledger); got < before {
			t.Errorf("%d calls are remembered, want %d at least", got, before)
		}
		f.wait(5 * time.Minute)
		f.shows("a")
		if !f.of("a").loop.Status().Up {
			t.Error("the last successor does not refresh")
		}
	})
}

// TestOtherAPIAndBack: each has a state and a ledger of its own, and goes on
// from them.
func TestOtherAPIAndBack(t *testing.T) {
	inFleet(t, func(f *fleet) {
		native := f.tenant("a")
		graph := native
		graph.API, graph.QuotaPerMinute, graph.QuotaPerHour = config.Graph, 150, 0
		f.replace(native)
		f.wait(5 * time.Minute)
		before := spent(f.of("a").ledger)
		f.replace(graph)
		f.wait(time.Minute)
		if got := len(f.of("a").ledger.Usage(time.Now())); got != 1 {
			t.Errorf("%d windows over Graph, want 1", got)
		}
		f.replace(native)
		f.shows("a")
		if got := spent(f.of("a").ledger); got < before {
			t.Errorf("%d calls are remembered, want %d at least", got, before)
		}
	})
}

// TestAddedAgain: a tenant that was removed has its counts and its ledger as
// soon as it is there again.
func TestAddedAgain(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b := f.tenant("a"), f.tenant("b")
		f.replace(a, b)
		f.wait(5 * time.Minute)
		before := spent(f.of("a").ledger)
		f.replace(b)
		f.wait(time.Minute)
		f.replace(a, b)
		f.shows("a")
		if got := spent(f.of("a").ledger); got != before {
			t.Errorf("%d calls are remembered, want %d", got, before)
		}
		f.replace(b)
		f.wait(2 * time.Hour)
		f.replace(b)
		if got := len(f.set.past); got != 1 {
			t.Errorf("%d ledgers are kept, want 1", got)
		}
	})
}

// TestCaseOfTheTenantID: an id that is spelled otherwise is no change, and where
// something else is changed with it, state and ledger are still the tenant's.
func TestCaseOfTheTenantID(t *testing.T) {
	for _, scheme := range []string{"memory:", "bolt:" + t.TempDir()} {
		inFleet(t, func(f *fleet) {
			store, err := state.New(scheme)
			if err != nil {
				t.Fatal(err)
			}
			f.set.store = store
			a := f.tenant("a")
			f.replace(a)
			f.wait(5 * time.Minute)
			first, before := f.of("a"), spent(f.of("a").ledger)
			a.TenantID = "ID-A"
			if got, want := f.replace(a), (changes{Unchanged: 1}); got != want || f.of("a") != first {
				t.Errorf("%s: got %+v, want %+v", scheme, got, want)
			}
			a.SweepInterval += time.Hour
			f.replace(a)
			f.wait(0)
			f.shows("a")
			if got := spent(f.of("a").ledger); got < before {
				t.Errorf("%s: %d calls are remembered, want %d at least", scheme, got, before)
			}
			// Removed and added again under a name that is the id.
			f.replace(f.tenant("other"))
			f.wait(time.Minute)
			a.TenantID, a.Name = "Id-A", "Id-A"
			f.replace(a)
			f.shows("Id-A")
			if got := spent(f.of("Id-A").ledger); got < before {
				t.Errorf("%s: %d calls are remembered, want %d at least", scheme, got, before)
			}
			f.wait(5 * time.Minute)
			if s := f.of("Id-A").loop.Status(); !s.Up {
				t.Errorf("%s: not up: %s", scheme, s.LastError)
			}
		})
	}
}

// TestStopWhileReplacing: what is opened is closed, and nothing is started
// behind the back of who stops.
func TestStopWhileReplacing(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a := f.tenant("a")
		f.replace(a)
		f.wait(time.Minute)
		release := f.hold()
		f.wait(time.Minute)
		a.Lookback /= 2
		f.replace(a, f.tenant("b"))
		go f.set.stop(time.Minute)
		synctest.Wait()
		if _, err := f.set.replace([]config.Tenant{f.tenant("c")}); !errors.Is(err, errStopping) {
			t.Errorf("got %v", err)
		}
		release()
		f.set.stop(time.Minute)
		for _, name := range []string{"a", "b"} {
			f.free(name)
		}
	})
}

// free fails the test if a tenant's state is open.
func (f *fleet) free(name string) {
	f.t.Helper()
	s, err := f.set.store.Open(state.Key{Tenant: "id-" + name, API: config.Defender})
	if err != nil {
		f.t.Error(err)
		return
	}
	_ = s.Close()
}

// TestReplaceClosesWhatItOpened: one state that is in use makes the
// configuration refused, and lets go of those of the others.
func TestReplaceClosesWhatItOpened(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.replace(f.tenant("a"))
		held, err := f.set.store.Open(state.Key{Tenant: "id-c", API: config.Defender})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.set.replace([]config.Tenant{f.tenant("a"), f.tenant("b"), f.tenant("c")})
		if !errors.Is(err, state.ErrInUse) {
			t.Errorf("got %v", err)
		}
		f.free("b")
		_ = held.Close()
		if got, want := f.replace(f.tenant("a"), f.tenant("b"), f.tenant("c")), (changes{Added: 2, Unchanged: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// TestDeadLoginHoldsNobody: a login host that does not answer delays neither a
// stop nor a successor.
func TestDeadLoginHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		set := newTenants(t.Context(), inMemory(t), slog.New(slog.DiscardHandler))
		set.transports.open = func(config.HTTP, []byte) (http.RoundTripper, error) { return deadHost{}, nil }
		if _, err := set.replace([]config.Tenant{cfg}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		began := time.Now()
		set.stop(time.Minute)
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
