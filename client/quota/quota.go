// Package quota is an exact ledger of the calls that an API allows in sliding
// windows, several at once. A token bucket would be wrong here: with a burst
// of the whole quota it lets nearly twice the quota through in one window.
//
// Time is an argument everywhere; nothing here waits. A caller that is refused
// a grant is told when to ask again.
package quota

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Priority of a call. A call may use what those of lower priority have to
// leave.
type Priority uint8

// The priorities, most urgent first.
const (
	Delta Priority = iota
	First
	Sweep
)

// Window is a limit: at most Limit calls in any Period.
type Window struct {
	Period time.Duration `json:"period"`
	Limit  int           `json:"limit"`
}

// Options are the settings of a [Ledger].
type Options struct {
	// Windows that all hold. None: 50 a minute and 1,500 an hour.
	Windows []Window
	// Share of each window to use, above 0, at most 1. 0: 0.8.
	Share float64
	// Jitter returns a number in [0, 1) that spreads waits nobody prescribed.
	// nil: random.
	Jitter func() float64
}

// Reason is the rule that refused a grant.
type Reason uint8

// The reasons.
const (
	None Reason = iota
	Minute
	Hour
	RetryAfter
)

// String is the label value, empty for None.
func (r Reason) String() string { return [...]string{"", "minute", "hour", "retry_after"}[r] }

// Grant is the permission for one call. 0 is none.
type Grant uint64

// Decision is the answer to the question for a grant.
type Decision struct {
	Grant Grant
	// At is when to ask again, or now if granted.
	At     time.Time
	Reason Reason
}

// Usage is the state of one window.
type Usage struct {
	Window Window
	// Effective is the limit we keep: the share of it.
	Effective int
	Used      int
}

// slack is added to a window before a grant in it expires, for a server whose
// window includes both of its ends.
const slack = time.Millisecond

// maxFlight bounds how long an attempt that nobody settled is taken to be
// still under way.
const maxFlight = 15 * time.Minute

// entry is one grant. Its instant is when the attempt began; once settled,
// when it ended: the server counted the call at an unknown instant in
// between, and the later one is safe.
type entry struct {
	id       Grant
	at       time.Time
	priority Priority
	settled  bool
}

// expiry is when the entry leaves a window of that length.
func (e *entry) expiry(period time.Duration) time.Time {
	at := e.at
	if !e.settled {
		at = at.Add(maxFlight)
	}
	return at.Add(period + slack)
}

// Ledger counts calls. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	windows []Window
	learned []Window // what the API has named, however it was configured
	reserve []int
	share   float64
	jitter  func() float64
	log     []entry // in order of at
	last    Grant
	backoff backoff
}

// New returns an empty ledger.
func New(o Options) (*Ledger, error) {
	if o.Windows == nil {
		o.Windows = []Window{{time.Minute, 50}, {time.Hour, 1500}}
	}
	if o.Share == 0 {
		o.Share = 0.8
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if len(o.Windows) == 0 {
		return nil, errors.New("quota: no window")
	}
	for _, w := range o.Windows {
		if w.Period <= 0 || w.Limit <= 0 {
			return nil, fmt.Errorf("quota: %d calls in %v is no limit", w.Limit, w.Period)
		}
	}
	if !(o.Share > 0 && o.Share <= 1) {
		return nil, fmt.Errorf("quota: share %v is not above 0 and at most 1", o.Share)
	}
	l := &Ledger{share: o.Share, jitter: o.Jitter, windows: slices.Clone(o.Windows)}
	l.backoff.factor = 1
	return l, nil
}

// SetReserve sets how many grants of each window, in the order of
// Options.Windows, are kept for calls of priority Delta.
func (l *Ledger) SetReserve(perWindow []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserve = append(l.reserve[:0], perWindow...)
}

// Take asks for one call at now.
func (l *Ledger) Take(now time.Time, p Priority) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(now, p)
	if d.Reason == None {
		l.last++
		d.Grant = l.last
		l.insert(entry{id: d.Grant, at: now, priority: p})
	}
	return d
}

// Peek is what Take would answer, without taking the grant.
func (l *Ledger) Peek(now time.Time, p Priority) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decide(now, p)
}

// Settle tells that the attempt is over: its answer was received, or it
// failed. Only then is it known that the server has counted it by now.
func (l *Ledger) Settle(g Grant, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.log) - 1; i >= 0; i-- {
		if l.log[i].id != g {
			continue
		}
		e := l.log[i]
		l.log = append(l.log[:i], l.log[i+1:]...)
		if now.After(e.at) {
			e.at = now
		}
		e.settled = true
		l.insert(e)
		return
	}
}

// Usage is the state of every window at now.
func (l *Ledger) Usage(now time.Time) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recover(now)
	usage := make([]Usage, len(l.windows))
	for i, w := range l.windows {
		n := l.count(now, w.Period)
		usage[i] = Usage{w, l.effective(w), n[Delta] + n[First] + n[Sweep]}
	}
	return usage
}
