package refresh

import (
	"cmp"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// recent is an incident that deltas have to show again.
//
// A delta shows what was updated since it begins, and with that what the deltas before it
// have shown of the same time. If it does not, it was answered by a machine that is behind:
// what it has not shown yet would lie before the next one. So that begins where it has.
type recent struct {
	updated time.Time
	learned time.Time // by our clock
}

const (
	// longestWait is for how long deltas begin there at most: an incident that is not
	// shown again may not exist any more, which only a sweep finds out.
	longestWait = time.Hour
	// longLag is for how long that is not said: an outage of one of the server's machines.
	longLag = 2 * time.Minute
	// few may have vanished.
	few = 5
	// edge is what a bound may leave out of what lies next to it, at most: a server may
	// compare more coarsely than it tells times.
	edge = time.Minute
)

const lagText = "the list of what was updated lately does not show again what it has shown: the server is behind, or does not select by the last update"

// expect notes a version that was taken in.
func (l *Loop) expect(in *incident.Incident) {
	if was, ok := l.recent[in.ID]; !ok || !was.updated.Equal(in.Updated) {
		l.recent[in.ID] = recent{in.Updated, l.now()}
	}
}

// remember expects, after a restart, what deltas have shown before it.
func (l *Loop) remember(now time.Time) {
	if l.Watermark.At.IsZero() {
		return
	}
	for id, updated := range l.mirror.UpdatedSince(l.Watermark.begin(l.opts.Overlap)) {
		if !updated.After(now) {
			l.recent[id] = recent{updated: updated}
		}
	}
}

// behind returns where a complete delta has begun that has not shown all that it had to, zero
// if it has.
func (l *Loop) behind(d *reading, now time.Time) (begun time.Time) {
	begun = d.Listing.Whole[0].From()
	from, owed, missing := begun.Add(min(edge, l.opts.Overlap/4)), 0, 0
	for id, r := range l.recent {
		updated, known := l.mirror.Updated(id)
		_, shown := d.shown[id]
		switch {
		case !known, !updated.Equal(r.updated), updated.Before(begun):
			delete(l.recent, id)
		case !updated.Before(from) && r.learned.Before(d.Started):
			if owed++; !shown {
				missing++
			}
		}
	}
	l.noteLag(missing > few && 2*missing > owed, now)
	some := missing > 0
	if some && l.waits.IsZero() {
		l.waits = now
	}
	if some && now.Sub(l.waits) <= longestWait {
		return begun
	}
	if l.waits = (time.Time{}); some {
		clear(l.recent)
	}
	return time.Time{}
}

// noteLag says so when deltas do not show most of what they have to for long, and has a sweep
// find out what that hides.
func (l *Loop) noteLag(blind bool, now time.Time) {
	if l.BlindAt = cmp.Or(l.BlindAt, now); !blind {
		l.BlindAt = time.Time{}
	}
	was := l.Lags
	l.Lags = blind && now.Sub(l.BlindAt) >= max(longLag, 2*l.Draft.Interval)
	if !l.Lags || was {
		return
	}
	if l.laggedAt.IsZero() || now.Sub(l.laggedAt) > longestWait {
		l.laggedAt, l.NextSweep = now, earlier(l.NextSweep, now)
	}
	l.Draft.LastError, l.Draft.LastErrorAt, l.Draft.LastReason = lagText, now, reason.Incomplete
	l.opts.Logger.Warn("The counts may be behind, everything is read again", "err", lagText)
}
