package refresh

import (
	"context"
	"testing"
	"time"
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
