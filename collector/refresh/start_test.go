package refresh

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/pass"
)

// TestStartTimes: what happens to incidents is counted from the end of the first
// sync on, everything else that is saved from the beginning, whatever restarts
// there are, and neither is ever later than what was counted first.
func TestStartTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(300)
		f.every[pass.First] = time.Second
		began := time.Now()
		r := start(t, f, Options{Store: d})
		until(t, "open incidents are known", func() bool { return r.Snapshot() != nil })
		r.stop() // in the middle of the first sync
		r = start(t, f, Options{Store: d})
		r.synced(t)
		end := r.Status().Passes[pass.First].LastSuccess
		if !end.After(began.Add(10 * time.Second)) {
			t.Fatalf("the first sync took %v: the test shows nothing", end.Sub(began))
		}
		for _, lookback := range []time.Duration{0, 0, 200 * 24 * time.Hour} { // the last reads everything again
			opts := Options{Store: d, Lookback: lookback}
			r.stop()
			f.set(0, nil)
			sleep(time.Hour)
			life := time.Now()
			r = start(t, f, opts)
			r.synced(t)
			sleep(time.Minute)
			s := r.Status()
			if got := r.Snapshot().Flows; got.Created[0] == 0 || !got.Start.Equal(end) {
				t.Errorf("flows: %d created since %v, want %v", got.Created[0], got.Start, end)
			}
			if !s.Start.Equal(began) || !s.ProcessStart.Equal(life) {
				t.Errorf("status: since %v and %v, want %v and %v", s.Start, s.ProcessStart, began, life)
			}
		}
	})
}

// TestStartTimesNotKnown: neither an older state without them nor a clock that
// was ahead makes a start that is after what was counted.
func TestStartTimesNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(30)
		r := start(t, f, Options{Store: d})
		r.synced(t)
		r.stop()
		began, end := r.Status().Start, r.Snapshot().Flows.Start
		if began.IsZero() || end.IsZero() {
			t.Fatal("no start times")
		}
		tables, saved := string(d.tables), string(d.progress)
		member := func(at time.Time) string { return `"start":"` + at.Format(time.RFC3339Nano) + `"` }
		if !strings.Contains(tables, member(end)) || !strings.Contains(saved, member(began)) {
			t.Fatalf("not saved:\n%s\n%s", tables, saved)
		}
		ahead := member(time.Now().Add(time.Hour))
		for name, instead := range map[string]string{"older state": `"unheard_of":0`, "clock ahead": ahead} {
			d.tables = []byte(strings.Replace(tables, member(end), instead, 1))
			d.progress = []byte(strings.Replace(saved, member(began), instead, 1))
			before := len(f.of(pass.First))
			r = start(t, f, Options{Store: d})
			sleep(3 * time.Minute)
			if got := len(f.of(pass.First)); got != before {
				t.Errorf("%s: the state was not used", name)
			}
			if flows, status := r.Snapshot().Flows.Start, r.Status().Start; !flows.IsZero() || !status.IsZero() {
				t.Errorf("%s: got %v and %v, want none", name, flows, status)
			}
			r.stop()
		}
	})
}
