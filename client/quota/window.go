package quota

import (
	"slices"
	"time"
)

// learnedFor is how long a limit that the server named is believed. It may be
// wrong, or be raised: nothing in the API tells.
const learnedFor = 24 * time.Hour

// window is a limit as configured, or lower as long as the server's word holds.
type window struct {
	Window
	learned      int // calls in Period, never more than Limit
	learnedUntil time.Time
}

// Learned is a limit that the server named and that is lower than the
// configured one.
type Learned struct {
	// Period is that of the configured window that is lowered.
	Period time.Duration
	// Limit is how many calls a Period may hold.
	Limit int
	// Until is when the configured limit holds again: 24 hours after the limit
	// was last named.
	Until time.Time
}

// Rule is the rule that the lowered window is.
func (l Learned) Rule() Rule { return Window{Period: l.Period}.Rule() }

// Settings are the rules of a ledger as configured. A limit that was learned
// holds only under those that it was learned under.
type Settings struct {
	Windows []Window
	Share   float64
}

func (s Settings) equal(other Settings) bool {
	return s.Share == other.Share && slices.Equal(s.Windows, other.Windows)
}

// limit is how many calls of the server's a period may hold.
func (w *window) limit(now time.Time) int {
	if now.Before(w.learnedUntil) {
		return w.learned
	}
	return w.Limit
}

// believed is the window with the limit that is believed now.
func (w *window) believed(now time.Time) Window {
	return Window{Period: w.Period, Limit: w.limit(now)}
}

// heldUntil is when the configured limit holds again, zero if it does now.
func (w *window) heldUntil(now time.Time) time.Time {
	if now.Before(w.learnedUntil) {
		return w.learnedUntil
	}
	return time.Time{}
}

// believe takes a limit for true until the given instant, unless it is higher than what
// is known. It tells whether the limit is another one than before.
func (w *window) believe(now time.Time, limit int, until time.Time) bool {
	known := w.limit(now)
	if limit > known || limit >= w.Limit {
		return false
	}
	w.learned, w.learnedUntil = limit, later(w.heldUntil(now), until)
	return limit < known
}

// learn believes a limit that the server named. It returns what is new, if
// anything is.
//
// A period that is no configured window's is taken for the nearest one, with
// the limit as named: never more windows than configured, and none that gets
// looser. If that is too lenient, as 40 calls a minute are for "40 per 5
// minutes", further refusals halve the share.
func (l *Ledger) learn(now time.Time, named Window) (added Learned) {
	w := l.nearest(named.Period)
	if w.believe(now, named.Limit, now.Add(learnedFor)) {
		added = Learned{w.Period, w.learned, w.learnedUntil}
	}
	return added
}

// nearest is the window whose period differs least, the longer of two: a limit
// is stricter there. A period that is not known, 0, is nearest to the shortest.
func (l *Ledger) nearest(period time.Duration) *window {
	best := &l.windows[0]
	for i := range l.windows[1:] {
		w := &l.windows[i+1]
		d, least := (w.Period - period).Abs(), (best.Period - period).Abs()
		if d < least || d == least && w.Period > best.Period {
			best = w
		}
	}
	return best
}

// settings are those that the ledger was made with.
func (l *Ledger) settings() Settings {
	s := Settings{Share: l.share.full, Windows: make([]Window, len(l.windows))}
	for i := range l.windows {
		s.Windows[i] = l.windows[i].Window
	}
	return s
}

// learned are the limits in effect that the server named.
func (l *Ledger) learned(now time.Time) (all []Learned) {
	for i := range l.windows {
		if w := &l.windows[i]; !w.heldUntil(now).IsZero() {
			all = append(all, Learned{w.Period, w.learned, w.learnedUntil})
		}
	}
	return all
}
