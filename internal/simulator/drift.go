package simulator

import "time"

// Drift moves the update time that a change gets: in what rows show, in what
// filters compare, in lists and by id.
type Drift struct {
	// By is how far; 0: not at all.
	By time.Duration
	// Share is the chance of a change to be hit; 0 means 1. Count ends it after
	// so many changes; 0: never.
	Share float64
	Count int
}

// hits decides about one change and counts it. It depends on nothing but the
// incident and the instant, so that nobody who looks on changes the outcome.
func (d *Drift) hits(id int64, at time.Time, salt uint64) bool {
	if d.By == 0 || d.Count < 0 {
		return false
	}
	if d.Share > 0 && !chosen(id^at.UnixNano(), d.Share, salt) {
		return false
	}
	return countDown(&d.Count)
}

// stamp is the update time of a change that is made at the given instant to an
// incident that was last updated at last, zero if it is new.
func (t *Tenant) stamp(id int64, last, at time.Time) time.Time {
	switch {
	case t.faults.Ahead.hits(id, at, saltAhead):
		return at.Add(t.faults.Ahead.By)
	case !last.IsZero() && t.faults.Back.hits(id, at, saltBack):
		return last.Add(-t.faults.Back.By)
	}
	return at
}
