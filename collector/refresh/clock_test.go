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
