package refresh

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

// leap is a clock that does not wait.
type leap struct {
	now    time.Time
	sleeps int
}

func (c *leap) Now() time.Time { return c.now }

func (c *leap) Sleep(_ context.Context, until time.Time) {
	c.sleeps++
	c.now = until
}

// TestClock: the loop goes by the clock that it is given, and sleeps no longer than
// its heartbeat allows.
func TestClock(t *testing.T) {
	c := &leap{now: time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)}
	o := Options{Clock: c}
	o.setDefaults()
	l := &Loop{opts: o}
	l.turned()
	if got := l.Heartbeat(); !got.Equal(c.now) {
		t.Errorf("the heartbeat is of %v, want %v", got, c.now)
	}
	before := c.now
	l.sleep(t.Context(), before.Add(time.Hour))
	if got := c.now.Sub(before); got != longestSleep {
		t.Errorf("slept for %v, want %v", got, longestSleep)
	}
	l.sleep(t.Context(), before)
	if got := c.now.Sub(before); got != longestSleep+time.Millisecond || c.sleeps != 2 {
		t.Errorf("slept until %v after the beginning, in %d sleeps", got, c.sleeps)
	}
}

// wrong is a wall clock that is off.
type wrong struct{ by time.Duration }

func (w wrong) Now() time.Time { return time.Now().Round(0).Add(w.by) }

func (w wrong) Sleep(ctx context.Context, until time.Time) {
	wallClock{}.Sleep(ctx, time.Now().Add(until.Sub(w.Now())))
}

// TestWrongClock: a machine that begins with a wrong clock, be it at the first sync or
// later, loses nothing and counts nothing twice, while it is wrong and once it is right
// again; and nothing seems older than it is.
func TestWrongClock(t *testing.T) {
	const day = 24 * time.Hour
	for _, off := range []time.Duration{200 * day, 25 * time.Hour, time.Hour, -time.Hour, -25 * time.Hour, -200 * day} {
		for _, synced := range []bool{true, false} {
			t.Run(fmt.Sprint(off, " synced before: ", synced), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := native(100)
					f.fill(120)
					opts := Options{Store: newDisk(), Thresholds: []time.Duration{12 * time.Hour, 30 * day}}
					r := start(t, f, opts)
					work := func() {
						r.synced(t)
						for range 3 {
							id := f.set(0, nil)
							sleep(31 * time.Second)
							f.resolve(id)
							sleep(31 * time.Second)
						}
						r.equal(t)
					}
					if !synced {
						r.stop()
						f, opts.Store = native(100), newDisk()
						f.fill(120)
					} else {
						work()
						r.stop()
					}
					opts.Clock = wrong{off}
					f.change(func() { clear(f.next[:]) })
					r = start(t, f, opts)
					work()
					r.stop()
					before := r.Snapshot()
					opts.Clock = nil
					f.change(func() { clear(f.next[:]) })
					r = start(t, f, opts)
					if at := r.Snapshot().At; at.After(time.Now()) {
						t.Errorf("the counts are of %v, which is still to come", at)
					}
					for _, k := range r.Status().Passes {
						if k.LastSuccess.After(time.Now()) || k.LastAttempt.After(time.Now()) {
							t.Errorf("a refresh has succeeded at %v and was tried at %v", k.LastSuccess, k.LastAttempt)
						}
					}
					work()
					s := r.Snapshot()
					if created := total(s.Flows.Created[:]) - total(before.Flows.Created[:]); created != 3 {
						t.Errorf("%d incidents count as created, want 3", created)
					}
					for sev := range s.Older {
						for assigned, older := range s.Older[sev] {
							if older[1] != 0 || s.Idle[sev][2] != 0 {
								t.Errorf("%s, assigned %d: older %v, idle %v", incident.Severity(sev), assigned, older, s.Idle[sev])
							}
						}
					}
					if !r.Status().Up {
						t.Error("it is not up")
					}
				})
			})
		}
	}
}

func total(all []uint64) (sum uint64) {
	for _, n := range all {
		sum += n
	}
	return sum
}

// TestDateFarBehind: a header Date that is days behind is not believed once many
// incidents are newer. Otherwise each delta would read days.
func TestDateFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(100)
		f.dateOff = -48 * time.Hour
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		r.synced(t)
		sleep(30 * time.Minute)
		before := f.made()
		sleep(30 * time.Minute)
		if got := f.made() - before; got != 60 {
			t.Errorf("%d calls in half an hour of 60 deltas", got)
		}
		r.equal(t)
	})
}

// TestDateBehindAFewIncidents: incidents leave the look-back by our clock where a few
// tell that the header Date is wrong, although it takes more for it not to be believed.
func TestDateBehindAFewIncidents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(12)
		f.dateOff = -48 * time.Hour
		r := start(t, f, Options{Lookback: 2 * time.Hour, SweepInterval: 24 * time.Hour})
		r.synced(t)
		r.equal(t)
		sleep(3 * time.Hour)
		f.dropClosed()
		r.equal(t)
	})
}

// TestDateBehindTwoIncidents: in a tenant of two, one row that is newer than the header
// Date by days tells that the Date is wrong; nothing is younger than it is.
func TestDateBehindTwoIncidents(t *testing.T) {
	for _, behind := range []time.Duration{5 * 24 * time.Hour, 55 * 365 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := native(10)
			for range 2 {
				f.set(0, func(in *incident.Incident) {
					in.Created, in.Updated = in.Created.Add(-10*24*time.Hour), in.Updated.Add(-3*24*time.Hour)
				})
			}
			f.dateOff = -behind
			r := start(t, f, Options{Thresholds: []time.Duration{time.Hour, 7 * 24 * time.Hour}})
			r.synced(t)
			if got := r.Snapshot().Older[0][0]; got[0] != 2 || got[1] != 2 {
				t.Errorf("Date %v behind: older than an hour, and a week: %v", behind, got)
			}
		})
	}
}

// TestDateAheadForAMoment: rows and header Dates that agree on the future, for a moment
// or of one of several machines, move the watermark no further than it is moved back, and
// what changes is seen at the second refresh at the latest.
func TestDateAheadForAMoment(t *testing.T) {
	const ahead = 5 * time.Hour
	for name, bad := range map[string]func(n int) bool{
		"for a moment":   func(n int) bool { return n <= 12 },
		"one of ten":     func(n int) bool { return n%10 == 0 },
		"one of two":     func(n int) bool { return n%2 == 0 },
		"two in a row":   func(n int) bool { return n%7 < 2 },
		"and for a rest": func(n int) bool { return n <= 12 || n > 40 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(100)
				f.fill(60)
				r := start(t, f, Options{})
				r.synced(t)
				for range 6 {
					f.set(0, func(in *incident.Incident) { in.Updated = in.Updated.Add(ahead - time.Minute) })
				}
				n := 0
				f.fails(func(call) error {
					f.change(func() {
						if n++; bad(n) {
							f.dateOff = ahead
						} else {
							f.dateOff = 0
						}
					})
					return nil
				})
				sleep(10 * time.Minute)
				for range 40 {
					id := f.set(0, nil)
					sleep(61 * time.Second)
					r.equal(t)
					f.resolve(id)
					sleep(17 * time.Second)
				}
			})
		})
	}
}

// TestServerClock: which header Dates are believed against ours, after so many
// incidents that are newer than they say.
func TestServerClock(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		off     time.Duration
		newer   int
		believe bool
	}{
		{-23 * time.Hour, 2 * manyWitnesses, true},
		{-25 * time.Hour, manyWitnesses - 1, true},
		{-25 * time.Hour, manyWitnesses, false},
		{-25 * time.Hour, 2 * manyWitnesses, false},
	} {
		c := clock{beyond: map[int64]bool{}}
		rows := make([]incident.Incident, test.newer)
		for i := range rows {
			rows[i] = incident.Incident{ID: int64(i + 1), Updated: now.Add(-time.Minute)}
		}
		c.learn(now, now.Add(test.off), rows)
		if n := len(c.beyond); n > manyWitnesses {
			t.Errorf("%d incidents are kept in mind", n)
		}
		want := now
		if test.believe {
			want = now.Add(test.off)
		}
		c.learn(now, now.Add(test.off), nil)
		if got := c.at(now); !got.Equal(want) {
			t.Errorf("%v off, %d incidents newer: got %v, want %v", test.off, test.newer, got, want)
		}
	}
}

// TestNextDeltaIsReached: whatever becomes of the wall clock meanwhile.
func TestNextDeltaIsReached(t *testing.T) {
	now := time.Now()
	at := phased(now, 30*time.Second, 7*time.Second)
	if !strings.Contains(at.String(), " m=") {
		t.Error("it has no monotonic reading")
	}
	if in := at.Sub(now); in <= 0 || in > 30*time.Second || !at.Round(0).Equal(at.Round(0).Add(-7*time.Second).Truncate(30*time.Second).Add(7*time.Second)) {
		t.Errorf("from %v it is %v", now, at)
	}
}

// TestDateInTheFirstSync: a header Date that is ahead while the first sync is under way is not
// when that has ended: what is created later counts as created.
func TestDateInTheFirstSync(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, 30 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := native(50)
			f.fill(60)
			f.dateOff = off
			r := start(t, f, Options{})
			r.synced(t)
			f.change(func() { f.dateOff = 0 })
			sleep(time.Minute)
			for range 3 {
				f.set(0, nil)
			}
			sleep(5 * time.Minute)
			if got := total(r.Snapshot().Flows.Created[:]); got != 3 {
				t.Errorf("Date ahead by %v: %d count as created, want 3", off, got)
			}
		})
	}
}

// TestHiddenWithADateOfThePast: that the list hides incidents which exist is seen whatever the
// header Date says.
func TestHiddenWithADateOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		f.fill(60)
		f.dateOff = -20 * 365 * 24 * time.Hour
		r := start(t, f, Options{SweepInterval: time.Hour})
		r.synced(t)
		sleep(30 * time.Minute) // nothing is recent
		f.change(func() { f.blank = true })
		sleep(5 * time.Hour)
		if n := r.mirror.Len(); n != 60 || r.Status().Up {
			t.Errorf("%d of 60 incidents are left, up %v", n, r.Status().Up)
		}
	})
}
