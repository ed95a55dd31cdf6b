package refresh

import (
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
)

// A delta shows what was updated since it begins, and with that what the deltas before it
// have shown of the same time. If it does not, it was answered by a machine that is behind,
// or by a bound that selects something else: what it has not shown would lie behind the
// watermark. So the watermark waits, for as long as that may last.

// recent is an incident that the deltas have to show again.
type recent struct {
	updated time.Time
	learned time.Time // by our clock
	missed  time.Time // when a delta has first not shown it, zero if the last one has
}

const (
	// maxMissed is for how long an incident that is not shown any more keeps the
	// watermark: it may not exist any more, which a sweep finds out.
	maxMissed = time.Hour
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
		l.recent[in.ID] = recent{updated: in.Updated, learned: l.now()}
	}
}

// behind tells that a complete delta has not shown all that it had to.
func (l *Loop) behind(d *reading, now time.Time) (some bool) {
	oldest := l.Watermark.since(l.opts.Overlap)
	from := d.Listing.Whole[0].From().Add(min(edge, l.opts.Overlap/4))
	for id, r := range l.recent {
		updated, known := l.mirror.Updated(id)
		_, shown := d.shown[id]
		switch {
		case !known, !updated.Equal(r.updated), updated.Before(oldest), !r.missed.IsZero() && now.Sub(r.missed) > maxMissed:
			delete(l.recent, id)
			continue
		case shown:
			r.missed = time.Time{}
		case updated.Before(from), !r.learned.Before(d.Started):
			continue
		default:
			if some = true; r.missed.IsZero() {
				r.missed = now
			}
		}
		l.recent[id] = r
	}
	return some
}
