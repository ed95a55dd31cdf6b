package simulator

import (
	"cmp"
	"slices"
	"time"
)

// Record is an incident in the spelling of the native API.
type Record struct {
	ID, Redirect                                    int64
	Created, Updated                                time.Time
	Severity, Status, Classification, Determination string
	AssignedTo                                      string // empty: null
	Alerts                                          []Alert

	index int // in Tenant.open or Tenant.resolved
}

// Alert is one alert of an incident.
type Alert struct {
	Severity, Status, Source, Category string
	Entities                           int
}

func (r *Record) isOpen() bool { return r.Status != "Resolved" && r.Status != "Redirected" }

func byUpdate(a, b *Record) int {
	return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.ID, a.ID))
}

// change applies f to a record and puts it where it then belongs.
func (t *Tenant) change(r *Record, at time.Time, f func(*Record)) {
	t.unlink(r)
	r.Updated = at
	if f != nil {
		f(r)
	}
	t.link(r)
}

func (t *Tenant) link(r *Record) {
	i, _ := slices.BinarySearchFunc(t.order, r, byUpdate)
	t.order = slices.Insert(t.order, i, r)
	t.file(r)
}

// file makes a record known under its id, and as one that can be picked.
func (t *Tenant) file(r *Record) {
	t.byID[r.ID] = r
	if list := t.pool(r); list != nil {
		r.index = len(*list)
		*list = append(*list, r)
	}
}

func (t *Tenant) unlink(r *Record) {
	if i, ok := slices.BinarySearchFunc(t.order, r, byUpdate); ok {
		t.order = slices.Delete(t.order, i, i+1)
	}
	delete(t.byID, r.ID)
	if list := t.pool(r); list != nil {
		last := (*list)[len(*list)-1]
		(*list)[r.index] = last
		last.index = r.index
		*list = (*list)[:len(*list)-1]
	}
}

// pool is the list from which life picks a record of this status.
func (t *Tenant) pool(r *Record) *[]*Record {
	switch {
	case r.isOpen():
		return &t.open
	case r.Status == "Resolved":
		return &t.resolved
	}
	return nil
}

// Create adds an incident; f may change what it is by default: active, new,
// nobody's.
func (t *Tenant) Create(f func(*Record)) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	r := t.create(t.now())
	t.change(r, r.Updated, f)
	return r.ID
}

// Update changes an incident now; f may even set the last update. It is false
// if there is none with this id.
func (t *Tenant) Update(id int64, f func(*Record)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	r, ok := t.byID[id]
	if ok {
		t.change(r, t.now(), f)
	}
	return ok
}

// Merge redirects an incident to another one, to which its alerts move.
func (t *Tenant) Merge(src, dst int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	if a, b := t.byID[src], t.byID[dst]; a != nil && b != nil && a != b {
		t.merge(a, b, t.now())
	}
}

// Delete makes an incident vanish without a trace.
func (t *Tenant) Delete(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	if r, ok := t.byID[id]; ok {
		t.unlink(r)
	}
}

// lateChange is a change that has happened but is not visible yet.
type lateChange struct {
	visible, at time.Time
	id          int64
	f           func(*Record)
}

// UpdateLate changes an incident now, which becomes visible only after the
// delay, with the last update that it has now.
func (t *Tenant) UpdateLate(id int64, delay time.Duration, f func(*Record)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	now := t.now()
	t.late = append(t.late, lateChange{now.Add(delay), now, id, f})
}

// IDs lists the incidents with this status, newest last update first; all if
// it is empty.
func (t *Tenant) IDs(status string) (ids []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	for _, r := range t.order {
		if status == "" || r.Status == status {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
