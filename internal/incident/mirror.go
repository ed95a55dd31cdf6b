package incident

import (
	"time"
)

// MirrorOptions are the settings of a [Mirror].
type MirrorOptions struct {
	// Lookback is how long resolved and redirected incidents stay after their
	// last update. Zero means for ever.
	Lookback time.Duration
	// Thresholds are the ages past which open incidents are counted, ascending.
	Thresholds []time.Duration
	// Objectives are the times that incidents are to be dealt with in.
	Objectives Objectives
	// Priorities tells that the API has them; without, they are not counted.
	Priorities bool
	// Dimensions are what is kept and counted besides.
	Dimensions Dimensions
}

// Change tells what [Mirror.Apply] did with a version of an incident.
type Change uint8

// The changes.
const (
	Same    Change = iota // known already
	Stale                 // older than what is known: ignored
	Added                 // the incident was not known
	Changed               // it was known in another version
)

// Mirror holds the incidents of one tenant in compact rows and keeps every
// count up to date with each change, so that neither a refresh nor a
// [Snapshot] has to walk all of them. It belongs to one goroutine. Its methods
// compute and do nothing else: none waits, and the cost of one is that of the
// rows it concerns unless it says otherwise.
type Mirror struct {
	opts  MirrorOptions
	index index
	// Rows live in chunks, which never move: growing costs no copy, and no
	// moment with everything in memory twice.
	chunks [][]row
	free   []uint32

	sources, categories, detections labels

	counts     counts
	dimensions *dimensions // nil: nothing is kept of them
	seen       seen
	flows      Flows
	flowsSince int64 // incidents created before are history
	knownUntil int64 // see [Mirror.KnownUntil]
	countFlows bool
	deadlines  queue
	at         int64 // up to when time has passed
	oldest     [NumSeverities]queue
	sweep      uint8
	sweeping   bool
	unsaved    unsaved
	keys       []uint16 // scratch
	alerts     alertIDs // likewise
}

const chunkRows = 1024

// NewMirror returns an empty mirror.
func NewMirror(opts MirrorOptions) *Mirror {
	return newMirror(opts, 0)
}

func newMirror(opts MirrorOptions, rows int) *Mirror {
	m := &Mirror{opts: opts, dimensions: newDimensions(opts.Dimensions)}
	m.index = newIndex(rows, func(slot uint32) int64 { return m.row(slot).id })
	return m
}

// Len is the number of rows, redirected incidents included.
func (m *Mirror) Len() int { return m.index.n }

// AlertsMissing is the number of counted incidents whose alerts are not known
// as of their present version. As long as there are any, counts of alerts are
// not to be trusted.
func (m *Mirror) AlertsMissing() int { return int(m.counts.noAlerts) }

// DimensionsMissing is the number of counted incidents of which is not known what
// [Dimensions] ask for, because other ones held when they were read. As long as
// there are any, nothing of the kind is in a [Snapshot].
func (m *Mirror) DimensionsMissing() int {
	if m.dimensions == nil {
		return 0
	}
	return int(m.dimensions.stale)
}

// LacksAlerts tells whether an incident is among those.
func (m *Mirror) LacksAlerts(id int64) bool {
	slot, ok := m.index.find(id)
	return ok && m.row(slot).has(flagNoAlerts)
}

// Updated is the last update of the known version of an incident, false if none
// is known.
func (m *Mirror) Updated(id int64) (time.Time, bool) {
	slot, ok := m.index.find(id)
	if !ok {
		return time.Time{}, false
	}
	return fromNano(m.row(slot).updated), true
}

// UpdatedSince are the incidents whose known version was last updated at or after an
// instant, with that time.
func (m *Mirror) UpdatedSince(at time.Time) map[int64]time.Time {
	found := make(map[int64]time.Time)
	m.rows(func(r *row) bool {
		if updated := fromNano(r.updated); !updated.Before(at) {
			found[r.id] = updated
		}
		return true
	})
	return found
}

// StartFlows begins to count transitions: what was seen until now is history.
// Incidents that appear from now on count as created if they were created
// after the instant since, by the server's clock. Called again, it raises that
// instant; that the counting began at the first now stays.
func (m *Mirror) StartFlows(since, now time.Time) {
	if !m.countFlows {
		m.flows.Start = fromNano(unixNano(now))
	}
	m.countFlows = true
	m.flowsSince = unixNano(since)
}

// KnownUntil says that every incident which was created before that has been known.
func (m *Mirror) KnownUntil(at time.Time) { m.knownUntil = unixNano(at) }

// CountsFlows tells that [Mirror.StartFlows] was called.
func (m *Mirror) CountsFlows() bool { return m.countFlows }

// Apply takes in one version of an incident, which may come twice, late or
// out of order. It costs no more the more incidents there are.
func (m *Mirror) Apply(in *Incident) Change { return m.apply(in, false) }

// Correct is like Apply for a version that is known to be the present one,
// although its last update may be older than that of the known version.
func (m *Mirror) Correct(in *Incident) Change { return m.apply(in, true) }

func (m *Mirror) apply(in *Incident, present bool) Change {
	slot, known := m.index.find(in.ID)
	if !known {
		slot = m.allocate(in.ID)
		m.touch(in.ID)
		m.mark(m.row(slot))
		r := m.row(slot)
		unrecognized := m.fill(r, in)
		m.flows.unrecognized(unrecognized)
		m.flowAdded(r, in)
		m.count(r, +1)
		m.admit(slot, r)
		return Added
	}
	r := m.row(slot)
	m.mark(r)
	updated := unixNano(in.Updated)
	if updated != noTime && updated < r.updated && !present {
		return Stale
	}
	if r.has(flagMissed) || r.has(flagOlder) {
		r.set(flagMissed|flagOlder, false)
		m.touch(r.id)
	}
	next := *r
	unrecognized := m.fill(&next, in)
	if next == *r {
		return Same
	}
	m.touch(r.id)
	if !r.has(flagStale) || next.updated != r.updated {
		m.flows.unrecognized(unrecognized)
	} // otherwise it is no new version: the settings are
	before := *r
	m.count(&next, +1) // first, lest an owner be forgotten between
	m.count(r, -1)
	*r = next
	m.flowChanged(&before, r, in)
	m.admit(slot, r)
	return Changed
}

// Drop forgets an incident that the server no longer has. It is false if the
// incident was not known.
func (m *Mirror) Drop(id int64) bool {
	slot, ok := m.index.find(id)
	if ok {
		m.remove(slot)
	}
	return ok
}

// rows are all that are in use.
func (m *Mirror) rows(yield func(*row) bool) {
	for _, chunk := range m.chunks {
		for i := range chunk {
			if r := &chunk[i]; r.has(flagUsed) && !yield(r) {
				return
			}
		}
	}
}

func (m *Mirror) row(slot uint32) *row { return &m.chunks[slot/chunkRows][slot%chunkRows] }

func (m *Mirror) allocate(id int64) uint32 {
	var slot uint32
	if n := len(m.free); n > 0 {
		slot, m.free = m.free[n-1], m.free[:n-1]
	} else {
		last := len(m.chunks) - 1
		if last < 0 || len(m.chunks[last]) == chunkRows {
			m.chunks = append(m.chunks, make([]row, 0, chunkRows))
			last++
		}
		slot = uint32(last*chunkRows + len(m.chunks[last]))
		m.chunks[last] = append(m.chunks[last], row{})
	}
	*m.row(slot) = row{id: id, flags: flagUsed, alerts: noText, dimensions: noText}
	m.index.add(id, slot)
	return slot
}

func (m *Mirror) remove(slot uint32) {
	r := m.row(slot)
	m.touch(r.id)
	m.count(r, -1)
	m.index.remove(r.id)
	*r = row{alerts: noText, dimensions: noText}
	m.free = append(m.free, slot)
}

// count counts the row n times: +1 or -1.
func (m *Mirror) count(r *row, n int32) {
	m.counts.add(r, n)
	if m.dimensions != nil {
		m.dimensions.add(r, n)
	}
}

// fill writes what the version says into the row and tells which values had to
// become unknown or other.
func (m *Mirror) fill(r *row, in *Incident) Fields {
	unrecognized := m.fillAlways(r, in)
	if m.dimensions != nil {
		unrecognized |= m.dimensions.fill(r, in)
	}
	return unrecognized
}

// fillAlways is fill of what is not optional.
func (m *Mirror) fillAlways(r *row, in *Incident) Fields {
	unrecognized := in.Unrecognized
	before := r.updated
	if created := unixNano(in.Created); created != noTime && created != r.created {
		r.created, r.oldest, r.age = created, 0, 0
	}
	if updated := unixNano(in.Updated); updated != noTime && updated != r.updated {
		r.updated, r.idle = updated, 0
	}
	r.severity, r.status, r.priority = in.Severity, in.Status, in.Priority
	r.classification, r.determination = in.Classification, in.Determination
	if in.Status == StatusUnknown && in.RedirectID != 0 && in.RedirectID != in.ID {
		r.status = StatusRedirected
	}
	if r.status != StatusUnknown {
		r.set(flagResolved, r.status == StatusResolved)
	}
	r.set(flagAssigned, in.Assigned)
	if in.Assigned {
		r.set(flagEverAssigned, true)
	}
	if in.Touched() {
		r.set(flagTouched, true)
	}
	if in.AlertsUnknown {
		// The alerts of a version that is known with them stay right.
		if r.updated != before || r.updated == noTime {
			r.set(flagNoAlerts, true)
		}
		return unrecognized
	}
	r.set(flagNoAlerts, false)
	r.set(flagHadAlerts, true)
	r.sources, r.categories, r.detections, m.keys = 0, 0, 0, m.keys[:0]
	m.alerts.forget()
	for i := range in.Alerts {
		a := &in.Alerts[i]
		if m.alerts.again(a.ID) {
			continue
		}
		source, ok := m.sources.number(a.Source)
		if !ok {
			unrecognized |= FieldServiceSource
		}
		category, ok := m.categories.number(a.Category)
		if !ok {
			unrecognized |= FieldCategory
		}
		detection, ok := m.detections.number(a.Detection)
		if !ok {
			unrecognized |= FieldDetection
		}
		r.sources |= 1 << source
		r.categories |= 1 << category
		r.detections |= 1 << detection
		state := a.Investigation
		if !r.status.Open() {
			state = 0 // counted of open ones only, and rows without it share their text
		}
		m.keys = append(m.keys, alertKey(a.Severity, a.Status, source, state))
	}
	r.alerts = packAlerts(m.keys)
	return unrecognized
}

// alertIDs are the alerts of one incident that were counted. They may come twice: they come
// in parts, and may move between them.
type alertIDs map[uint64]struct{}

func (ids *alertIDs) forget() {
	const many = 1000
	if *ids == nil || len(*ids) > many { // to clear a map takes as long as what it ever had
		*ids = alertIDs{}
	}
	clear(*ids)
}

// again tells whether an alert that has an id was counted before, and notes it.
func (ids alertIDs) again(id uint64) bool {
	n := len(ids)
	if id != 0 {
		ids[id] = struct{}{}
	}
	return id != 0 && len(ids) == n
}

// admit gives a row its next deadline.
func (m *Mirror) admit(slot uint32, r *row) {
	if r.status.Open() && r.created != noTime && r.oldest&(1<<r.severity) == 0 {
		r.oldest |= 1 << r.severity
		m.oldest[r.severity].push(deadline{r.created, slot})
	}
	m.enqueue(slot, r)
}
