package quota

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/retryafter"
)

// Log is what a ledger has to remember over a restart. It is a plain value with
// a packed form, see MarshalBinary. Its instants are wall clock times in UTC,
// in whole milliseconds, rounded to the side on which a ledger that goes on from
// them is not more generous.
type Log struct {
	// At is when the log was made.
	At time.Time
	// Closed: it is the last one, made when no call was on its way any more.
	// Otherwise its ledger fell silent.
	Closed bool
	// Settings are those of the ledger. Learned holds under no others.
	Settings Settings
	// Grants are those of the longest window, oldest first, and after them
	// those in flight.
	Grants []Entry
	// Origins are the ledgers that the grants came from. In a log without any, all
	// grants count as unknown to everyone else.
	Origins []Origin
	// Learned are the limits in effect that the server named.
	Learned []Learned
	// Factor is the fraction of the configured share that was in effect at
	// RefusedAt, the instant of the last refusal. Zero is taken for 1.
	Factor    float64
	RefusedAt time.Time
	// HalvedAt is when the share was last halved.
	HalvedAt time.Time
	// BlockedUntil is the end of the latest block.
	BlockedUntil time.Time
	// Consecutive counts the refusals since the last success.
	Consecutive int
}

// Entry is one grant of a Log.
type Entry struct {
	// At is when its attempt ended, or was granted if it is in flight.
	At       time.Time
	Pass     pass.Pass
	InFlight bool
}

const (
	// maxConsecutive is far beyond the count that no longer changes the wait.
	maxConsecutive = 1000

	// tick is the unit of the instants in a Log, as in UnixMilli.
	tick = time.Millisecond
)

// Log returns the state of the ledger. To be safe from a crash, save it after
// Take and before the call is sent.
func (l *Ledger) Log(now time.Time) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log(now, false)
}

// Final returns the last log of a ledger whose calls are all over: those that
// were never settled count as settled now. Save it after a clean stop.
//
// Calls that a predecessor left in flight stay so.
func (l *Ledger) Final(now time.Time) Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log(now, true)
}

func (l *Ledger) log(now time.Time, closed bool) Log {
	l.history.forget(now, l.longest)
	l.origins.forget(now, l.longest)
	wall := wallClock(now)
	log := Log{
		At:           wall.of(now),
		Closed:       closed,
		Settings:     l.settings(),
		Origins:      slices.Clone(l.origins.all),
		Learned:      l.learned(now),
		Factor:       l.share.current / l.share.full,
		RefusedAt:    wall.of(l.share.lastRefusal),
		HalvedAt:     wall.before(l.share.lastHalving),
		BlockedUntil: wall.of(l.blockedUntil),
		Consecutive:  l.consecutive,
	}
	for i := range log.Origins {
		log.Origins[i].At = wall.of(log.Origins[i].At)
	}
	for i := range log.Learned {
		log.Learned[i].Until = wall.of(log.Learned[i].Until)
	}
	if n := l.history.used(now, l.longest); n > 0 {
		log.Grants = make([]Entry, 0, n)
	}
	var ahead []Entry // in flight
	counted := l.history.counted(now, l.longest)
	for p := counted.oldest(); p >= 0; p = counted.oldest() {
		t := counted.pop(p)
		if t.After(now) {
			ahead = append(ahead, Entry{wall.of(t.Add(-maxFlight)), pass.Pass(p), true})
		} else {
			log.Grants = append(log.Grants, Entry{wall.of(t), pass.Pass(p), false})
		}
	}
	for _, f := range l.history.flights {
		if closed {
			log.Grants = append(log.Grants, Entry{wall.of(later(f.taken, now)), f.pass, false})
		} else {
			ahead = append(ahead, Entry{wall.of(f.taken), f.pass, true})
		}
	}
	slices.SortStableFunc(ahead, func(a, b Entry) int { return a.At.Compare(b.At) })
	log.Grants = append(log.Grants, ahead...)
	return log
}

// Restore goes on from the last log of a predecessor. It is meant for a fresh
// ledger: what that holds already stays, and nothing makes it more generous.
//
// A predecessor that closed has settled its calls: in its Final log none of them
// is in flight. One that fell silent may have sent what its last Log has in
// flight, and that it ended is not known: until 15 minutes after it was granted
// it stays in flight. It counts as first if it was a delta, lest it take a place
// that is reserved.
//
// Limits that were learned are taken over if the settings are the same. Instants
// after now come from a clock that was set back: they count as now, and nothing
// holds longer than it could if it had begun now.
func (l *Ledger) Restore(now time.Time, log Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restore(now, log)
}

// restore adds what a log remembers, and tells how many of the grants count.
func (l *Ledger) restore(now time.Time, log Log) (counted int) {
	for _, o := range log.Origins {
		l.origins.learn(Origin{o.Ledger, o.Grants, fromWallClock(now, o.At, 0)})
	}
	if len(log.Origins) == 0 && len(log.Grants) > 0 {
		l.origins.add(len(log.Grants), now) // they are this ledger's from now on
	}
	if log.Settings.equal(l.settings()) {
		l.restoreLearned(now, log.Learned)
	}
	for _, e := range log.Grants {
		at, p := fromWallClock(now, e.At, 0), min(e.Pass, pass.Sweep)
		if e.InFlight {
			at, p = at.Add(maxFlight), max(p, pass.First)
		}
		if now.Sub(at) < l.longest+slack {
			l.history.insert(at, p)
			counted++
		}
	}
	if log.Factor > 0 && log.Factor < 1 && !log.RefusedAt.IsZero() {
		saved := share{
			full:        l.share.full,
			current:     max(l.share.least(), l.share.full*log.Factor),
			lastRefusal: fromWallClock(now, log.RefusedAt, 0),
			lastHalving: fromWallClock(now, log.HalvedAt, 0),
		}
		l.share.merge(now, saved)
	}
	l.blockedUntil = later(l.blockedUntil, fromWallClock(now, log.BlockedUntil, retryafter.Max))
	l.consecutive = max(l.consecutive, min(log.Consecutive, maxConsecutive))
	return counted
}

// restoreLearned takes over limits that hold still.
func (l *Ledger) restoreLearned(now time.Time, limits []Learned) {
	for _, limit := range limits {
		until := fromWallClock(now, limit.Until, learnedFor)
		for i := range l.windows {
			if w := &l.windows[i]; w.Period == limit.Period && limit.Limit > 0 && until.After(now) {
				w.believe(now, limit.Limit, until)
			}
		}
	}
}

// RestoreLost goes on from a ledger of which nothing is known, although it may
// have handed out grants until now. What this one knows already is part of that.
//
// It assumes the worst that a predecessor with the same settings can have done
// within the rules: the shortest window full now, with calls that are in flight
// still, and before that all windows filled as late as possible. No other
// history has more calls in any time that ends now, so that every window stays
// exact, in a crash loop as well. With the native limits the first grant comes
// after half an hour, with those of Graph after 16 minutes. Whatever there was
// counts as a sweep, lest a delta have to wait for others once there is room.
func (l *Ledger) RestoreLost(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := l.latest(now)
	l.history = history{}
	for _, end := range slices.Backward(ends) {
		l.history.insert(end, pass.Sweep)
	}
	l.origins.add(len(ends), now)
}

// latest are the ends of attempts, the last one first, none of which could be
// later within the rules.
//
// Of so many attempts as fit into a window, and one more, the first has ended
// more than a period and the slack before the last one was granted. So no end can
// be later than the one that is a window's worth of grants after it, less the
// period and the slack; and taking the latest that this allows for each makes
// none of the others earlier.
func (l *Ledger) latest(now time.Time) (ends []time.Time) {
	flights := maxLimit
	for i := range l.windows {
		flights = min(flights, portion(l.windows[i].Limit, l.share.full))
	}
	for t := now; now.Sub(t) < l.longest+slack; {
		ends = append(ends, t)
		for i := range l.windows {
			w := &l.windows[i]
			if n := len(ends) - portion(w.Limit, l.share.full); n >= 0 {
				if latest := ends[n].Add(-w.Period - slack); latest.Before(t) {
					t = latest
				}
			}
		}
	}
	// As many as can be in flight at once are: they may arrive until they are
	// taken for over.
	for i := range min(flights, len(ends)) {
		ends[i] = now.Add(maxFlight)
	}
	return ends
}

// wallClock makes wall clock times of instants, as of the wall clock that shows
// it: that may have been set since the instants were recorded.
type wallClock time.Time

// of is the time in whole ticks, rounded up; zero for zero.
func (c wallClock) of(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return c.before(t.Add(tick - 1))
}

// before is the time in whole ticks, rounded down; zero for zero.
func (c wallClock) before(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	now := time.Time(c)
	return time.UnixMilli(now.Round(0).Add(t.Sub(now)).UnixMilli()).UTC()
}

// fromWallClock makes an instant of a wall clock time, at most ahead after now,
// with the monotonic reading of now.
func fromWallClock(now, t time.Time, ahead time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(min(t.Sub(now), ahead))
}
