package quota

import "time"

const (
	// A 429 that does not say for how long is answered with these waits.
	firstBackoff = time.Minute
	maxBackoff   = 15 * time.Minute
	jitterShare  = 0.1

	// minBackoff is the least wait after a 429, also where Retry-After says 0
	// or a date that has passed: calls that are refused count as well.
	minBackoff = time.Second

	// maxLearned bounds the windows that error texts can add.
	maxLearned = 4

	statusTooManyRequests = 429
)

// Refusal is an answer of the server that asks for fewer calls.
type Refusal struct {
	// Status is the HTTP status: 429, or another that may carry Retry-After.
	Status int
	// RetryAfter is the header as received; empty if there was none.
	RetryAfter string
	// Message is the error text of the body; see ParseLimit.
	Message string
}

// Refused records a refusal and returns until when everybody has to wait. It
// never shortens a wait.
//
// A 429 blocks until Retry-After or, without a usable one, for a minute, twice
// as long with each further 429 without a success in between, up to 15 minutes.
// If it came although no window was full then somebody else is spending, and
// the effective share is halved. Any other status blocks only with a
// Retry-After.
func (l *Ledger) Refused(now time.Time, r Refusal) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	wait, told := ParseRetryAfter(r.RetryAfter, now)
	if r.Status != statusTooManyRequests {
		if told {
			l.blockedUntil = later(l.blockedUntil, now.Add(wait))
		}
		return l.blockedUntil
	}
	// Learn first: a window that is full by the limit that the server has just
	// named was filled by us, not by somebody else.
	if w, ok := ParseLimit(r.Message); ok {
		l.learn(w)
	}
	l.share.refused(now, !l.full(now))

	// Calls that were in flight when the block began are refused as well. That
	// is the same event: it counts once.
	again := now.Before(l.throttledUntil)
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
	l.throttledUntil = later(l.throttledUntil, now.Add(wait))
	l.blockedUntil = later(l.blockedUntil, l.throttledUntil)
	return l.blockedUntil
}

// Succeeded records a successful answer: the next 429 is the first again.
func (l *Ledger) Succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.consecutive = 0
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

// learn believes a limit that the server named, unless a lower one is known.
func (l *Ledger) learn(w Window) {
	for i := range l.windows {
		if known := &l.windows[i]; known.Period == w.Period {
			if w.Limit < known.Limit {
				known.Limit = w.Limit
				l.remember(w)
			}
			return
		}
	}
	if len(l.learned) >= maxLearned {
		return
	}
	l.windows = append(l.windows, w)
	l.longest = max(l.longest, w.Period)
	l.remember(w)
}

func (l *Ledger) remember(w Window) {
	for i := range l.learned {
		if l.learned[i].Period == w.Period {
			l.learned[i] = w
			return
		}
	}
	l.learned = append(l.learned, w)
}
