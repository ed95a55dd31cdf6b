package incident

import (
	"encoding/binary"
	"slices"
)

// The encoding of a row, in this order: severity, status, classification,
// determination and priority, a byte each; flags, an unsigned varint; creation and the time from
// there to the last update, signed varints in nanoseconds, and, if a flag says so,
// that to the first owner; the sets of sources, categories and detection sources,
// unsigned varints; if a flag says so, what is kept under opt-in dimensions: the
// owner, the sets of tags, device groups and techniques, the number of detectors
// and each of them, unsigned varints; the packed alerts, to the end. What follows from these and
// from the clock is not saved.
//
// A store marks what it keeps with [Encoding].

// Encoding is the version of the encoding of rows and tables. A store must not
// hand what it keeps to another version.
const Encoding = 4

// The flags as they are saved, whatever they are in memory.
const (
	savedAssigned = 1 << iota
	savedEverAssigned
	savedMissed
	savedNoAlerts
	savedTouched
	savedHadAlerts
	savedOwned       // the time of its first owner is known
	savedDimensioned // something is kept under opt-in dimensions
	savedStale
	savedOlder
	savedResolved
	savedEnd
)

// savedFlags says which flag in memory each of those is that is one.
var savedFlags = [...]struct {
	memory uint16
	saved  uint64
}{
	{flagAssigned, savedAssigned}, {flagEverAssigned, savedEverAssigned}, {flagMissed, savedMissed}, {flagNoAlerts, savedNoAlerts},
	{flagTouched, savedTouched}, {flagHadAlerts, savedHadAlerts}, {flagStale, savedStale}, {flagOlder, savedOlder}, {flagResolved, savedResolved},
}

func (r *row) appendTo(b []byte) []byte {
	var flags uint64
	for _, f := range savedFlags {
		if r.has(f.memory) {
			flags |= f.saved
		}
	}
	if r.owned != noTime {
		flags |= savedOwned
	}
	dimensioned := r.owner != 0 || r.dimensions != noText
	if dimensioned {
		flags |= savedDimensioned
	}
	b = append(b, byte(r.severity), byte(r.status), byte(r.classification), byte(r.determination), byte(r.priority))
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendVarint(b, r.created)
	b = binary.AppendVarint(b, r.updated-r.created)
	if r.owned != noTime {
		b = binary.AppendVarint(b, r.owned-r.created)
	}
	b = binary.AppendUvarint(b, r.sources)
	b = binary.AppendUvarint(b, r.categories)
	b = binary.AppendUvarint(b, r.detections)
	if dimensioned {
		b = r.appendDimensions(b)
	}
	return append(b, r.alerts.Value()...)
}

// parse fills the row with what appendTo has written. The alerts are left to
// the caller.
func (r *row) parse(b []byte) (alerts []byte, ok bool) {
	const head = 5
	if len(b) < head || int(b[0]) >= NumSeverities || int(b[1]) >= NumStatuses ||
		int(b[2]) >= NumClassifications || int(b[3]) >= NumDeterminations || int(b[4]) >= NumPriorities {
		return nil, false
	}
	r.severity, r.status = Severity(b[0]), Status(b[1])
	r.classification, r.determination = Classification(b[2]), Determination(b[3])
	r.priority = Priority(b[4])
	p := parser{rest: b[head:]}
	flags := p.uvarint()
	if flags >= savedEnd {
		return nil, false
	}
	for _, f := range savedFlags {
		r.set(f.memory, flags&f.saved != 0)
	}
	r.created = p.varint()
	r.updated = r.created + p.varint()
	if flags&savedOwned != 0 {
		r.owned = r.created + p.varint()
	}
	r.sources, r.categories, r.detections = p.uvarint(), p.uvarint(), p.uvarint()
	if flags&savedDimensioned != 0 {
		r.parseDimensions(&p)
	}
	return p.rest, !p.failed && len(p.rest)%4 == 0
}

func (r *row) appendDimensions(b []byte) []byte {
	set := parseDimensions(r.dimensions.Value())
	for _, n := range [...]uint64{uint64(r.owner), set.tags, set.groups, set.techniques, uint64(len(set.detectors))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, detector := range set.detectors {
		b = binary.AppendUvarint(b, uint64(detector))
	}
	return b
}

func (r *row) parseDimensions(p *parser) {
	owner := p.uvarint()
	set := dimensionSet{tags: p.uvarint(), groups: p.uvarint(), techniques: p.uvarint()}
	n := p.uvarint()
	if owner > maxOwners || n > maxDetectors {
		p.failed = true
		return
	}
	for range n {
		set.detectors = append(set.detectors, uint16(min(p.uvarint(), maxDetectors)))
	}
	r.owner, r.dimensions = uint16(owner), set.pack()
}

type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.rest)
	p.skip(n)
	return v
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	p.skip(n)
	return v
}

func (p *parser) skip(n int) {
	if n <= 0 {
		p.failed, p.rest = true, nil
		return
	}
	p.rest = p.rest[n:]
}

// tables is what belongs to no single row.
type tables struct {
	Sources    []string `json:"sources,omitempty"`
	Categories []string `json:"categories,omitempty"`
	Detections []string `json:"detections,omitempty"`
	// Seen says which combinations were counted, so that no series ends with a
	// restart: a byte each, in the order of seen.parts.
	Seen       []byte `json:"seen,omitempty"`
	Flows      Flows  `json:"flows"`
	FlowsSince int64  `json:"flows_since"`
	CountFlows bool   `json:"count_flows"`
	Sweep      uint8  `json:"sweep"`
	Sweeping   bool   `json:"sweeping"`
	// Dimensions is nil if nothing of the kind is kept.
	Dimensions *savedDimensions `json:"dimensions,omitempty"`
}

func (m *Mirror) tables() *tables {
	t := &tables{
		Sources: m.sources.names, Categories: m.categories.names, Detections: m.detections.names,
		Flows: m.flows, FlowsSince: m.flowsSince, CountFlows: m.countFlows,
		Sweep: m.sweep, Sweeping: m.sweeping, Dimensions: m.dimensions.saved(),
	}
	for _, part := range m.seen.parts() {
		t.Seen, _ = binary.Append(t.Seen, binary.LittleEndian, part) // arrays of bool cannot fail
	}
	return t
}

func (m *Mirror) setTables(t *tables) bool {
	if !m.sources.fill(t.Sources) || !m.categories.fill(t.Categories) || !m.detections.fill(t.Detections) {
		return false
	}
	for _, part := range m.seen.parts() {
		n, err := binary.Decode(t.Seen, binary.LittleEndian, part)
		if err != nil {
			return false
		}
		t.Seen = t.Seen[n:]
	}
	m.flows, m.flowsSince, m.countFlows = t.Flows, t.FlowsSince, t.CountFlows
	m.sweep, m.sweeping = t.Sweep, t.Sweeping
	if m.dimensions == nil || m.dimensions.Assignees == AssigneesOff {
		m.flows.Reassigned = [NumSeverities]uint64{}
	}
	return !m.sameDimensions(t) || t.Dimensions == nil || m.dimensions.restore(t.Dimensions)
}

// sameDimensions tells whether what was saved was kept under the present mark.
func (m *Mirror) sameDimensions(t *tables) bool {
	was, is := "", ""
	if t.Dimensions != nil {
		was = t.Dimensions.Mark
	}
	if m.dimensions != nil {
		is = m.dimensions.mark
	}
	return was == is
}

func (s *seen) parts() []any {
	return []any{&s.resolved, &s.sources, &s.categories, &s.alerts, &s.detections, &s.investigations}
}

// fill gives the names their numbers again.
func (l *labels) fill(names []string) bool {
	for i, name := range names {
		if n, ok := l.number(name); !ok || int(n) != i {
			return false
		}
	}
	l.names = slices.Clip(l.names)
	return true
}

// knows tells that every member of a set has a name.
func (l *labels) knows(set uint64) bool {
	return set&^(1<<otherLabel)>>len(l.names) == 0
}
