package tenant

import (
	"errors"
	"os"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// brimful is a store that has room for one small write when it is opened (its log was
// folded in), and none any more from then on.
type brimful struct{ state.Store }

func (s brimful) Open(key state.Key) (state.Tenant, error) {
	tenant, err := s.Store.Open(key)
	return &brimfulTenant{tenant, 1}, err
}

type brimfulTenant struct {
	state.Tenant
	room int
}

func (t *brimfulTenant) Save(export func(bool) (*incident.Saved, error)) error { return errFull }

func (t *brimfulTenant) SaveLedger(log []byte) ([]state.Written, error) {
	if t.room--; t.room < 0 {
		return nil, errFull
	}
	return t.Tenant.SaveLedger(log)
}

// TestCrashLoopOnAFullDisk: a ledger that can be written at each start and not later, and a
// crash every few seconds.
func TestCrashLoopOnAFullDisk(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 9000, Rates: tenanttest.Busy}, nil, func(l *lives) {
		l.wait(30 * time.Second)
		l.crash()
		l.wait(2 * time.Minute)
		l.begin()
		for range 8 {
			l.crash()
			l.stop = l.start(l.cfg, brimful{l.store()})
			l.wait(5 * time.Second)
		}
		l.frugal(50, 1500)
	})
}

// inUseAtFirst is a store that another process has as long as it is held.
type inUseAtFirst struct {
	state.Store
	held *bool
}

func (s inUseAtFirst) Open(key state.Key) (state.Tenant, error) {
	if *s.held {
		return nil, state.ErrInUse
	}
	return s.Store.Open(key)
}

// TestStateOpenedLater: a state that could not be opened, and can be a moment later, tells
// what was spent.
func TestStateOpenedLater(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 9000, Rates: tenanttest.Busy}, func(c *config.Tenant) { c.QuotaShare = 1 }, func(l *lives) {
		l.wait(20 * time.Second)
		l.stop()
		held := true
		store := inUseAtFirst{l.store(), &held}
		second := newTenant(t, l.cfg, store, nil)
		if err := second.Open(nil, time.Now()); !errors.Is(err, state.ErrInUse) {
			t.Fatal(err)
		}
		held = false
		grants, _ := take(second)
		if got := l.sim.Meter().MaxPerMinute + grants; got > 50 {
			t.Errorf("%d calls in a minute", got)
		}
		second.Close()
		l.begin()
	})
}

// TestDirectoryOfAnother: the directory is moved away under the running process, and another
// process begins in a new one. No call is made any more, and that is said.
func TestDirectoryOfAnother(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 300}, nil, func(l *lives) {
		l.wait(2 * time.Minute)
		if err := os.Rename(l.dir, l.dir+".away"); err != nil {
			t.Fatal(err)
		}
		second := newTenant(t, l.cfg, l.another(), nil)
		if err := second.Open(nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := second.state.saveLedger(second.ledger.log.Log(time.Now())); err != nil {
			t.Fatal(err)
		}
		calls := l.sim.Meter().Calls
		l.wait(24 * time.Hour)
		if up := l.value("up", ""); up != 0 {
			t.Errorf("a day later, after %d calls: up %v", l.sim.Meter().Calls-calls, up)
		}
		second.Close()
	})
}

// TestAfterAnother: when that other process has ended its calls count here.
func TestAfterAnother(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 300}, nil, func(l *lives) {
		l.stop()
		l.wait(2 * time.Hour)
		store := l.store()
		first := newTenant(t, l.cfg, store, nil)
		if err := first.Open(nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(l.dir, l.dir+".away"); err != nil {
			t.Fatal(err)
		}
		other := l.another()
		second := newTenant(t, l.cfg, other, nil)
		if err := second.Open(nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		theirs, _ := take(second)
		if n, _ := take(first); n != 0 {
			t.Fatalf("%d grants beside the other process", n)
		}
		second.Close()
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		l.wait(11 * time.Second)
		ours, _ := take(first)
		if theirs+ours > 50 {
			t.Errorf("%d grants there, and %d here within a minute", theirs, ours)
		}
		first.Close()
		l.begin()
	})
}
