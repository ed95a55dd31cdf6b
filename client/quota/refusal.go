package quota

import (
	"time"

	"m365_defender_exporter/internal/retryafter"
)

const (
	// A 429 that does not say for how long is answered with these waits.
	firstBackoff = time.Minute
	maxBackoff   = 15 * time.Minute
	jitterShare  = 0.1

	// minBackoff is the least wait after a 429, also where Retry-After says 0
	// or a date that has passed: calls that are refused count as well.
	minBackoff = time.Second
)

// Refusal is an answer of the server that asks for fewer calls: HTTP 429, or
// another that says so in words.
type Refusal struct {
	// RetryAfter is the header as received; empty if there was none.
	RetryAfter string
	// Message is the error text of the body; see ParseLimit.
	Message string
}

// Outcome is what a ledger made of a refusal. What of it belongs into a log is
// there once, however many calls are refused alike.
type Outcome struct {
	// Until is when the latest block ends, for every caller; zero if there never
	// was one. It may have passed.
	Until time.Time
	// Learned is a limit that is believed from now on; zero if none is new.
	Learned Learned
	// Asked is how long the server asked to wait, if that was longer than
	// is believed, for the first time since the last success; otherwise zero.
	Asked time.Duration
}

// Refused records a refusal. It never shortens a wait.
//
// Every caller is blocked until Retry-After or, without a usable one, for a
// minute, twice as long with each further refusal without a success in between,
// up to 15 minutes. If it came although no window was full then other tools are
// spending, and the effective share is halved. A limit that the text names is
// believed for 24 hours. The outcome tells what of that is new.
func (l *Ledger) Refused(now time.Time, r Refusal) Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	var out Outcome
	wait, told := retryafter.Parse(r.RetryAfter, now)
	if wait > retryafter.Max {
		if !l.saidLong {
			out.Asked, l.saidLong = wait, true
		}
		wait = retryafter.Max
	}
	// Learn first: a window that is full by the limit that the server has just
	// named was filled by us, not by other tools.
	if w, ok := ParseLimit(r.Message); ok {
		out.Learned = l.learn(now, w)
	}
	l.share.refused(now, !l.full(now))
	l.block(now, wait, told)
	out.Until = l.blockedUntil
	return out
}

// block lets every caller wait: for as long as the server told, or as it seems
// wise.
func (l *Ledger) block(now time.Time, wait time.Duration, told bool) {
	// Calls that were in flight when the block began are refused as well. That
	// is the same event: it counts once.
	again := now.Before(l.blockedUntil)
	if !again {
		l.consecutive++
	}
	switch {
	case told:
		wait = max(wait, minBackoff)
	case again:
		wait = 0
	default:
		wait = l.backoff()
	}
	l.blockedUntil = later(l.blockedUntil, now.Add(wait))
}

// Succeeded records an answer that asks for nothing: the next refusal is the
// first again.
func (l *Ledger) Succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.consecutive, l.saidLong = 0, false
}

// BlockedUntil is the end of the latest block, which may have passed. It is
// zero if there was none.
func (l *Ledger) BlockedUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blockedUntil
}

func (l *Ledger) backoff() time.Duration {
	wait := firstBackoff
	for n := 1; n < l.consecutive && wait < maxBackoff; n++ {
		wait *= 2
	}
	wait = min(wait, maxBackoff)
	return wait + time.Duration(float64(wait)*jitterShare*l.jitter())
}
