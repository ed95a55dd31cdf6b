package quota

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Ledger hands out grants, one for each attempt to call the API. It belongs to
// one app, tenant and API. All methods may be called concurrently.
type Ledger struct {
	mu      sync.Mutex
	windows []Window // the configured ones, then those learned
	learned []Window // limits that the server named
	longest time.Duration
	reserve []int
	jitter  func() float64

	history history
	last    Grant
	share   share

	blockedUntil   time.Time
	throttledUntil time.Time // the part of the block that a 429 caused
	consecutive    int       // 429 answers since the last success
}

// New returns an empty ledger.
func New(o Options) (*Ledger, error) {
	if o.Windows == nil {
		o.Windows = NativeWindows()
	}
	if o.Share == 0 {
		o.Share = DefaultShare
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Ledger{
		windows: slices.Clone(o.Windows),
		jitter:  o.Jitter,
		share:   share{full: o.Share, current: o.Share},
	}
	for _, w := range l.windows {
		l.longest = max(l.longest, w.Period)
	}
	l.setReserve(o.Reserve)
	return l, nil
}

// SetReserve says how many grants of each window, in the order of Usage, Delta
// is expected to use per period. First and Sweep leave them free, except for
// those that Delta has used already, and one more: with its next call Delta is
// briefly one over, because the call that it replaces counts until a full
// period has passed since its end. One First or Sweep call per period is
// always possible. What is missing or negative counts as 0: nothing reserved.
func (l *Ledger) SetReserve(perWindow []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setReserve(perWindow)
}

func (l *Ledger) setReserve(perWindow []int) {
	l.reserve = l.reserve[:0]
	for _, n := range perWindow {
		if n > 0 {
			n++
		}
		l.reserve = append(l.reserve, max(0, n))
	}
}

// Take asks for a grant. If it is given it is recorded, and must be handed to
// Settle once the attempt is over, whatever came of it.
func (l *Ledger) Take(now time.Time, p Priority) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(now, p)
	if d.Reason != None {
		return d
	}
	l.last++
	d.Grant = l.last
	l.history.flights = append(l.history.flights, flight{d.Grant, now, min(p, Sweep)})
	return d
}

// Peek tells what Take would answer, without taking: At is now if a grant
// would be given.
func (l *Ledger) Peek(now time.Time, p Priority) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decide(now, p)
}

// Settle ends an attempt: from now on its grant counts as spent at now, the
// latest instant at which the server can have received the call. Grants that
// are unknown or settled already are ignored. A grant that nobody settles
// counts as settled 15 minutes after it was taken.
func (l *Ledger) Settle(g Grant, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	l.history.settle(g, now)
}

// Usage reports each window: the configured ones in their order, then those
// that the server named.
func (l *Ledger) Usage(now time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	usage := make([]Usage, len(l.windows))
	for i, w := range l.windows {
		usage[i] = Usage{Window: w, Effective: l.effective(now, w), Used: l.history.used(now, w.Period)}
	}
	return usage
}

// decide finds the rule that binds longest.
func (l *Ledger) decide(now time.Time, p Priority) Decision {
	l.history.forget(now, l.longest)
	d := Decision{At: now}
	for i, w := range l.windows {
		if at := l.free(now, i, p); at.After(d.At) {
			d.At, d.Reason = at, w.Reason()
		}
	}
	// The share may grow before enough grants have left the window.
	if next := l.share.next(now); d.Reason != None && !next.IsZero() && next.Before(d.At) {
		d.At = next
	}
	if l.blockedUntil.After(d.At) {
		d.At, d.Reason = l.blockedUntil, RetryAfter
	}
	return d
}

// free is when the window has room for a call of the priority: zero if it has.
//
// All calls together stay within the effective limit. What is not Delta stays
// within what the reserve leaves of it: leaving free the reserve less Delta's
// own grants comes to the same, without a count of Delta. Sweep stays within
// half of that.
func (l *Ledger) free(now time.Time, window int, p Priority) time.Time {
	w := l.windows[window]
	limit := l.effective(now, w)
	at := l.history.free(now, w.Period, Delta, limit)
	if p == Delta {
		return at
	}
	spare := limit
	if window < len(l.reserve) {
		spare = max(1, limit-l.reserve[window])
	}
	at = later(at, l.history.free(now, w.Period, First, spare))
	if p == First {
		return at
	}
	return later(at, l.history.free(now, w.Period, Sweep, max(1, spare/2)))
}

// effective is how many grants a window may hold now.
func (l *Ledger) effective(now time.Time, w Window) int {
	const epsilon = 1e-6 // 0.1 + 0.05 + ... must not miss a whole number
	return max(1, int(math.Floor(float64(w.Limit)*l.share.at(now)+epsilon)))
}

// full tells whether a window has no room at all.
func (l *Ledger) full(now time.Time) bool {
	for _, w := range l.windows {
		if l.history.used(now, w.Period) >= l.effective(now, w) {
			return true
		}
	}
	return false
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
