package quota

import (
	"math/rand/v2"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

func TestReserve(t *testing.T) {
	ten := []Window{{time.Minute, 10}}
	full := func(p pass.Pass) ask { return ask{at: s, pass: p, wait: 60*s + ms, rule: Minute} }
	fits := func(p pass.Pass) ask { return ask{at: s, pass: p} }
	taken := func(p pass.Pass) ask { return ask{at: s, pass: p, wait: 61*s + ms, rule: Minute} }
	tests := map[string]struct {
		reserve                []int
		deltas, firsts, sweeps int // spent at 0
		then                   []ask
	}{
		"nothing reserved":            {nil, 0, 9, 0, []ask{fits(pass.First), full(pass.Delta)}},
		"one more than reserved":      {[]int{3}, 0, 6, 0, []ask{full(pass.First), fits(pass.Delta), fits(pass.Delta), fits(pass.Delta), fits(pass.Delta), full(pass.Delta)}},
		"less what deltas used":       {[]int{3}, 2, 6, 0, []ask{full(pass.First), full(pass.Sweep), fits(pass.Delta), fits(pass.Delta), full(pass.Delta)}},
		"deltas beyond their reserve": {[]int{1}, 5, 4, 0, []ask{fits(pass.First), full(pass.First), full(pass.Delta)}},
		"deltas may use everything":   {[]int{1}, 9, 0, 0, []ask{fits(pass.Delta), full(pass.Delta)}},
		"all reserved":                {[]int{10}, 0, 0, 0, []ask{fits(pass.First), taken(pass.First), taken(pass.Sweep), fits(pass.Delta)}},
		"more than all reserved":      {[]int{99}, 0, 0, 0, []ask{fits(pass.Sweep), taken(pass.First)}},
		"negative":                    {[]int{-5}, 0, 9, 0, []ask{fits(pass.First), full(pass.First)}},
		"more reserves than windows":  {[]int{0, 5}, 0, 9, 0, []ask{fits(pass.First), full(pass.First)}},
		"sweep is half":               {nil, 0, 0, 4, []ask{fits(pass.Sweep), full(pass.Sweep), fits(pass.First)}},
		"sweep is half of the spare":  {[]int{3}, 0, 0, 2, []ask{fits(pass.Sweep), full(pass.Sweep), fits(pass.First)}},
		"sweep yields to first pages": {[]int{3}, 0, 6, 0, []ask{full(pass.Sweep), full(pass.First), fits(pass.Delta)}},
		"half ignores others":         {nil, 4, 1, 4, []ask{fits(pass.Sweep), full(pass.Delta)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, Options{Windows: ten, Share: 1})
			spend(t, l, at(0), pass.Delta, tt.deltas)
			spend(t, l, at(0), pass.First, tt.firsts)
			spend(t, l, at(0), pass.Sweep, tt.sweeps)
			l.SetReserve(tt.reserve)
			run(t, l, tt.then)
		})
	}
}

func TestReserveOption(t *testing.T) {
	l := newLedger(t, Options{Windows: []Window{{time.Minute, 2}}, Share: 1, Reserve: []int{2}})
	run(t, l, []ask{{at: 0, pass: pass.First}, {at: 0, pass: pass.First, wait: 60*s + ms, rule: Minute}, {at: 0}})
}

// TestSweepWaitsForSweeps: which grant has to leave the window depends on the
// rule that binds.
func TestSweepWaitsForSweeps(t *testing.T) {
	l := perMinute(t, 4)
	spend(t, l, at(0), pass.Delta, 1)
	spend(t, l, at(10*s), pass.Sweep, 1)
	spend(t, l, at(20*s), pass.Sweep, 1)
	run(t, l, []ask{
		{at: 21 * s, pass: pass.Sweep, wait: 70*s + ms, rule: Minute},
		{at: 21 * s, pass: pass.First},
		{at: 22 * s, pass: pass.First, wait: 60*s + ms, rule: Minute},
		{at: 70*s + ms, pass: pass.Sweep},
	})
}

// TestDeltaIsNeverDelayed: with its use reserved, a delta every 30s finds
// room at once, whatever first pages and sweeps ask for meanwhile.
func TestDeltaIsNeverDelayed(t *testing.T) {
	for _, latency := range []time.Duration{0, 300 * ms, 20 * s} {
		t.Run(latency.String(), func(t *testing.T) {
			l := newLedger(t, Options{})
			l.SetReserve([]int{2, 120}) // 37 and 1079 are left for others
			sim := newSimulation(l, 7)
			sim.add(worker{pass: pass.Delta, every: 30 * s, latency: latency, steady: true})
			for range 4 {
				sim.add(worker{pass: pass.First, latency: time.Second})
				sim.add(worker{pass: pass.Sweep, latency: time.Second})
			}
			sim.refused = func(now time.Time, p pass.Pass, d Decision) {
				if p == pass.Delta {
					t.Fatalf("delta at %v: got %v until %v, want a grant", now.Sub(start), d.Rule, d.At.Sub(start))
				}
			}
			sim.run(6 * time.Hour)
			if got, want := len(sim.receipts[pass.Delta]), 6*120; got < want {
				t.Errorf("got %d deltas, want %d", got, want)
			}
			for _, w := range []struct {
				period       time.Duration
				sweep, other int
			}{{time.Minute, 18, 37}, {time.Hour, 539, 1079}} {
				if got := busiest(merged(sim.receipts[pass.Sweep]), w.period, true); got > w.sweep || got < w.sweep/2 {
					t.Errorf("sweep calls in %v: got %d, want at most %d and about that", w.period, got, w.sweep)
				}
				if got := busiest(merged(sim.receipts[pass.First], sim.receipts[pass.Sweep]), w.period, true); got > w.other || got < w.other*9/10 {
					t.Errorf("other calls in %v: got %d, want at most %d and about that", w.period, got, w.other)
				}
			}
		})
	}
}

// TestSweepNeverDelaysDelta: whatever the windows, the share, the pace of the
// deltas and the latencies, sweeps that take all that they get leave a delta
// whose use is reserved its place; in a ledger that was lost as well, once there
// is room, and with what a predecessor left in flight.
func TestSweepNeverDelaysDelta(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 5))
		every := time.Duration(10+random.IntN(50)) * s
		windows := []Window{{time.Minute, 20 + random.IntN(60)}, {time.Hour, 1000 + random.IntN(1000)}}
		share := 0.6 + 0.4*random.Float64()
		var reserve []int
		for _, w := range windows {
			reserve = append(reserve, int((w.Period+every-1)/every))
		}
		l := newLedger(t, Options{Windows: windows, Share: share, Reserve: reserve})
		switch seed % 3 {
		case 1:
			l.Restore(at(0), Log{Grants: []Entry{{at(0), pass.Delta, true}, {at(0), pass.Sweep, true}}})
		case 2:
			l.RestoreLost(at(-time.Hour))
		}
		sim := newSimulation(l, seed)
		sim.add(worker{pass: pass.Delta, every: every, latency: time.Duration(random.Int64N(int64(every) / 2)), steady: true})
		for range 1 + random.IntN(6) {
			sim.add(worker{pass: pass.Sweep, latency: time.Duration(1 + random.Int64N(int64(20*s)))})
		}
		for range random.IntN(3) {
			sim.add(worker{pass: pass.First, latency: time.Duration(1 + random.Int64N(int64(20*s)))})
		}
		sim.refused = func(now time.Time, p pass.Pass, d Decision) {
			if got := l.Peek(now, p); got != d {
				t.Errorf("seed %d: peek %+v, take %+v", seed, got, d)
			}
			if p == pass.Delta {
				t.Fatalf("seed %d: delta at %v: got %v until %v, want a grant", seed, now.Sub(start), d.Rule, d.At.Sub(start))
			}
		}
		sim.run(3 * time.Hour)
		checkMeter(t, merged(sim.receipts[:]...), windows)
	}
}
