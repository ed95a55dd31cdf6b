package incident

import (
	"math/bits"
	"time"
)

// Flows counts what happened since the first sync. It is a plain value that
// is saved and restored, so that counters go on over restarts.
type Flows struct {
	// Start is when the counting began, by our clock: but for Unrecognized nothing was
	// counted before. Zero: it is not known.
	Start   time.Time             `json:"start,omitzero"`
	Created [NumSeverities]uint64 `json:"created"`
	// Resolved counts by owner, too: 0 none at that moment, 1 assigned.
	Resolved [NumSeverities][NumClassifications][2]uint64 `json:"resolved"`
	Reopened [NumSeverities]uint64                        `json:"reopened"`
	// Merged counts incidents that were first seen merged, too, which do not count as
	// created.
	Merged [NumSeverities]uint64 `json:"merged"`
	// Reassigned counts open incidents that went from one owner to another between
	// two versions that were seen; only while owners are kept.
	Reassigned [NumSeverities]uint64 `json:"reassigned,omitzero"`
	// TimeToDetect runs from the first activity of an incident's alerts, of the
	// first version that came with them, to its creation. All other times end with
	// the last update of the version with which something was first seen, and are
	// exact to what happened between two refreshes. From the creation run
	// TimeToFirstTouch, to where [Incident.Touched] holds, TimeToAssign, to the first
	// owner, and TimeToResolve, again after each reopening; from the first owner
	// TimeInWork, to where TimeToResolve ends.
	TimeToDetect     [NumSeverities]Histogram                     `json:"time_to_detect"`
	TimeToFirstTouch [NumSeverities]Histogram                     `json:"time_to_first_touch"`
	TimeToAssign     [NumSeverities]Histogram                     `json:"time_to_assign"`
	TimeInWork       [NumSeverities]Histogram                     `json:"time_in_work"`
	TimeToResolve    [NumSeverities][NumClassifications]Histogram `json:"time_to_resolve"`
	// Alerts are those of an incident when it was resolved, where they were known.
	Alerts [NumSeverities]Histogram `json:"alerts"`
	// Objectives counts the times for which there is an objective: 0 later, 1 within
	// it. What it was at that moment decides.
	Objectives [NumSeverities][NumObjectives][2]uint64 `json:"objectives"`
	// Unrecognized counts new versions with a value that this program does not know, by the bits of
	// [Fields].
	Unrecognized [len(FieldNames)]uint64 `json:"unrecognized"`
}

// Objective is something that is to happen to an incident within a time from its
// creation.
type Objective uint8

// The objectives.
const (
	ObjectiveAssign Objective = iota
	ObjectiveFirstTouch
	ObjectiveResolve
	NumObjectives = int(iota)
)

// String is the label value.
func (o Objective) String() string { return [...]string{"assign", "first_touch", "resolve"}[o] }

// Objectives are the times of the objectives; 0: none.
type Objectives [NumSeverities][NumObjectives]time.Duration

func (f *Flows) clone() Flows {
	c := *f
	for sev := range c.TimeToAssign {
		for _, h := range [...]*Histogram{&c.TimeToDetect[sev], &c.TimeToFirstTouch[sev], &c.TimeToAssign[sev], &c.TimeInWork[sev], &c.Alerts[sev]} {
			*h = h.clone()
		}
		for class := range c.TimeToResolve[sev] {
			c.TimeToResolve[sev][class] = c.TimeToResolve[sev][class].clone()
		}
	}
	return c
}

func (f *Flows) unrecognized(fields Fields) {
	for ; fields != 0; fields &= fields - 1 {
		f.Unrecognized[bits.TrailingZeros32(uint32(fields))]++
	}
}

// flowAdded counts an incident that was not known.
func (m *Mirror) flowAdded(r *row, in *Incident) {
	if !m.countFlows || !m.isNew(r) || m.hadLeft(r) {
		return
	}
	if r.status == StatusRedirected {
		m.flows.Merged[r.severity]++
		return
	}
	m.flows.Created[r.severity]++
	m.flowTimes(&row{}, r, in)
	if r.status == StatusResolved {
		m.flowResolved(r)
	}
}

// flowChanged counts the transitions between two versions of an incident. A
// merge is neither a resolution nor, undone, a reopening.
func (m *Mirror) flowChanged(before, r *row, in *Incident) {
	if !m.countFlows || before.status == StatusRedirected {
		return
	}
	if r.status == StatusRedirected {
		m.flows.Merged[r.severity]++
		return
	}
	if before.owner != 0 && r.owner != 0 && before.owner != r.owner {
		m.flows.Reassigned[r.severity]++
	}
	m.flowTimes(before, r, in)
	// A status that we do not know may mean either, and is no transition.
	switch resolved := r.has(flagResolved); {
	case resolved && !before.has(flagResolved):
		m.flowResolved(r)
	case !resolved && before.has(flagResolved):
		m.flows.Reopened[r.severity]++
	}
}

// hadLeft tells that an incident which is added was known before: it is as old as the
// look-back, and has left that since. It is older than what an outage may have hidden.
func (m *Mirror) hadLeft(r *row) bool {
	return m.opts.Lookback > 0 && after(r.created, m.opts.Lookback) <= m.at && r.created < m.knownUntil
}

// isNew tells whether an incident was created after the first sync.
func (m *Mirror) isNew(r *row) bool { return r.created != noTime && r.created > m.flowsSince }

// flowTimes observes what a version has and none before it had.
func (m *Mirror) flowTimes(before, r *row, in *Incident) {
	first := func(flag uint16) bool { return r.has(flag) && !before.has(flag) }
	// Alerts that join later, by a merge for one, did not bring it about.
	if began := in.firstActivity(); first(flagHadAlerts) && m.isNew(r) && began != noTime {
		m.flows.TimeToDetect[r.severity].Observe(time.Duration(r.created - began))
	}
	if first(flagTouched) {
		m.observe(&m.flows.TimeToFirstTouch[r.severity], r, ObjectiveFirstTouch)
	}
	if first(flagEverAssigned) {
		m.observe(&m.flows.TimeToAssign[r.severity], r, ObjectiveAssign)
		r.owned = r.updated
	}
}

func (m *Mirror) flowResolved(r *row) {
	m.flows.Resolved[r.severity][r.classification][r.assigned()]++
	m.observe(&m.flows.TimeToResolve[r.severity][r.classification], r, ObjectiveResolve)
	if r.owned != noTime && r.updated != noTime {
		m.flows.TimeInWork[r.severity].Observe(time.Duration(r.updated - r.owned))
	}
	if !r.has(flagNoAlerts) {
		m.flows.Alerts[r.severity].ObserveAlerts(countAlerts(r.alerts.Value()))
	}
}

// observe counts the time from the creation to the last update, if both are
// known, and whether it kept the objective.
func (m *Mirror) observe(h *Histogram, r *row, o Objective) {
	if r.created == noTime || r.updated == noTime {
		return
	}
	took := time.Duration(r.updated - r.created)
	h.Observe(took)
	if bound := m.opts.Objectives[r.severity][o]; bound > 0 {
		kept := 0
		if took <= bound {
			kept = 1
		}
		m.flows.Objectives[r.severity][o][kept]++
	}
}
