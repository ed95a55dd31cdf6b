package refresh

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// TestSweepCorrects: what deltas cannot see is found by the next sweep, and
// counted by kind.
func TestSweepCorrects(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{SweepInterval: time.Hour})
		sleep(time.Minute)
		f.set(1, nil) // moves the watermark
		sleep(20 * time.Minute)
		f.set(0, func(in *incident.Incident) {
			in.Created, in.Updated = in.Created.Add(-time.Hour), in.Updated.Add(-time.Hour)
		})
		f.change(func() {
			in := f.incidents[40]
			in.Severity = incident.SeverityInformational
			f.incidents[40] = in
		})
		f.drop(3)
		sleep(30 * time.Minute)
		if r.Snapshot().Incidents == f.counts() {
			t.Fatal("the test shows nothing: deltas have seen it")
		}
		sleep(12 * time.Minute)
		r.equal(t)
		if got, want := r.Status().Corrections, [3]uint64{1, 1, 1}; got != want {
			t.Errorf("corrections: got %v, want %v", got, want)
		}
		lookups := f.lookups()
		if len(lookups) != 1 || lookups[0].id != 3 {
			t.Errorf("lookups: got %v, want only the one that vanished", lookups)
		}
		sleep(3 * time.Hour)
		if len(f.lookups()) != 1 {
			t.Error("further sweeps looked up what was there")
		}
	})
}

// longAgo is before any look-back.
func longAgo() time.Time { return time.Now().AddDate(-1, 0, 0).UTC() }

// TestSweepFindsOldOpenIncidents: open ones count at any age, and are not taken
// for vanished.
func TestSweepFindsOldOpenIncidents(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(30)
		f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() })
		r := start(t, f, Options{SweepInterval: time.Hour})
		sleep(5 * time.Hour)
		r.equal(t)
		if n := len(f.lookups()); n != 0 {
			t.Errorf("%d lookups, want none", n)
		}
	})
}

// lateDeltas lists the gaps between deltas that are longer than the interval by
// more than an answer takes.
func lateDeltas(f *tenant, since time.Time, most time.Duration) (late []string) {
	var last time.Time
	for _, c := range f.of(pass.Delta) {
		if gap := c.at.Sub(last); !last.IsZero() && c.at.After(since) && gap > most {
			late = append(late, fmt.Sprintf("%v at call %d", gap, c.n))
		}
		last = c.at
	}
	return late
}

// TestDeltaIsNeverLate: neither a sweep nor a first sync that is slow, fails or
// is throttled delays a delta, but for one answer.
func TestDeltaIsNeverLate(t *testing.T) {
	const interval = 30 * time.Second
	for name, test := range map[string]struct {
		took  time.Duration
		fault string
		most  time.Duration
	}{
		"7 s an answer":                {7 * time.Second, "", interval + 7*time.Second}, // the first one is not foreseen
		"30 s an answer":               {0, "hangs", 2 * interval},
		"fails":                        {0, "500", interval},
		"fails at once":                {0, "network", interval},
		"is throttled":                 {0, "503, with Retry-After", interval},
		"is refused":                   {0, "400", interval},
		"partial":                      {0, "206", interval},
		"panics":                       {0, "panics", interval},
		"cannot be completed":          {0, "incomplete", interval},
		"is not authorized every time": {0, "401", interval},
	} {
		for _, p := range []pass.Pass{pass.First, pass.Sweep} {
			for _, lookups := range []bool{false, true} {
				if lookups && p == pass.First {
					continue
				}
				t.Run(fmt.Sprint(name, " ", p, " lookups ", lookups), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := native(10)
						f.fill(300)
						f.every[pass.First] = 2 * time.Second
						r := start(t, f, Options{SweepInterval: 5 * time.Minute})
						until(t, "open", func() bool { return r.Snapshot() != nil })
						if p == pass.Sweep {
							r.synced(t)
						}
						sleep(time.Minute)
						since := time.Now()
						f.change(func() { f.took = test.took })
						if lookups {
							f.drop(1, 2, 3)
						}
						f.fails(func(c call) error {
							if test.fault != "" && c.pass == p && (!lookups || c.id != 0) {
								return faults[test.fault](c)
							}
							return nil
						})
						sleep(20 * time.Minute)
						if late := lateDeltas(f, since, test.most); len(late) > 0 {
							t.Errorf("deltas were late: %q", late)
						}
						if n := len(f.of(p)); n < 3 {
							t.Errorf("%d calls", n)
						}
						f.fails(nil)
						sleep(time.Hour)
						r.equal(t)
					})
				})
			}
		}
	}
}

// TestRetryAfterOfASweep: it holds for the sweep.
func TestRetryAfterOfASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		start(t, f, Options{SweepInterval: 5 * time.Minute})
		f.fails(func(c call) error {
			if c.pass == pass.Sweep {
				return answered(c, 503, reason.Server, "1800")
			}
			return nil
		})
		sleep(4 * time.Hour)
		if n := len(f.of(pass.Sweep)); n < 6 || n > 8 {
			t.Errorf("%d calls in four hours, want one each half of an hour", n)
		}
	})
}

// TestSweepOfSlowServer: even if an answer takes longer than the interval, a
// sweep goes on.
func TestSweepOfSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		start(t, f, Options{SweepInterval: time.Minute, Interval: 10 * time.Second})
		sleep(30 * time.Second)
		f.change(func() { f.took = 12 * time.Second })
		before := len(f.of(pass.Sweep))
		sleep(time.Hour)
		if n := len(f.of(pass.Sweep)) - before; n < 60 {
			t.Errorf("the sweep made %d calls in an hour", n)
		}
	})
}

func TestSweepRestsWhileDeltasFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		start(t, f, Options{SweepInterval: 10 * time.Minute})
		sleep(5 * time.Minute)
		f.fails(faults["network"])
		before := len(f.of(pass.Sweep))
		sleep(time.Hour)
		if n := len(f.of(pass.Sweep)) - before; n > 0 {
			t.Errorf("%d calls of a sweep that had to fail", n)
		}
	})
}

// TestIncompleteSweep: a list that cannot be read to its end is said, and not
// read again and again.
func TestIncompleteSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		f.fails(func(c call) error {
			if c.pass == pass.Sweep && c.req.Status == incident.StatusUnknown {
				return answered(c, 0, reason.Incomplete, "")
			}
			return nil
		})
		f.drop(1)
		sleep(20 * time.Hour)
		s := r.Status()
		if s.Passes[pass.Sweep].Failures[reason.Incomplete] == 0 || !s.Passes[pass.Sweep].LastSuccess.IsZero() || s.Corrections != [3]uint64{} {
			t.Errorf("status: %+v", s)
		}
		if n := len(f.of(pass.Sweep)); n > 20*2*20 {
			t.Errorf("%d calls of sweeps", n)
		}
		if late := lateDeltas(f, time.Now().Add(-20*time.Hour), 31*time.Second); len(late) > 0 {
			t.Errorf("deltas were late: %q", late)
		}
		f.fails(nil)
		sleep(time.Hour)
		r.equal(t)
	})
}

// TestLookups: what a sweep did not see is dropped if it does not exist, and if
// two sweeps in a row could not tell.
func TestLookups(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				r := start(t, f, Options{SweepInterval: time.Hour})
				r.synced(t)
				f.drop(3, 4)
				before := r.Snapshot().Rows
				f.fails(func(c call) error {
					if c.id == 3 {
						return fault(c)
					}
					return nil
				})
				told := func() uint64 { return r.Status().Corrections[correctionVanished] }
				if name == "429" {
					// That says nothing about the incident: it is asked again and again.
					sleep(5 * time.Hour)
					if told() != 0 {
						t.Errorf("vanished: %d", told())
					}
					f.fails(nil)
					sleep(10 * time.Minute)
					r.equal(t)
					return
				}
				sleep(time.Hour + 10*time.Minute)
				if got := r.Snapshot().Rows; got != before-1 || told() != 1 {
					t.Errorf("after one sweep: %d rows of %d, %d vanished, want one less", got, before, told())
				}
				if n := len(f.lookups()); n > 1+maxTries {
					t.Errorf("%d lookups", n)
				}
				sleep(time.Hour + 10*time.Minute)
				r.equal(t)
				if told() != 2 {
					t.Errorf("vanished: %d, want 2", told())
				}
			})
		})
	}
}

// TestLookupNotSent: a call that is not made says nothing about the incident, which
// is looked up as soon as one can be made again.
func TestLookupNotSent(t *testing.T) {
	for name, why := range map[string]error{"no grant after all": nil, "no grant recorded": errors.New("out of reach")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				r := start(t, f, Options{SweepInterval: time.Hour})
				r.synced(t)
				f.drop(4, 5)
				f.fails(func(c call) error {
					f.change(func() {
						if c.id != 4 {
							return
						}
						if f.unrecorded[pass.Sweep] = why; why == nil {
							f.denied[pass.Sweep] = 1
						}
					})
					return nil
				})
				until(t, "looked up", func() bool { return len(f.lookups()) > 0 })
				status := func() (vanished, throttled, unrecorded uint64) {
					s := r.Status()
					return s.Corrections[correctionVanished], s.Passes[pass.Sweep].Failures[reason.Throttled], s.Passes[pass.Sweep].Failures[reason.State]
				}
				if why != nil {
					sleep(3 * time.Hour)
					if vanished, _, unrecorded := status(); vanished != 0 || unrecorded == 0 || len(f.lookups()) != 1 {
						t.Errorf("%d vanished, %d failures, %d lookups", vanished, unrecorded, len(f.lookups()))
					}
					f.change(func() { f.unrecorded[pass.Sweep] = nil })
					sleep(time.Minute)
				}
				sleep(2 * time.Second)
				if vanished, throttled, _ := status(); vanished != 2 || throttled != 0 {
					t.Errorf("%d vanished, %d failures of the quota, want 2 and none", vanished, throttled)
				}
				r.equal(t)
			})
		})
	}
}

// TestLookupsThatHang: one that gets no answer is made again, lest an outage be taken
// for an incident that cannot be looked up; but once one was given up, the others have
// one try each.
func TestLookupsThatHang(t *testing.T) {
	for name, test := range map[string]struct {
		fails             map[int64]string
		lookups, vanished int
	}{
		"a moment": {map[int64]string{}, 4, 3},
		"always":   {map[int64]string{3: "hangs", 4: "403", 5: "hangs"}, maxTries + 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				r := start(t, f, Options{SweepInterval: time.Hour})
				r.synced(t)
				f.drop(3, 4, 5)
				f.fails(func(c call) error {
					fault := test.fails[c.id]
					if name == "a moment" && c.id != 0 && len(f.lookups()) == 1 {
						fault = "network"
					}
					if fault == "" {
						return nil
					}
					return faults[fault](c)
				})
				sleep(time.Hour + 20*time.Minute)
				if got := len(f.lookups()); got != test.lookups {
					t.Errorf("%d lookups, want %d", got, test.lookups)
				}
				if got := r.Status().Corrections[correctionVanished]; got != uint64(test.vanished) {
					t.Errorf("%d vanished, want %d", got, test.vanished)
				}
			})
		})
	}
}

// TestMergedAreNotListed: a list that leaves out what was merged hides nothing, however
// much that is.
func TestMergedAreNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(300)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		f.change(func() { f.hidden = map[int64]bool{} })
		for _, until := range []int64{9, 90, 170, 250} {
			for id := until; id > 0; id-- {
				f.set(id, func(in *incident.Incident) {
					in.Status, in.Updated = incident.StatusRedirected, in.Updated.Add(-2*time.Hour)
				})
				f.change(func() { f.hidden[id] = true })
			}
			for range 4 {
				sleep(time.Hour)
				if s := r.Status(); !s.Up || s.Passes[pass.Sweep].LastSuccess.IsZero() {
					t.Errorf("status: %+v", s)
				}
			}
			r.equal(t)
		}
	})
}

// TestLookupsToWaitFor: a server that asks to wait after look-ups keeps no sweep from
// ending; that there is no such incident is an answer, whatever else it says.
func TestLookupsToWaitFor(t *testing.T) {
	for status, vanished := range map[int]uint64{404: 3, 410: 3, 403: 0, 503: 0, 401: 0} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				r := start(t, f, Options{SweepInterval: 2 * time.Hour})
				r.synced(t)
				f.drop(3, 4, 5)
				f.fails(func(c call) error {
					if c.id == 0 {
						return nil
					}
					why := map[int]reason.Reason{401: reason.Auth, 403: reason.Forbidden, 503: reason.Server}[status]
					if status == 404 || status == 410 {
						return &listing.Error{Operation: listing.OperationGet, Status: status, Reason: reason.Other, RetryAfter: "3600", Err: listing.ErrNotFound}
					}
					return answered(c, status, cmp.Or(why, reason.Other), "3600")
				})
				sleep(2*time.Hour + 10*time.Minute)
				s := r.Status()
				if got := s.Corrections[correctionVanished]; got != vanished || s.Sweeping || s.Passes[pass.Sweep].LastSuccess.IsZero() {
					t.Errorf("%d vanished, want %d; %d look-ups; sweeping: %v", got, vanished, len(f.lookups()), s.Sweeping)
				}
				sleep(5 * time.Hour)
				r.equal(t)
			})
		})
	}
}

// TestLookupsThatWait: while they wait for the quota, what a delta shows, and what
// leaves the look-back, need not be looked up any more; and what has left by itself
// does not count as vanished.
func TestLookupsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(60)
		r := start(t, f, Options{Lookback: 2 * time.Hour, SweepInterval: time.Hour})
		r.synced(t)
		f.drop(2) // resolved
		f.change(func() { f.hidden = map[int64]bool{5: true, 7: true} })
		f.fails(func(c call) error {
			if c.id == 2 {
				f.change(func() { f.next[pass.Sweep] = time.Now().Add(3 * time.Hour) })
			}
			return nil
		})
		until(t, "looked up", func() bool { return len(f.lookups()) > 0 })
		sleep(time.Minute)
		f.change(func() { f.hidden = nil })
		f.set(7, nil)
		sleep(2*time.Hour + 50*time.Minute)
		if !r.Status().Sweeping || !r.Status().Passes[pass.Sweep].LastSuccess.IsZero() {
			t.Fatal("the test shows nothing: the sweep is over")
		}
		sleep(20 * time.Minute)
		s := r.Status()
		if s.Passes[pass.Sweep].LastSuccess.IsZero() || s.Corrections != [3]uint64{} || !s.Up {
			t.Errorf("status: %+v", s)
		}
		if n := len(f.lookups()); n != 1 {
			t.Errorf("%d lookups, want 1", n)
		}
		f.dropClosed()
		r.equal(t)
	})
}

// TestOldVersions: a list that has versions of the past, besides the present ones or, as a
// machine that is behind, instead of them, changes no count by a sweep.
func TestOldVersions(t *testing.T) {
	for name, instead := range map[string]bool{"besides": false, "instead": true} {
		t.Run(name, func(t *testing.T) {
			bothAPIs(t, 10, func(t *testing.T, f *tenant) {
				f.fill(60)
				r := start(t, f, Options{SweepInterval: time.Hour})
				r.synced(t)
				hidden := make(map[int64]bool)
				for id := range int64(30) {
					f.change(func() { f.old = append(f.old, f.incidents[id+1]) })
					hidden[id+1] = instead
					f.set(id+1, func(in *incident.Incident) { in.Severity, in.Status = incident.SeverityHigh, incident.StatusResolved })
				}
				old := f.old
				f.change(func() { f.old = nil })
				sleep(30 * time.Minute)
				r.equal(t)
				f.change(func() { f.old, f.hidden = old, hidden })
				until(t, "swept", func() bool { return !r.Status().Passes[pass.Sweep].LastSuccess.IsZero() })
				r.equal(t)
				if instead {
					f.change(func() { f.old, f.hidden = nil, nil })
				}
				sleep(3 * time.Hour)
				r.equal(t)
				if got := r.Status().Corrections; got != [3]uint64{} {
					t.Errorf("corrections: %v, want none", got)
				}
			})
		})
	}
}

// TestRestored: a system that was restored has gone back, and the counts follow.
func TestRestored(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		backup := maps.Clone(f.incidents)
		for id := range int64(40) {
			f.resolve(id + 1)
		}
		sleep(30 * time.Minute)
		f.change(func() { f.incidents = backup })
		sleep(2 * time.Hour)
		r.equal(t)
	})
}

// TestNotHidden: what a sweep does not see because it is not on the list any more, or
// of which that cannot be told, does not make the list one that hides incidents.
func TestNotHidden(t *testing.T) {
	for name, test := range map[string]struct{ before, after func(*incident.Incident) }{
		"without a last update": {
			func(in *incident.Incident) { in.Updated = time.Time{} },
			func(*incident.Incident) {},
		},
		"gone back, and no status is taken": {
			func(*incident.Incident) {},
			func(in *incident.Incident) { in.Updated = longAgo() },
		},
		"closed long ago": {
			func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() },
			func(in *incident.Incident) { in.Status, in.Updated = incident.StatusResolved, longAgo() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				id := f.set(0, test.before)
				r := start(t, f, Options{SweepInterval: time.Hour})
				r.synced(t)
				r.equal(t)
				f.change(func() {
					in := f.incidents[id]
					test.after(&in)
					f.incidents[id] = in
					if f.hidden = map[int64]bool{id: true}; strings.Contains(name, "no status") {
						f.refuse = map[incident.Status]bool{incident.StatusActive: true, incident.StatusInProgress: true, incident.StatusAwaitingAction: true}
					}
				})
				sleep(time.Hour + 10*time.Minute)
				if s := r.Status(); s.Passes[pass.Sweep].Failures[reason.Incomplete] > 0 || s.Passes[pass.Sweep].LastSuccess.IsZero() || !s.Up {
					t.Errorf("status: %+v", s)
				}
				if n := len(f.lookups()); n != 1 {
					t.Errorf("%d lookups, want 1", n)
				}
				if name == "closed long ago" {
					f.drop(id) // no count has it
				}
				r.equal(t)
			})
		})
	}
}

// TestLeavesDuringSweep: what has left the look-back by the time that a long sweep
// comes to it was no deltas' miss.
func TestLeavesDuringSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(60)
		r := start(t, f, Options{Lookback: 2 * time.Hour, SweepInterval: time.Hour})
		r.synced(t)
		f.change(func() { f.every[pass.Sweep] = 2 * time.Minute })
		until(t, "swept", func() bool { return !r.Status().Passes[pass.Sweep].LastSuccess.IsZero() })
		if got := r.Status().Corrections; got != [3]uint64{} {
			t.Errorf("corrections: %v, want none", got)
		}
		sleep(3 * time.Hour)
		f.dropClosed()
		r.equal(t)
	})
}

// TestLookupOfAnother: an answer that is another incident tells that this one was merged into
// that, if it is known, and nothing otherwise.
func TestLookupOfAnother(t *testing.T) {
	for known, lookups := range map[bool]int{true: 1, false: 2} {
		synctest.Test(t, func(t *testing.T) {
			f := native(10)
			f.fill(30)
			unlisted := f.set(0, nil)
			f.change(func() { f.hidden = map[int64]bool{unlisted: true} })
			r := start(t, f, Options{SweepInterval: time.Hour})
			r.synced(t)
			f.drop(3)
			f.change(func() {
				if f.other = 5; !known {
					f.other = unlisted
				}
			})
			sleep(2*time.Hour + 20*time.Minute)
			f.drop(unlisted)
			r.equal(t)
			if n := len(f.lookups()); n != lookups {
				t.Errorf("known %t: %d lookups, want %d", known, n, lookups)
			}
		})
	}
}

// TestListHides: rows that exist and are not on the list make a sweep void:
// nothing is dropped, not even what a look-up does not find, and that is said.
func TestListHides(t *testing.T) {
	for name, hide := range map[string]func(*tenant){
		"one row":              func(f *tenant) { f.hidden = map[int64]bool{10: true} },
		"one that is resolved": func(f *tenant) { f.hidden = map[int64]bool{11: true} },
		"everything":           func(f *tenant) { f.blank = true },
		// It is older than the look-back, and should have been among the open ones.
		"an old open one": func(f *tenant) { f.hidden = map[int64]bool{389: true} },
	} {
		t.Run(name, func(t *testing.T) {
			bothAPIs(t, 10, func(t *testing.T, f *tenant) {
				f.fill(388)
				f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() })
				f.set(0, func(in *incident.Incident) { in.Updated = longAgo().Add(-time.Hour) })
				var log journal
				r := start(t, f, Options{SweepInterval: time.Hour, Logger: log.logger()})
				r.synced(t)
				sleep(20 * time.Minute)
				want := r.Snapshot().Incidents
				f.change(func() { hide(f) })
				f.drop(200) // it does not exist, which a list like this does not prove
				sleep(150 * time.Minute)
				s := r.Status()
				if got := r.Snapshot().Incidents; got != want {
					t.Errorf("counts\ngot  %v\nwant %v", got, want)
				}
				if s.Corrections[correctionVanished] != 0 || s.Passes[pass.Sweep].Failures[reason.Incomplete] < 2 {
					t.Errorf("status: %+v", s)
				}
				if !strings.Contains(log.String(), "hides incidents") {
					t.Error("it is not said")
				}
				if n := len(f.lookups()); n > 10*(maxHidden+2) {
					t.Errorf("%d lookups", n)
				}
				f.change(func() { f.hidden, f.blank = nil, false })
				sleep(time.Hour)
				r.equal(t)
				if !r.Status().Up {
					t.Error("not up")
				}
			})
		})
	}
}

// TestNothingIsBelieved: many incidents are missing and not one look-up is
// answered.
func TestNothingIsBelieved(t *testing.T) {
	for _, n := range []int{suspicious + 1, maxLookups + 50} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(50)
				f.fill(300)
				r := start(t, f, Options{SweepInterval: 2 * time.Hour})
				r.synced(t)
				want := r.Snapshot().Incidents
				f.fails(func(c call) error {
					if c.id != 0 {
						return faults["403"](c)
					}
					return nil
				})
				for id := range n {
					f.drop(int64(id) + 1)
				}
				sleep(9 * time.Hour)
				if got := r.Snapshot().Incidents; got != want {
					t.Errorf("counts\ngot  %v\nwant %v", got, want)
				}
				if r.Status().Passes[pass.Sweep].Failures[reason.Incomplete] < 2 {
					t.Errorf("status: %+v", r.Status())
				}
				f.fails(nil)
				sleep(4 * time.Hour)
				r.equal(t)
			})
		})
	}
}

// TestManyVanish: more than one sweep looks up. The second drops what the first
// has missed, too.
func TestManyVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		f.fill(400)
		r := start(t, f, Options{SweepInterval: 2 * time.Hour})
		r.synced(t)
		const n = 2*maxLookups + 50
		for id := range n {
			f.drop(int64(id) + 51) // the first have been updated lately
		}
		sleep(2*time.Hour + time.Minute)
		if got := len(f.lookups()); got != maxLookups {
			t.Errorf("%d lookups, want %d", got, maxLookups)
		}
		if got := r.Status().Corrections[correctionVanished]; got != 0 {
			t.Errorf("vanished: got %d at once, want none", got)
		}
		high := 0
		for _, c := range f.lookups() {
			if c.id > n/2 {
				high++
			}
		}
		if high < maxLookups/3 {
			t.Errorf("%d of %d lookups are of the newer half", high, maxLookups)
		}
		sleep(confirmAfter)
		r.equal(t)
		if got := r.Status().Corrections[correctionVanished]; got != n {
			t.Errorf("vanished: got %d, want %d", got, n)
		}
	})
}

// TestBlank: what neither lists nor look-ups have, for a moment, or for longer, is there
// again minutes after it is over.
func TestBlank(t *testing.T) {
	for _, blank := range []time.Duration{time.Minute, confirmAfter + time.Minute} {
		for _, n := range []int{3, 60} {
			bothAPIs(t, 10, func(t *testing.T, f *tenant) {
				f.fill(n)
				r := start(t, f, Options{SweepInterval: 6 * time.Hour})
				r.synced(t)
				want := r.Snapshot().Incidents
				sleep(6*time.Hour - 30*time.Second)
				all := f.incidents
				f.change(func() { f.incidents = nil })
				sleep(time.Minute)
				if got := r.Snapshot().Incidents; got != want {
					t.Errorf("counts\ngot  %v\nwant %v", got, want)
				}
				sleep(blank - time.Minute)
				f.change(func() { f.incidents = all })
				sleep(confirmAfter)
				r.equal(t)
			})
		}
	}
}

// TestBeyondTheList: open incidents that are older than all that the list has exist: a list
// need not go back for ever.
func TestBeyondTheList(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		f.change(func() { f.hidden = map[int64]bool{59: true, 60: true} })
		f.drop(3)
		sleep(3 * time.Hour)
		r.equal(t)
		if s := r.Status(); !s.Up || s.Passes[pass.Sweep].Failures[reason.Incomplete] > 0 {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestStatusTurnsDeaf: when a status selects nothing any more everything is read.
func TestStatusTurnsDeaf(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(120)
		for range 7 {
			f.set(0, func(in *incident.Incident) { in.Created, in.Updated = longAgo(), longAgo() })
		}
		r := start(t, f, Options{SweepInterval: time.Hour, Lookback: time.Hour})
		r.synced(t)
		f.change(func() { f.deaf = true })
		sleep(time.Hour + 5*time.Minute)
		f.drop(120)
		sleep(time.Hour)
		if s := r.Status(); !s.Up || !s.Unsupported[listing.OptionStatus] || s.Passes[pass.Sweep].Failures[reason.Incomplete] != 1 {
			t.Errorf("status: %+v", s)
		}
		f.dropClosed()
		sleep(time.Hour)
		r.equal(t)
	})
}

// TestListedLate: what changes is not on the list for a moment, which hides nothing.
func TestListedLate(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		until(t, "due", func() bool { return time.Now().After(r.started.Add(time.Hour - 20*time.Second)) })
		f.resolve(7)
		f.change(func() { f.hidden = map[int64]bool{7: true} })
		until(t, "looked up", func() bool { return len(f.lookups()) > 0 })
		f.change(func() { f.hidden = nil })
		sleep(time.Minute)
		r.equal(t)
		if s := r.Status(); !s.Up || s.Passes[pass.Sweep].Failures[reason.Incomplete] > 0 {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestSweepGoesOn: a sweep that a restart interrupts is not begun again, nor are
// its lookups.
func TestSweepGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(200)
		f.every[pass.Sweep] = 5 * time.Second
		opts := Options{Store: d, SweepInterval: time.Hour}
		r := start(t, f, opts)
		r.synced(t)
		sleep(11 * time.Minute)
		f.drop(3, 4, 5, 6)
		for range 200 {
			if r.Status().Corrections[correctionVanished] > 0 {
				break
			}
			sleep(time.Minute)
			sweeping := r.Status().Sweeping
			r.stop()
			r = start(t, f, opts)
			if sweeping && !r.Status().Sweeping {
				t.Error("the sweep is forgotten")
			}
		}
		r.equal(t)
		if n := len(f.lookups()); n != 4 {
			t.Errorf("%d lookups, want 4", n)
		}
		if n := len(f.of(pass.Sweep)); n > 120 {
			t.Errorf("%d calls of one sweep", n)
		}
	})
}

// TestAgeing: what leaves the look-back does so without a call.
func TestAgeing(t *testing.T) {
	bothAPIs(t, 100, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{Lookback: 2 * time.Hour, SweepInterval: 100 * time.Hour})
		sleep(time.Minute)
		before := f.made()
		sleep(10 * time.Hour)
		f.dropClosed()
		r.equal(t)
		// As long as no page was full, more than one row has to be proven to be all.
		if got, want := f.made()-before, 1200; got < want || got > want+20 {
			t.Errorf("calls: got %d, want %d", got, want)
		}
	})
}

// TestStopDuringLookUp: an incident is hidden by the list for a while, and the process ends
// twice while it is looked up. Nobody has said that it is gone.
func TestStopDuringLookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, opts := native(100), Options{Store: newDisk(), SweepInterval: time.Hour}
		f.fill(40)
		const victim = 2
		f.set(victim, func(in *incident.Incident) { in.Status = incident.StatusActive })
		r := start(t, f, opts)
		r.synced(t)
		f.change(func() { f.hidden = map[int64]bool{victim: true} })
		for range 2 {
			looked := len(f.lookups())
			f.change(func() { f.took = 5 * time.Second }) // it ends within that
			until(t, "looked up", func() bool { return len(f.lookups()) > looked })
			r.stop()
			f.change(func() { f.took = 0 })
			r = start(t, f, opts)
			sleep(time.Minute)
		}
		if _, known := r.mirror.Updated(victim); !known {
			t.Error("it was dropped")
		}
		r.equal(t)
	})
}

// TestHiddenOverRestart: that the list hides incidents is known after a restart, too.
func TestHiddenOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, opts := native(100), Options{Store: newDisk(), SweepInterval: time.Hour}
		f.fill(40)
		r := start(t, f, opts)
		r.synced(t)
		f.change(func() {
			f.hidden = map[int64]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true}
		})
		until(t, "hidden", func() bool { return !r.Status().Up })
		sleep(5 * time.Minute)
		r.stop()
		r = start(t, f, opts)
		sleep(time.Minute)
		if s := r.Status(); s.Up {
			t.Error("up is 1 after the restart, although nothing has said that the list is whole")
		}
		f.change(func() { f.hidden = nil })
		until(t, "up", func() bool { return r.Status().Up })
		r.equal(t)
	})
}

// TestMissedThenOlder: a sweep that does not see an incident, and one that sees an older
// version of it, are not two that say the same.
func TestMissedThenOlder(t *testing.T) {
	for _, missedFirst := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := native(100)
			f.fill(60)
			r := start(t, f, Options{SweepInterval: time.Hour, Store: newDisk()})
			r.synced(t)
			sleep(time.Minute)
			id := f.set(0, nil)
			old := f.incidents[id]
			sleep(time.Minute)
			f.resolve(id)
			sleep(time.Minute)
			f.set(1, nil)
			sleep(20 * time.Minute)
			f.set(2, nil)
			sleep(time.Minute)
			for _, missed := range []bool{missedFirst, !missedFirst} {
				f.change(func() { f.hidden, f.old = map[int64]bool{id: true}, []incident.Incident{old} })
				if missed {
					f.change(func() { f.old = nil })
					f.fails(func(c call) error {
						if c.id == id {
							return answered(c, 500, reason.Server, "")
						}
						return nil
					})
				}
				before := r.Status().Passes[pass.Sweep].LastSuccess
				until(t, "swept", func() bool { return r.Status().Passes[pass.Sweep].LastSuccess.After(before) })
				f.fails(nil)
				f.change(func() { f.hidden, f.old = nil, nil })
			}
			sleep(time.Second)
			r.equal(t)
			if n := r.Snapshot().Flows.Reopened; n != [incident.NumSeverities]uint64{} {
				t.Errorf("reopened: %v", n)
			}
		})
	}
}

// TestOnNoList: open incidents of a status that we do not know are on the list of none, and
// at last behind the look-back: they exist all the same, however many there are. Those that
// vanish are found.
func TestOnNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lookback = 24 * time.Hour
		f := native(100)
		f.fill(60)
		for range 150 {
			f.set(0, func(in *incident.Incident) {
				in.Status, in.Unrecognized = incident.StatusUnknown, incident.FieldStatus
			})
		}
		r := start(t, f, Options{Lookback: lookback, Store: newDisk()})
		r.synced(t)
		after := func(days int) {
			for range days {
				sleep(24 * time.Hour)
			}
			f.change(func() {
				for id, in := range f.incidents {
					if !in.Open() && time.Since(in.Updated) > lookback {
						delete(f.incidents, id)
					}
				}
			})
			r.equal(t)
		}
		after(3)
		f.drop(70, 71, 72, 73, 100, 101, 200)
		after(2)
	})
}
