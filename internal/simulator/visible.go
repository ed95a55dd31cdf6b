package simulator

import (
	"slices"
	"time"
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
	return float64(mix(mix(uint64(id))+salt)>>11)/(1<<53) < share
}

// version is a new version of an incident, nil: it is gone.
type version struct {
	made  time.Time
	id    int64
	entry *entry
}

// change is a version that lists came to show, and the one before.
type change struct {
	at  time.Time
	id  int64
	old *entry // nil: it was not there
}

// publish brings a new version into the lists, now or after the lag. Until then
// shown has what lists show of the incident instead of the latest version.
func (t *Tenant) publish(id int64, old, e *entry) {
	if t.faults.Lag <= 0 {
		t.show(t.at, id, old, e)
		return
	}
	if _, waits := t.shown[id]; !waits {
		t.shown[id] = old
	}
	t.waiting = append(t.waiting, version{t.at, id, e})
}

// publishDue shows what has waited long enough, and forgets what no list is as
// old as.
func (t *Tenant) publishDue(now time.Time) {
	n := 0
	for ; n < len(t.waiting); n++ {
		v := t.waiting[n]
		due := v.made.Add(t.faults.Lag)
		if due.After(now) {
			break
		}
		t.show(due, v.id, t.shown[v.id], v.entry)
		if t.records[v.id] == v.entry {
			delete(t.shown, v.id)
		} else {
			t.shown[v.id] = v.entry
		}
	}
	t.waiting = slices.Delete(t.waiting, 0, n)
	if n = len(t.changes); n > 0 && t.changes[0].at.Before(now.Add(-t.faults.Stale.Age)) {
		old := slices.IndexFunc(t.changes, func(c change) bool { return !c.at.Before(now.Add(-t.faults.Stale.Age)) })
		if old < 0 {
			old = n
		}
		t.changes = slices.Delete(t.changes, 0, old)
	}
}

// show makes e what lists show of the incident, in place of old.
func (t *Tenant) show(at time.Time, id int64, old, e *entry) {
	t.generation++
	if old != nil {
		old.stale = true
		t.stale++
	}
	if t.faults.Stale.Age > 0 {
		t.changes = append(t.changes, change{at, id, old})
	}
	if e == nil {
		return
	}
	if n := len(t.order); n > 0 && t.compare(t.order[n-1], e) > 0 {
		t.unsorted = true
	}
	t.order = append(t.order, e)
	if t.stale > 1024 && t.stale > len(t.order)/2 {
		t.compact()
	}
}

// visible are the rows that this list call knows, in the tenant's own order.
func (t *Tenant) visible() []*entry {
	stale := &t.faults.Stale
	if stale.Age <= 0 || stale.Share > 0 && t.chance.Float64() >= stale.Share {
		return t.sorted()
	}
	return t.asOf(t.at.Add(-stale.Age))
}

// asOf is the tenant's own order as it was.
func (t *Tenant) asOf(at time.Time) []*entry {
	order := t.sorted()
	before := make(map[int64]*entry) // of what changed since
	for _, c := range t.changes {
		if _, again := before[c.id]; c.at.After(at) && !again {
			before[c.id] = c.old
		}
	}
	if len(before) == 0 {
		return order
	}
	rows := make([]*entry, 0, len(order))
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
	slices.SortFunc(rows, t.compare)
	return rows
}
