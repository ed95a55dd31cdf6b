package refresh

import (
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// TestNext is the schedule as a table of instants, in seconds after now.
func TestNext(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := func(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }
	granted := func(delta, first, sweep float64) [pass.NumPasses]time.Time {
		return [pass.NumPasses]time.Time{in(delta), in(first), in(sweep)}
	}
	free := granted(0, 0, 0)
	tests := map[string]struct {
		view view
		task task
		at   float64
	}{
		"nothing is done before what is known is saved": {
			view{phase: openScan, unsaved: true, granted: free}, save, 0,
		},
		"the open incidents come first": {
			view{phase: openScan, deltaDue: in(-5), granted: free}, scanPage, 0,
		},
		"a first sync that failed rests": {
			view{phase: openScan, scanDue: in(7), granted: free}, wait, 7,
		},
		"a first sync waits for its grant": {
			view{phase: openScan, granted: granted(0, 4, 0)}, wait, 4,
		},
		"a delta goes before the first sync": {
			view{phase: fullScan, deltaDue: in(0), granted: free}, delta, 0,
		},
		"a first sync goes on between deltas": {
			view{phase: fullScan, deltaDue: in(20), answer: time.Second, granted: free}, scanPage, 0,
		},
		"a first sync without a grant waits for it or for the delta": {
			view{phase: fullScan, deltaDue: in(20), granted: granted(0, 25, 0)}, wait, 20,
		},
		"an answer that would keep the delta waiting is not asked for": {
			view{phase: fullScan, deltaDue: in(20), answer: 30 * time.Second, granted: free}, wait, 20,
		},
		"but once between two deltas it is": {
			view{phase: fullScan, deltaDue: in(20), answer: 0, granted: free}, scanPage, 0,
		},
		"a delta without a grant is not overtaken": {
			view{phase: fullScan, deltaDue: in(-1), granted: granted(9, 0, 0)}, wait, 9,
		},
		"the first sync ends with a delta": {
			view{phase: finalDelta, deltaDue: in(3), granted: free}, wait, 3,
		},
		"which is made when it is due": {
			view{phase: finalDelta, deltaDue: in(-3), granted: free}, delta, 0,
		},
		"at rest there is a delta at each interval": {
			view{phase: steady, deltaOK: true, deltaDue: in(30), scanDue: in(3600), granted: free}, wait, 30,
		},
		"a sweep is begun when it is due": {
			view{phase: steady, deltaOK: true, deltaDue: in(30), scanDue: in(-1), granted: free}, scanPage, 0,
		},
		"a sweep has a grant of its own": {
			view{phase: steady, deltaOK: true, sweeping: true, deltaDue: in(30), scanDue: in(-1), granted: granted(0, 0, 12)}, wait, 12,
		},
		"a sweep looks up what it did not see": {
			view{phase: steady, deltaOK: true, sweeping: true, lookups: true, deltaDue: in(30), granted: free}, lookup, 0,
		},
		"no sweep while deltas fail": {
			view{phase: steady, sweeping: true, deltaDue: in(30), granted: free}, wait, 30,
		},
		"an incident of the server's future is read again": {
			view{phase: steady, deltaOK: true, deltaDue: in(30), scanDue: in(3600), rereadDue: in(-1), granted: free}, reread, 0,
		},
		"but not during a sweep, which shows it": {
			view{phase: steady, deltaOK: true, sweeping: true, deltaDue: in(30), scanDue: in(0), rereadDue: in(-1), granted: free}, scanPage, 0,
		},
		"a delta goes before a sweep": {
			view{phase: steady, deltaOK: true, sweeping: true, deltaDue: in(-1), scanDue: in(-100), granted: free}, delta, 0,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, at := next(now, test.view); got != test.task || !at.Equal(in(test.at)) {
				t.Errorf("got task %d after %v, want %d after %vs", got, at.Sub(now), test.task, test.at)
			}
		})
	}
}

// TestPhased: after a common delay each tenant is back at its own instants.
func TestPhased(t *testing.T) {
	const interval = 30 * time.Second
	start := time.Date(2026, 3, 1, 12, 0, 7, 0, time.UTC)
	for _, offset := range []time.Duration{0, time.Second, 29 * time.Second} {
		for _, delay := range []time.Duration{0, 13 * time.Second, time.Hour + 5*time.Second} {
			now := start.Add(delay)
			at := phased(now, interval, offset)
			if !at.After(now) || at.Sub(now) > interval {
				t.Errorf("%v after %v", at.Sub(now), now)
			}
			if got := time.Duration(at.UnixNano()) % interval; got != offset {
				t.Errorf("at %v of the interval, want %v", got, offset)
			}
		}
	}
}

// TestWatermark: it goes on with the clock, and no further than what a complete
// delta has seen.
func TestWatermark(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := watermark{}
	if got := w.since(time.Hour); !got.IsZero() {
		t.Errorf("before anything is known: got %v, want all", got)
	}
	w.start(at, time.Time{}, time.Time{}, at) // the server tells no time, and has no incident
	if want := at.Add(-24 * time.Hour); !w.At.Equal(want) {
		t.Errorf("without any time of the server's: got %v, want %v", w.At, want)
	}
	w.start(at, at, at, at.Add(time.Hour)) // our clock is an hour ahead
	ours := at.Add(time.Hour)
	for _, step := range []struct{ began, took, newest, want time.Duration }{
		{30 * time.Second, 0, 0, 30 * time.Second},                 // a quiet tenant
		{time.Minute, 0, 65 * time.Second, 65 * time.Second},       // a row is newer than its clock's shadow
		{2 * time.Minute, 0, 100 * time.Second, 125 * time.Second}, // one that is older
		{150 * time.Second, 0, 130 * time.Second, 155 * time.Second},
		{3 * time.Minute, 10 * time.Minute, 785 * time.Second, 185 * time.Second}, // it has rested, and seen what was new by its end
		{14 * time.Minute, 0, 0, 845 * time.Second},
	} {
		newest := time.Time{}
		if step.newest > 0 {
			newest = at.Add(step.newest)
		}
		w.move(ours.Add(step.began), ours.Add(step.began+step.took), newest)
		if got := w.At.Sub(at); got != step.want {
			t.Errorf("after a delta at %v: got %v, want %v", step.began, got, step.want)
		}
	}
}
