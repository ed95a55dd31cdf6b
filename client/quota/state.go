package quota

import (
	"slices"
	"time"
)

// Log is a ledger as it is saved: a plain value.
type Log struct {
	Grants []SavedGrant `json:"grants,omitempty"`
	// Learned are the limits that the API has named.
	Learned   []Window  `json:"learned,omitempty"`
	Factor    float64   `json:"factor"`
	HalvedAt  time.Time `json:"halved_at,omitzero"`
	RefusedAt time.Time `json:"refused_at,omitzero"`
	Until     time.Time `json:"blocked_until,omitzero"`
	Refusals  int       `json:"refusals,omitempty"`
}

// SavedGrant is one grant of a [Log].
type SavedGrant struct {
	At       time.Time `json:"at"`
	Priority Priority  `json:"priority"`
	// Open: the attempt was under way.
	Open bool `json:"open,omitempty"`
}

// Log is everything that has to survive a restart. Its times have no
// monotonic reading.
func (l *Ledger) Log(now time.Time) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recover(now)
	l.forget(now)
	b := l.backoff
	log := Log{
		Learned: slices.Clone(l.learned), Factor: b.factor, Refusals: b.refusals,
		HalvedAt: b.halvedAt.Round(0), RefusedAt: b.refusedAt.Round(0), Until: b.until.Round(0),
	}
	for _, e := range l.log {
		log.Grants = append(log.Grants, SavedGrant{e.at.Round(0), e.priority, !e.settled})
	}
	return log
}

// Restore takes over what a ledger before this one had saved. An attempt that
// was under way counts from now on, as the server may have received it a moment
// ago; so does whatever seems to lie in the future, because the clock was set.
func (l *Ledger) Restore(now time.Time, log Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range log.Grants {
		at := g.At
		if g.Open || at.After(now) {
			at = now
		}
		l.last++
		l.insert(entry{id: l.last, at: at, priority: min(g.Priority, Sweep), settled: true})
	}
	for _, w := range log.Learned {
		if w.Period > 0 && w.Limit > 0 {
			l.learn(w)
		}
	}
	b := &l.backoff
	if log.Factor > 0 {
		b.factor = min(b.factor, log.Factor, 1)
	}
	b.halvedAt, b.refusedAt = earlier(log.HalvedAt, now), earlier(log.RefusedAt, now)
	b.refusals = max(0, log.Refusals)
	if log.Until.After(now) {
		b.until = later(b.until, earlier(log.Until, now.Add(longestRetryAfter)))
	}
	l.forget(now)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
