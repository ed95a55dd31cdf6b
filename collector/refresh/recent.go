package refresh

import (
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
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
	// edge is what a bound may leave out of what lies next to it, at most: a server may
	// compare more coarsely than it tells times.
	edge = time.Minute
)

// expect notes a version that was taken in.
func (l *Loop) expect(in *incident.Incident, p pass.Pass) {
	if p == pass.Delta {
		l.delta.shown[in.ID] = struct{}{}
	}
	if was, ok := l.recent[in.ID]; !ok || !was.updated.Equal(in.Updated) {
		l.recent[in.ID] = recent{in.Updated, l.now()}
	}
}

// behind returns where a complete delta has begun that has not shown all that it had to, zero
// if it has.
func (l *Loop) behind(d *reading, now time.Time) (begun time.Time) {
	begun = d.Listing.Whole[0].From()
	from, some := begun.Add(min(edge, l.opts.Overlap/4)), false
	for id, r := range l.recent {
		updated, known := l.mirror.Updated(id)
		_, shown := d.shown[id]
		switch {
		case !known, !updated.Equal(r.updated), updated.Before(begun):
			delete(l.recent, id)
		case !shown && !updated.Before(from) && r.learned.Before(d.Started):
			some = true
		}
	}
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
