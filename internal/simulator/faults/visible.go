package faults

import (
	"slices"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// What lists show is not always what is so: rows are hidden, changes appear
// late, and some answers are old. Calls by id and the truth know better.

// Stale lists answer as of an instant in the past.
type Stale struct {
	// Age is how long ago; 0: lists are of now. Only what changes while it is
	// set is remembered.
	Age time.Duration
	// Share is the chance of a list call to be so; 0 means 1.
	Share float64
}

// Salts make choices of rows independent of each other.
const (
	saltHide = iota + 1
	saltIDs
	saltEnums
	saltAlerts
	saltAhead
	saltBack
)

// chosen picks a share of the incidents, always the same.
func chosen(id int64, share float64, salt uint64) bool {
	if share <= 0 || share >= 1 {
		return share >= 1
	}
	return float64(life.Spread(life.Spread(uint64(id))+salt)>>11)/(1<<53) < share
}

// version is a new version of an incident, nil: it is gone.
type version struct {
	made  time.Time
	id    int64
	entry *life.Entry
}

// change is a version that lists came to show, and the one before.
type change struct {
	at  time.Time
	id  int64
	old *life.Entry // nil: it was not there
}

// publish brings a new version into the lists, now or after the lag. Until then
// shown has what lists show of the incident instead of the latest version.
func (m *Misbehaviour) publish(at time.Time, id int64, old, e *life.Entry) {
	if m.faults.Lag <= 0 {
		m.show(at, id, old, e)
		return
	}
	if _, waits := m.shown[id]; !waits {
		m.shown[id] = old
	}
	m.waiting = append(m.waiting, version{at, id, e})
}

// settle shows what has waited long enough, and forgets what no list is as
// old as.
func (m *Misbehaviour) settle(now time.Time) {
	n := 0
	for ; n < len(m.waiting); n++ {
		v := m.waiting[n]
		due := v.made.Add(m.faults.Lag)
		if due.After(now) {
			break
		}
		m.show(due, v.id, m.shown[v.id], v.entry)
		if m.Find(v.id) == v.entry {
			delete(m.shown, v.id)
		} else {
			m.shown[v.id] = v.entry
		}
	}
	m.waiting = slices.Delete(m.waiting, 0, n)
	if n = len(m.changes); n > 0 && m.changes[0].at.Before(now.Add(-m.faults.Stale.Age)) {
		old := slices.IndexFunc(m.changes, func(c change) bool { return !c.at.Before(now.Add(-m.faults.Stale.Age)) })
		if old < 0 {
			old = n
		}
		m.changes = slices.Delete(m.changes, 0, old)
	}
}

// show makes e what lists show of the incident, in place of old.
func (m *Misbehaviour) show(at time.Time, id int64, old, e *life.Entry) {
	if m.faults.Stale.Age > 0 {
		m.changes = append(m.changes, change{at, id, old})
	}
	m.Index.Show(old, e)
}

// visible are the rows that this list call knows, in the tenant's own order.
func (m *Misbehaviour) visible(now time.Time) []*life.Entry {
	stale := &m.faults.Stale
	if stale.Share > 0 && m.Incidents.Chance.Float64() >= stale.Share {
		return m.Index.Sorted()
	}
	return m.asOf(now.Add(-stale.Age))
}

// asOf is the tenant's own order as it was.
func (m *Misbehaviour) asOf(at time.Time) []*life.Entry {
	order := m.Index.Sorted()
	before := make(map[int64]*life.Entry) // of what changed since
	for _, c := range m.changes {
		if _, again := before[c.id]; c.at.After(at) && !again {
			before[c.id] = c.old
		}
	}
	if len(before) == 0 {
		return order
	}
	rows := make([]*life.Entry, 0, len(order))
	for _, e := range order {
		if _, changed := before[e.ID]; !changed {
			rows = append(rows, e)
		}
	}
	for _, e := range before {
		if e != nil {
			rows = append(rows, e)
		}
	}
	slices.SortFunc(rows, m.Index.Compare)
	return rows
}

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
// incident and the instant, so that no call changes the outcome.
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
func (m *Misbehaviour) stamp(id int64, last, at time.Time) time.Time {
	switch {
	case m.faults.Ahead.hits(id, at, saltAhead):
		return at.Add(m.faults.Ahead.By)
	case !last.IsZero() && m.faults.Back.hits(id, at, saltBack):
		return last.Add(-m.faults.Back.By)
	}
	return at
}
