package service

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/simulator/odata"
)

// Meter is the server's own account of what reached it, whatever a client
// takes for spent.
type Meter struct {
	// Calls received by the list, Gets by id, and Tokens requests, whatever the
	// answer was; Other is everything else.
	Calls, Gets, Tokens, Other int
	// GraphCalls are the calls of both kinds that Graph received.
	GraphCalls int
	// Throttled is the number of 429 answers of the API.
	Throttled int
	// MaxPerMinute and MaxPerHour are the most list calls that were received in
	// any 60 and 3,600 seconds, closed at both ends: two calls exactly a minute
	// apart are in one minute here. MaxGetsPerMinute and MaxGetsPerHour are the
	// same for calls by id, MaxGraphPerMinute for those of Graph.
	MaxPerMinute, MaxPerHour         int
	MaxGetsPerMinute, MaxGetsPerHour int
	MaxGraphPerMinute                int
	// Foreign requests to another host, which a careful client never sends, and
	// how many of them carried credentials. They are seen without a network only.
	Foreign, ForeignWithCredentials int
	// Plain requests by http, and how many of them carried credentials; likewise.
	Plain, PlainWithCredentials int
	// Log has the last 10,000 requests, oldest first.
	Log []Request
}

// Request is one line of the meter's log.
type Request struct {
	At          time.Time // server's clock
	Method      string
	Path, Query string // Query as it was on the wire
	// Status of the answer, 0 if the connection was dropped before it.
	Status int
}

const maxLog = 10_000

func (m *Meter) log(r Request) {
	if len(m.Log) >= 2*maxLog {
		m.Log = append(m.Log[:0], m.Log[len(m.Log)-maxLog:]...)
	}
	m.Log = append(m.Log, r)
}

// Meter returns the account so far.
func (s *Service) Meter() (m Meter) {
	s.Do(func(time.Time) {
		m = s.Account
		m.MaxPerMinute, m.MaxPerHour = s.list.perMinute, s.list.perHour
		m.MaxGraphPerMinute = s.calls.perMinute
		m.MaxGetsPerMinute, m.MaxGetsPerHour = s.get.perMinute, s.get.perHour
		m.Log = slices.Clone(m.Log[max(0, len(m.Log)-maxLog):])
	})
	return m
}

// window has the instants of the calls of the last hour, or of the longest
// limit if that is longer, in ascending order.
type window struct {
	at                 []time.Time
	perMinute, perHour int
}

// received adds a call. A fullest window can always be chosen so that it ends
// at a call, therefore it is enough to look back from each.
func (w *window) received(now time.Time, limits []odata.Limit) {
	if n := len(w.at); n > 0 && now.Before(w.at[n-1]) {
		now = w.at[n-1] // a clock that was set back does not unmake calls
	}
	w.at = append(w.at, now)
	keep := time.Hour
	for _, l := range limits {
		keep = max(keep, l.Period)
	}
	w.perMinute = max(w.perMinute, len(w.at)-w.index(now.Add(-time.Minute)))
	w.perHour = max(w.perHour, len(w.at)-w.index(now.Add(-time.Hour)))
	// Forget in strides, to copy seldom.
	if old := w.index(now.Add(-keep)); old > len(w.at)/2 {
		w.at = append(w.at[:0], w.at[old:]...)
	}
}

// index of the first call at or after at.
func (w *window) index(at time.Time) int {
	i, _ := slices.BinarySearchFunc(w.at, at, func(a, b time.Time) int {
		if a.Before(b) {
			return -1
		}
		return 1
	})
	return i
}

// exceeded is the limit that the latest call is over, if any, and how long it
// takes until a call would be within it if there were no more until then.
func (w *window) exceeded(limits []odata.Limit) (over odata.Limit, wait time.Duration) {
	now := w.at[len(w.at)-1]
	for _, l := range limits {
		n := len(w.at) - w.index(now.Add(-l.Period+1))
		if n <= l.Calls {
			continue
		}
		// A call is within it again when only Calls-1 others count.
		free := l.Period
		if l.Calls > 0 {
			free = w.at[len(w.at)-l.Calls].Add(l.Period).Sub(now)
		}
		if free > wait {
			over, wait = l, free
		}
	}
	return over, wait
}
