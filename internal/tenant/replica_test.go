package tenant

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// sharedStore is a store of which another replica may have the only tenant.
type sharedStore struct {
	state.Shared // nil: no membership is asked for
	ownership    state.Ownership
	loaded       state.Written
	loadErr      error
	err          error // of every save
	spent        []state.Written
	saved        []quota.Log
	handedIn     []quota.Log
	handInErr    error
	unread       error // of the rows
	opened       int
}

func (s *sharedStore) Open(state.Key) (state.Tenant, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.opened++
	return sharedTenant{s}, nil
}

func (s *sharedStore) HandIn(_ state.Key, spent []byte) error {
	if s.handInErr != nil {
		return s.handInErr
	}
	s.handedIn = append(s.handedIn, unpackedLog(spent))
	return nil
}

func (s *sharedStore) Peek(state.Key) (state.Written, []state.Written, error) {
	return s.loaded, s.spent, s.err
}

func (s *sharedStore) Forget(state.Key) {}

func unpackedLog(packed []byte) (log quota.Log) {
	if err := log.UnmarshalBinary(packed); err != nil {
		panic(err)
	}
	return log
}

type sharedTenant struct{ *sharedStore }

func (s sharedTenant) Load(func(*incident.Saved) error) error { return s.unread }

func (s sharedTenant) Save(func(bool) (*incident.Saved, error)) error { return s.err }

func (s sharedTenant) LoadLedger() (state.Written, []state.Written, error) {
	return s.loaded, nil, s.loadErr
}

func (s sharedTenant) SaveLedger(packed []byte) (spent []state.Written, err error) {
	if s.err != nil {
		return nil, s.err
	}
	s.saved = append(s.saved, unpackedLog(packed))
	spent, s.spent = s.spent, nil
	return spent, nil
}

func (s sharedTenant) Ownership() state.Ownership { return s.ownership }
func (s sharedTenant) Size() int64                { return 0 }
func (s sharedTenant) Close() error               { return nil }

// replicated is a tenant whose store is shared, in a bubble.
func replicated(t *testing.T, store *sharedStore, test func(*Tenant, *int)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := tenanttest.Config()
		cfg.QuotaShare = 1
		lost := 0
		made := newTenant(t, cfg, store, func() { lost++ })
		if err := made.Open(nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		defer made.Close()
		test(made, &lost)
	})
}

func newTenant(t *testing.T, cfg config.Tenant, store state.Store, lost func()) *Tenant {
	t.Helper()
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 10, Light: true})
	made, err := New(cfg, Dependencies{Store: store, Transport: sim.RoundTripper(), Logger: slog.New(slog.DiscardHandler), Lost: lost})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// packed is a ledger of another machine, whose clock may be wrong, after so many
// calls.
func packed(t *testing.T, calls int, at time.Time, closed bool) []byte {
	t.Helper()
	other := otherLedger(t, calls, at)
	log := other.Log(at)
	if closed {
		log = other.Final(at)
	}
	data, err := log.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func otherLedger(t *testing.T, calls int, at time.Time) *quota.Ledger {
	t.Helper()
	other, err := quota.New(quota.Options{Windows: []quota.Window{{Period: time.Minute, Limit: 50}, {Period: time.Hour, Limit: 1500}}, Share: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range calls {
		other.Settle(other.Take(at, pass.Delta).Grant, at)
	}
	return other
}

// take takes until no grant is given.
func take(made *Tenant) (grants int, at time.Time) {
	for {
		grant, at, _ := made.ledger.Take(time.Now(), pass.Delta)
		if grant == 0 {
			return grants, at
		}
		made.ledger.Settle(grant, time.Now())
		grants++
	}
}

// TestAge: how old a ledger is the store tells, whatever the clocks of the
// machines show.
func TestAge(t *testing.T) {
	for what, clock := range map[string]time.Duration{"ahead": 24 * time.Hour, "right": 0, "behind": -24 * time.Hour} {
		t.Run(what, func(t *testing.T) {
			store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1), From: state.Closed}}
			at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			store.loaded = state.Written{Packed: packed(t, 30, at.Add(clock), true), Age: 20 * time.Second}
			replicated(t, store, func(made *Tenant, _ *int) {
				began := time.Now()
				if grants, at := take(made); grants != 20 || at.Sub(began) < 40*time.Second || at.Sub(began) > 41*time.Second {
					t.Errorf("got %d grants, the next after %v, want 20 and 40s", grants, at.Sub(began))
				}
			})
		})
	}
}

// TestToll: a predecessor that fell silent may have made calls that its store has
// lost, and one that closed has not.
func TestToll(t *testing.T) {
	for _, test := range []struct {
		what   string
		from   state.Predecessor
		closed bool
		calls  int
		want   int
	}{
		{"closed", state.Closed, true, 10, 40},
		{"its end was not saved", state.Closed, false, 10, 35},
		{"silent", state.Silent, false, 10, 35},
		{"silent before its first call", state.Silent, true, 10, 35},
	} {
		t.Run(test.what, func(t *testing.T) {
			store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1), From: test.from}}
			store.loaded = state.Written{Packed: packed(t, test.calls, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), test.closed)}
			replicated(t, store, func(made *Tenant, _ *int) {
				if grants, _ := take(made); grants != test.want {
					t.Errorf("got %d grants, want %d", grants, test.want)
				}
			})
		})
	}
}

// TestSpentByOthers: a grant is decided anew when the store tells of calls that it
// did not know of.
func TestSpentByOthers(t *testing.T) {
	store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1)}, loaded: state.Written{Age: -1}}
	replicated(t, store, func(made *Tenant, _ *int) {
		at := time.Now()
		other := otherLedger(t, 49, at)
		for range 2 { // it does no harm to be told twice
			log := other.Log(at)
			data, err := log.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			store.spent = append(store.spent, state.Written{Packed: data})
		}
		if grants, _ := take(made); grants != 1 {
			t.Errorf("got %d grants, want 1", grants)
		}
		if last := store.saved[len(store.saved)-1]; len(last.Grants) != 50 {
			t.Errorf("%d grants are recorded, want 50", len(last.Grants))
		}
	})
}

// TestOutOfReach: no record, no call; after the time limit of a call that is a
// failure, and afterwards everything goes on at once.
func TestOutOfReach(t *testing.T) {
	store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1)}, loaded: state.Written{Age: -1}}
	replicated(t, store, func(made *Tenant, lost *int) {
		store.err = state.ErrOutOfReach
		began := time.Now()
		for {
			grant, at, err := made.ledger.Take(time.Now(), pass.Delta)
			if grant != 0 || !at.After(time.Now()) || !made.ledger.Ready(time.Now(), pass.Delta).Equal(at) {
				t.Fatalf("got %d, %v, ready %v", grant, at, made.ledger.Ready(time.Now(), pass.Delta))
			}
			if after := time.Since(began); (err != nil) != (after >= made.config.Timeout) || err != nil && !errors.Is(err, state.ErrOutOfReach) {
				t.Fatalf("after %v: got %v", after, err)
			} else if err != nil {
				break
			}
			time.Sleep(time.Until(at))
		}
		store.err = nil
		time.Sleep(time.Second)
		if grants, _ := take(made); grants != 50 || *lost != 0 {
			t.Errorf("got %d grants, want 50: none was used", grants)
		}
	})
}

// TestLost: what was spent is handed in once, and nothing is saved or called any
// more.
func TestLost(t *testing.T) {
	store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1)}, loaded: state.Written{Age: -1}}
	replicated(t, store, func(made *Tenant, lost *int) {
		grant, _, _ := made.ledger.Take(time.Now(), pass.Delta)
		made.ledger.Settle(grant, time.Now())
		store.err, store.handInErr = state.ErrInUse, state.ErrOutOfReach
		for range 3 {
			if grant, at, err := made.ledger.Take(time.Now(), pass.Delta); grant != 0 || err != nil || time.Until(at) < time.Second {
				t.Errorf("got %d, %v, %v", grant, at, err)
			}
			store.handInErr = nil
		}
		store.err = nil // it stays lost
		if err := made.state.Save(nil); !errors.Is(err, state.ErrInUse) {
			t.Errorf("got %v", err)
		}
		if grant, _, _ := made.ledger.Take(time.Now(), pass.Delta); grant != 0 {
			t.Error("a grant was given")
		}
		if *lost != 1 || len(store.handedIn) != 1 || len(store.handedIn[0].Grants) < 1 {
			t.Errorf("told %d times, handed in %+v", *lost, store.handedIn)
		}
		if len(store.saved) != 2 { // at first, and before the call
			t.Errorf("saved %d times, want twice", len(store.saved))
		}
	})
}

// TestYoungStore: a ledger that the store may have lost is a lost one.
func TestYoungStore(t *testing.T) {
	store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1)}, loaded: state.Written{Age: -1}, loadErr: state.ErrSetAside}
	replicated(t, store, func(made *Tenant, _ *int) {
		if grants, at := take(made); grants != 0 || time.Until(at) < 15*time.Minute {
			t.Errorf("got %d grants, the next at %v", grants, at)
		}
		if len(store.saved) != 1 {
			t.Errorf("saved %d times, want once", len(store.saved))
		}
	})
}

// TestOpenedLater: a replacement that could not open the state learns what there is
// before its first call.
func TestOpenedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1_800_000_000_123)}, err: state.ErrOutOfReach}
		cfg := tenanttest.Config()
		cfg.QuotaShare = 1
		before, made := newTenant(t, cfg, store, nil), newTenant(t, cfg, store, nil)
		defer made.Close()
		if err := made.Open(before.ledger, time.Now()); !errors.Is(err, state.ErrOutOfReach) {
			t.Errorf("got %v", err)
		}
		if got := ownedSince(t, made); got != nil {
			t.Errorf("it says that it owns the tenant since %v", got)
		}
		store.err, store.loaded = nil, state.Written{Packed: packed(t, 30, time.Now(), true)}
		if grants, _ := take(made); grants != 20 {
			t.Errorf("got %d grants, want 20", grants)
		}
		if got := ownedSince(t, made); !slices.Equal(got, []float64{1_800_000_000.123}) {
			t.Errorf("got %v", got)
		}
	})
}

// TestUnread: a state that is open and cannot be read is given back, and not taken
// for an empty one.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sharedStore{ownership: state.Ownership{Since: time.UnixMilli(1)}, loaded: state.Written{Age: -1}, unread: state.ErrOutOfReach}
		made := newTenant(t, tenanttest.Config(), store, nil)
		if err := made.Open(nil, time.Now()); !errors.Is(err, state.ErrOutOfReach) || made.state.state != nil || made.state.known {
			t.Errorf("got %v, %+v", err, made.state)
		}
	})
}

// TestCheckOfReplicas: a check goes on from the ledger that the replicas share,
// hands its calls in, and makes none that it cannot hand in.
func TestCheckOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sharedStore{loaded: state.Written{Packed: packed(t, 49, time.Now(), false), Age: 0}}
		cfg := tenanttest.Config()
		cfg.QuotaShare = 1
		ledger := newTenant(t, cfg, store, nil).ShareLedger(store, time.Now())
		if grant, _, err := ledger.Take(time.Now()); grant == 0 || err != nil || len(store.handedIn) != 1 || len(store.handedIn[0].Grants) != 1 {
			t.Errorf("got %d, %v, handed in %+v", grant, err, store.handedIn)
		}
		if grant, _, err := ledger.Take(time.Now()); grant != 0 || err != nil {
			t.Errorf("the quota is spent: got %d, %v", grant, err)
		}
		empty := &sharedStore{loaded: state.Written{Age: -1}, handInErr: state.ErrOutOfReach}
		ledger = newTenant(t, cfg, empty, nil).ShareLedger(empty, time.Now())
		if grant, _, err := ledger.Take(time.Now()); grant != 0 || !errors.Is(err, state.ErrOutOfReach) {
			t.Errorf("out of reach: got %d, %v", grant, err)
		}
	})
}
