package life

import (
	"cmp"
	"slices"
	"time"
)

// Entry is one version of an incident. Versions are never changed once they
// are in the tenant, so a page can be written without holding the lock.
type Entry struct {
	Record
	stale bool // superseded or deleted; guarded by the tenant's lock
}

// Index is what lists show: one version of each incident, by last update and
// id. It is used within [Tenant.Do].
type Index struct {
	// Generation is another after every change.
	Generation uint64

	unit     time.Duration // in which times are compared; 0: Resolution
	order    []*Entry
	stale    int  // entries of order that were superseded
	unsorted bool // order needs sorting before it is read
}

// Unit is the resolution in which the service compares times.
func (x *Index) Unit() time.Duration { return max(Resolution, x.unit) }

// SetUnit changes it.
func (x *Index) SetUnit(unit time.Duration) {
	x.unsorted = x.unsorted || unit != x.unit
	x.unit = unit
}

// Compare orders as the index does, oldest first, so that the usual change is
// an append.
func (x *Index) Compare(a, b *Entry) int {
	at, bt := a.Updated, b.Updated
	if unit := x.Unit(); unit > Resolution {
		at, bt = at.Truncate(unit), bt.Truncate(unit)
	}
	return cmp.Or(at.Compare(bt), cmp.Compare(a.ID, b.ID))
}

// Show puts e in the place of old; either may be nil.
func (x *Index) Show(old, e *Entry) {
	x.Generation++
	if old != nil {
		old.stale = true
		x.stale++
	}
	if e == nil {
		return
	}
	if n := len(x.order); n > 0 && x.Compare(x.order[n-1], e) > 0 {
		x.unsorted = true
	}
	x.order = append(x.order, e)
	if x.stale > 1024 && x.stale > len(x.order)/2 {
		x.compact()
	}
}

func (x *Index) compact() {
	x.order = slices.DeleteFunc(x.order, func(e *Entry) bool { return e.stale })
	x.stale = 0
}

// Sorted are all entries, oldest update first. Superseded versions and disorder
// are left until it is called.
func (x *Index) Sorted() []*Entry {
	if x.stale > 0 {
		x.compact()
	}
	if x.unsorted {
		slices.SortFunc(x.order, x.Compare)
		x.unsorted = false
	}
	return x.order
}

// Find is the current version of an incident, nil if there is none. It is
// called within [Tenant.Do].
func (t *Tenant) Find(id int64) *Entry { return t.records[id] }

// put makes r the current version of its incident.
func (t *Tenant) put(r Record) {
	old, e := t.records[r.ID], &Entry{Record: r}
	t.records[r.ID] = e
	t.open.set(r.ID, r.IsOpen())
	t.resolved.set(r.ID, r.Status == Resolved)
	t.Hooks.Publish(t.at, r.ID, old, e)
}

// drop forgets an incident.
func (t *Tenant) drop(id int64) bool {
	e := t.records[id]
	if e == nil {
		return false
	}
	delete(t.records, id)
	t.open.set(id, false)
	t.resolved.set(id, false)
	t.Hooks.Publish(t.at, id, e, nil)
	return true
}

// idSet is a set of ids from which one can be drawn by chance.
type idSet struct {
	ids []int64
	at  map[int64]int
}

func (s *idSet) set(id int64, in bool) {
	i, is := s.at[id]
	switch {
	case in && !is:
		if s.at == nil {
			s.at = make(map[int64]int)
		}
		s.at[id] = len(s.ids)
		s.ids = append(s.ids, id)
	case !in && is:
		last := len(s.ids) - 1
		s.ids[i] = s.ids[last]
		s.at[s.ids[i]] = i
		s.ids = s.ids[:last]
		delete(s.at, id)
	}
}
