package life

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// The life of a tenant that a security operations centre (SOC) looks after: what
// becomes of an incident is decided when it is created, as its steps. Which
// incidents are created in an hour, and their steps, depend on the seed and the
// hour alone. So tenants of one seed are equal from then on whenever they were
// made, and what a tenant has from the start is what its life would have left.

// handling is how incidents of one severity are handled. The shares and medians
// are plausible, not measured: high ones are taken within minutes and resolved in
// hours, most low ones are closed by rules.
type handling struct {
	// byRule is the share that rules close, and left the share that is not looked
	// at until a clean-up. People take all others.
	byRule, left float64
	// stuck is the share of those taken that are resolved only after weeks.
	stuck float64
	// assign and resolve are the medians of the time to the first owner and of the
	// time from there to the resolution, while the whole team is at work.
	assign, resolve time.Duration
	// onCall is the pace of both at other times.
	onCall float64
}

var handlings = map[string]handling{
	"High":          {byRule: 0.02, left: 0, stuck: 0.025, assign: 6 * time.Minute, resolve: 2 * time.Hour, onCall: 0.35},
	"Medium":        {byRule: 0.10, left: 0.02, stuck: 0.015, assign: 40 * time.Minute, resolve: 6 * time.Hour, onCall: 0.15},
	"Low":           {byRule: 0.50, left: 0.06, stuck: 0.01, assign: 3 * time.Hour, resolve: 10 * time.Hour, onCall: 0.05},
	"Informational": {byRule: 0.75, left: 0.08, stuck: 0.01, assign: 5 * time.Hour, resolve: 12 * time.Hour, onCall: 0.03},
	"UnSpecified":   {byRule: 0.50, left: 0.10, stuck: 0.01, assign: 3 * time.Hour, resolve: 10 * time.Hour, onCall: 0.05},
}

const (
	// mergedShare of the incidents are merged into another one that is open, within
	// the first hours.
	mergedShare = 0.2
	// reopenedShare of those that people have resolved are opened once more.
	reopenedShare = 0.03
	// longestOpen is how long an incident is open at most, and longestLife how long
	// anything happens to it.
	longestOpen = 90 * day
	longestLife = longestOpen + 30*day
	// idsPerHour is more than are created in any hour.
	idsPerHour = 1 << 12
)

// firstHour is where ids begin.
var firstHour = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// step is one thing that happens to an incident.
type step struct {
	at time.Time
	id int64
	n  int // among the steps of the incident
	do func(at time.Time)
}

// steps are a heap, the earliest first.
type steps []step

func (s steps) Len() int { return len(s) }

func (s steps) Less(i, j int) bool {
	return cmp.Or(s[i].at.Compare(s[j].at), cmp.Compare(s[i].id, s[j].id), cmp.Compare(s[i].n, s[j].n)) < 0
}

func (s steps) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *steps) Push(x any) { *s = append(*s, x.(step)) }

// Pop implements heap.Interface.
func (s *steps) Pop() any {
	last := (*s)[len(*s)-1]
	(*s)[len(*s)-1] = step{}
	*s = (*s)[:len(*s)-1]
	return last
}

// soc is what is planned.
type soc struct {
	steps   steps
	planned time.Time // the hours before it are
	// since is the end of what is forgotten: an incident to which nothing happens
	// after it does not exist, unless it is part of one that does.
	since time.Time
	// targets are the last few incidents that others can be merged into.
	targets []target
}

// target is an incident, and while it is open for the first time.
type target struct {
	id       int64
	from, to time.Time
	kept     bool
}

// employ begins a life with what there is of the past.
func (t *Tenant) employ(now time.Time) {
	t.soc.since = now.Add(-t.opts.History)
	t.soc.planned = t.soc.since.Add(-longestLife).Truncate(time.Hour)
}

// plan decides what happens in the hours that have begun by now.
func (t *Tenant) plan(now time.Time) {
	if t.opts.Daily <= 0 {
		return
	}
	for ; !t.soc.planned.After(now); t.soc.planned = t.soc.planned.Add(time.Hour) {
		t.planHour(t.soc.planned)
	}
}

func (t *Tenant) planHour(hour time.Time) {
	number := int64(hour.Sub(firstHour) / time.Hour)
	rng := t.chance(chanceHour, number)
	created := make([]time.Time, min(poisson(rng, t.opts.Daily/24*t.demand(hour)), idsPerHour-1))
	for i := range created {
		created[i] = ragged(rng, hour.Add(time.Duration(rng.Int64N(int64(time.Hour)))))
	}
	slices.SortFunc(created, time.Time.Compare)
	for i, at := range created {
		id := number*idsPerHour + int64(i)
		p := &plan{tenant: t, id: id, rng: t.chance(chanceIncident, id)}
		if p.begin(at); !p.kept() {
			continue
		}
		for _, s := range p.steps {
			heap.Push(&t.soc.steps, s)
		}
	}
}

// plan is the steps of one incident in the order of their instants.
type plan struct {
	tenant *Tenant
	id     int64
	rng    *rand.Rand
	steps  []step
	part   bool // of an incident that is kept
}

// kept tells whether the incident is not forgotten.
func (p *plan) kept() bool {
	return p.part || !p.steps[len(p.steps)-1].at.Before(p.tenant.soc.since)
}

func (p *plan) step(at time.Time, do func(at time.Time)) {
	p.steps = append(p.steps, step{at.Truncate(Resolution), p.id, len(p.steps), do})
}

// change is a step that changes an incident which is open by then.
func (p *plan) change(at time.Time, change func(r *Record, at time.Time)) {
	p.step(at, func(at time.Time) {
		if e := p.tenant.records[p.id]; e != nil && e.IsOpen() {
			p.tenant.update(p.id, at, func(r *Record) { change(r, at) })
		}
	})
}

// chosen is true so often, of one.
func (p *plan) chosen(share float64) bool { return p.rng.Float64() < share }

func (p *plan) begin(created time.Time) {
	t := p.tenant
	severity := pick(p.rng, Severities, t.opts.Mix.severities())
	seed := p.rng.Uint64()
	p.step(created, func(at time.Time) {
		// Ids and numbers of its own, which do not depend on what was made before.
		defer func(id, alerts int64) { t.lastID, t.alerts = id, alerts }(t.lastID, t.alerts)
		t.alerts = p.id * 2 * maxAlerts
		r := t.invent(rand.New(rand.NewPCG(seed, 1)), Active, severity, at.Add(-180*time.Millisecond), at)
		r.ID, r.AssignedTo = p.id, "" // to be assigned is a step
		for i := range r.Alerts {
			t.strip(&r.Alerts[i])
		}
		r.Updated = t.Hooks.Stamp(r.ID, time.Time{}, at)
		t.put(normal(r))
	})
	if p.chosen(mergedShare) && p.merged(created) {
		return
	}
	how := handlings[severity]
	var ends time.Time
	switch lot := p.rng.Float64(); {
	case lot < how.byRule:
		ends = created.Add(time.Minute + within(p.rng, 10*time.Minute, 2*time.Hour))
		p.joins(created, ends)
		p.resolves(ends, t.opts.Mix.Classified)
	case lot < how.byRule+how.left:
		ends = created.Add(5*day + within(p.rng, 8*day, longestOpen-5*day))
		p.joins(created, ends)
		p.resolves(ends, t.opts.Mix.Classified/4)
	default:
		ends = p.handled(created, how)
	}
	slices.SortStableFunc(p.steps, func(a, b step) int { return a.at.Compare(b.at) })
	const targets = 30
	if t.soc.targets = append(t.soc.targets, target{p.id, created, ends, p.kept()}); len(t.soc.targets) > targets {
		t.soc.targets = slices.Delete(t.soc.targets, 0, 1)
	}
}

// merged plans the end in another incident, if one is open then.
func (p *plan) merged(created time.Time) bool {
	t, at := p.tenant, created.Add(time.Minute+within(p.rng, 20*time.Minute, 3*time.Hour))
	var into []target
	for _, other := range t.soc.targets {
		if other.from.Before(at) && other.to.After(at) {
			into = append(into, other)
		}
	}
	if len(into) == 0 {
		return false
	}
	dst := into[p.rng.IntN(len(into))]
	p.part = dst.kept
	p.step(at, func(at time.Time) {
		if e := t.records[p.id]; e != nil && e.IsOpen() {
			t.merge(p.id, dst.id, at)
		}
	})
	return true
}

// joins plans the alerts that join an incident while it is open.
func (p *plan) joins(from, to time.Time) {
	if !p.chosen(0.3) || p.tenant.opts.Alerts != 0 {
		return
	}
	at := from
	for n := range 1 + p.rng.IntN(3) {
		at = at.Add(30*time.Second + within(p.rng, 40*time.Minute, day))
		if !at.Before(to) {
			return
		}
		seed := p.rng.Uint64()
		p.change(at, func(r *Record, at time.Time) {
			if t := p.tenant; len(r.Alerts) < maxAlerts {
				defer func(alerts int64) { t.alerts = alerts }(t.alerts)
				t.alerts = p.id*2*maxAlerts + maxAlerts + int64(n)
				a := t.inventAlert(rand.New(rand.NewPCG(seed, 2)), r, at)
				t.strip(&a)
				r.Alerts = append(r.Alerts, a)
			}
		})
	}
}

// handled plans what people do, up to the first resolution, which it returns.
func (p *plan) handled(created time.Time, how handling) time.Time {
	t := p.tenant
	assigned := worked(created, max(20*time.Second, around(p.rng, how.assign)), how.onCall)
	assigned = earliest(assigned, created.Add(longestOpen/2))
	ends := worked(assigned, max(2*time.Minute, around(p.rng, how.resolve)), how.onCall)
	if p.chosen(how.stuck) {
		ends = assigned.Add(10*day + within(p.rng, 15*day, longestOpen))
	}
	ends = earliest(ends, created.Add(longestOpen))
	p.joins(created, ends)
	owner := analyst(p.rng)
	p.step(assigned, func(at time.Time) {
		if e := t.records[p.id]; e != nil && e.IsOpen() {
			t.assign(p.id, owner, at)
		}
	})
	part := func(of float64) time.Time {
		return ragged(p.rng, assigned.Add(time.Duration(of*float64(ends.Sub(assigned)))))
	}
	if p.chosen(0.5) {
		p.change(part(0.2), func(r *Record, at time.Time) {
			if len(r.Alerts) > 0 {
				r.Alerts[0].Status, r.Alerts[0].Updated = InProgress, at
			}
		})
	}
	if p.chosen(0.03) {
		severity := pick(p.rng, Severities, t.opts.Mix.severities())
		p.change(part(0.3), func(r *Record, _ time.Time) { r.Severity = severity })
	}
	if p.chosen(0.12) {
		tag := choose(p.rng, tagNames)
		p.change(part(0.4), func(r *Record, _ time.Time) { r.Tags = []string{tag} })
	}
	if p.chosen(0.08) {
		next := analyst(p.rng)
		p.change(part(0.5), func(r *Record, _ time.Time) { r.AssignedTo = next })
	}
	if p.chosen(0.05) {
		p.change(part(0.6), func(r *Record, _ time.Time) { r.Status = AwaitingAction })
		p.change(part(0.8), func(r *Record, _ time.Time) { r.Status = InProgress })
	}
	p.resolves(ends, t.opts.Mix.Classified)
	p.afterwards(ends, how)
	return ends
}

// afterwards plans what comes after the first resolution: an incident is opened
// again and resolved once more, or one without a verdict gets it.
func (p *plan) afterwards(resolved time.Time, how handling) {
	t := p.tenant
	if p.chosen(reopenedShare) {
		at := resolved.Add(10*time.Minute + within(p.rng, 10*time.Hour, 5*day))
		p.step(at, func(at time.Time) {
			if e := t.records[p.id]; e != nil && e.Status == Resolved {
				t.reopen(p.id, at)
			}
		})
		p.resolves(earliest(worked(at, 5*time.Minute+around(p.rng, how.resolve), how.onCall), at.Add(15*day)), t.opts.Mix.Classified)
		return
	}
	if !p.chosen(0.5) {
		return
	}
	classification, determination := verdict(p.rng, 1)
	p.step(worked(resolved, 10*time.Minute+within(p.rng, 6*time.Hour, day), 0.1), func(at time.Time) {
		if e := t.records[p.id]; e != nil && e.Status == Resolved && e.Classification == "Unknown" {
			t.update(p.id, at, func(r *Record) { r.Classification, r.Determination = classification, determination })
		}
	})
}

// resolves plans a resolution, with a verdict so often.
func (p *plan) resolves(at time.Time, classified float64) {
	classification, determination := verdict(p.rng, classified)
	p.step(at, func(at time.Time) {
		if e := p.tenant.records[p.id]; e != nil && e.IsOpen() {
			p.tenant.resolve(p.id, classification, determination, at)
		}
	})
}

// strip takes off what Bare leaves out.
func (t *Tenant) strip(a *Alert) {
	if t.opts.Bare {
		a.Entities, a.Devices = 0, 0
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
