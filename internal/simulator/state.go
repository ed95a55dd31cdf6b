package simulator

import (
	"cmp"
	"slices"
	"time"
)

// entry is one version of an incident. Versions are never changed once they
// are in the tenant, so a page can be written without holding the lock.
type entry struct {
	Record
	stale bool // superseded or deleted; guarded by the tenant's lock
}

// unit is the resolution in which the service compares times.
func (t *Tenant) unit() time.Duration { return max(resolution, t.faults.Precision) }

// compare orders as the list does, but oldest first, so that the usual change
// is an append.
func (t *Tenant) compare(a, b *entry) int {
	at, bt := a.Updated, b.Updated
	if unit := t.unit(); unit > resolution {
		at, bt = at.Truncate(unit), bt.Truncate(unit)
	}
	return cmp.Or(at.Compare(bt), cmp.Compare(a.ID, b.ID))
}

// put makes r the current version of its incident.
func (t *Tenant) put(r Record) {
	old, e := t.records[r.ID], &entry{Record: r}
	t.records[r.ID] = e
	t.open.set(r.ID, r.isOpen())
	t.resolved.set(r.ID, r.Status == resolved)
	t.publish(r.ID, old, e)
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
	t.publish(id, e, nil)
	return true
}

func (t *Tenant) compact() {
	t.order = slices.DeleteFunc(t.order, func(e *entry) bool { return e.stale })
	t.stale = 0
}

// sorted is what lists show by update time and id, ascending. Superseded
// versions and disorder are put up with until somebody looks.
func (t *Tenant) sorted() []*entry {
	if t.stale > 0 {
		t.compact()
	}
	if t.unsorted {
		slices.SortFunc(t.order, t.compare)
		t.unsorted = false
	}
	return t.order
}

// since is the index of the first of the sorted entries that was updated at
// or after at.
func since(order []*entry, at time.Time) int {
	i, _ := slices.BinarySearchFunc(order, at, func(e *entry, at time.Time) int {
		if e.Updated.Before(at) {
			return -1
		}
		return 1
	})
	return i
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
