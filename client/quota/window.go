package quota

import (
	"slices"
	"time"
)

// decide finds the earliest instant at which no rule refuses.
func (l *Ledger) decide(now time.Time, p Priority) Decision {
	l.recover(now)
	l.forget(now)
	d := Decision{At: now}
	if l.backoff.until.After(now) {
		d.At, d.Reason = l.backoff.until, RetryAfter
	}
	for i, w := range l.windows {
		if at := l.free(now, i, p); at.After(d.At) {
			d.At, d.Reason = at, reasonOf(w.Period)
		}
	}
	return d
}

// free is when the window has room for a call of the priority.
func (l *Ledger) free(now time.Time, window int, p Priority) time.Time {
	w := l.windows[window]
	limit := l.effective(w)
	counted := l.count(now, w.Period)
	used := counted[Delta] + counted[First] + counted[Sweep]
	if p == Delta {
		return l.expiryOf(now, w.Period, used-limit, Sweep, Delta)
	}
	// Something is left for the others, however large the reserve.
	reserve := 0
	if window < len(l.reserve) {
		reserve = min(l.reserve[window], limit-1)
	}
	// What deltas have used of their reserve need not be kept free.
	at := l.expiryOf(now, w.Period, used-(limit-max(0, reserve-counted[Delta])), Sweep, Delta)
	if p == Sweep {
		spare := max(1, (limit-reserve)/2)
		at = later(at, l.expiryOf(now, w.Period, counted[Sweep]-spare, Sweep, Sweep))
	}
	return at
}

// count counts the grants in the window that ends at now by priority.
func (l *Ledger) count(now time.Time, period time.Duration) (n [Sweep + 1]int) {
	for i := len(l.log) - 1; i >= 0; i-- {
		e := &l.log[i]
		if e.expiry(period).After(now) {
			n[e.priority]++
		} else if now.Sub(e.at) > period+maxFlight {
			break
		}
	}
	return n
}

// expiryOf is when one more than so many of the counted grants, of priorities
// from most to least urgent, have left the window; now if over is negative.
func (l *Ledger) expiryOf(now time.Time, period time.Duration, over int, least, most Priority) time.Time {
	if over < 0 {
		return now
	}
	for i := range l.log {
		e := &l.log[i]
		if e.priority > least || e.priority < most || !e.expiry(period).After(now) {
			continue
		}
		if over--; over < 0 {
			if !e.settled {
				// It will be settled long before it is given up.
				return later(e.at.Add(period+slack), now.Add(time.Second))
			}
			return e.expiry(period)
		}
	}
	return now
}

// insert keeps the log in order. The place is nearly always at its end.
func (l *Ledger) insert(e entry) {
	i := len(l.log)
	for i > 0 && l.log[i-1].at.After(e.at) {
		i--
	}
	l.log = slices.Insert(l.log, i, e)
}

// forget drops what no window counts any more.
func (l *Ledger) forget(now time.Time) {
	longest := time.Duration(0)
	for _, w := range l.windows {
		longest = max(longest, w.Period)
	}
	n := 0
	for n < len(l.log) && !l.log[n].expiry(longest).After(now) {
		n++
	}
	if n > 0 {
		l.log = slices.Delete(l.log, 0, n)
	}
}

// effective is our share of the window, and less while others spend it.
func (l *Ledger) effective(w Window) int {
	// The product is a little off whole numbers in binary.
	return max(1, int(float64(w.Limit)*l.share*l.backoff.factor+1e-9))
}

func reasonOf(period time.Duration) Reason {
	if period <= time.Minute {
		return Minute
	}
	return Hour
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
