package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

func TestFirstSyncShowsOpenIncidentsFirst(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(300)
		slow := &budget{}
		slow.every[incident.PassFirst] = time.Second
		loop := start(t, Options{Source: f, Budget: slow})
		for loop.Snapshot() == nil {
			wait(100 * time.Millisecond)
		}
		open := 0
		for _, in := range f.incidents {
			if in.Open() {
				open++
			}
		}
		limit := (open+9)/10 + 3
		if f.ascending {
			limit++ // to find out what is new
		}
		if got := f.callsOf(incident.PassFirst); got > limit {
			t.Errorf("open counts after %d calls, want at most %d", got, limit)
		}
		s := loop.Snapshot()
		if !s.Coverage.Open || s.Coverage.All || s.Coverage.Statuses[incident.StatusResolved] || s.Coverage.Statuses[incident.StatusUnknown] {
			t.Errorf("coverage: %+v", s.Coverage)
		}
		want := f.counts(incident.Status.Open)
		for sev := range want {
			for _, status := range openStatuses {
				if got := s.Incidents[sev][status]; got != want[sev][status] {
					t.Errorf("%v: got %v, want %v", status, got, want[sev][status])
				}
			}
		}
		wait(time.Minute)
		if !loop.Snapshot().Coverage.All || !loop.Status().Coverage.All {
			t.Fatalf("first sync not complete: %+v", loop.Status())
		}
		equal(t, loop, f)
	})
}

func TestEmptyTenant(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		loop := start(t, Options{Source: f})
		wait(time.Second)
		if !loop.Snapshot().Coverage.All {
			t.Fatal("an empty tenant is known at once")
		}
		f.set(0, nil)
		wait(30 * time.Second)
		equal(t, loop, f)
		if got := loop.Snapshot().Flows.Created[0]; got != 1 {
			t.Errorf("created: got %d, want 1", got)
		}
	})
}

// TestSteadyTenantCostsOneCall: one call per interval, whatever happens not.
func TestSteadyTenantCostsOneCall(t *testing.T) {
	bothWays(t, 100, func(t *testing.T, f *tenant) {
		f.fill(250)
		loop := start(t, Options{Source: f, SweepInterval: 24 * time.Hour})
		wait(time.Minute)
		before := len(f.calls)
		wait(10 * time.Hour)
		if got, want := len(f.calls)-before, 1200; got != want {
			t.Errorf("calls in ten hours: got %d, want %d", got, want)
		}
		equal(t, loop, f)
	})
}

// TestBurstThenSilence: a burst of changes must not be read again for ever.
func TestBurstThenSilence(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(500)
		b := &budget{perHour: 1200}
		loop := start(t, Options{Source: f, Budget: b})
		wait(time.Minute)
		for id := range int64(400) {
			f.set(id+1, func(in *incident.Incident) { in.Status = incident.StatusResolved })
		}
		wait(time.Minute)
		if got, want := loop.Status().Interval, 41*3*time.Second; got < want-3*time.Second || got > want+3*time.Second {
			t.Errorf("interval after a delta of 41 calls: got %v, want about %v", got, want)
		}
		equal(t, loop, f)
		wait(30 * time.Minute)
		before := len(f.calls)
		wait(10 * time.Minute)
		if got, want := len(f.calls)-before, 20; got != want {
			t.Errorf("calls in ten quiet minutes: got %d, want %d", got, want)
		}
		equal(t, loop, f)
	})
}

// TestLateChange: a change that becomes visible after newer ones is caught by
// the overlap.
func TestLateChange(t *testing.T) {
	bothWays(t, 100, func(t *testing.T, f *tenant) {
		f.fill(50)
		loop := start(t, Options{Source: f})
		wait(time.Minute)
		happened := time.Now()
		wait(time.Second)
		f.set(1, nil)
		wait(5 * time.Minute)
		f.set(2, func(in *incident.Incident) { in.Updated, in.Status = happened, incident.StatusResolved })
		wait(time.Minute)
		equal(t, loop, f)
	})
}

// TestTimeInTheFuture: one impossible last update does not blind the deltas.
func TestTimeInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(100)
		f.fill(250)
		f.set(7, func(in *incident.Incident) { in.Updated = time.Now().AddDate(100, 0, 0) })
		loop := start(t, Options{Source: f})
		wait(5 * time.Minute)
		f.set(1, func(in *incident.Incident) { in.Status = incident.StatusResolved })
		f.set(0, nil)
		wait(time.Minute)
		equal(t, loop, f)
	})
}

// TestFailureKeepsWhatIsKnown goes through every reason: the last good counts
// stay, the reason is counted, and afterwards nothing is missing.
func TestFailureKeepsWhatIsKnown(t *testing.T) {
	for reason, name := range Reasons {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newTenant(10)
				f.fill(40)
				loop := start(t, Options{Source: f})
				wait(time.Minute)
				known := f.counts(all)
				f.before = func(incident.Query) error { return failure(name) }
				for range 25 {
					f.set(0, nil)
				}
				wait(2 * time.Minute)
				status := loop.Status()
				if status.Up {
					t.Error("up while everything fails")
				}
				if got := status.Kinds[incident.PassDelta].Failures[reason]; got < 3 {
					t.Errorf("failures counted: got %d, want at least 3", got)
				}
				if loop.Snapshot().Incidents != known {
					t.Error("the last good counts are gone")
				}
				f.before = nil
				wait(31 * time.Second)
				if !loop.Status().Up {
					t.Error("not up again")
				}
				equal(t, loop, f)
			})
		})
	}
}

// TestFailureInTheMiddle: a delta that breaks off after its first page must
// not move the watermark.
func TestFailureInTheMiddle(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(40)
		loop := start(t, Options{Source: f, Overlap: time.Minute})
		wait(time.Minute)
		for range 35 {
			f.set(0, nil)
			wait(10 * time.Second)
			calls := 0
			f.before = func(incident.Query) error {
				if calls++; calls > 1 {
					return failure("timeout")
				}
				return nil
			}
		}
		f.before = nil
		wait(time.Minute)
		equal(t, loop, f)
	})
}

func TestFirstSyncSurvivesFailures(t *testing.T) {
	bothWays(t, 10, func(t *testing.T, f *tenant) {
		f.fill(200)
		r := rand.New(rand.NewPCG(1, 1))
		f.before = func(incident.Query) error {
			if r.IntN(3) == 0 {
				return failure("server")
			}
			return nil
		}
		loop := start(t, Options{Source: f, Interval: time.Second})
		wait(5 * time.Minute)
		f.before = nil
		wait(time.Minute)
		if !loop.Status().Coverage.All {
			t.Fatal("first sync not complete")
		}
		equal(t, loop, f)
		if got, limit := f.callsOf(incident.PassFirst), 60; got > limit {
			t.Errorf("calls: got %d, want at most %d: a failed page alone is read again", got, limit)
		}
	})
}

func TestNoStatusFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(100)
		f.refuse = map[incident.Status]bool{incident.StatusActive: true, incident.StatusInProgress: true, incident.StatusAwaitingAction: true}
		slow := &budget{}
		slow.every[incident.PassFirst] = time.Second
		loop := start(t, Options{Source: f, Budget: slow})
		wait(5 * time.Second)
		if loop.Snapshot() != nil {
			t.Error("counts are shown that are not known")
		}
		wait(30 * time.Second)
		equal(t, loop, f)
	})
}

func TestStatusThatNobodyKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(100)
		f.refuse = map[incident.Status]bool{incident.StatusAwaitingAction: true}
		slow := &budget{}
		slow.every[incident.PassFirst] = time.Second
		loop := start(t, Options{Source: f, Budget: slow})
		for loop.Snapshot() == nil {
			wait(time.Second)
		}
		if c := loop.Snapshot().Coverage; !c.Open || c.All || c.Statuses[incident.StatusAwaitingAction] {
			t.Errorf("coverage: %+v", c)
		}
		wait(time.Minute)
		equal(t, loop, f)
	})
}

// TestMovingTenant changes incidents before every single call, at the borders
// of pages above all, and wants the exact truth when the tenant rests.
func TestMovingTenant(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 2))
				f := newTenant(5 + r.IntN(10))
				f.ascending = seed%2 == 1
				f.fill(200)
				f.took = 50 * time.Millisecond
				var resting atomic.Bool
				f.before = func(incident.Query) error {
					for range r.IntN(4) {
						if resting.Load() {
							break
						}
						f.set(r.Int64N(f.nextID+2), func(in *incident.Incident) {
							in.Status = incident.Status(r.IntN(incident.NumStatuses))
							in.Assigned = r.IntN(2) == 0
						})
						time.Sleep(time.Millisecond)
					}
					return nil
				}
				loop := start(t, Options{Source: f, SweepInterval: 10 * time.Minute})
				wait(time.Duration(r.IntN(3600)) * time.Second)
				resting.Store(true)
				wait(2 * loop.Status().Interval)
				equal(t, loop, f)
				if n := loop.Status().Corrections; n[correctionVanished] > 0 {
					t.Errorf("nothing vanished, yet %d were counted", n[correctionVanished])
				}
			})
		})
	}
}

// TestStop: the loop ends in the middle of a page, at once.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.fill(100)
		ctx, cancel := context.WithCancel(t.Context())
		f.before = func(incident.Query) error {
			cancel()
			return ctx.Err()
		}
		loop := New(Options{Source: f, Budget: &budget{}})
		began := time.Now()
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		if k := loop.Status().Kinds[incident.PassFirst]; k.Refreshes != 0 {
			t.Error("a stop was counted as a failure")
		}
	})
}

func TestOffsetDelaysTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		began := time.Now()
		loop := start(t, Options{Source: f, Offset: 90 * time.Second})
		wait(89 * time.Second)
		if len(f.calls) != 0 {
			t.Errorf("called after %v", f.callAt[0].Sub(began))
		}
		if since := time.Since(loop.LastSign()); since > 30*time.Second {
			t.Errorf("no sign of life for %v", since)
		}
		wait(2 * time.Second)
		if len(f.calls) == 0 {
			t.Error("never called")
		}
	})
}
