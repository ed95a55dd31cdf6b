package incident

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unique"
)

// Dimensions are what is kept and counted of incidents when somebody has asked for
// it: it may tell of persons, or make many series. The zero value is nothing.
type Dimensions struct {
	// Tags and DeviceGroups are those that are shown. DeviceGroups may be
	// AllDeviceGroups.
	Tags, DeviceGroups []string
	Techniques         bool
	// Detectors is how many are shown by themselves, those with the most incidents.
	Detectors int
	Assignees Assignees
	// OwnersBy names what makes [Kept.Owner] of a name, such as the fingerprint of
	// a key: owners that were made otherwise cannot be compared.
	OwnersBy string
}

// AllDeviceGroups is in the place of the names of device groups.
const AllDeviceGroups = "*"

// Assignees is how much is told of the persons that incidents are assigned to.
type Assignees uint8

// The kinds of telling.
const (
	AssigneesOff Assignees = iota
	// AssigneesCounted tells how many there are, and how even the load is.
	AssigneesCounted
	// AssigneesListed tells each one's load, too.
	AssigneesListed
)

// Mark is the same for dimensions that keep the same of an incident, and empty for
// those that keep nothing. What is kept under another mark cannot be counted.
func (d *Dimensions) Mark() string {
	owners := ""
	if d.Assignees != AssigneesOff {
		owners = "by " + d.OwnersBy
	}
	if len(d.Tags)+len(d.DeviceGroups)+d.Detectors == 0 && !d.Techniques && owners == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %v %q", d.Tags, d.DeviceGroups, d.Techniques, d.Detectors > 0, owners))
	return hex.EncodeToString(sum[:8])
}

// dimensions are what a mirror has of them; it has none if nothing is kept.
type dimensions struct {
	Dimensions
	mark string

	tags, groups, techniques labels
	detectors                detectors
	owners                   owners

	counts dimensionCounts
	seen   dimensionSeen
	// stale counts the rows that count and were kept under another mark.
	stale int32
}

type dimensionCounts struct {
	tags, groups, techniques [NumSeverities][NumLabels]int32
}

// dimensionSeen remembers which combinations were counted. Of what is listed in the
// settings all are shown from the beginning.
type dimensionSeen struct {
	Groups, Techniques [NumSeverities][NumLabels]bool
}

func newDimensions(of Dimensions) *dimensions {
	mark := of.Mark()
	if mark == "" {
		return nil
	}
	d := &dimensions{Dimensions: of, mark: mark}
	d.tags.fill(of.Tags)
	if !d.allGroups() {
		d.groups.fill(of.DeviceGroups)
	}
	return d
}

func (d *dimensions) allGroups() bool { return slices.Equal(d.DeviceGroups, []string{AllDeviceGroups}) }

// fill writes into the row what the version says, and tells what had to become
// other. Of open incidents it is the owner, the tags, device groups and techniques,
// of resolved ones the detectors: nothing is kept that is not counted.
func (d *dimensions) fill(r *row, in *Incident) (unrecognized Fields) {
	r.owner = 0
	kept := in.kept()
	if kept.Mark != d.mark {
		r.dimensions = noText
		r.set(flagStale, true)
		return 0
	}
	if r.has(flagStale) && in.AlertsUnknown {
		r.set(flagNoAlerts, true) // what was kept of them is gone
	}
	r.set(flagStale, false)
	set := parseDimensions(r.dimensions.Value())
	set.tags = 0
	if !in.AlertsUnknown {
		set = dimensionSet{}
	}
	open := r.status.Open()
	if !open {
		set.groups, set.techniques = 0, 0
	} else {
		set.detectors = nil
	}
	add := func(to *uint64, table *labels, values []string, field Fields) {
		for _, value := range values {
			n, ok := table.number(value)
			if !ok {
				unrecognized |= field
			}
			*to |= 1 << n
		}
	}
	if open {
		add(&set.tags, &d.tags, kept.Tags, 0) // those of the settings fit
		if kept.Owner != "" {
			var ok bool
			if r.owner, ok = d.owners.number(kept.Owner); !ok {
				unrecognized |= FieldAssignee
			}
		}
	}
	for i := range in.Alerts {
		a := in.Alerts[i].kept()
		switch {
		case open:
			add(&set.groups, &d.groups, a.DeviceGroups, FieldDeviceGroup)
			add(&set.techniques, &d.techniques, a.Techniques, FieldTechnique)
		case r.status == StatusResolved && d.Detectors > 0:
			n, ok := d.detectors.number(cmp.Or(a.Detector, "unknown"))
			if !ok {
				unrecognized |= FieldDetector
			}
			set.detectors = append(set.detectors, n)
		}
	}
	r.dimensions = set.pack()
	return unrecognized
}

// add counts the row n times: +1 or -1.
func (d *dimensions) add(r *row, n int32) {
	if r.status == StatusRedirected {
		return
	}
	if r.has(flagStale) {
		d.stale += n
		return
	}
	d.owners.add(r.owner, n)
	set := parseDimensions(r.dimensions.Value())
	addSet(&d.counts.tags[r.severity], set.tags, n)
	addSet(&d.counts.groups[r.severity], set.groups, n)
	addSet(&d.counts.techniques[r.severity], set.techniques, n)
	for _, detector := range set.detectors {
		d.detectors.counts[detector][r.classification] += n
	}
}

// knows tells that the row refers to nothing that the tables do not have.
func (d *dimensions) knows(r *row) bool {
	set := parseDimensions(r.dimensions.Value())
	ok := d.tags.knows(set.tags) && d.groups.knows(set.groups) && d.techniques.knows(set.techniques) && d.owners.knows(r.owner)
	for _, detector := range set.detectors {
		ok = ok && int(detector) < len(d.detectors.names)
	}
	return ok
}

// dimensionSet is what a row has of dimensions: indices into their tables.
type dimensionSet struct {
	tags, groups, techniques uint64
	detectors                []uint16
}

// pack makes the text of which few distinct ones exist: three times 64 bits, and
// the detectors, sorted, 16 bits each. It is empty if the set is.
func (s *dimensionSet) pack() unique.Handle[string] {
	slices.Sort(s.detectors)
	s.detectors = slices.Compact(s.detectors)
	if s.tags|s.groups|s.techniques == 0 && len(s.detectors) == 0 {
		return noText
	}
	b := make([]byte, 0, 64)
	for _, set := range [...]uint64{s.tags, s.groups, s.techniques} {
		b = binary.LittleEndian.AppendUint64(b, set)
	}
	for _, detector := range s.detectors {
		b = binary.LittleEndian.AppendUint16(b, detector)
	}
	return unique.Make(string(b))
}

func parseDimensions(packed string) (s dimensionSet) {
	if packed == "" {
		return s
	}
	b := []byte(packed)
	s.tags, s.groups, s.techniques = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	for b = b[24:]; len(b) >= 2; b = b[2:] {
		s.detectors = append(s.detectors, binary.LittleEndian.Uint16(b))
	}
	return s
}

// detectors counts resolved incidents by what has raised their alerts. There are
// more than are shown, for which they are is known only when they are counted.
type detectors struct {
	names  []string
	index  map[string]uint16
	counts [][NumClassifications]int32
}

// maxDetectors bounds the table; one of them is other.
const maxDetectors = 1000

// number of the value; false when it had to become other.
func (t *detectors) number(value string) (uint16, bool) {
	if n, ok := t.index[value]; ok {
		return n, true
	}
	ok := true
	if len(t.names) >= maxDetectors-1 && value != "other" {
		value, ok = "other", false
		if n, known := t.index[value]; known {
			return n, false
		}
	}
	if t.index == nil {
		t.index = make(map[string]uint16)
	}
	n := uint16(len(t.names))
	t.names = append(t.names, value)
	t.counts = append(t.counts, [NumClassifications]int32{})
	t.index[value] = n
	return n, ok
}

// top returns the counts of the so many detectors with the most incidents, and of
// all others together.
func (t *detectors) top(shown int) []DetectionCount {
	totals := make([]int32, len(t.names))
	order := make([]int, 0, len(t.names))
	for i, counts := range t.counts {
		for _, n := range counts {
			totals[i] += n
		}
		if totals[i] > 0 && t.names[i] != "other" {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(totals[b], totals[a]), strings.Compare(t.names[a], t.names[b]))
	})
	order = order[:min(len(order), shown)]
	dst := make([]DetectionCount, 0, len(order)+NumClassifications)
	var rest [NumClassifications]int32
	for _, counts := range t.counts {
		for class, n := range counts {
			rest[class] += n
		}
	}
	for _, i := range order {
		for class, n := range t.counts[i] {
			rest[class] -= n
			if n > 0 {
				dst = append(dst, DetectionCount{t.names[i], Classification(class), n})
			}
		}
	}
	for class, n := range rest {
		if n > 0 {
			dst = append(dst, DetectionCount{"other", Classification(class), n})
		}
	}
	return dst
}

// owners counts open incidents by owner. Who has none is forgotten, and the place
// is free for another one; 0 is nobody's.
type owners struct {
	names  []string // empty: free
	index  map[string]uint16
	counts []int32
}

// maxOwners bounds the table: all further ones count as the last one.
const maxOwners = 10_000

// number of an owner; false when the label does not show so many.
func (t *owners) number(name string) (uint16, bool) {
	n, ok := t.index[name]
	if !ok {
		at := slices.Index(t.names, "")
		if at < 0 {
			at = len(t.names)
			if at == maxOwners {
				return maxOwners, false
			}
			t.names, t.counts = append(t.names, ""), append(t.counts, 0)
		}
		if t.index == nil {
			t.index = make(map[string]uint16)
		}
		n = uint16(at + 1)
		t.names[at], t.index[name] = name, n
	}
	return n, n <= maxLabels
}

func (t *owners) knows(owner uint16) bool {
	return owner == 0 || int(owner) <= len(t.names) && t.names[owner-1] != ""
}

func (t *owners) add(owner uint16, n int32) {
	if owner == 0 {
		return
	}
	at := owner - 1
	if t.counts[at] += n; t.counts[at] == 0 {
		t.forget(int(at))
	}
}

func (t *owners) forget(at int) {
	delete(t.index, t.names[at])
	t.names[at] = ""
	for n := len(t.names); n > 0 && t.names[n-1] == ""; n = len(t.names) {
		t.names, t.counts = t.names[:n-1], t.counts[:n-1]
	}
}

// tidy forgets whom no row refers to.
func (t *owners) tidy() {
	for at := len(t.names) - 1; at >= 0; at-- {
		if at < len(t.names) && t.counts[at] == 0 && t.names[at] != "" {
			t.forget(at)
		}
	}
}

// fill gives the names their numbers again.
func (t *owners) fill(names []string) bool {
	for i, name := range names {
		t.names, t.counts = append(t.names, name), append(t.counts, 0)
		if name == "" {
			continue
		}
		if t.index == nil {
			t.index = make(map[string]uint16)
		}
		if _, twice := t.index[name]; twice || i >= maxOwners {
			return false
		}
		t.index[name] = uint16(i + 1)
	}
	return true
}

// DimensionCounts are the counts that were asked for. What was not, or is not known
// as yet, is nil.
type DimensionCounts struct {
	// Tags, DeviceGroups and Techniques count open incidents.
	Tags, DeviceGroups, Techniques []LabelCount
	// Detectors counts resolved incidents; those beyond the setting are other.
	Detectors []DetectionCount
	Assignees *AssigneeCounts
	// Reassigned tells that Flows counts hand-overs.
	Reassigned bool
	// Fields are those of which values may become other because of what was asked
	// for.
	Fields Fields
}

// AssigneeCounts tell how open incidents are shared out.
type AssigneeCounts struct {
	// Persons who have any, and how many the one with the most has.
	Persons, Most int32
	// ByOwner is nil unless they are to be listed.
	ByOwner []OwnerCount
}

// OwnerCount is the number of open incidents of one owner, or of all others.
type OwnerCount struct {
	Owner string
	Count int32
}

func (d *dimensions) snapshot() (s DimensionCounts) {
	for _, field := range [...]struct {
		asked bool
		field Fields
	}{
		{d.allGroups(), FieldDeviceGroup}, {d.Techniques, FieldTechnique}, {d.Detectors > 0, FieldDetector}, {d.Assignees != AssigneesOff, FieldAssignee},
	} {
		if field.asked {
			s.Fields |= field.field
		}
	}
	s.Reassigned = d.Assignees != AssigneesOff
	if d.stale > 0 {
		return s
	}
	for sev := range Severity(NumSeverities) {
		s.Tags = d.tags.listed(s.Tags, sev, &d.counts.tags[sev])
		if d.allGroups() {
			s.DeviceGroups = d.groups.counts(s.DeviceGroups, sev, &d.counts.groups[sev], &d.seen.Groups[sev])
		} else {
			s.DeviceGroups = d.groups.listed(s.DeviceGroups, sev, &d.counts.groups[sev])
		}
		s.Techniques = d.techniques.counts(s.Techniques, sev, &d.counts.techniques[sev], &d.seen.Techniques[sev])
	}
	if d.Detectors > 0 {
		s.Detectors = d.detectors.top(d.Detectors)
	}
	if d.Assignees != AssigneesOff {
		s.Assignees = d.owners.snapshot(d.Assignees == AssigneesListed)
	}
	return s
}

// listed counts by all names, whether or not there is any incident.
func (l *labels) listed(dst []LabelCount, sev Severity, n *[NumLabels]int32) []LabelCount {
	for i, name := range l.names {
		dst = append(dst, LabelCount{sev, name, n[i]})
	}
	return dst
}

func (t *owners) snapshot(list bool) *AssigneeCounts {
	s := &AssigneeCounts{}
	other := int32(0)
	for i, n := range t.counts {
		if n == 0 {
			continue
		}
		s.Persons++
		s.Most = max(s.Most, n)
		switch {
		case !list:
		case i < maxLabels && t.names[i] != "other":
			s.ByOwner = append(s.ByOwner, OwnerCount{t.names[i], n})
		default:
			other += n
		}
	}
	if other > 0 {
		s.ByOwner = append(s.ByOwner, OwnerCount{"other", other})
	}
	return s
}

// savedDimensions is what of them belongs to no single row.
type savedDimensions struct {
	Mark       string        `json:"mark"`
	Groups     []string      `json:"groups,omitempty"`
	Techniques []string      `json:"techniques,omitempty"`
	Detectors  []string      `json:"detectors,omitempty"`
	Owners     []string      `json:"owners,omitempty"`
	Seen       dimensionSeen `json:"seen,omitzero"`
}

func (d *dimensions) saved() *savedDimensions {
	if d == nil {
		return nil
	}
	return &savedDimensions{d.mark, d.groups.names, d.techniques.names, d.detectors.names, d.owners.names, d.seen}
}

// restore takes over what was saved under the same mark.
func (d *dimensions) restore(s *savedDimensions) bool {
	for i, name := range s.Detectors {
		if n, ok := d.detectors.number(name); !ok || int(n) != i {
			return false
		}
	}
	d.seen = s.Seen
	return d.groups.fill(s.Groups) && d.techniques.fill(s.Techniques) && d.owners.fill(s.Owners)
}
