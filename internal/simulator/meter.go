package simulator

import (
	"slices"
	"time"
)

// Meter counts what the tenant was asked, from outside, as the real API does.
type Meter struct {
	Lists, Gets, Tokens int
	// Throttled counts answers 429, Refused all others that are not 200.
	Throttled, Refused int
	// Calls are the instants and addresses of all list calls.
	Calls []Received
}

// Received is one list call.
type Received struct {
	At     time.Time
	Query  string
	Status int
}

// Meter returns the counts so far.
func (t *Tenant) Meter() Meter {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.meter
	m.Calls = slices.Clone(m.Calls)
	return m
}

// Most is the largest number of list calls in any window of this length, both
// of its ends included.
func (m Meter) Most(period time.Duration) (most int) {
	first := 0
	for last := range m.Calls {
		for m.Calls[last].At.Sub(m.Calls[first].At) > period {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// since counts the calls in the window that ends now.
func (m *Meter) since(at time.Time) (n int) {
	for i := len(m.Calls) - 1; i >= 0 && m.Calls[i].At.After(at); i-- {
		n++
	}
	return n
}

// throttled tells which limit the newest call exceeds, and for how long.
func (t *Tenant) throttled(now time.Time) (Limit, time.Duration, bool) {
	for _, l := range t.opts.Limits {
		// The call is in the log by now.
		if n := t.meter.since(now.Add(-l.Period)); n > l.Calls {
			oldest := t.meter.Calls[len(t.meter.Calls)-n]
			return l, oldest.At.Add(l.Period).Sub(now), true
		}
	}
	return Limit{}, 0, false
}
