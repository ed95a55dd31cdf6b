package refresh

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// TestMachineBehind: for longer than the overlap, or after an outage, the list comes from a
// machine that is behind by more than that. What was changed meanwhile is read when the others
// are back.
func TestMachineBehind(t *testing.T) {
	down := func(call) error { return &listing.Error{Operation: listing.OperationList, Reason: reason.Network} }
	for name, outage := range map[string]time.Duration{"at once": 0, "after an outage": 20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(50)
				r, past := twoMachines(t, f, Options{SweepInterval: 24 * time.Hour})
				f.resolve(2)
				if outage > 0 {
					sleep(time.Minute)
					f.fails(down)
					sleep(outage)
					f.fails(nil)
				}
				f.change(func() { f.past = past })
				for id := range int64(8) {
					sleep(3 * time.Minute)
					f.resolve(3 + id)
				}
				sleep(30 * time.Second)
				f.change(func() { f.past = nil })
				sleep(time.Minute)
				r.equal(t)
				// Then all is as before.
				sleep(time.Hour)
				before := len(f.of(pass.Delta))
				sleep(10 * time.Minute)
				if n := len(f.of(pass.Delta)) - before; n != 20 {
					t.Errorf("%d calls of deltas in ten minutes", n)
				}
			})
		})
	}
}

// twoMachines reads a tenant until all is known. One of its machines is behind; past is what
// that knows.
func twoMachines(t *testing.T, f *tenant, opts Options) (r *running, past map[int64]incident.Incident) {
	t.Helper()
	f.fill(200)
	r = start(t, f, opts)
	r.synced(t)
	f.change(func() { past = maps.Clone(f.incidents) })
	sleep(2 * time.Minute)
	f.resolve(1)
	sleep(2 * time.Minute)
	r.equal(t)
	return r, past
}

// TestMachineBehindOverRestart: a process that begins meanwhile does not go on from there
// either.
func TestMachineBehindOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		opts := Options{SweepInterval: 24 * time.Hour, Store: newDisk()}
		r, past := twoMachines(t, f, opts)
		f.change(func() { f.past = past })
		for id := range int64(8) {
			sleep(2 * time.Minute)
			f.resolve(3 + id)
			r.stop()
			r = start(t, f, opts)
		}
		f.change(func() { f.past = nil })
		sleep(2 * time.Minute)
		r.equal(t)
	})
}

// TestBlindDeltas: where deltas do not show most of what they have shown, that is said, and a
// sweep reads what they do not.
func TestBlindDeltas(t *testing.T) {
	bothAPIs(t, 50, func(t *testing.T, f *tenant) {
		f.fill(200)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		r.synced(t)
		var past map[int64]incident.Incident
		for id := range int64(20) {
			f.resolve(id + 1)
			if id == 3 {
				f.change(func() { past = maps.Clone(f.incidents) })
			}
			sleep(10 * time.Second)
		}
		sleep(time.Minute)
		r.equal(t)
		f.change(func() { f.past = past })
		sleep(30 * time.Second)
		if s := r.Status(); !s.Up {
			t.Errorf("up is 0 at once: %s", s.LastError)
		}
		sleep(4 * time.Minute)
		if s := r.Status(); s.Up || s.LastError != lagText {
			t.Errorf("up %v, %q", s.Up, s.LastError)
		}
		if len(f.of(pass.Sweep)) == 0 {
			t.Error("no sweep")
		}
		f.change(func() { f.past = nil })
		sleep(3 * time.Minute)
		r.equal(t)
		if s := r.Status(); !s.Up {
			t.Errorf("up is 0: %s", s.LastError)
		}
	})
}

// TestRecentOneVanishes: an incident that does not exist any more keeps the watermark for an
// hour, which costs no call.
func TestRecentOneVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		f.fill(200)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		r.synced(t)
		const id = 1
		f.resolve(id)
		sleep(time.Minute)
		f.drop(id)
		at := func() time.Time { return f.of(pass.Delta)[len(f.of(pass.Delta))-1].req.Since }
		sleep(30 * time.Minute)
		if behind := time.Since(at()); behind < 35*time.Minute {
			t.Errorf("deltas begin %v ago", behind)
		}
		sleep(45 * time.Minute)
		if behind := time.Since(at()); behind > 11*time.Minute {
			t.Errorf("deltas begin %v ago after an hour", behind)
		}
		before := len(f.of(pass.Delta))
		sleep(10 * time.Minute)
		if n := len(f.of(pass.Delta)) - before; n > 21 {
			t.Errorf("%d calls of deltas in ten minutes", n)
		}
	})
}

// TestAlwaysOneVanishes: a list that leaves out what was just closed has something to miss in
// every delta, and deltas do not read more and more for that.
func TestAlwaysOneVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		f.fill(200)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		r.synced(t)
		for range 5 * 60 {
			id := f.set(0, nil)
			sleep(time.Minute)
			f.drop(id)
			deltas := f.of(pass.Delta)
			if behind := time.Since(deltas[len(deltas)-1].req.Since); behind > 75*time.Minute {
				t.Fatalf("deltas begin %v ago", behind)
			}
		}
		at := f.set(0, nil)
		sleep(time.Minute)
		if _, known := r.mirror.Updated(at); !known {
			t.Error("a new one is not seen")
		}
	})
}

// TestTimesLoseTheirFraction: times that come in whole seconds from now on are shown again
// all the same.
func TestTimesLoseTheirFraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		for range 20 {
			sleep(7654 * time.Millisecond)
			f.set(0, nil)
		}
		sleep(time.Minute)
		f.change(func() {
			for id, in := range f.incidents {
				in.Updated = in.Updated.Truncate(time.Second)
				f.incidents[id] = in
			}
		})
		for range 60 {
			sleep(time.Minute)
			if s := r.Status(); !s.Up {
				t.Fatalf("up is 0: %s", s.LastError)
			}
		}
	})
}
