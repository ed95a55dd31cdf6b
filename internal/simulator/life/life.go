package life

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// Rates are how often something happens in a tenant, in events per hour. The
// instants are those of a Poisson process; the zero value is a tenant at rest.
//
// Resolve and Merge become rarer while fewer incidents are open than when the
// rates were set, so that a tenant that closes faster than it creates settles
// instead of running dry. An event that no incident suits is skipped.
type Rates struct {
	Create, Assign, Change, Merge, Resolve, Reopen float64
}

type lifeKind int

const (
	lifeCreate lifeKind = iota
	lifeAssign
	lifeChange
	lifeMerge
	lifeResolve
	lifeReopen
	lifeKinds = int(iota)
)

func (r Rates) of(k lifeKind) float64 {
	return [lifeKinds]float64{r.Create, r.Assign, r.Change, r.Merge, r.Resolve, r.Reopen}[k]
}

// late is a change that was made but cannot be seen before due.
type late struct {
	due, made time.Time
	id        int64
	change    func(*Record)
}

// Advance lets the tenant's life go on up to the present. Every request and
// every act does so first; which of them do, and when, makes no difference to
// what happens.
func (t *Tenant) Advance() { t.Do(func(time.Time) {}) }

// Rest stops the tenant's life. Changes that wait to become visible still do.
func (t *Tenant) Rest() { t.Live(Rates{}) }

// Live sets new rates from now on.
func (t *Tenant) Live(rates Rates) { t.Do(func(now time.Time) { t.live(rates, now) }) }

func (t *Tenant) live(rates Rates, now time.Time) {
	t.rates, t.target = rates, len(t.open.ids)
	for k := range t.next {
		t.schedule(lifeKind(k), now)
	}
}

// schedule draws the next instant of a kind of event.
func (t *Tenant) schedule(k lifeKind, from time.Time) {
	rate := t.rates.of(k)
	if rate <= 0 {
		t.next[k] = time.Time{}
		return
	}
	gap := time.Duration(t.life.ExpFloat64() / rate * float64(time.Hour))
	at := from.Add(max(gap, Resolution)).Truncate(Resolution)
	// The real API's timestamps often end after two digits.
	if short := at.Truncate(10 * time.Millisecond); t.life.IntN(3) == 0 && short.After(from) {
		at = short
	}
	t.next[k] = at
}

// advance applies what is due in the order of its instants, so that the
// outcome does not depend on how often it is called.
func (t *Tenant) advance(now time.Time) {
	t.plan(now)
	for {
		kind, at := lifeKind(-1), now
		for k, next := range t.next {
			if !next.IsZero() && !next.After(at) && (kind < 0 || next.Before(at)) {
				kind, at = lifeKind(k), next
			}
		}
		if len(t.late) > 0 && !t.late[0].due.After(at) {
			l := t.late[0]
			t.late = slices.Delete(t.late, 0, 1)
			t.at = l.due
			t.reveal(l)
			continue
		}
		if len(t.soc.steps) > 0 && !t.soc.steps[0].at.After(at) {
			s := heap.Pop(&t.soc.steps).(step)
			t.at = s.at
			s.do(s.at)
			continue
		}
		if kind < 0 {
			break
		}
		t.at = at
		t.happen(kind, at)
		t.schedule(kind, at)
	}
	t.at = now
	t.Hooks.Settle(now)
}

// reveal shows a late change. If the incident was changed otherwise in
// between, both changes stand, and the younger update time.
func (t *Tenant) reveal(l late) {
	e := t.records[l.id]
	if e == nil {
		return
	}
	r := e.Clone()
	l.change(&r)
	r.ID = l.id
	r.Updated = l.made
	if e.Updated.After(l.made) {
		r.Updated = e.Updated
	}
	t.put(r)
}

func (t *Tenant) happen(k lifeKind, at time.Time) {
	switch k {
	case lifeCreate:
		status := Active
		severity := pick(t.life, Severities, t.opts.Mix.severities())
		r := t.invent(t.life, status, severity, at.Add(-180*time.Millisecond), at)
		r.Updated = t.Hooks.Stamp(r.ID, time.Time{}, at)
		t.put(r)
	case lifeAssign:
		if id := t.drawOpen(func(r *Record) bool { return r.AssignedTo == "" }); id != 0 {
			t.assign(id, analyst(t.life), at)
		}
	case lifeChange:
		if id := t.drawOpen(nil); id != 0 {
			t.change(id, at)
		}
	case lifeMerge:
		src, dst := t.drawOpen(nil), t.drawOpen(nil)
		if src != dst && t.crowded() {
			t.merge(src, dst, at)
		}
	case lifeResolve:
		if id := t.drawOpen(nil); id != 0 && t.crowded() {
			class, det := verdict(t.life, t.opts.Mix.Classified)
			t.resolve(id, class, det, at)
		}
	case lifeReopen:
		if n := len(t.resolved.ids); n > 0 {
			t.reopen(t.resolved.ids[t.life.IntN(n)], at)
		}
	}
}

// crowded is true with a chance that falls with the number of open incidents
// below the target.
func (t *Tenant) crowded() bool {
	return t.life.Float64()*float64(t.target) < float64(len(t.open.ids))
}

// drawOpen draws an open incident that suits, or 0. It gives up after a few
// draws: where hardly any incident suits, little happens.
func (t *Tenant) drawOpen(suits func(*Record) bool) int64 {
	for range 16 {
		n := len(t.open.ids)
		if n == 0 {
			return 0
		}
		id := t.open.ids[t.life.IntN(n)]
		if suits == nil || suits(&t.records[id].Record) {
			return id
		}
	}
	return 0
}

// change is one of the small things that happen to open incidents.
func (t *Tenant) change(id int64, at time.Time) {
	t.update(id, at, func(r *Record) {
		switch t.life.IntN(6) {
		case 0:
			r.Severity = pick(t.life, Severities, t.opts.Mix.severities())
		case 1:
			if len(r.Alerts) < maxAlerts && t.opts.Alerts == 0 {
				r.Alerts = append(r.Alerts, t.inventAlert(t.life, r, at))
			}
		case 2:
			if n := len(r.Alerts); n > 0 {
				a := &r.Alerts[t.life.IntN(n)]
				a.Status, a.Updated = choose(t.life, []string{InProgress, Resolved}), at
			}
		case 3:
			r.AssignedTo = ""
		case 4:
			r.Status = choose(t.life, []string{Active, InProgress})
		case 5:
			tags := []string{choose(t.life, tagNames)}
			if r.ID%2 == 0 {
				r.Comments++
				break
			}
			r.Tags = tags
		}
	})
}

func choose(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }
