package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// busiest is an independent meter: the most receipts that lie in any window of
// the period. A closed window holds both its ends, a half-open one only one.
// The receipts are in order.
func busiest(receipts []time.Duration, period time.Duration, closed bool) (most int) {
	first := 0
	for last, r := range receipts {
		for r-receipts[first] > period || (!closed && r-receipts[first] == period) {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

func merged(lists ...[]time.Duration) []time.Duration {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

func TestBusiest(t *testing.T) {
	for _, tt := range []struct {
		receipts         []time.Duration
		halfOpen, closed int
	}{
		{nil, 0, 0},
		{[]time.Duration{5}, 1, 1},
		{[]time.Duration{0, 10}, 1, 2},
		{[]time.Duration{0, 9, 10, 11, 19}, 3, 4},
		{[]time.Duration{0, 0, 10, 20, 20, 20}, 3, 4},
	} {
		if got := busiest(tt.receipts, 10, false); got != tt.halfOpen {
			t.Errorf("%v half-open: got %d, want %d", tt.receipts, got, tt.halfOpen)
		}
		if got := busiest(tt.receipts, 10, true); got != tt.closed {
			t.Errorf("%v closed: got %d, want %d", tt.receipts, got, tt.closed)
		}
	}
}

// checkMeter holds the receipts against the server's own limits.
func checkMeter(t *testing.T, receipts []time.Duration, windows []Window) {
	t.Helper()
	for _, w := range windows {
		for _, closed := range []bool{false, true} {
			if got := busiest(receipts, w.Period, closed); got > w.Limit {
				t.Errorf("in %v (closed %v): got %d calls, want at most %d", w.Period, closed, got, w.Limit)
			}
		}
	}
}

// worker makes one call after another.
type worker struct {
	pass    pass.Pass
	latency time.Duration // at most; how long exactly is random
	pause   time.Duration // at most, between calls; random
	every   time.Duration // instead of pause: at this interval
	steady  bool          // the latency is exact

	next    time.Duration // when it acts
	grant   uint64        // in flight until next
	last    time.Duration // of every
	refusal *Refusal      // how the call in flight ends
}

// simulation drives a ledger from several workers over virtual time. The
// server receives each call at a random instant of its flight.
type simulation struct {
	ledger   *Ledger
	random   *rand.Rand
	workers  []worker
	receipts [pass.Sweep + 1][]time.Duration

	refuse  func() *Refusal                              // how a call ends; nil: well
	refused func(now time.Time, p pass.Pass, d Decision) // a grant was
	granted func(now time.Time)
}

func newSimulation(l *Ledger, seed uint64) *simulation {
	return &simulation{
		ledger: l, random: rand.New(rand.NewPCG(seed, 1)),
		refuse:  func() *Refusal { return nil },
		refused: func(time.Time, pass.Pass, Decision) {},
		granted: func(time.Time) {},
	}
}

func (sim *simulation) add(w worker) { sim.workers = append(sim.workers, w) }

// upTo is a random duration, both ends included.
func (sim *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(sim.random.Int64N(int64(d) + 1))
}

func (sim *simulation) run(length time.Duration) {
	for {
		w := &sim.workers[0]
		for i := range sim.workers {
			if sim.workers[i].next < w.next {
				w = &sim.workers[i]
			}
		}
		if w.next >= length {
			return
		}
		if w.grant != 0 {
			sim.finish(w)
		} else {
			sim.ask(w)
		}
	}
}

func (sim *simulation) ask(w *worker) {
	now := at(w.next)
	d := sim.ledger.Take(now, w.pass)
	if d.Grant == 0 {
		sim.refused(now, w.pass, d)
		w.next = d.At.Sub(start)
		if sim.random.IntN(8) == 0 { // impatient, but no busy loop
			w.next = now.Sub(start) + 1 + sim.upTo(w.next-now.Sub(start))
		}
		return
	}
	sim.granted(now)
	latency := w.latency
	if !w.steady {
		latency = sim.upTo(latency)
	}
	w.last, w.grant, w.refusal = w.next, d.Grant, sim.refuse()
	sim.receipts[w.pass] = append(sim.receipts[w.pass], w.next+sim.upTo(latency))
	w.next += latency
}

func (sim *simulation) finish(w *worker) {
	now := at(w.next)
	if w.refusal != nil {
		sim.ledger.Refused(now, *w.refusal)
	} else {
		sim.ledger.Succeeded()
	}
	sim.ledger.Settle(w.grant, now)
	w.grant = 0
	if w.every > 0 {
		w.next = w.last + w.every
	} else {
		w.next += sim.upTo(w.pause)
	}
}

// TestNeverTooMany: whatever the load, the latencies and the answers, the
// server never meters more than its limits, wherever its windows begin.
func TestNeverTooMany(t *testing.T) {
	const day = 24 * time.Hour
	retryAfter := []string{"", "30", "1.5", "0", "-1", "soon", "Sun, 01 Mar 2026 18:00:00 GMT"}
	tests := map[string]struct {
		share   float64
		latency time.Duration
		pause   time.Duration
		refuse  int // one call in so many, 0: none
	}{
		"saturated":               {1, 2 * s, 0, 0},
		"saturated, slow network": {1, 40 * s, 0, 0},
		"saturated, share":        {0.8, 2 * s, 0, 0},
		"half idle":               {1, 10 * s, 10 * time.Minute, 0},
		"refused":                 {1, 2 * s, s, 50},
		"refused, share":          {0.8, 5 * s, 5 * s, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				l := newLedger(t, Options{Share: tt.share, Reserve: []int{2, 120}})
				sim := newSimulation(l, seed)
				for i := range 4 {
					sim.add(worker{pass: pass.Pass(i % 3), latency: tt.latency, pause: tt.pause})
				}
				sim.refuse = func() *Refusal {
					if tt.refuse == 0 || sim.random.IntN(tt.refuse) > 0 {
						return nil
					}
					return &Refusal{RetryAfter: retryAfter[sim.random.IntN(len(retryAfter))]}
				}
				sim.granted = func(now time.Time) {
					if until := l.BlockedUntil(); now.Before(until) {
						t.Fatalf("got a grant at %v, want none until %v", now.Sub(start), until.Sub(start))
					}
				}
				sim.run(day)
				all := merged(sim.receipts[:]...)
				checkMeter(t, all, native())
				if len(all) < 500 {
					t.Errorf("seed %d: got %d calls in a day", seed, len(all))
				}
				for p, kept := range l.history.settled {
					if got, want := cap(kept), 4*1500; got > want {
						t.Errorf("got room for %d grants of %v, want at most %d", got, pass.Pass(p), want)
					}
				}
			}
		})
	}
}

// TestNothingWasted: one caller that is always busy gets what the limits allow.
// In theory that is 24 times the hour's limit: the minute's would allow twice
// as much, so the hour binds, and any 24 hours are 24 windows that each hold at
// most the limit. The greedy ledger spends an hour's grants in the first half
// hour and again each time that they leave the window, later by the latency
// and the slack, 1ms each: it loses 2ms a round, and a day has room for 24.
func TestNothingWasted(t *testing.T) {
	for _, share := range []float64{1, 0.8} {
		l := newLedger(t, Options{Share: share})
		sim := newSimulation(l, 1)
		sim.add(worker{pass: pass.Delta, latency: ms})
		sim.run(24 * time.Hour)
		most := int(24 * 1500 * share)
		got := len(sim.receipts[pass.Delta])
		if got > most || got*100 < most*99 {
			t.Errorf("share %v: got %d calls, want %d to %d", share, got, most*99/100, most)
		}
		checkMeter(t, sim.receipts[pass.Delta], []Window{{time.Minute, int(50 * share)}, {time.Hour, int(1500 * share)}})
	}
}
