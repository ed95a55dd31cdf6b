package incident

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
	"unique"
)

// Saved is the state of a mirror, or what changed of it, on its way to a store
// or back. A store keeps its parts and need not understand them.
type Saved struct {
	// Full: the rows and the swept ones are all there are, and replace whatever
	// was saved before. Otherwise they are what changed since.
	Full bool
	// Len is the number of rows of the whole mirror.
	Len int
	// Rows are the rows by the incident's id. The bytes are good until the next.
	Rows iter.Seq2[int64, []byte]
	// Removed rows.
	Removed []int64
	// Swept are the rows that the sweep in progress has seen. NewSweep: those
	// that were saved before are of another one.
	Swept    []int64
	NewSweep bool
	// Tables is everything of the mirror that belongs to no single row.
	Tables []byte
	// Progress is of the owner of the mirror; the mirror itself ignores it.
	Progress []byte
}

// unsaved is what changed since the mirror was last saved.
type unsaved struct {
	ids      map[int64]struct{}
	swept    []int64
	newSweep bool
}

// touch notes that a row has to be saved, or removed if it is gone.
func (m *Mirror) touch(id int64) {
	if m.unsaved.ids == nil {
		m.unsaved.ids = make(map[int64]struct{})
	}
	m.unsaved.ids[id] = struct{}{}
}

// Export describes what changed since [Mirror.Kept] was last called, or
// everything. It is valid until the mirror changes. Its error is that of encoding
// the tables, which no value of theirs brings about.
func (m *Mirror) Export(full bool) (*Saved, error) {
	tables, err := json.Marshal(m.tables())
	if err != nil {
		return nil, fmt.Errorf("encode the tables: %w", err)
	}
	s := &Saved{Full: full, Len: m.Len(), Tables: tables, Swept: m.unsaved.swept, NewSweep: m.unsaved.newSweep || full}
	if full {
		s.Swept = m.swept()
		s.Rows = m.allRows
		return s, nil
	}
	s.Rows = m.changedRows
	for id := range m.unsaved.ids {
		if _, ok := m.index.find(id); !ok {
			s.Removed = append(s.Removed, id)
		}
	}
	return s, nil
}

// Kept is called once what was exported is safe.
func (m *Mirror) Kept() {
	const small = 4096 // a larger map would cost its size at every clearing
	if len(m.unsaved.ids) > small {
		m.unsaved.ids = nil
	}
	clear(m.unsaved.ids)
	m.unsaved.swept, m.unsaved.newSweep = nil, false
}

func (m *Mirror) allRows(yield func(int64, []byte) bool) {
	var buf []byte
	for r := range m.rows {
		buf = r.appendTo(buf[:0])
		if !yield(r.id, buf) {
			return
		}
	}
}

func (m *Mirror) changedRows(yield func(int64, []byte) bool) {
	var buf []byte
	for id := range m.unsaved.ids {
		if slot, ok := m.index.find(id); ok {
			buf = m.row(slot).appendTo(buf[:0])
			if !yield(id, buf) {
				return
			}
		}
	}
}

// swept lists all rows that the sweep in progress has seen.
func (m *Mirror) swept() (ids []int64) {
	if !m.sweeping {
		return nil
	}
	for r := range m.rows {
		if r.sweep == m.sweep {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// ErrSaved says that what was saved makes no sense.
var ErrSaved = errors.New("what was saved makes no sense")

// RestoreMirror makes the mirror that was saved. Its settings may differ from
// those of the mirror that was saved. It is equal to that one after the time up
// to now has passed, but that what was kept under other [Dimensions] is forgotten:
// see [Mirror.DimensionsMissing]. What makes no sense is an error that matches [ErrSaved]. It
// walks all rows.
func RestoreMirror(opts MirrorOptions, s *Saved, now time.Time) (*Mirror, error) {
	var t tables
	if err := json.Unmarshal(s.Tables, &t); err != nil {
		return nil, fmt.Errorf("%w: tables: %w", ErrSaved, err)
	}
	room := min(max(s.Len, 0), 1<<22) // it is what somebody has written
	m := newMirror(opts, room)
	if !m.setTables(&t) {
		return nil, fmt.Errorf("%w: tables", ErrSaved)
	}
	m.deadlines = make(queue, 0, room) // one each, but for rows of no known age
	same := m.sameDimensions(&t)
	interned := make(map[string]unique.Handle[string])
	at := now.UnixNano()
	for id, data := range s.Rows {
		if !m.restoreRow(id, data, at, same, interned) {
			return nil, fmt.Errorf("%w: row %d", ErrSaved, id)
		}
	}
	if m.Len() != s.Len {
		return nil, fmt.Errorf("%w: %d rows, not %d", ErrSaved, m.Len(), s.Len)
	}
	if m.dimensions != nil {
		m.dimensions.owners.tidy()
	}
	// The queues were filled without regard to their order.
	m.deadlines.init()
	for i := range m.oldest {
		m.oldest[i].init()
	}
	for _, id := range s.Swept {
		if slot, ok := m.index.find(id); ok && m.sweeping {
			m.row(slot).sweep = m.sweep
		}
	}
	m.Advance(now)
	return m, nil
}

// maxInterned bounds the shortcut around interning: it pays for the texts that
// many rows share.
const maxInterned = 1 << 14

func (m *Mirror) restoreRow(id int64, data []byte, now int64, same bool, interned map[string]unique.Handle[string]) bool {
	if _, twice := m.index.find(id); twice {
		return false
	}
	slot := m.allocate(id)
	r := m.row(slot)
	packed, ok := r.parse(data)
	if !ok {
		return false
	}
	if !same {
		// To be saved again: the tables that it refers to are not.
		m.touch(id)
		r.owner, r.dimensions = 0, noText
		r.set(flagStale, m.dimensions != nil)
	}
	if !m.knows(r, packed) {
		return false
	}
	if r.alerts, ok = interned[string(packed)]; !ok {
		r.alerts = unique.Make(string(packed))
		if len(interned) < maxInterned {
			interned[string(packed)] = r.alerts
		}
	}
	r.age, r.idle = m.agesAt(r, now)
	m.count(r, +1)
	if r.status.Open() && r.created != noTime {
		r.oldest = 1 << r.severity
		m.oldest[r.severity] = append(m.oldest[r.severity], deadline{r.created, slot})
	}
	if r.due = m.nextDeadline(r); r.due != noTime {
		m.deadlines = append(m.deadlines, deadline{r.due, slot})
	}
	return true
}

// knows tells that the row refers to nothing that the tables do not have.
func (m *Mirror) knows(r *row, packed []byte) bool {
	if !m.sources.knows(r.sources) || !m.categories.knows(r.categories) || !m.detections.knows(r.detections) {
		return false
	}
	if m.dimensions != nil && !m.dimensions.knows(r) || m.dimensions == nil && (r.owner != 0 || r.dimensions != noText || r.has(flagStale)) {
		return false
	}
	ok := true
	eachAlert(string(packed), func(key uint16, _ int) {
		ok = ok && int(key) < numAlertKeys*NumInvestigations && m.sources.knows(1<<(key%NumLabels))
	})
	return ok
}
