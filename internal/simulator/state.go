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

// compare orders as the list does, but oldest first, so that the usual change
// is an append.
func compare(a, b *entry) int {
	return cmp.Or(a.Updated.Compare(b.Updated), cmp.Compare(a.ID, b.ID))
}

// put makes r the current version of its incident.
func (t *Tenant) put(r Record) {
	e := &entry{Record: r}
	if old := t.records[r.ID]; old != nil {
		old.stale = true
		t.stale++
	}
	t.records[r.ID] = e
	if n := len(t.order); n > 0 && compare(t.order[n-1], e) > 0 {
		t.unsorted = true
	}
	t.order = append(t.order, e)
	if t.stale > 1024 && t.stale > len(t.order)/2 {
		t.compact()
	}
	t.open.set(r.ID, r.isOpen())
	t.resolved.set(r.ID, r.Status == resolved)
}

// drop forgets an incident.
func (t *Tenant) drop(id int64) bool {
	e := t.records[id]
	if e == nil {
		return false
	}
	e.stale = true
	t.stale++
	delete(t.records, id)
	t.open.set(id, false)
	t.resolved.set(id, false)
	return true
}

func (t *Tenant) compact() {
	t.order = slices.DeleteFunc(t.order, func(e *entry) bool { return e.stale })
	t.stale = 0
}

// sorted is the current versions by update time and id, ascending. Superseded
// versions and disorder are put up with until somebody looks.
func (t *Tenant) sorted() []*entry {
	if t.stale > 0 {
		t.compact()
	}
	if t.unsorted {
		slices.SortFunc(t.order, compare)
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
