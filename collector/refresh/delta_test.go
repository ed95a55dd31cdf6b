package refresh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// TestSteadyTenantCostsOneCall: one call per interval as long as nothing
// happens.
func TestSteadyTenantCostsOneCall(t *testing.T) {
	bothAPIs(t, 100, func(t *testing.T, f *tenant) {
		f.fill(250)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		sleep(time.Minute)
		before := f.made()
		sleep(10 * time.Hour)
		// One more while rows within the overlap have an end to be proven.
		if got, want := f.made()-before, 1200; got < want || got > want+1 {
			t.Errorf("calls in ten hours: got %d, want %d", got, want)
		}
		r.equal(t)
	})
}

// TestBurstThenSilence: a burst of changes sets the pace, and is not read again
// for ever.
func TestBurstThenSilence(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(500)
		f.perHour = 1200
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		sleep(time.Minute)
		for id := range int64(400) {
			f.resolve(id + 1)
			if id%40 == 0 {
				sleep(time.Second)
			}
		}
		before := len(f.of(pass.Delta))
		until(t, "seen", func() bool { return len(f.of(pass.Delta)) > before+30 })
		until(t, "done", func() bool { return r.Snapshot().Incidents == f.counts() })
		calls := len(f.of(pass.Delta)) - before
		if got, want := r.Status().Interval, 3*time.Second*time.Duration(calls); got < want-9*time.Second || got > want+9*time.Second {
			t.Errorf("interval after a delta of %d calls: got %v, want about %v", calls, got, want)
		}
		sleep(30 * time.Minute)
		before = f.made()
		sleep(10 * time.Minute)
		if got, want := f.made()-before, 20; got != want {
			t.Errorf("calls in ten quiet minutes: got %d, want %d", got, want)
		}
		r.equal(t)
	})
}

// TestLateChange: a change that becomes visible after newer ones is caught by
// the overlap.
func TestLateChange(t *testing.T) {
	bothAPIs(t, 100, func(t *testing.T, f *tenant) {
		f.fill(50)
		r := start(t, f, Options{})
		sleep(time.Minute)
		happened := time.Now().UTC()
		sleep(time.Second)
		f.set(1, nil)
		sleep(5 * time.Minute)
		f.set(2, func(in *incident.Incident) { in.Updated, in.Status = happened, incident.StatusResolved })
		sleep(time.Minute)
		r.equal(t)
	})
}

// clocks are how the server's clock may stand to ours.
var clocks = map[string]func(*tenant){
	"right":            func(*tenant) {},
	"5 hours ahead":    func(f *tenant) { f.skew = 5 * time.Hour },
	"5 hours behind":   func(f *tenant) { f.skew = -5 * time.Hour },
	"not told":         func(f *tenant) { f.noDate = true },
	"not told, ahead":  func(f *tenant) { f.skew, f.noDate = 5*time.Hour, true },
	"not told, behind": func(f *tenant) { f.skew, f.noDate = -5*time.Hour, true },
}

// TestClocks: whatever the clocks say, what changes is seen at the next delta,
// before and after a restart.
func TestClocks(t *testing.T) {
	for name, set := range clocks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, d := native(100), newDisk()
				set(f)
				f.fill(120)
				opts := Options{Store: d, SweepInterval: 24 * time.Hour}
				r := start(t, f, opts)
				r.synced(t)
				changes := func() {
					for range 10 {
						f.resolve(1 + int64(f.made()%50))
						f.set(0, nil)
						sleep(31 * time.Second)
						r.equal(t)
					}
				}
				changes()
				sleep(20 * time.Minute)
				changes()
				r.stop()
				f.set(3, func(in *incident.Incident) { in.Severity = incident.SeverityHigh })
				sleep(3 * time.Hour)
				f.set(0, nil)
				r = start(t, f, opts)
				sleep(time.Minute)
				r.equal(t)
				changes()
				if n := len(f.lookups()); n > 0 && name != "not told, ahead" && name != "5 hours ahead" {
					t.Errorf("%d lookups, although no row was in the server's future", n)
				}
				if got := len(f.of(pass.Sweep)); got > 0 && name != "not told, ahead" && name != "5 hours ahead" {
					t.Errorf("%d calls of a sweep", got)
				}
			})
		})
	}
}

// TestFuture: rows whose last update lies in the server's future are applied,
// and blind nothing; an earlier version is taken when it comes.
func TestFuture(t *testing.T) {
	for _, ahead := range []time.Duration{10 * time.Minute, 24 * time.Hour, 99 * 365 * 24 * time.Hour} {
		for clock, set := range clocks {
			if clock == "not told, ahead" || clock == "not told, behind" {
				continue // then it cannot be known which
			}
			for _, when := range []string{"in the first sync", "later"} {
				t.Run(fmt.Sprintf("%v, clock %s, %s", ahead, clock, when), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, d := native(100), newDisk()
						set(f)
						f.fill(150)
						bad := func() {
							f.set(7, func(in *incident.Incident) {
								in.Updated, in.Severity = in.Updated.Add(ahead), incident.SeverityInformational
							})
						}
						if when == "in the first sync" {
							bad()
						}
						opts := Options{Store: d, SweepInterval: 24 * time.Hour}
						r := start(t, f, opts)
						sleep(5 * time.Minute)
						if when == "later" {
							bad()
							sleep(31 * time.Second)
							r.equal(t)
						}
						for range 4 {
							f.resolve(1 + int64(f.made()%5))
							f.set(0, nil)
							sleep(31 * time.Second)
							r.equal(t)
						}
						f.resolve(7) // a version that seems to be older
						sleep(31 * time.Second)
						r.equal(t)
						bad()
						sleep(31 * time.Second)
						r.stop()
						f.set(0, nil)
						r = start(t, f, opts)
						sleep(31 * time.Second)
						r.equal(t)
						f.set(0, nil)
						sleep(31 * time.Second)
						r.equal(t)

						// A version that the list does not show to a delta.
						f.set(7, func(in *incident.Incident) {
							in.Updated, in.Severity = in.Updated.Add(-time.Hour), incident.SeverityHigh
						})
						sleep(11 * time.Minute)
						r.equal(t)
						if len(f.lookups()) == 0 {
							t.Error("it was not looked up")
						}
						before := len(f.lookups())
						sleep(time.Hour)
						most := 1
						if clock == "5 hours ahead" { // then all that changes seems to be ahead
							most = int(time.Hour / rereadPause)
						}
						if n := len(f.lookups()) - before; n > most {
							t.Errorf("%d lookups of what is right", n)
						}
					})
				})
			}
		}
	}
}

// TestSavedWatermarkOfTheFuture: a watermark of a clock that was ahead is put
// right when it is loaded.
func TestSavedWatermarkOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(100), newDisk()
		f.fill(30)
		opts := Options{Store: d, SweepInterval: 24 * time.Hour}
		r := start(t, f, opts)
		r.synced(t)
		f.change(func() { r.Watermark.At = time.Now().AddDate(99, 0, 0) }) // the loop sleeps
		sleep(time.Minute)
		f.resolve(1)
		sleep(20 * time.Minute)
		if r.Snapshot().Incidents == f.counts() {
			t.Fatal("the test shows nothing: the watermark has healed by itself")
		}
		r.stop()
		r = start(t, f, opts)
		sleep(time.Minute)
		r.equal(t)
		f.resolve(4)
		sleep(31 * time.Second)
		r.equal(t)
	})
}

// TestBackwards: a row whose last update goes backwards is right again after the
// next sweep at the latest.
func TestBackwards(t *testing.T) {
	for _, age := range []time.Duration{0, 9 * time.Minute, time.Hour} {
		for _, back := range []time.Duration{time.Second, time.Hour, 40 * 24 * time.Hour} {
			t.Run(fmt.Sprintf("%v old, %v back", age, back), func(t *testing.T) {
				bothAPIs(t, 100, func(t *testing.T, f *tenant) {
					f.fill(150)
					r := start(t, f, Options{SweepInterval: time.Hour})
					sleep(58*time.Minute - age)
					f.set(7, nil)
					sleep(time.Minute + age)
					f.set(7, func(in *incident.Incident) {
						in.Updated, in.Status = in.Updated.Add(-back), incident.StatusResolved
					})
					sleep(31 * time.Second)
					until(t, "swept", func() bool { return r.Status().Passes[pass.Sweep].LastSuccess.After(time.Now().Add(-time.Minute)) })
					sleep(20 * time.Minute)
					r.equal(t)
				})
			})
		}
	}
}

// TestFailureKeepsWhatIsKnown goes through every way to fail: the last good
// counts stay, the reason is counted, and afterwards nothing is missing.
func TestFailureKeepsWhatIsKnown(t *testing.T) {
	reasons := map[string]reason.Reason{
		"hangs": reason.Timeout, "network": reason.Network, "500": reason.Server, "503, with Retry-After": reason.Server,
		"400": reason.Other, "429": reason.Throttled, "206": reason.Partial, "401": reason.Auth, "403": reason.Forbidden,
		"no JSON": reason.Decode, "incomplete": reason.Incomplete, "untyped": reason.Other, "panics": reason.Panic,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bothAPIs(t, 10, func(t *testing.T, f *tenant) {
				f.fill(40)
				var log journal
				r := start(t, f, Options{Logger: log.logger(), SweepInterval: time.Hour})
				r.synced(t)
				known := f.counts()
				f.fails(fault)
				for range 25 {
					f.set(0, nil)
				}
				for range 60 {
					sleep(10 * time.Second)
					if age := time.Since(r.Heartbeat()); age > time.Minute {
						t.Fatalf("no heartbeat for %v", age)
					}
				}
				s := r.Status()
				if s.Up || s.LastReason != reasons[name] {
					t.Errorf("up %v, reason %v", s.Up, s.LastReason)
				}
				if got := s.Passes[pass.Delta].Failures[reasons[name]]; got < 3 {
					t.Errorf("failures counted: got %d, want at least 3", got)
				}
				if r.Snapshot().Incidents != known {
					t.Error("the last good counts are gone")
				}
				f.fails(nil)
				sleep(5*time.Minute + time.Second)
				if !r.Status().Up {
					t.Error("not up again")
				}
				r.equal(t)
				sleep(time.Hour) // a sweep among it
				r.equal(t)
			})
		})
	}
}

// TestLongOutage: what a long outage interrupts goes on soon after it, wherever
// the schedule was.
func TestLongOutage(t *testing.T) {
	for name, fault := range faults {
		for _, phase := range []phase{openScan, fullScan, steady} {
			t.Run(fmt.Sprint(name, " in ", phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := native(10)
					f.fill(60)
					f.every[pass.First], f.every[pass.Sweep] = 2*time.Second, 2*time.Second
					r := start(t, f, Options{Store: newDisk(), SweepInterval: 10 * time.Minute})
					switch phase {
					case openScan:
						sleep(7 * time.Second)
					case fullScan:
						until(t, "open", func() bool { return r.Snapshot() != nil })
						sleep(5 * time.Second)
					case steady:
						until(t, "sweeping", func() bool { return r.Status().Sweeping })
					}
					f.fails(fault)
					sleep(2 * time.Hour)
					if age := time.Since(r.Heartbeat()); age > time.Minute {
						t.Errorf("no heartbeat for %v", age)
					}
					f.fails(nil)
					rest := 10 * time.Minute
					if name == "incomplete" {
						rest = time.Hour
					}
					sleep(rest)
					if s := r.Snapshot(); s == nil || !s.Coverage.All {
						t.Fatal("not synced")
					}
					f.resolve(1)
					f.set(0, nil)
					sleep(31 * time.Second)
					r.equal(t)
					if got := r.Snapshot().Flows.Created[0]; got != 1 {
						t.Errorf("created: got %d, want 1", got)
					}
				})
			})
		}
	}
}

// TestOutageKeepsTheOverlap: a delta that rests through an outage ends long after it was
// begun, and has seen what was new by then. No later one begins after what it may have
// missed.
func TestOutageKeepsTheOverlap(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(40)
		r := start(t, f, Options{Overlap: time.Minute, SweepInterval: 24 * time.Hour})
		sleep(2 * time.Minute)
		f.fails(faults["500"])
		for range 9 {
			sleep(time.Minute)
			f.set(0, nil)
		}
		f.fails(nil)
		for range 20 {
			sleep(30 * time.Second)
			deltas := f.of(pass.Delta)
			last := deltas[len(deltas)-1]
			if back := last.at.Sub(last.req.Since); back < time.Minute {
				t.Fatalf("a delta reaches back %v only", back)
			}
		}
		r.equal(t)
	})
}

// TestEmptyAfterOutage: what has changed while nothing was read, for longer than the
// overlap, is not taken for nothing on the word of one empty list, nor what has changed
// while the process was down.
func TestEmptyAfterOutage(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bothAPIs(t, 10, func(t *testing.T, f *tenant) {
			f.fill(40)
			opts := Options{Overlap: time.Minute, SweepInterval: 24 * time.Hour, Store: newDisk()}
			r := start(t, f, opts)
			sleep(2 * time.Minute)
			f.fails(faults["500"])
			if restart {
				r.stop()
			}
			f.set(0, nil)
			f.resolve(7)
			sleep(11 * time.Minute)
			f.change(func() { f.blank, f.fault = true, nil })
			if restart {
				r = start(t, f, opts)
			}
			back := time.Now()
			until(t, "refreshed", func() bool { return r.Status().Passes[pass.Delta].LastSuccess.After(back) })
			f.change(func() { f.blank = false })
			sleep(time.Minute)
			r.equal(t)
			before := f.made()
			sleep(10 * time.Minute)
			if n := f.made() - before; n > 21 {
				t.Errorf("%d calls in ten minutes", n)
			}
		})
	}
}

// TestFailureInTheMiddle: a delta that breaks off after its first page does not
// move the watermark.
func TestFailureInTheMiddle(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(40)
		r := start(t, f, Options{Overlap: time.Minute, SweepInterval: 24 * time.Hour})
		sleep(time.Minute)
		for range 35 {
			f.set(0, nil)
			sleep(10 * time.Second)
			calls := 0
			f.fails(func(c call) error {
				if calls++; calls > 1 {
					return faults["hangs"](c)
				}
				return nil
			})
		}
		f.fails(nil)
		sleep(2 * time.Minute)
		r.equal(t)
	})
}

// TestMovingTenant changes incidents before every single call, at the boundaries of
// pages above all, and wants the exact truth when the tenant rests.
func TestMovingTenant(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				f := native(5 + rng.IntN(10))
				if seed%2 == 1 {
					f = graph(f.offer.MaxTop)
				}
				f.fill(200)
				f.took = 50 * time.Millisecond
				moving := time.Duration(rng.IntN(1500)) * time.Second
				var resting atomic.Bool
				f.fault = func(call) error {
					for range rng.IntN(4) {
						if resting.Load() {
							break
						}
						f.set(rng.Int64N(200)+1, func(in *incident.Incident) {
							in.Status = incident.Status(rng.IntN(incident.NumStatuses))
							in.Assigned = rng.IntN(2) == 0
						})
						time.Sleep(time.Millisecond)
					}
					return nil
				}
				r := start(t, f, Options{SweepInterval: 10 * time.Minute})
				sleep(moving)
				resting.Store(true)
				sleep(10*time.Minute + 2*r.Status().Interval)
				r.equal(t)
				if n := r.Status().Corrections; n[correctionVanished] > 0 {
					t.Errorf("nothing vanished, yet %d were counted", n[correctionVanished])
				}
			})
		})
	}
}

// TestRetryAfterOfADelta delays the deltas by what the server asks for, an hour
// at most, and 429 is the ledger's matter.
func TestRetryAfterOfADelta(t *testing.T) {
	for _, test := range []struct {
		status int
		header string
		want   time.Duration
	}{
		{503, "100", 100 * time.Second}, {503, "86400", time.Hour}, {503, "tomorrow", 30 * time.Second}, {500, "100", 100 * time.Second}, {429, "100", 100 * time.Second},
	} {
		t.Run(fmt.Sprint(test.status, " ", test.header), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(30)
				r := start(t, f, Options{})
				r.synced(t)
				failed := 0
				f.fails(func(c call) error {
					if test.header != "tomorrow" && failed > 0 {
						return nil
					}
					failed++
					if test.header == "tomorrow" && failed > 20 {
						return nil
					}
					why := reason.Server
					if test.status == 429 {
						why = reason.Throttled
					}
					return answered(c, test.status, why, test.header)
				})
				until(t, "failed", func() bool { return !r.Status().Up })
				at := time.Now()
				made := f.made()
				until(t, "made", func() bool { return f.made() > made })
				if got := time.Since(at); got > test.want+30*time.Second || test.want > time.Minute && got < test.want-time.Second {
					t.Errorf("got %v, want %v", got, test.want)
				}
				if got := len(f.throttled); (got > 0) != (test.status == 429) {
					t.Errorf("told the ledger: %q", f.throttled)
				}
			})
		})
	}
}

// TestNoTokenTakesNoGrant: an attempt that is not sent spends nothing.
func TestNoTokenTakesNoGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		f.change(func() { f.token = answered(call{}, 0, reason.Auth, "") })
		before := f.last
		sleep(10 * time.Minute)
		f.change(func() {
			if f.last != before {
				t.Errorf("%d grants taken", f.last-before)
			}
			f.token = nil
		})
		if s := r.Status(); s.Up || s.LastReason != reason.Auth {
			t.Errorf("status: %+v", s)
		}
		f.set(0, nil)
		sleep(31 * time.Second)
		r.equal(t)
	})
}

// TestHeartbeat: it comes while the quota is full, or a block lasts an hour.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		for _, block := range []func(){
			func() { f.blocked = time.Now().Add(time.Hour) },
			func() { f.next[pass.Delta] = time.Now().Add(50 * time.Minute) },
		} {
			f.change(block)
			waits := 0
			f.change(func() { waits = f.waits[pass.Delta] })
			for range 3600 {
				sleep(time.Second)
				if age := time.Since(r.Heartbeat()); age > 30*time.Second {
					t.Fatalf("no heartbeat for %v", age)
				}
			}
			if f.change(func() { waits = f.waits[pass.Delta] - waits }); waits == 0 {
				t.Error("the ledger is not told of who waits")
			}
			if !r.Status().Up {
				t.Error("to wait for the quota is no failure")
			}
		}
	})
}

// TestOwnPhase: after a common delay tenants return to instants of their own.
func TestOwnPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tenants []*tenant
		for i := range 3 {
			f := native(10)
			f.fill(5)
			start(t, f, Options{Stagger: float64(i) / 3})
			tenants = append(tenants, f)
		}
		sleep(5 * time.Minute)
		for _, f := range tenants {
			f.change(func() { f.blocked = time.Now().Add(10 * time.Minute) })
		}
		sleep(12 * time.Minute)
		phases := make(map[time.Duration]bool)
		for _, f := range tenants {
			calls := f.of(pass.Delta)
			at := calls[len(calls)-1].at
			phases[time.Duration(at.UnixNano())%(30*time.Second)] = true
		}
		if len(phases) != len(tenants) {
			t.Errorf("phases: %v", phases)
		}
	})
}

// TestNoRecordNoCall: while grants cannot be recorded nothing is sent, the counts
// stay, and the next refresh after that succeeds.
func TestNoRecordNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		f.change(func() {
			for p := range f.unrecorded {
				f.unrecorded[p] = errors.New("out of reach")
			}
		})
		before := len(f.calls)
		sleep(10 * time.Minute)
		f.change(func() {
			if len(f.calls) != before {
				t.Errorf("%d calls were made", len(f.calls)-before)
			}
			clear(f.unrecorded[:])
		})
		s := r.Status()
		if failures := s.Passes[pass.Delta].Failures[reason.State]; s.Up || s.LastReason != reason.State || failures < 15 || failures > 21 {
			t.Errorf("%d failures in ten minutes, status: %+v", failures, s)
		}
		sleep(31 * time.Second)
		r.equal(t)
		if !r.Status().Up {
			t.Error("it does not go on at once")
		}
	})
}

// TestOldGrant: a grant that took long to be saved is not used.
func TestOldGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		f.change(func() { f.saving = maxGrantAge + time.Second })
		before := len(f.calls)
		sleep(2 * time.Minute)
		f.change(func() {
			if len(f.calls) != before || f.canceled == 0 {
				t.Errorf("%d calls were made, %d grants canceled", len(f.calls)-before, f.canceled)
			}
			f.saving = 0
		})
		sleep(time.Minute)
		r.equal(t)
	})
}

// TestBecomesCoarse: a server that leaves out the second of a lower bound from some time on is
// read all the same, although no sweep has seen it when deltas fail for it.
func TestBecomesCoarse(t *testing.T) {
	bothAPIs(t, 50, func(t *testing.T, f *tenant) {
		f.fill(200)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		f.change(func() { f.coarse = true })
		f.fails(func(c call) error { return answered(c, 503, reason.Server, "") })
		for range 150 {
			f.set(0, nil)
			sleep(10 * time.Second)
		}
		f.fails(nil)
		sleep(90 * time.Minute)
		if r.equal(t); !r.Status().Up {
			t.Errorf("not up: %s", r.Status().LastError)
		}
	})
}

// TestThrottledAtTheEnd: a refusal that comes while the process ends holds for the next one.
func TestThrottledAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		f.fails(func(c call) error {
			go r.stop()
			time.Sleep(time.Millisecond)
			return answered(c, 429, reason.Throttled, "600")
		})
		sleep(2 * time.Minute)
		if len(f.throttled) != 1 {
			t.Errorf("told %d times", len(f.throttled))
		}
	})
}

// TestThrottledLogin: that the login refuses a token says nothing of the API's quota.
func TestThrottledLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		failed := 0
		f.fails(func(call) error { // the token has ended since it was looked at
			if failed++; failed > 1 {
				return nil
			}
			f.change(func() { f.calls = f.calls[:len(f.calls)-1] })
			return &listing.Error{Operation: listing.OperationList, Reason: reason.Throttled, Unsent: true}
		})
		f.set(0, nil)
		sleep(5 * time.Minute)
		if failed < 2 || len(f.throttled) > 0 {
			t.Errorf("%d calls, told of %q", failed, f.throttled)
		}
		r.equal(t)
	})
}

// TestComesBack: an incident that has left the look-back and is touched again was created
// and resolved once.
func TestComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		d := newDisk()
		r := start(t, f, Options{Lookback: 24 * time.Hour, Store: d})
		r.synced(t)
		sleep(5 * time.Minute)
		id := f.set(0, func(in *incident.Incident) { in.Severity = incident.SeverityHigh })
		sleep(5 * time.Minute)
		f.resolve(id)
		sleep(30 * time.Hour)
		r.stop()
		r = start(t, f, Options{Lookback: 24 * time.Hour, Store: d})
		sleep(time.Minute)
		f.set(id, nil)
		sleep(5 * time.Minute)
		s := r.Snapshot().Flows
		resolved := uint64(0)
		for _, class := range s.Resolved[incident.SeverityHigh] {
			resolved += class[0] + class[1]
		}
		if s.Created[incident.SeverityHigh] != 1 || resolved != 1 {
			t.Errorf("created %d, resolved %d", s.Created[incident.SeverityHigh], resolved)
		}
	})
}

// TestCreatedInALongOutage: what is created in an outage that is longer than the look-back
// is new all the same.
func TestCreatedInALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{Lookback: 24 * time.Hour})
		r.synced(t)
		f.fails(faults["network"])
		sleep(time.Hour)
		id := f.set(0, func(in *incident.Incident) { in.Severity = incident.SeverityHigh })
		sleep(30 * time.Hour)
		f.set(id, nil)
		f.fails(nil)
		sleep(20 * time.Minute)
		if n := r.Snapshot().Flows.Created[incident.SeverityHigh]; n != 1 {
			t.Errorf("created %d", n)
		}
	})
}

// TestFarFuture: a last update at the end of all times counts once.
func TestFarFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		sleep(5 * time.Minute)
		f.set(0, func(in *incident.Incident) {
			in.Status, in.Updated = incident.StatusResolved, time.Date(2261, 12, 1, 0, 0, 0, 0, time.UTC)
		})
		sleep(10 * time.Minute)
		r.equal(t)
		if n := r.Snapshot().Flows.Created; n[0] != 1 {
			t.Errorf("created: %v", n)
		}
	})
}
