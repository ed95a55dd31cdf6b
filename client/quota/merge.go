package quota

import (
	"slices"
	"time"
)

// Origin is a ledger that grants of a Log came from.
type Origin struct {
	// Ledger is its Options.ID.
	Ledger uint64
	// Grants is how many of its grants the Log knows of, those that no window sees
	// any more and those that were canceled included.
	Grants uint64
	// At is when it gave the last of them.
	At time.Time
}

// origins are the ledgers whose grants are known, this one included. A grant has
// no name: it is enough to know how many grants of each ledger are counted, for
// of those that another Log knows beside them none ends later than the last ones
// of that Log.
type origins struct {
	own uint64 // ID
	all []Origin
}

// of is how many grants of a ledger are known.
func (o *origins) of(ledger uint64) uint64 {
	for i := range o.all {
		if o.all[i].Ledger == ledger {
			return o.all[i].Grants
		}
	}
	return 0
}

// add counts grants of this ledger.
func (o *origins) add(n int, now time.Time) {
	o.learn(Origin{o.own, o.of(o.own) + uint64(n), now})
}

// learn takes over what is known elsewhere.
func (o *origins) learn(other Origin) {
	i := slices.IndexFunc(o.all, func(known Origin) bool { return known.Ledger == other.Ledger })
	if i < 0 {
		o.all = append(o.all, other)
		return
	}
	o.all[i].Grants = max(o.all[i].Grants, other.Grants)
	o.all[i].At = later(o.all[i].At, other.At)
}

// unknown is how many grants others know of and this ledger does not.
func (o *origins) unknown(others []Origin) (n uint64) {
	for _, other := range others {
		if known := o.of(other.Ledger); other.Grants > known {
			n += other.Grants - known
		}
	}
	return n
}

// forget drops the ledgers none of whose known grants any window sees.
func (o *origins) forget(now time.Time, longest time.Duration) {
	// The last of them may have been in flight for maxFlight.
	o.all = slices.DeleteFunc(o.all, func(known Origin) bool { return now.Sub(known.At) > longest+maxFlight+slack })
}

// Merge adds what others have spent beside this ledger, by the log of the ledger
// that they took their grants from: of a replica that has lost the tenant, say.
// What both know of counts once, so that it does no harm to merge a log twice or
// late; in doubt too much is counted, never too little. A block, a lower share and
// limits that were learned are taken over as by Restore.
//
// calls is how many grants were not known and count from now on.
func (l *Ledger) Merge(now time.Time, log Log) (calls int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.forget(now, l.longest)
	l.origins.forget(now, l.longest)
	grants := log.Grants
	if len(log.Origins) > 0 {
		unknown := min(uint64(len(grants)), l.origins.unknown(log.Origins))
		grants = grants[uint64(len(grants))-unknown:]
	}
	log.Grants = grants
	return l.restore(now, log)
}

// Own is a log of this ledger without what it knows of others: for who hands in what
// it has spent. Each has all of its grants, so that it does not matter which of
// several is merged first.
func (l *Ledger) Own(log Log) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.origins.of(l.origins.own)
	log.Grants = log.Grants[uint64(len(log.Grants))-min(own, uint64(len(log.Grants))):]
	log.Origins = slices.DeleteFunc(slices.Clone(log.Origins), func(o Origin) bool { return o.Ledger != l.origins.own })
	return log
}

// Later is the log with all its instants moved by so much, rounded up to whole
// milliseconds; earlier if that is negative. It makes the wall clock of another
// machine this one's: if a third clock tells how old a log is, then that log's At
// is so long before now.
func (l Log) Later(by time.Duration) Log {
	if by > 0 {
		by += tick - 1
	}
	by = by.Truncate(tick)
	moved := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(by)
	}
	l.At, l.RefusedAt, l.HalvedAt, l.BlockedUntil = moved(l.At), moved(l.RefusedAt), moved(l.HalvedAt), moved(l.BlockedUntil)
	l.Grants, l.Learned, l.Origins = slices.Clone(l.Grants), slices.Clone(l.Learned), slices.Clone(l.Origins)
	for i := range l.Grants {
		l.Grants[i].At = moved(l.Grants[i].At)
	}
	for i := range l.Learned {
		l.Learned[i].Until = moved(l.Learned[i].Until)
	}
	for i := range l.Origins {
		l.Origins[i].At = moved(l.Origins[i].At)
	}
	return l
}
