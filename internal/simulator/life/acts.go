package life

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The deliberate acts. Each lets life go on up to the present first and then
// sets the incident's update time to the server's now, unless Hooks.Stamp says
// otherwise. Those that take an id return it, or 0 if there is no such incident.

// Create makes an incident and returns its id.
func (t *Tenant) Create(spec Spec) (id int64) {
	t.Do(func(now time.Time) { id = t.create(spec, now) })
	return id
}

func (t *Tenant) create(spec Spec, now time.Time) int64 {
	t.lastID++
	r := Record{
		ID: t.lastID, RedirectID: spec.RedirectID,
		Name:           cmp.Or(spec.Name, fmt.Sprintf("Deliberate incident %d", t.lastID)),
		Status:         cmp.Or(spec.Status, Active),
		Severity:       cmp.Or(spec.Severity, "Medium"),
		Classification: cmp.Or(spec.Classification, "Unknown"),
		Determination:  cmp.Or(spec.Determination, "NotAvailable"),
		AssignedTo:     spec.AssignedTo,
		Created:        spec.Created, Updated: spec.Updated,
		Tags: slices.Clone(spec.Tags),
	}
	if r.Created.IsZero() {
		r.Created = now
		if !r.Updated.IsZero() && r.Updated.Before(now) {
			r.Created = r.Updated
		}
	}
	if r.Updated.IsZero() {
		r.Updated = t.Hooks.Stamp(r.ID, time.Time{}, now)
	}
	t.giveAlerts(&r, spec.Alerts)
	t.put(normal(r))
	return r.ID
}

func (t *Tenant) giveAlerts(r *Record, alerts []Alert) {
	if alerts == nil {
		a := t.inventAlert(t.deliberate, r, r.Created)
		a.Status, a.Severity = AlertNew, r.Severity
		r.Alerts = []Alert{a}
		return
	}
	r.Alerts = slices.Clone(alerts)
	for i := range r.Alerts {
		a := &r.Alerts[i]
		if a.Number == 0 {
			t.alerts++
			a.Number = t.alerts
		}
		if a.Created.IsZero() {
			a.Created = r.Created
		}
		if a.Updated.IsZero() {
			a.Updated = a.Created
		}
	}
}

// normal brings timestamps into the Resolution and zone of the wire, so that
// what is compared is what is read.
func normal(r Record) Record {
	r.Created = r.Created.UTC().Truncate(Resolution)
	r.Updated = r.Updated.UTC().Truncate(Resolution)
	return r
}

// Update changes an incident. If change sets Updated itself, that stands.
func (t *Tenant) Update(id int64, change func(*Record)) int64 {
	return t.act(id, func(now time.Time) bool { return t.update(id, now, change) })
}

// Touch changes nothing but the update time.
func (t *Tenant) Touch(id int64) int64 { return t.Update(id, func(*Record) {}) }

// Assign gives the incident to an analyst, or takes it from all if empty. An
// active incident becomes InProgress.
func (t *Tenant) Assign(id int64, who string) int64 {
	return t.act(id, func(now time.Time) bool { return t.assign(id, who, now) })
}

// Comment adds a comment to the incident.
func (t *Tenant) Comment(id int64) int64 { return t.Update(id, func(r *Record) { r.Comments++ }) }

// Resolve closes the incident and its alerts. Empty words mean Unknown and
// NotAvailable, which is what most people leave.
func (t *Tenant) Resolve(id int64, classification, determination string) int64 {
	return t.act(id, func(now time.Time) bool { return t.resolve(id, classification, determination, now) })
}

// Reopen makes the incident active again, without its verdict.
func (t *Tenant) Reopen(id int64) int64 {
	return t.act(id, func(now time.Time) bool { return t.reopen(id, now) })
}

// Merge closes src as Redirected into dst and moves its alerts, of which dst
// keeps 150 at most. Both are updated. It returns dst, or 0 if either is
// missing. Chains, loops and an incident merged into itself are possible.
func (t *Tenant) Merge(src, dst int64) int64 {
	return t.act(dst, func(now time.Time) bool { return t.merge(src, dst, now) })
}

// Delete lets the incident vanish: lists omit it, asking for it gives 404.
func (t *Tenant) Delete(id int64) int64 {
	return t.act(id, func(time.Time) bool { return t.drop(id) })
}

// LateUpdate changes the incident now, but until delay has passed all callers
// see the version of before; then the change appears with the update time of
// now, in the past. The truth is what can be seen.
func (t *Tenant) LateUpdate(id int64, delay time.Duration, change func(*Record)) int64 {
	return t.act(id, func(now time.Time) bool {
		if t.records[id] == nil {
			return false
		}
		t.late = append(t.late, late{due: now.Add(delay), made: now, id: id, change: change})
		slices.SortStableFunc(t.late, func(a, b late) int { return a.due.Compare(b.due) })
		t.advance(now)
		return true
	})
}

// Record is the visible version of an incident.
func (t *Tenant) Record(id int64) (r Record, exists bool) {
	t.Do(func(time.Time) {
		if e := t.records[id]; e != nil {
			r, exists = e.Clone(), true
		}
	})
	return r, exists
}

// IDs lists the incidents of the given statuses, in ascending order; all
// incidents if none is given.
func (t *Tenant) IDs(statuses ...string) []int64 {
	var ids []int64
	t.Do(func(time.Time) {
		for id, e := range t.records {
			if len(statuses) == 0 || slices.Contains(statuses, e.Status) {
				ids = append(ids, id)
			}
		}
	})
	slices.Sort(ids)
	return ids
}

func (t *Tenant) act(id int64, do func(now time.Time) bool) int64 {
	t.Do(func(now time.Time) {
		if !do(now) {
			id = 0
		}
	})
	return id
}

func (t *Tenant) update(id int64, at time.Time, change func(*Record)) bool {
	e := t.records[id]
	if e == nil {
		return false
	}
	r := e.Clone()
	change(&r)
	r.ID = id
	if r.Updated.Equal(e.Updated) {
		r.Updated = t.Hooks.Stamp(id, e.Updated, at)
	}
	t.put(normal(r))
	return true
}

func (t *Tenant) assign(id int64, who string, at time.Time) bool {
	return t.update(id, at, func(r *Record) {
		r.AssignedTo = who
		if who != "" && r.Status == Active {
			r.Status = InProgress
		}
	})
}

func (t *Tenant) resolve(id int64, classification, determination string, at time.Time) bool {
	return t.update(id, at, func(r *Record) {
		r.Status = Resolved
		r.Classification = cmp.Or(classification, "Unknown")
		r.Determination = cmp.Or(determination, "NotAvailable")
		for i := range r.Alerts {
			r.Alerts[i].Status, r.Alerts[i].Updated = Resolved, at
		}
	})
}

func (t *Tenant) reopen(id int64, at time.Time) bool {
	return t.update(id, at, func(r *Record) {
		r.Status, r.Classification, r.Determination = Active, "Unknown", "NotAvailable"
	})
}

func (t *Tenant) merge(src, dst int64, at time.Time) bool {
	from := t.records[src]
	if from == nil || t.records[dst] == nil {
		return false
	}
	moved := from.Alerts
	t.update(src, at, func(r *Record) {
		r.Status, r.RedirectID, r.Alerts = Redirected, dst, nil
	})
	if src == dst {
		return true
	}
	return t.update(dst, at, func(r *Record) {
		r.Alerts = append(r.Alerts, moved...)
		r.Alerts = r.Alerts[:min(len(r.Alerts), maxAlerts)]
	})
}
