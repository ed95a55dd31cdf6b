package refresh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// TestPhases: the open incidents are known first and counted at once, all of
// them after the delta that follows the last page; never a zero that is not
// known to be zero.
func TestPhases(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(300)
		f.every[pass.First] = time.Second
		truth := f.counts()
		r := start(t, f, Options{})
		until(t, "open incidents counted", func() bool {
			if s := r.Snapshot(); s == nil && r.Status().Coverage.Open {
				t.Error("covered before it is counted")
			}
			return r.Snapshot() != nil
		})
		open := 150
		if got, most := len(f.of(pass.First)), open/9+3*3; got > most {
			t.Errorf("open counts after %d calls, want at most %d", got, most)
		}
		for range 200 {
			s := r.Snapshot()
			if s.Coverage.All {
				break
			}
			if !s.Coverage.Open || s.Coverage.Statuses[incident.StatusResolved] || s.Coverage.Statuses[incident.StatusRedirected] || s.Coverage.Statuses[incident.StatusUnknown] {
				t.Fatalf("coverage: %+v", s.Coverage)
			}
			for sev := range truth {
				for _, status := range openStatuses {
					if !s.Coverage.Statuses[status] || s.Incidents[sev][status] != truth[sev][status] {
						t.Fatalf("%v: got %v, want %v", status, s.Incidents[sev][status], truth[sev][status])
					}
				}
			}
			sleep(500 * time.Millisecond)
		}
		if !r.Snapshot().Coverage.All || !r.Status().Coverage.All {
			t.Fatalf("first sync not complete: %+v", r.Status())
		}
		r.equal(t)
		if got := r.Status().Passes[pass.First]; got.Refreshes != 1 || got.LastSuccess.IsZero() {
			t.Errorf("first sync: %+v", got)
		}
		// A delta is the last thing of a first sync.
		first, deltas := f.of(pass.First), f.of(pass.Delta)
		if !deltas[len(deltas)-1].at.Equal(first[len(first)-1].at) && deltas[len(deltas)-1].n < first[len(first)-1].n {
			t.Error("no delta after the last page")
		}
	})
}

func TestEmptyTenant(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		r := start(t, f, Options{})
		sleep(time.Second)
		if s := r.Snapshot(); s == nil || !s.Coverage.All {
			t.Fatal("an empty tenant is known at once")
		}
		f.set(0, nil)
		sleep(30 * time.Second)
		r.equal(t)
		if got := r.Snapshot().Flows.Created[0]; got != 1 {
			t.Errorf("created: got %d, want 1", got)
		}
	})
}

// TestEmptyAtFirst: that a tenant has no incident at all is seen twice before a sweep is
// hours away, because a server that has just started may answer so.
func TestEmptyAtFirst(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.blank = true
		r := start(t, f, Options{})
		sleep(10 * time.Second)
		f.change(func() { f.blank = false })
		sleep(2 * time.Minute)
		r.equal(t)
		if got := total(r.Snapshot().Flows.Created[:]); got != 0 {
			t.Errorf("%d incidents count as new", got)
		}
		before := len(f.of(pass.Sweep))
		sleep(2 * time.Hour)
		if got := len(f.of(pass.Sweep)); got != before {
			t.Errorf("%d calls of further sweeps", got-before)
		}
	})
}

// TestEmptyForAMoment: a list that is empty when the look-back is read, although open
// incidents were shown before, is not taken for all there is.
func TestEmptyForAMoment(t *testing.T) {
	for _, moment := range []time.Duration{time.Second, 5 * time.Second, 3 * time.Minute} {
		bothAPIs(t, 10, func(t *testing.T, f *tenant) {
			f.fill(60)
			f.every[pass.First] = 100 * time.Millisecond
			r := start(t, f, Options{SweepInterval: 24 * time.Hour})
			for !r.Status().Coverage.Open {
				sleep(50 * time.Millisecond)
			}
			f.change(func() { f.blank = true })
			for range moment / time.Second {
				sleep(time.Second)
				if r.Status().Coverage.All {
					t.Fatal("an empty list is taken for all there is")
				}
			}
			f.change(func() { f.blank = false })
			sleep(10 * time.Minute)
			r.synced(t)
			r.equal(t)
			if !r.Status().Up {
				t.Error("up is 0")
			}
		})
	}
}

// TestUpInTheFirstSync: as long as deltas fail what is published grows old, however well the
// first sync goes on.
func TestUpInTheFirstSync(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.every[pass.First] = 20 * time.Second
		f.fails(func(c call) error {
			if c.pass == pass.Delta {
				return faults["400"](c)
			}
			return nil
		})
		r := start(t, f, Options{})
		for !r.Status().Coverage.Open {
			sleep(time.Second)
		}
		sleep(40 * time.Second)
		for range 60 {
			sleep(time.Second)
			if s := r.Status(); s.Up {
				t.Fatalf("up is 1: %+v", s)
			}
		}
		f.fails(nil)
		sleep(10 * time.Minute)
		if !r.Status().Up {
			t.Error("up is 0")
		}
		r.equal(t)
	})
}

// TestStatusSelectsNothing: that no incident is open is not believed if there are some,
// and those that are older than the look-back are read, too.
func TestStatusSelectsNothing(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.set(0, func(in *incident.Incident) { in.Updated = in.Updated.Add(-300 * 24 * time.Hour) })
		f.deaf = true
		f.every[pass.First] = 10 * time.Second
		r := start(t, f, Options{})
		until(t, "shown", func() bool { return r.Snapshot() != nil })
		r.equal(t)
		if !r.Status().Unsupported[listing.OptionStatus] {
			t.Error("nothing says that the status is not taken")
		}
	})
}

// TestStatusSelectsOne: that only one incident is open is withdrawn as soon as there are
// others, and those that are older than the look-back are read, too.
func TestStatusSelectsOne(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.heard = f.set(0, nil)
		for range 3 {
			f.set(0, func(in *incident.Incident) { in.Updated = in.Updated.Add(-300 * 24 * time.Hour) })
		}
		f.deaf = true
		f.every[pass.First] = 10 * time.Second
		r := start(t, f, Options{})
		until(t, "open", func() bool { return r.Snapshot() != nil })
		until(t, "withdrawn", func() bool { return r.Snapshot() == nil && !r.Status().Coverage.Open })
		if calls := f.made(); calls > 20 {
			t.Errorf("withdrawn after %d calls", calls)
		}
		r.synced(t)
		r.equal(t)
		if !r.Status().Unsupported[listing.OptionStatus] {
			t.Error("nothing says that the status is not taken")
		}
		sleep(13 * time.Hour)
		r.equal(t)
	})
}

// TestNoStatusFilter: without the statuses of open incidents everything is read, by
// the sweeps, too, whatever its age, and no open count is shown before.
func TestNoStatusFilter(t *testing.T) {
	for _, refused := range [][]incident.Status{openStatuses, {incident.StatusActive}, {incident.StatusInProgress}} {
		t.Run(fmt.Sprintf("%v", refused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(100)
				old := f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() })
				gone := f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() })
				f.set(0, func(in *incident.Incident) { in.Status, in.Updated = incident.StatusResolved, time.Time{} })
				f.refuse = make(map[incident.Status]bool)
				for _, status := range refused {
					f.refuse[status] = true
				}
				f.every[pass.First] = time.Second
				r := start(t, f, Options{SweepInterval: time.Hour})
				until(t, "read", func() bool { return r.Status().ScanPages > len(openStatuses)*5 })
				if r.Snapshot() != nil {
					t.Error("counts are shown that are not known")
				}
				sleep(time.Minute)
				r.equal(t)
				// The first status that is asked for tells of them all.
				if got, want := r.Status().Unsupported[listing.OptionStatus], refused[0] == incident.StatusActive; got != want {
					t.Errorf("the option is told: %v, want %v", got, want)
				}
				f.drop(gone)
				f.change(func() {
					in := f.incidents[old]
					in.Severity = incident.SeverityHigh
					f.incidents[old] = in
				})
				sleep(time.Hour + 10*time.Minute)
				r.equal(t)
			})
		})
	}
}

// TestOtherDimensions: what was read before other dimensions were asked for is read
// again at once, be it a part of the first sync or all of it.
func TestOtherDimensions(t *testing.T) {
	for _, synced := range []bool{false, true} {
		t.Run(fmt.Sprint("synced before: ", synced), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(100)
				f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() }) // it is not read twice
				f.every[pass.First] = time.Second
				opts := Options{Store: newDisk()}
				dimensions := func(d incident.Dimensions) {
					f.change(func() { f.mark = d.Mark() })
					opts.Dimensions = d
				}
				dimensions(incident.Dimensions{Tags: []string{"one"}})
				r := start(t, f, opts)
				until(t, "open", func() bool { return r.Snapshot() != nil })
				if synced {
					r.synced(t)
				}
				r.stop()
				dimensions(incident.Dimensions{Tags: []string{"one", "another"}})
				r = start(t, f, opts)
				r.synced(t)
				sleep(5 * time.Minute)
				if len(r.Snapshot().Dimensions.Tags) == 0 {
					t.Error("tags are not shown")
				}
			})
		})
	}
}

// TestTakesOpen: open counts are not to be had without either of the statuses that
// every server knows.
func TestTakesOpen(t *testing.T) {
	now := time.Now()
	for status, want := range map[incident.Status]bool{
		incident.StatusUnknown: true, incident.StatusActive: false, incident.StatusInProgress: false, incident.StatusAwaitingAction: true,
	} {
		f := native(10)
		l := New(Options{Source: f, Ledger: f})
		l.Server.Statuses[status].Until = now.Add(time.Hour)
		if got := l.takesOpen(now); got != want {
			t.Errorf("without %v: got %v, want %v", status, got, want)
		}
	}
}

func TestStatusThatTheServerDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		f.change(func() {
			for id, in := range f.incidents {
				if in.Status == incident.StatusAwaitingAction {
					in.Status = incident.StatusUnknown
					f.incidents[id] = in
				}
			}
		})
		f.refuse = map[incident.Status]bool{incident.StatusAwaitingAction: true}
		f.every[pass.First] = time.Second
		r := start(t, f, Options{})
		until(t, "open", func() bool { return r.Snapshot() != nil })
		if c := r.Snapshot().Coverage; !c.Open || c.All || c.Statuses[incident.StatusAwaitingAction] || !c.Statuses[incident.StatusActive] {
			t.Errorf("coverage: %+v", c)
		}
		sleep(time.Minute)
		r.equal(t)
	})
}

// TestFirstSyncInterrupted: whichever request fails, in whichever way, the loop
// lives, what is shown is what is known, and the end is exact.
func TestFirstSyncInterrupted(t *testing.T) {
	requests := 0
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(40)
		start(t, f, Options{}).synced(t)
		requests = f.made()
	})
	for name, fault := range faults {
		for _, times := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s %d times", name, times), func(t *testing.T) {
				for at := 1; at <= requests; at++ {
					synctest.Test(t, func(t *testing.T) {
						f := native(10)
						f.fill(40)
						f.fails(func(c call) error {
							if c.n >= at && c.n < at+times {
								return fault(c)
							}
							return nil
						})
						r := start(t, f, Options{Store: newDisk()})
						open := f.counts()
						until(t, "synced", func() bool {
							s := r.Snapshot()
							if s == nil {
								return false
							}
							for sev := range open {
								for _, status := range openStatuses {
									if s.Incidents[sev][status] != open[sev][status] {
										t.Fatalf("fault at request %d: %v: got %v, want %v", at, status, s.Incidents[sev][status], open[sev][status])
									}
								}
							}
							return s.Coverage.All
						})
						f.set(1, func(in *incident.Incident) { in.Severity = incident.SeverityHigh })
						sleep(2 * time.Minute)
						r.equal(t)
						if !r.Status().Up {
							t.Errorf("fault at request %d: not up: %+v", at, r.Status())
						}
					})
				}
			})
		}
	}
}

// TestFirstSyncStops: a process that stops, or is killed, after a few requests goes
// on from there in the next one.
func TestFirstSyncStops(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.every[pass.First] = time.Second
		d := newDisk()
		for f.made() < 200 {
			before := f.made()
			r := start(t, f, Options{Store: d})
			until(t, "called", func() bool { return f.made() > before+4 })
			s := r.Snapshot()
			r.stop()
			if s != nil && s.Coverage.All {
				r.equal(t)
				break
			}
		}
		if got := len(f.of(pass.First)); got > 60 {
			t.Errorf("%d calls, want hardly more than without a stop", got)
		}
		if got := start(t, f, Options{Store: d}).Snapshot(); got == nil || !got.Coverage.All {
			t.Error("the next process does not know what this one did")
		}
	})
}

// TestRestartAnywhere kills the process at any save of its life, and goes on
// from what was saved then.
func TestRestartAnywhere(t *testing.T) {
	const saves = 60
	life := func(t *testing.T, f *tenant) {
		f.fill(60)
		f.every[pass.First], f.every[pass.Sweep] = time.Second, time.Second
	}
	for kill := 1; kill < saves; kill++ {
		synctest.Test(t, func(t *testing.T) {
			f, d := native(10), newDisk()
			life(t, f)
			var killed *disk
			d.during = func() {
				if d.saves == kill {
					killed = newDisk()
					killed.saves, killed.tables, killed.progress = 1, d.tables, d.progress
					for id, row := range d.rows {
						killed.rows[id] = row
					}
					for id := range d.swept {
						killed.swept[id] = true
					}
				}
			}
			opts := Options{Store: d, SweepInterval: 2 * time.Minute}
			r := start(t, f, opts)
			until(t, "saved", func() bool {
				if s := r.Snapshot(); s != nil && s.Coverage.All && len(f.incidents) == 60 {
					f.drop(7) // which the sweep has to look up
					f.resolve(1)
				}
				d.mu.Lock()
				defer d.mu.Unlock()
				return killed != nil
			})
			r.stop()
			opts.Store = killed
			r = start(t, f, opts)
			until(t, "synced", func() bool { return r.Snapshot() != nil && r.Snapshot().Coverage.All })
			sleep(10 * time.Minute)
			r.equal(t)
			if !r.Status().Up || r.Status().Passes[pass.Delta].Failures != [reason.NumReasons]uint64{} {
				t.Errorf("killed at save %d: %+v", kill, r.Status())
			}
		})
	}
}

// TestPartialAnswersAreNoEmptyTenant: a first sync that finds nothing while the
// server says that something is missing is not complete.
func TestPartialAnswersAreNoEmptyTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		f.fails(faults["206"])
		r := start(t, f, Options{})
		sleep(time.Hour)
		if r.Snapshot() != nil || r.Status().Up {
			t.Error("counts are shown that are not known")
		}
		if n := r.Status().Passes[pass.First].Failures[reason.Partial]; n == 0 {
			t.Errorf("failures: %v", r.Status().Passes)
		}
		if r.Status().Passes[pass.First].LastSuccess != (time.Time{}) {
			t.Error("a first sync has succeeded")
		}
		f.fails(nil)
		sleep(2 * time.Minute)
		r.equal(t)
	})
}

// TestIncompleteFirstSyncRests: to read everything again is expensive, and each
// time it was in vain the rest is longer.
func TestIncompleteFirstSyncRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		f.fails(func(c call) error {
			if c.pass == pass.First && c.req.Status == incident.StatusInProgress {
				return answered(c, 0, reason.Incomplete, "")
			}
			return nil
		})
		start(t, f, Options{})
		sleep(10 * time.Hour)
		if got := len(f.of(pass.First)); got > 400 {
			t.Errorf("%d calls in ten hours that all were in vain", got)
		}
	})
}

// TestStop: the loop ends in the middle of a request, and that is no failure.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		ctx, cancel := context.WithCancel(t.Context())
		f.fault = func(call) error {
			cancel()
			return ctx.Err()
		}
		l := New(Options{Source: f, Ledger: f})
		began := time.Now()
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		if k := l.Status().Passes[pass.First]; k.Refreshes != 0 {
			t.Error("a stop was counted as a failure")
		}
	})
}

// TestStagger: a tenant begins at its own part of the interval.
func TestStagger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		r := start(t, f, Options{Stagger: 0.9, Interval: 100 * time.Second})
		sleep(89 * time.Second)
		if n := f.made(); n != 0 {
			t.Errorf("%d calls too early", n)
		}
		if age := time.Since(r.Heartbeat()); age > 30*time.Second {
			t.Errorf("no heartbeat for %v", age)
		}
		sleep(2 * time.Second)
		if f.made() == 0 {
			t.Error("never called")
		}
	})
}

// TestFirstSyncLeavesHalf: until the first sync is complete the deltas take only
// half of what the quota allows.
func TestFirstSyncLeavesHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(300)
		f.perHour = 60
		f.every[pass.First] = 30 * time.Second
		r := start(t, f, Options{})
		until(t, "open", func() bool { return r.Snapshot() != nil })
		sleep(10 * time.Minute)
		if got := r.Status().Interval; got < 2*time.Minute {
			t.Errorf("interval during the first sync: got %v, want two minutes or more", got)
		}
		r.synced(t)
		sleep(time.Hour)
		if got := r.Status().Interval; got != time.Minute {
			t.Errorf("interval afterwards: got %v, want a minute", got)
		}
		if f.reserved != 1 {
			t.Errorf("reserved for %d calls, want 1", f.reserved)
		}
	})
}

// TestLookbackGrows: what a longer look-back adds is read, however far the first
// sync had come, and is history.
func TestLookbackGrows(t *testing.T) {
	for _, at := range []string{"openScan", "fullScan", "steady", "sweep"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, d := native(10), newDisk()
				f.fill(600)
				f.every[pass.First], f.every[pass.Sweep] = time.Second, time.Second
				const short = 3*time.Hour + 30*time.Second
				r := start(t, f, Options{Store: d, Lookback: short, SweepInterval: time.Hour})
				switch at {
				case "openScan":
					sleep(3 * time.Second)
				case "fullScan":
					until(t, "open", func() bool { return r.Snapshot() != nil })
				case "steady":
					r.synced(t)
				case "sweep":
					until(t, "sweeping", func() bool { return r.Status().Sweeping })
				}
				r.stop()
				synced := at == "steady" || at == "sweep"
				r = start(t, f, Options{Store: d, Lookback: 180 * 24 * time.Hour})
				if s := r.Snapshot(); synced && (!s.Coverage.Open || s.Coverage.All || s.Coverage.Statuses[incident.StatusResolved]) {
					t.Errorf("coverage after the restart: %+v", s.Coverage)
				}
				r.synced(t)
				r.equal(t)
				if got := r.Snapshot().Flows; got.Created != (incident.Flows{}).Created || got.Resolved != (incident.Flows{}).Resolved {
					t.Errorf("history was counted: %v %v", got.Created, got.Resolved)
				}
				f.set(0, nil)
				sleep(31 * time.Second)
				if got := r.Snapshot().Flows.Created[0]; got != 1 {
					t.Errorf("created: got %d, want 1", got)
				}
			})
		})
	}
}

// TestFlowsOverRestart: what happened while nothing ran is counted once.
func TestFlowsOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(30)
		r := start(t, f, Options{Store: d})
		r.synced(t)
		if got := r.Snapshot().Flows.Created; got != ([incident.NumSeverities]uint64{}) {
			t.Errorf("history counts as created: %v", got)
		}
		r.stop()
		sleep(time.Hour)
		f.set(0, func(in *incident.Incident) { in.Severity = incident.SeverityHigh })
		f.resolve(1)
		total := func(r *running) (created, resolved uint64) {
			flows := &r.Snapshot().Flows
			for sev := range flows.Resolved {
				created += flows.Created[sev]
				for _, n := range flows.Resolved[sev] {
					resolved += n[0] + n[1]
				}
			}
			return created, resolved
		}
		for range 3 {
			r = start(t, f, Options{Store: d})
			sleep(2 * time.Minute)
			r.equal(t)
			if created, resolved := total(r); created != 1 || resolved != 1 {
				t.Errorf("got %d created, %d resolved, want 1 and 1", created, resolved)
			}
			r.stop()
		}
	})
}

// TestSavedNonsense: a state that cannot be used is not used at all.
func TestSavedNonsense(t *testing.T) {
	for name, broken := range map[string]func(string) string{
		"no JSON":        func(string) string { return "{" },
		"no version":     func(string) string { return "{}" },
		"another phase":  func(s string) string { return strings.Replace(s, `"phase":3`, `"phase":4`, 1) },
		"another reason": func(s string) string { return strings.Replace(s, `"up":true`, `"up":true,"last_reason":99`, 1) },
		"no first sync":  func(s string) string { return strings.Replace(s, `"phase":3`, `"phase":2`, 1) },
		"no listing":     func(s string) string { return strings.Replace(s, `"status":`, `"scan":{},"status":`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			testNotUsed(t, func(d *disk) { d.progress = []byte(broken(string(d.progress))) })
		})
	}
}

// testNotUsed: after this damage the next life begins anew.
func testNotUsed(t *testing.T, damage func(*disk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(30)
		r := start(t, f, Options{Store: d})
		r.synced(t)
		r.stop()
		damage(d)
		before := len(f.of(pass.First))
		r = start(t, f, Options{Store: d})
		r.synced(t)
		r.equal(t)
		if len(f.of(pass.First)) == before {
			t.Error("the state was used")
		}
	})
}

// TestRowTooHeavy: an incident that the server cannot deliver is left out, counted and
// told.
func TestRowTooHeavy(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.heavy = 27
		var log journal
		r := start(t, f, Options{Logger: log.logger()})
		r.synced(t)
		if r.Status().Skipped[skippedTooHeavy] == 0 || !strings.Contains(log.String(), "cannot deliver") {
			t.Errorf("skipped: %v, log:\n%s", r.Status().Skipped, log.String())
		}
		f.drop(27) // no count has it
		r.equal(t)
	})
}

// TestLoadFails: what a load has restored before it fails is not used.
func TestLoadFails(t *testing.T) {
	testNotUsed(t, func(d *disk) { d.damage = errors.New("the checksum is wrong") })
}

// TestRowsThatCannotBeUsed are counted as such, each time that they come, and
// spoil nothing.
func TestRowsThatCannotBeUsed(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(30)
		truth := f.counts()
		f.incidents[-1] = incident.Incident{Status: incident.StatusActive, Created: time.Now(), Updated: time.Now()}
		r := start(t, f, Options{})
		r.synced(t)
		if got := r.Snapshot().Incidents; got != truth {
			t.Errorf("counts\ngot  %v\nwant %v", got, truth)
		}
		before := r.Status().Skipped
		if before[skippedNoID] == 0 || before[skippedTooHeavy] != 0 {
			t.Errorf("skipped: %v", before)
		}
		f.resolve(7)
		sleep(time.Minute)
		if got := r.Status(); got.Skipped[skippedNoID] <= before[skippedNoID] || !got.Up {
			t.Errorf("skipped: %v, before %v, up %v", got.Skipped, before, got.Up)
		}
	})
}

// TestStatusThatWasNotRead: the server refuses a status while the open incidents are read, is
// away for a day, and takes it then. It was not read, and does not count as known.
func TestStatusThatWasNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		for range 4 {
			f.set(0, func(in *incident.Incident) {
				in.Created, in.Updated = in.Created.AddDate(0, 0, -200), in.Updated.AddDate(0, 0, -200)
				in.Status = incident.StatusInProgress
			})
		}
		f.refuse = map[incident.Status]bool{incident.StatusInProgress: true}
		f.every[pass.First] = 10 * time.Second
		begun := time.Now()
		f.fails(func(c call) error {
			if c.n > 12 && time.Since(begun) < 25*time.Hour {
				return answered(c, 503, reason.Server, "")
			}
			return nil
		})
		r := start(t, f, Options{})
		sleep(24 * time.Hour)
		until(t, "published", func() bool { return r.Snapshot() != nil })
		right := func() bool {
			want, got := f.counts(), r.Snapshot().Incidents
			for sev := range want {
				if want[sev][incident.StatusInProgress] != got[sev][incident.StatusInProgress] {
					return false
				}
			}
			return true
		}
		if r.Snapshot().Coverage.Statuses[incident.StatusInProgress] && !right() {
			t.Error("incidents that were not read count as known")
		}
		r.synced(t)
		sleep(time.Hour)
		if !right() {
			t.Error("nor do they after the first sync")
		}
	})
}

// TestWindow: lists go back for so long where no time is asked for, those of a status, too.
// What is older of the open incidents is read all the same, in sweeps as well.
func TestWindow(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		recent, old int
		lookback    time.Duration
	}{"one": {60, 1, 30 * day}, "many": {60, 40, 30 * day}, "nothing but": {0, 20, 30 * day}, "within the look-back": {60, 20, 180 * day}} {
		t.Run(name, func(t *testing.T) {
			bothAPIs(t, 50, func(t *testing.T, f *tenant) {
				f.window = 30 * day
				f.fill(test.recent)
				for i := range test.old {
					f.set(0, func(in *incident.Incident) {
						in.Created, in.Updated = in.Created.Add(-100*day), in.Updated.Add(-100*day)
						in.Status = openStatuses[i%len(openStatuses)]
					})
				}
				r := start(t, f, Options{SweepInterval: time.Hour, Lookback: test.lookback})
				r.synced(t)
				r.equal(t)
				for range 6 {
					sleep(30 * time.Minute)
					if r.equal(t); !r.Status().Up {
						t.Errorf("not up: %s", r.Status().LastError)
					}
				}
			})
		})
	}
}

// TestRefusesLongAgo: a server that refuses bounds of long ago takes all that is needed.
func TestRefusesLongAgo(t *testing.T) {
	bothAPIs(t, 50, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.fails(func(c call) error {
			if !c.req.Since.IsZero() && time.Since(c.req.Since) > 190*24*time.Hour {
				return answered(c, 400, reason.Other, "")
			}
			return nil
		})
		r := start(t, f, Options{})
		r.synced(t)
		r.equal(t)
		if s := r.Status(); s.Unsupported[listing.OptionLowerBound] || s.ScanPages > 30 {
			t.Errorf("%v is not supported, after %d calls", s.Unsupported, s.ScanPages)
		}
	})
}

// TestRetryAfterAsItCloses: a delta that was told to wait does so, although the first sync
// is complete but for a delta.
func TestRetryAfterAsItCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(300)
		f.every[pass.First] = 20 * time.Second
		var told, next time.Time
		f.fault = func(c call) error {
			switch {
			case c.pass != pass.Delta:
			case told.IsZero():
				told = c.at
				return answered(c, 503, reason.Server, "3000")
			case next.IsZero():
				next = c.at
			}
			return nil
		}
		r := start(t, f, Options{Store: newDisk()})
		r.synced(t)
		sleep(time.Minute)
		if got := next.Sub(told); got < 3000*time.Second {
			t.Errorf("the next delta came after %v, the server has asked for 50 minutes", got)
		}
	})
}
