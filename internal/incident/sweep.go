package incident

import (
	"slices"
	"time"
)

// BeginSweep starts a new reading of everything: from now on every version
// that is applied marks its incident as seen.
func (m *Mirror) BeginSweep() {
	// 0 is never a sweep's number, so that the first one has unseen rows too.
	m.sweep = m.sweep%255 + 1
	m.sweeping = true
	m.unsaved.newSweep, m.unsaved.swept = true, nil
}

// EndSweep is called when a sweep is over, complete or given up.
func (m *Mirror) EndSweep() {
	m.sweeping = false
	m.unsaved.newSweep, m.unsaved.swept = true, nil
}

// mark notes that a version of the row was seen.
func (m *Mirror) mark(r *row) {
	if r.sweep == m.sweep {
		return
	}
	r.sweep = m.sweep
	if m.sweeping {
		m.unsaved.swept = append(m.unsaved.swept, r.id)
	}
}

// Seen tells that the sweep in progress has seen an incident.
func (m *Mirror) Seen(id int64) bool {
	slot, ok := m.index.find(id)
	return ok && m.row(slot).sweep == m.sweep
}

// Unseen lists the incidents that no version was applied of since BeginSweep,
// although a complete reading of everything last updated at or after since
// should have had them. With openToo, a reading of all open ones was part of
// it. It walks all rows.
func (m *Mirror) Unseen(since time.Time, openToo bool) []int64 {
	from := unixNano(since)
	var ids []int64
	for r := range m.rows {
		if r.sweep == m.sweep {
			continue
		}
		if r.lastKnown() >= from || openToo && r.status.Open() {
			ids = append(ids, r.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Merged tells whether an incident is known, and was merged into another one.
func (m *Mirror) Merged(id int64) bool {
	slot, ok := m.index.find(id)
	return ok && m.row(slot).status == StatusRedirected
}

// Missed notes that a sweep did not see an incident that could not be looked up. It is
// true when that happened for the second time in a row.
func (m *Mirror) Missed(id int64) bool { return m.inARow(id, flagMissed, flagOlder) }

// Older notes that a sweep saw only an older version of an incident. It is true when that
// happened for the second time in a row.
func (m *Mirror) Older(id int64) bool { return m.inARow(id, flagOlder, flagMissed) }

// inARow notes what a sweep has said of an incident, instead of another, and tells whether
// the one before has said the same.
func (m *Mirror) inARow(id int64, said, instead uint16) bool {
	slot, ok := m.index.find(id)
	if !ok {
		return false
	}
	r := m.row(slot)
	again := r.has(said)
	if !again {
		r.set(said, true)
		r.set(instead, false)
		m.touch(id)
	}
	return again
}
