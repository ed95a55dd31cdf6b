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
	Start    time.Time                                 `json:"start,omitzero"`
	Created  [NumSeverities]uint64                     `json:"created"`
	Resolved [NumSeverities][NumClassifications]uint64 `json:"resolved"`
	Reopened [NumSeverities]uint64                     `json:"reopened"`
	// TimeToAssign runs from an incident's creation to the last update of the
	// first version that was seen with an owner, TimeToResolve to that of the
	// first version that was seen resolved, again after each reopening. Both are
	// exact to what happened between two refreshes.
	TimeToAssign  [NumSeverities]Histogram `json:"time_to_assign"`
	TimeToResolve [NumSeverities]Histogram `json:"time_to_resolve"`
	// Unrecognized counts new versions with a value that this program does not know, by the bits of
	// [Fields].
	Unrecognized [len(FieldNames)]uint64 `json:"unrecognized"`
}

func (f *Flows) clone() Flows {
	c := *f
	for i := range c.TimeToAssign {
		c.TimeToAssign[i] = c.TimeToAssign[i].clone()
		c.TimeToResolve[i] = c.TimeToResolve[i].clone()
	}
	return c
}

func (f *Flows) unrecognized(fields Fields) {
	for ; fields != 0; fields &= fields - 1 {
		f.Unrecognized[bits.TrailingZeros16(uint16(fields))]++
	}
}

// flowAdded counts an incident that was not known.
func (m *Mirror) flowAdded(r *row) {
	if !m.countFlows || r.status == StatusRedirected || r.created == noTime || r.created <= m.flowsSince {
		return
	}
	m.flows.Created[r.severity]++
	if r.has(flagAssigned) {
		observe(&m.flows.TimeToAssign[r.severity], r)
	}
	if r.status == StatusResolved {
		m.flowResolved(r)
	}
}

// flowChanged counts the transitions between two versions of an incident. A
// merge is neither a resolution nor, undone, a reopening.
func (m *Mirror) flowChanged(before, r *row) {
	if !m.countFlows || r.status == StatusRedirected || before.status == StatusRedirected {
		return
	}
	if r.has(flagAssigned) && !before.has(flagEverAssigned) {
		observe(&m.flows.TimeToAssign[r.severity], r)
	}
	switch resolved := r.status == StatusResolved; {
	case resolved && before.status != StatusResolved:
		m.flowResolved(r)
	case !resolved && before.status == StatusResolved:
		m.flows.Reopened[r.severity]++
	}
}

func (m *Mirror) flowResolved(r *row) {
	m.flows.Resolved[r.severity][r.classification]++
	observe(&m.flows.TimeToResolve[r.severity], r)
}

// observe counts the time from the creation to the last update, if both are
// known.
func observe(h *Histogram, r *row) {
	if r.created != noTime && r.updated != noTime {
		h.Observe(time.Duration(r.updated - r.created))
	}
}
