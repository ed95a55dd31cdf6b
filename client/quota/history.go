package quota

import (
	"slices"
	"sort"
	"time"

	"m365_defender_exporter/internal/pass"
)

const (
	// slack is how much longer than its period a grant counts. A server's
	// window may include both its ends, and its clock may tick in
	// milliseconds.
	slack = time.Millisecond

	// maxFlight is when an attempt that was never settled is taken for over.
	// No attempt lasts this long, so one that does was lost by its caller, or by
	// a process that was killed: what it had handed to the network may arrive
	// later.
	maxFlight = 15 * time.Minute
)

// history is the sliding log. Instants keep their monotonic reading, so a step
// of the wall clock moves no window.
type history struct {
	// settled are the ends of attempts, by pass and in order of time. Those
	// of attempts that a predecessor left in flight lie ahead.
	settled [pass.NumPasses][]time.Time
	flights []flight
}

// flight is a grant that was taken and not settled.
type flight struct {
	grant uint64
	taken time.Time
	pass  pass.Pass
}

// settle ends the flight of a grant. One that is unknown, or was settled
// before, is ignored.
func (h *history) settle(grant uint64, now time.Time) {
	i := slices.IndexFunc(h.flights, func(f flight) bool { return f.grant == grant })
	if i < 0 {
		return
	}
	f := h.flights[i]
	h.flights = slices.Delete(h.flights, i, i+1)
	h.insert(later(f.taken, now), f.pass)
}

func (h *history) insert(t time.Time, p pass.Pass) {
	h.settled[p] = slices.Insert(h.settled[p], after(h.settled[p], t), t)
}

// after is the index of the first instant later than t.
func after(instants []time.Time, t time.Time) int {
	if n := len(instants); n == 0 || !instants[n-1].After(t) {
		return n
	}
	return sort.Search(len(instants), func(i int) bool { return instants[i].After(t) })
}

// within are the instants that count in the period that ends now. Later ones
// count as well: callers read their clock before they queue for the ledger, so
// now may lie a little behind; and what a predecessor left in flight ends later.
func (h *history) within(now time.Time, period time.Duration, p pass.Pass) []time.Time {
	return h.settled[p][after(h.settled[p], now.Add(-period-slack)):]
}

// used is how many grants count in the period that ends now.
func (h *history) used(now time.Time, period time.Duration) int {
	n := len(h.flights)
	for p := range pass.Sweep + 1 {
		n += len(h.within(now, period, p))
	}
	return n
}

// free is the earliest instant at which fewer than limit grants of the given
// pass and those after it count in the period: zero if that is so now. A call in
// flight cannot end before now, hence not free its place before now + period.
func (h *history) free(now time.Time, period time.Duration, p pass.Pass, limit int) time.Time {
	counted := queues{}
	excess := 1 - limit
	for from := p; from <= pass.Sweep; from++ {
		counted[from] = h.within(now, period, from)
		excess += len(counted[from])
	}
	flights := 0
	for i := range h.flights {
		if h.flights[i].pass >= p {
			flights++
		}
	}
	excess += flights
	if excess <= 0 {
		return time.Time{}
	}
	var leaves time.Time
	for ; excess > 0; excess-- {
		oldest := counted.oldest()
		if flights > 0 && (oldest < 0 || counted[oldest][0].After(now)) {
			leaves, flights = now, flights-1
		} else {
			leaves = counted.pop(oldest)
		}
	}
	return leaves.Add(period + slack)
}

// queues are instants by pass, each in order of time.
type queues [pass.NumPasses][]time.Time

// counted are all instants that count in the period that ends now.
func (h *history) counted(now time.Time, period time.Duration) (q queues) {
	for p := range q {
		q[p] = h.within(now, period, pass.Pass(p))
	}
	return q
}

// oldest is the queue with the earliest instant, -1 if all are empty.
func (q *queues) oldest() int {
	oldest := -1
	for p := range q {
		if len(q[p]) > 0 && (oldest < 0 || q[p][0].Before(q[oldest][0])) {
			oldest = p
		}
	}
	return oldest
}

// pop takes the first instant out of a queue that is not empty.
func (q *queues) pop(p int) time.Time {
	first := q[p][0]
	q[p] = q[p][1:]
	return first
}

// forget drops what no window sees any more and ends flights that were lost.
// The slices are reused: dead instants are moved out once they are the
// majority.
func (h *history) forget(now time.Time, longest time.Duration) {
	for i := 0; i < len(h.flights); {
		end := h.flights[i].taken.Add(maxFlight)
		if end.After(now) {
			i++
			continue
		}
		h.settle(h.flights[i].grant, end)
	}
	for p := range h.settled {
		all := h.settled[p]
		if dead := len(all) - len(h.within(now, longest, pass.Pass(p))); 2*dead > len(all) {
			h.settled[p] = slices.Delete(all, 0, dead)
		}
	}
}
