package incident

import (
	"encoding/binary"
	"slices"
	"time"
	"unique"
)

// row is the compact form in which the mirror keeps an incident: 96 bytes and
// interned texts, so that a million incidents fit in any pod.
type row struct {
	id               int64
	created, updated int64 // Unix nanoseconds, noTime if not known
	// due is the instant of the row's entry in the queue of deadlines.
	due int64
	// owned is when its first owner was seen; noTime if it has had none, or if that
	// was before transitions were counted.
	owned int64
	// These are sets of indices into the label tables.
	sources, categories, detections uint64
	// alerts holds sorted (key, count) pairs, see packAlerts. Few distinct
	// combinations exist, and interning shares them.
	alerts unique.Handle[string]
	// dimensions is a text as dimensionSet packs it, empty while nothing of the kind
	// is kept; so is owner 0.
	dimensions unique.Handle[string]

	severity       Severity
	status         Status
	classification Classification
	determination  Determination
	flags          uint16
	age            uint8 // number of age thresholds that were passed
	oldest         uint8 // severities in whose queue of oldest the row stands, a bit each
	sweep          uint8 // low bits of the last sweep that saw the row
	idle           uint8 // number of IdleThresholds that were passed since the last update
	priority       Priority
	owner          uint16
}

const noTime = 0

const (
	flagUsed uint16 = 1 << iota
	flagAssigned
	flagEverAssigned
	flagMissed // the last sweep did not see it
	// flagNoAlerts: the present version came without its alerts. Those of an
	// older version are kept, but must not be shown.
	flagNoAlerts
	flagTouched   // some version had been dealt with: see [Incident.Touched]
	flagHadAlerts // some version came with its alerts, or was known to have none
	// flagStale: what is kept under opt-in dimensions is not known as of the present
	// settings.
	flagStale
	flagOlder // the last sweep saw only an older version
	// flagResolved: the last version whose status we know was resolved.
	flagResolved
)

func (r *row) has(flag uint16) bool { return r.flags&flag != 0 }

func (r *row) set(flag uint16, on bool) {
	if on {
		r.flags |= flag
	} else {
		r.flags &^= flag
	}
}

// assigned is an index: 1 for an incident that is assigned.
func (r *row) assigned() int {
	if r.has(flagAssigned) {
		return 1
	}
	return 0
}

// lastKnown is the instant of the last update as far as it is known.
func (r *row) lastKnown() int64 {
	if r.updated != noTime {
		return r.updated
	}
	return r.created
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

func fromNano(ns int64) time.Time {
	if ns == noTime {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// alertKey is an index into the mirror's alert counts, plus numAlertKeys for each
// state of an investigation.
func alertKey(sev Severity, status AlertStatus, source uint8, state Investigation) uint16 {
	return ((uint16(state)*uint16(NumSeverities)+uint16(sev))*uint16(NumAlertStatuses)+uint16(status))*NumLabels + uint16(source)
}

const numAlertKeys = NumSeverities * NumAlertStatuses * NumLabels

// packAlerts encodes the counts per key, sorted, as pairs of 16 bits each.
func packAlerts(keys []uint16) unique.Handle[string] {
	if len(keys) == 0 {
		return noText
	}
	slices.Sort(keys)
	buf := make([]byte, 0, 64)
	for i := 0; i < len(keys); {
		j := i + 1
		for j < len(keys) && keys[j] == keys[i] {
			j++
		}
		buf = binary.LittleEndian.AppendUint16(buf, keys[i])
		buf = binary.LittleEndian.AppendUint16(buf, uint16(min(j-i, 1<<16-1)))
		i = j
	}
	return unique.Make(string(buf))
}

var noText = unique.Make("")

// eachAlert calls f with every key and count of a packed text.
func eachAlert(packed string, f func(key uint16, n int)) {
	for i := 0; i+4 <= len(packed); i += 4 {
		key := uint16(packed[i]) | uint16(packed[i+1])<<8
		n := uint16(packed[i+2]) | uint16(packed[i+3])<<8
		f(key, int(n))
	}
}

// countAlerts is how many alerts a packed text has.
func countAlerts(packed string) (n int) {
	eachAlert(packed, func(_ uint16, count int) { n += count })
	return n
}

// NumLabels bounds an open-ended label: the first fifty distinct values, then
// other.
const (
	NumLabels  = maxLabels + 1
	maxLabels  = 50
	otherLabel = maxLabels
)

// labels gives open-ended label values small numbers, first come first served.
type labels struct {
	names []string
	index map[string]uint8
}

// number of the value; false when it had to become other.
func (l *labels) number(value string) (uint8, bool) {
	if value == "other" {
		return otherLabel, true
	}
	if n, ok := l.index[value]; ok {
		return n, true
	}
	if len(l.names) >= maxLabels {
		return otherLabel, false
	}
	if l.index == nil {
		l.index = make(map[string]uint8)
	}
	n := uint8(len(l.names))
	l.names = append(l.names, value)
	l.index[value] = n
	return n, true
}
