package replica

import "time"

// Beat is what a replica was seen at: how often it has beaten.
type Beat struct {
	// Identity tells this life of the replica from others.
	Identity string
	Count    uint64
}

// Observer finds out which replicas have fallen silent: those whose count has not
// changed for the patience, by the clock of the observer alone. No clock is
// compared with another machine's. It belongs to one goroutine.
type Observer struct {
	patience time.Duration
	pause    time.Duration
	last     time.Time
	seen     map[string]observation
}

// observation is how long a beat has been the last one.
type observation struct {
	count uint64
	since time.Time
}

// NewObserver returns one that has seen nobody. The observations are meant to be
// made every interval, which the replicas beat at, too.
func NewObserver(patience, interval time.Duration) *Observer {
	return &Observer{
		patience: patience,
		// During a pause others may not have been able to beat either, and are an
		// interval late at the next beat. A quarter of the patience is no reason to
		// think so.
		pause: max(interval*3/2, patience/4),
		seen:  map[string]observation{},
	}
}

// Observe is told of all replicas as they are at now, which has a monotonic clock,
// and returns those that have been silent for the patience. After a pause, be it
// that what tells of the beats was out of reach or that this process did not run,
// the observations begin anew: those that could not beat either are not struck
// off for it.
func (o *Observer) Observe(now time.Time, beats []Beat) (silent []Beat) {
	if now.Sub(o.last) > o.pause {
		clear(o.seen)
	}
	o.last = now
	seen := make(map[string]observation, len(beats))
	for _, b := range beats {
		was, known := o.seen[b.Identity]
		if !known || was.count != b.Count {
			was = observation{b.Count, now}
		}
		seen[b.Identity] = was
		if now.Sub(was.since) >= o.patience {
			silent = append(silent, b)
		}
	}
	o.seen = seen
	return silent
}
