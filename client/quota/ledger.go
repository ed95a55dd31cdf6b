package quota

import (
	"cmp"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"m365_defender_exporter/internal/pass"
)

// Ledger hands out grants, one for each attempt to call the API. It belongs to
// one app, tenant and API. All methods may be called concurrently; none waits,
// none makes a call, and none fails.
type Ledger struct {
	mu      sync.Mutex
	windows []window
	longest time.Duration // of the windows' periods
	reserve []int
	jitter  func() float64

	history history
	last    uint64
	origins origins
	share   share

	blockedUntil time.Time
	consecutive  int  // refusals since the last success
	saidLong     bool // since the last success: that a Retry-After was too long
}

// New returns an empty ledger. Its error says which option cannot be used.
func New(o Options) (*Ledger, error) {
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Ledger{
		jitter:  o.Jitter,
		origins: origins{own: cmp.Or(o.ID, rand.Uint64())},
		share:   share{full: o.Share, current: o.Share},
	}
	for _, w := range o.Windows {
		l.windows = append(l.windows, window{Window: w})
		l.longest = max(l.longest, w.Period)
	}
	l.setReserve(o.Reserve)
	return l, nil
}

// SetReserve says how many grants of each window, in the order of Usage, deltas
// are expected to use per period. The first sync and sweeps leave them free,
// except for those that deltas have used already, and one more: with its next
// call a delta is briefly one over, because the call that it replaces counts
// until a full period has passed since its end. One call of the first sync or of
// a sweep per period is always possible. What is missing or negative counts as
// 0: nothing is reserved.
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
// Settle once the attempt is over, whatever came of it. Otherwise the decision
// says when to ask again; Take itself does not wait.
func (l *Ledger) Take(now time.Time, p pass.Pass) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(now, p)
	if d.Rule != None {
		return d
	}
	l.last++
	d.Grant = l.last
	l.origins.add(1, now)
	l.history.flights = append(l.history.flights, flight{d.Grant, now, min(p, pass.Sweep)})
	return d
}

// Peek tells what Take would answer, without taking: At is now if a grant
// would be given.
func (l *Ledger) Peek(now time.Time, p pass.Pass) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decide(now, p)
}

// Cancel takes back a grant whose call is not going to be sent: it spends nothing.
// It must not be used once any part of the call may have left. That the grant is
// in a Log already, or may be, does no harm: a successor that goes on from that Log counts
// a call too many, and the next Log of this ledger is without it. Grants that are
// unknown, settled or canceled already are ignored.
func (l *Ledger) Cancel(grant uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.cancel(grant)
}

// Settle ends an attempt: from now on its grant counts as spent at now, the
// latest instant at which the server can have received the call. Grants that
// are unknown or settled already are ignored. One that is never settled counts
// as settled 15 minutes after it was taken.
func (l *Ledger) Settle(grant uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	l.history.settle(grant, now)
}

// Usage reports each window, in the order of Options.Windows.
func (l *Ledger) Usage(now time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	usage := make([]Usage, len(l.windows))
	for i := range l.windows {
		w := &l.windows[i]
		usage[i] = Usage{
			Window: w.believed(now), Configured: w.Limit, LearnedUntil: w.heldUntil(now),
			Effective: l.effective(now, w), Used: l.history.used(now, w.Period),
		}
	}
	return usage
}

// decide finds the rule that binds longest.
func (l *Ledger) decide(now time.Time, p pass.Pass) Decision {
	l.history.forget(now, l.longest)
	d := Decision{At: now}
	for i := range l.windows {
		if at := l.free(now, i, p); at.After(d.At) {
			d.At, d.Rule = at, l.windows[i].Rule()
		}
	}
	// A limit may grow before enough grants have left the window.
	if next := l.grows(now); d.Rule != None && !next.IsZero() && next.Before(d.At) {
		d.At = next
	}
	if l.blockedUntil.After(d.At) {
		d.At, d.Rule = l.blockedUntil, RetryAfter
	}
	return d
}

// free is when the window has room for a call of the pass: zero if it has.
//
// All calls together stay within the effective limit. The first sync and sweeps
// stay within what the reserve leaves of it: leaving free the reserve less the
// deltas' own grants comes to the same, without a count of deltas. A sweep stays
// within half of that.
func (l *Ledger) free(now time.Time, window int, p pass.Pass) time.Time {
	w := &l.windows[window]
	limit := l.effective(now, w)
	at := l.history.free(now, w.Period, pass.Delta, limit)
	if p == pass.Delta {
		return at
	}
	spare := limit
	if window < len(l.reserve) {
		spare = max(1, limit-l.reserve[window])
	}
	at = later(at, l.history.free(now, w.Period, pass.First, spare))
	if p == pass.First {
		return at
	}
	return later(at, l.history.free(now, w.Period, pass.Sweep, max(1, spare/2)))
}

// grows is when a limit is going to be higher than now, zero if none is.
func (l *Ledger) grows(now time.Time) time.Time {
	next := l.share.next(now)
	for i := range l.windows {
		if until := l.windows[i].heldUntil(now); !until.IsZero() && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	return next
}

// effective is how many grants a window may hold now.
func (l *Ledger) effective(now time.Time, w *window) int {
	return portion(w.limit(now), l.share.at(now))
}

// portion is the share of a limit in whole calls, one at least.
func portion(limit int, share float64) int {
	const epsilon = 1e-6 // 0.1 + 0.05 + ... must not miss a whole number
	return max(1, int(math.Floor(float64(limit)*share+epsilon)))
}

// full tells whether a window has no room at all.
func (l *Ledger) full(now time.Time) bool {
	for i := range l.windows {
		w := &l.windows[i]
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
