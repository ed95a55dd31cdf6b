// Package quota keeps one app's calls to one API under the API's throttling
// limits: so many calls per minute and so many per hour.
//
// The ledger is an exact sliding log. It remembers the instant of every grant
// within its longest window and hands out another one only while each window
// has room. Two token buckets would not do: with a burst of the whole quota
// they let nearly twice the quota through in one window.
//
// The server meters when it receives a call, which is some unknown instant
// between Take and the end of the attempt. A grant therefore counts as in
// flight until Settle and from the end of the attempt afterwards, so that no
// jitter of the network can put one receipt too many into a window, wherever
// the server lets its windows begin.
//
// Calls are made in passes, package pass, and a ledger keeps their priority:
// only a delta may use what is reserved, and a sweep lives on spare quota. A
// value that is no pass is taken for a sweep.
//
// Nothing here reads a clock or sleeps: time is an argument everywhere.
package quota

import (
	"errors"
	"fmt"
	"time"
)

// Rule is what makes a caller wait.
type Rule uint8

// The rules. A window of up to one minute is Minute, a longer one Hour.
const (
	None Rule = iota
	Minute
	Hour
	RetryAfter // the server asked for silence
)

// String is the label value: empty for None.
func (r Rule) String() string {
	switch r {
	case Minute:
		return "minute"
	case Hour:
		return "hour"
	case RetryAfter:
		return "retry_after"
	default:
		return ""
	}
}

// Window is a limit of the server: at most Limit calls in any Period.
type Window struct {
	Period time.Duration
	Limit  int
}

// Rule is the rule that the window is. Its name is that of the window, too.
func (w Window) Rule() Rule {
	if w.Period <= time.Minute {
		return Minute
	}
	return Hour
}

// Options configures a Ledger. Windows and Share must be given.
type Options struct {
	// Windows are the limits of the server, of at most a million calls each.
	Windows []Window
	// Share is the fraction of each limit to use, above 0 and up to 1. The rest is
	// for other tools of the same app registration.
	Share float64
	// Reserve is kept for deltas, in calls of each window; see Ledger.SetReserve.
	Reserve []int
	// Jitter returns a number in [0, 1) that spreads the waits after a 429
	// without a usable Retry-After; nil means math/rand/v2.
	Jitter func() float64
}

// maxLimit bounds the memory of a ledger: 24 bytes a grant.
const maxLimit = 1_000_000

func (o Options) validate() error {
	if len(o.Windows) == 0 {
		return errors.New("quota: no windows: at least one is needed")
	}
	for i, w := range o.Windows {
		if w.Period <= 0 {
			return fmt.Errorf("quota: window %d: period %v must be positive", i, w.Period)
		}
		if w.Limit <= 0 {
			return fmt.Errorf("quota: window %d: limit %d must be positive", i, w.Limit)
		}
		if w.Limit > maxLimit {
			return fmt.Errorf("quota: window %d: limit %d must be at most %d", i, w.Limit, maxLimit)
		}
		for _, other := range o.Windows[:i] {
			if w.Period == other.Period {
				return fmt.Errorf("quota: window %d: period %v is given twice", i, w.Period)
			}
		}
	}
	if !(o.Share > 0 && o.Share <= 1) { // also refuses NaN
		return fmt.Errorf("quota: share %v must be above 0 and at most 1", o.Share)
	}
	if len(o.Reserve) > len(o.Windows) {
		return fmt.Errorf("quota: %d reserves for %d windows", len(o.Reserve), len(o.Windows))
	}
	for i, n := range o.Reserve {
		if n < 0 {
			return fmt.Errorf("quota: reserve %d: %d must not be negative", i, n)
		}
	}
	return nil
}

// Decision answers a request for a grant.
type Decision struct {
	// Grant identifies the grant among those of one ledger; zero if the caller has
	// to wait.
	Grant uint64
	// At is when the grant was given, or else the earliest instant at which another
	// Take can succeed.
	At time.Time
	// Rule is the rule that binds until At; None if nothing does.
	Rule Rule
}

// Usage is how much of a window is spent.
type Usage struct {
	// Window holds the limit that is believed now: a limit that the server
	// named replaces a higher one that was configured.
	Window Window
	// Configured is the limit that was configured.
	Configured int
	// LearnedUntil is when the configured limit holds again; zero if it does now.
	LearnedUntil time.Time
	// Effective is how many grants a period may hold now.
	Effective int
	// Used is how many the last period holds, calls in flight included.
	Used int
}
