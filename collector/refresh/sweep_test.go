package refresh

import (
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

// TestSweepCorrects: what deltas cannot see is found by the next sweep, and
// counted by kind.
func TestSweepCorrects(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		loop := start(t, Options{Source: f, SweepInterval: time.Hour})
		wait(time.Minute)
		f.set(1, nil) // moves the watermark
		wait(time.Minute)
		back := func(d time.Duration) time.Time { return time.Now().Add(-d) }
		f.set(0, func(in *incident.Incident) { in.Created, in.Updated = back(time.Hour), back(time.Hour) })
		f.set(40, func(in *incident.Incident) {
			in.Updated, in.Severity = f.incidents[40].Updated, incident.SeverityInformational
		})
		delete(f.incidents, 3)
		wait(30 * time.Minute)
		if loop.Snapshot().Incidents == f.counts(all) {
			t.Fatal("the test shows nothing: deltas have seen it")
		}
		wait(31 * time.Minute)
		equal(t, loop, f)
		if got, want := loop.Status().Corrections, [3]uint64{1, 1, 1}; got != want {
			t.Errorf("corrections: got %v, want %v", got, want)
		}
		if len(f.lookups) != 1 || f.lookups[0] != 3 {
			t.Errorf("lookups: got %v, want only the one that vanished", f.lookups)
		}
		before := len(f.lookups)
		wait(3 * time.Hour)
		if len(f.lookups) != before {
			t.Error("further sweeps looked up what was there")
		}
	})
}

// TestSweepFindsOldOpenIncidents: open ones count at any age, so that a sweep
// must not mistake them for vanished.
func TestSweepFindsOldOpenIncidents(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(30)
		f.set(0, func(in *incident.Incident) {
			in.Created, in.Updated = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(-1, 0, 0)
		})
		loop := start(t, Options{Source: f, SweepInterval: time.Hour})
		wait(5 * time.Hour)
		equal(t, loop, f)
		if len(f.lookups) != 0 {
			t.Errorf("lookups: got %v, want none", f.lookups)
		}
	})
}

// TestSweepNeverDelaysDelta: with slow answers and a sweep that never ends,
// deltas keep their pace.
func TestSweepNeverDelaysDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(3000)
		start(t, Options{Source: f, SweepInterval: time.Minute})
		wait(time.Minute)
		f.took = 7 * time.Second
		wait(time.Hour)
		var last time.Time
		for i, q := range f.calls {
			if q.Pass != incident.PassDelta {
				continue
			}
			if gap := f.callAt[i].Sub(last); !last.IsZero() && gap > 31*time.Second {
				t.Errorf("%v between two deltas", gap)
			}
			last = f.callAt[i]
		}
		if n := f.callsOf(incident.PassSweep); n < 100 {
			t.Errorf("the sweep made %d calls in an hour", n)
		}
	})
}

// TestSweepOfSlowServer: even if an answer takes longer than the interval, a
// sweep goes on.
func TestSweepOfSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(100)
		start(t, Options{Source: f, SweepInterval: time.Minute, Interval: 10 * time.Second})
		wait(30 * time.Second)
		f.took = 12 * time.Second
		before := f.callsOf(incident.PassSweep)
		wait(time.Hour)
		if n := f.callsOf(incident.PassSweep) - before; n < 60 {
			t.Errorf("the sweep made %d calls in an hour", n)
		}
	})
}

func TestSweepRestsWhileDeltasFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(100)
		start(t, Options{Source: f, SweepInterval: 10 * time.Minute})
		wait(5 * time.Minute)
		f.before = func(incident.Query) error { return failure("network") }
		before := f.callsOf(incident.PassSweep)
		wait(time.Hour)
		if n := f.callsOf(incident.PassSweep) - before; n > 0 {
			t.Errorf("%d calls of a sweep that had to fail", n)
		}
	})
}

// TestAgeing: what leaves the look-back does so without a call.
func TestAgeing(t *testing.T) {
	bothWays(t, 100, func(t *testing.T, f *tenant) {
		f.fill(60)
		loop := start(t, Options{Source: f, Lookback: 2 * time.Hour, SweepInterval: 100 * time.Hour})
		wait(time.Minute)
		before := len(f.calls)
		wait(10 * time.Hour)
		for id, in := range f.incidents {
			if !in.Open() {
				delete(f.incidents, id)
			}
		}
		equal(t, loop, f)
		if got, want := len(f.calls)-before, 1200; got != want {
			t.Errorf("calls: got %d, want %d", got, want)
		}
	})
}
