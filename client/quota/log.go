package quota

import (
	"slices"
	"time"
)

// Log is what a ledger has to remember over a restart. It is a plain value for
// any encoder; its instants are wall clock times in UTC.
type Log struct {
	// Grants are those of the longest window, oldest first, and after them
	// those in flight.
	Grants []Entry `json:"grants"`
	// Learned are the limits that the server named.
	Learned []Learned `json:"learned,omitempty"`
	// Factor is the fraction of the configured share that was in effect at
	// RefusedAt, the instant of the last 429. Zero is taken for 1.
	Factor    float64   `json:"factor"`
	RefusedAt time.Time `json:"refused_at,omitzero"`
	// HalvedAt is when the share was last halved.
	HalvedAt time.Time `json:"halved_at,omitzero"`
	// BlockedUntil is the end of the latest block.
	BlockedUntil time.Time `json:"blocked_until,omitzero"`
	// Consecutive counts the 429 answers since the last success.
	Consecutive int `json:"consecutive_429,omitempty"`
}

// Entry is one grant of a Log.
type Entry struct {
	// At is when its attempt ended, or was granted if it is in flight, rounded
	// up to a millisecond.
	At       time.Time `json:"at"`
	Priority Priority  `json:"priority,omitempty"`
	InFlight bool      `json:"in_flight,omitempty"`
}

// Learned is a limit that the server named: calls per so many seconds.
type Learned struct {
	Seconds int64 `json:"seconds"`
	Limit   int   `json:"limit"`
}

// maxConsecutive is far beyond the count that no longer changes the wait.
const maxConsecutive = 1000

// Log returns the state of the ledger. To be safe from a crash, save it after
// Take and before the call is sent.
func (l *Ledger) Log(now time.Time) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	log := Log{
		Grants:       make([]Entry, 0, l.history.used(now, l.longest)),
		Factor:       l.share.current / l.share.full,
		RefusedAt:    freeze(now, l.share.lastRefusal),
		HalvedAt:     freeze(now, l.share.lastHalving),
		BlockedUntil: freeze(now, l.blockedUntil),
		Consecutive:  l.consecutive,
	}
	for p := range Sweep + 1 {
		for _, t := range l.history.within(now, l.longest, p) {
			log.Grants = append(log.Grants, Entry{At: freeze(now, t), Priority: p})
		}
	}
	slices.SortStableFunc(log.Grants, func(a, b Entry) int { return a.At.Compare(b.At) })
	for _, f := range l.history.flights {
		log.Grants = append(log.Grants, Entry{At: freeze(now, f.taken), Priority: f.priority, InFlight: true})
	}
	for _, w := range l.learned {
		log.Learned = append(log.Learned, Learned{Seconds: int64(w.Period / time.Second), Limit: w.Limit})
	}
	return log
}

// Restore adds what a Log remembers, which never makes the ledger more
// generous. It is meant for a fresh ledger; what that holds already stays.
// Whatever was in flight counts as settled now. Instants after now come from a
// clock that was set back: they count as now.
func (l *Ledger) Restore(now time.Time, log Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, limit := range log.Learned {
		if limit.Limit > 0 && limit.Seconds > 0 && limit.Seconds <= int64(maxRetryAfter/time.Second) {
			l.learn(Window{Period: time.Duration(limit.Seconds) * time.Second, Limit: limit.Limit})
		}
	}
	for _, e := range log.Grants {
		at := thaw(now, e.At, 0)
		if e.InFlight {
			at = now
		}
		if now.Sub(at) < l.longest+slack {
			l.history.insert(at, min(e.Priority, Sweep))
		}
	}
	if log.Factor > 0 && log.Factor < 1 && !log.RefusedAt.IsZero() {
		saved := share{
			full:        l.share.full,
			current:     max(l.share.least(), l.share.full*log.Factor),
			lastRefusal: thaw(now, log.RefusedAt, 0),
			lastHalving: thaw(now, log.HalvedAt, 0),
		}
		l.share.merge(now, saved)
	}
	l.blockedUntil = later(l.blockedUntil, thaw(now, log.BlockedUntil, maxRetryAfter))
	l.consecutive = max(l.consecutive, min(log.Consecutive, maxConsecutive))
	if l.consecutive > 0 {
		l.throttledUntil = l.blockedUntil
	}
}

// freeze makes a wall clock time of an instant, as of the wall clock that now
// shows: that may have been set since the instant was recorded.
func freeze(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	const tick = time.Millisecond
	return now.Round(0).Add(t.Sub(now) + tick - 1).Truncate(tick).UTC()
}

// thaw makes an instant of a wall clock time, at most ahead after now, with the
// monotonic reading of now.
func thaw(now, t time.Time, ahead time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(min(t.Sub(now), ahead))
}
