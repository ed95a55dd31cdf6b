package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"m365_defender_exporter/internal/incident"
)

// Neighbours share a record, a chunk: most of a row by itself would be what a
// record costs, in space and in time.
const chunkBits = 6

// change is a row by its incident's id; without data it is removed.
type change struct {
	id   int64
	data []byte
}

// appendRow packs a row into its chunk: the last bits of the id, the length as an
// unsigned varint, the data.
func appendRow(chunk []byte, row change) []byte {
	chunk = append(chunk, byte(row.id&(1<<chunkBits-1)))
	chunk = binary.AppendUvarint(chunk, uint64(len(row.data)))
	return append(chunk, row.data...)
}

// unpack calls do for each row of a chunk, whose data is part of it. False: it is
// no chunk.
func unpack(number int64, packed []byte, do func(change) bool) bool {
	last := -1
	for len(packed) > 0 {
		low := int(packed[0])
		length, n := binary.Uvarint(packed[1:])
		if packed = packed[1+max(n, 0):]; n <= 0 || low <= last || low >= 1<<chunkBits || length > uint64(len(packed)) {
			return false
		}
		if !do(change{number<<chunkBits | int64(low), packed[:length:length]}) {
			return false
		}
		packed, last = packed[length:], low
	}
	return true
}

// summary is a fingerprint of all chunks that can be kept up to date one by one:
// damage can lose records as well as alter them, or bring back older ones.
type summary struct{ Rows, Bytes, Sum uint64 }

// add adds a chunk, or takes it away if times is -1.
func (s *summary) add(times, rows int, at place, sealed []byte) {
	const spread = 0x9E3779B97F4A7C15 // so that sums do not meet
	s.Rows += uint64(times * rows)
	s.Bytes += uint64(times * len(sealed))
	s.Sum += uint64(times) * spread * uint64(at.checksum(sealed))
}

// head is what belongs to all rows together.
type head struct {
	fixed
	tables, progress []byte
}

type fixed struct {
	summary
	Parts  uint64 // of what the sweep in progress has seen
	Saves  uint64 // of the ledger that there had been
	Tables uint64 // bytes
}

func (h *head) pack() []byte {
	h.Tables = uint64(len(h.tables))
	b, _ := binary.Append(nil, binary.LittleEndian, h.fixed) // numbers cannot fail
	return slices.Concat(b, h.tables, h.progress)
}

// size is about what the tenant has on the disk.
func (h *head) size() int64 { return int64(h.Bytes) + int64(len(h.tables)+len(h.progress)) }

// readHead returns nil if there is none.
func (t *fileTenant) readHead(c *connection) (*head, error) {
	sealed, err := c.record(t.head)
	if err != nil || sealed == nil {
		return nil, err
	}
	_, data, whole := openHead(t.head.tenant, sealed)
	var h head
	n, err := binary.Decode(data, binary.LittleEndian, &h.fixed)
	if !whole || err != nil || h.Tables > uint64(len(data)-n) {
		return nil, damagedf("its head")
	}
	h.tables, h.progress = data[n:][:h.Tables:h.Tables], data[n:][h.Tables:]
	return &h, nil
}

// Load implements Tenant.
func (t *fileTenant) Load(restore func(*incident.Saved) error) error {
	if err := t.load(restore); err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	return nil
}

func (t *fileTenant) load(restore func(*incident.Saved) error) error {
	var (
		h      *head
		chunks chunks
		swept  []int64
		opened int
		d      = t.store.incidents
	)
	err := d.view(func(c *connection) (err error) {
		opened = d.opened
		if h, err = t.readHead(c); err == nil && h == nil {
			return d.aside
		}
		if err == nil {
			chunks, err = t.readChunks(c)
		}
		if err == nil {
			swept, err = t.readSwept(c, h.Parts)
		}
		if errors.Is(err, errDamaged) {
			return d.setTenantAside(t.head.tenant, err)
		}
		return err
	})
	if err != nil || h == nil {
		return err
	}
	// The rest is done while others read.
	var got summary
	err = restore(&incident.Saved{
		Full: true, Len: int(h.Rows), Tables: h.tables, Progress: h.progress, Swept: swept,
		Rows: func(yield func(int64, []byte) bool) { got = chunks.rows(t.head, yield) },
	})
	if err == nil && got != h.summary {
		err = damagedf("its rows are not those that were saved")
	}
	if errors.Is(err, errDamaged) || errors.Is(err, incident.ErrSaved) {
		return d.view(func(*connection) error { return d.setTenantAside(t.head.tenant, err) })
	}
	if err == nil {
		t.last, t.known, t.saves = h.summary, opened, h.Saves
		t.size[0].Store(h.size())
	}
	return err
}

// chunks are all of a tenant, sealed, one after the other.
type chunks struct {
	numbers []int64
	ends    []int
	data    []byte
}

func (t *fileTenant) readChunks(c *connection) (all chunks, err error) {
	err = c.each(func(number int64, sealed []byte) error {
		all.data = append(all.data, sealed...)
		all.numbers, all.ends = append(all.numbers, number), append(all.ends, len(all.data))
		return nil
	}, "number", "tenant = ? AND kind = ?", t.head.tenant, kindChunk)
	return all, err
}

// rows yields all rows, until one is damaged, and returns the summary of those.
func (a *chunks) rows(of place, yield func(int64, []byte) bool) (got summary) {
	start := 0
	for i, number := range a.numbers {
		at, sealed := of.record(kindChunk, number), a.data[start:a.ends[i]]
		start = a.ends[i]
		packed, whole := at.unseal(sealed)
		n := 0
		if !whole || !unpack(number, packed, func(row change) bool {
			n++
			return yield(row.id, row.data)
		}) {
			return got
		}
		got.add(+1, n, at, sealed)
	}
	return got
}

func (t *fileTenant) readSwept(c *connection, parts uint64) (ids []int64, err error) {
	next := int64(0)
	err = c.each(func(part int64, sealed []byte) error {
		packed, whole := t.head.record(kindSwept, part).unseal(sealed)
		if !whole || len(packed)%8 != 0 || part != next {
			return damagedf("a part of the sweep")
		}
		for next++; len(packed) > 0; packed = packed[8:] {
			ids = append(ids, int64(binary.LittleEndian.Uint64(packed)))
		}
		return nil
	}, "number", "tenant = ? AND kind = ?", t.head.tenant, kindSwept)
	if err == nil && uint64(next) != parts {
		err = damagedf("parts of the sweep are missing")
	}
	return ids, err
}

// Save implements Tenant.
func (t *fileTenant) Save(export func(full bool) (*incident.Saved, error)) error {
	var h *head
	opened := 0
	err := t.store.incidents.write(func(c *connection) (err error) {
		opened = t.store.incidents.opened
		h, err = t.save(c, export)
		return err
	})
	if err != nil {
		if errors.Is(err, errDamaged) {
			t.known = 0 // the next save replaces everything
		}
		return fmt.Errorf("save the state: %w", err)
	}
	t.last, t.known = h.summary, opened
	t.size[0].Store(h.size())
	return nil
}

func (t *fileTenant) save(c *connection, export func(bool) (*incident.Saved, error)) (*head, error) {
	// What is there may be something else if saving failed at the last moment, or
	// if the files begin anew.
	h, err := t.readHead(c)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	s, err := export(t.known != t.store.incidents.opened || h == nil || h.summary != t.last)
	if err != nil {
		return nil, err
	}
	if s.Full || h == nil {
		h = &head{}
		if err := c.exec("DELETE FROM records WHERE tenant = ? AND kind = ?", t.head.tenant, kindChunk); err != nil {
			return nil, err
		}
	}
	if err := t.putRows(c, s, &h.summary); err != nil {
		return nil, err
	}
	if h.Rows != uint64(s.Len) {
		if s.Full {
			return nil, fmt.Errorf("%w: %d rows, not %d", incident.ErrSaved, h.Rows, s.Len)
		}
		return nil, damagedf("%d rows, not %d", h.Rows, s.Len)
	}
	if err := t.putSwept(c, s, h); err != nil {
		return nil, err
	}
	h.tables, h.progress, h.Saves = s.Tables, s.Progress, t.saves
	return h, c.replace(t.head, t.head.sealHead(h.pack()))
}

// putRows puts rows a batch at a time: the rows of a full export are many, and in
// no order.
func (t *fileTenant) putRows(c *connection, s *incident.Saved, sum *summary) error {
	const batch = 50_000
	changes := make([]change, 0, len(s.Removed))
	for _, id := range s.Removed {
		changes = append(changes, change{id, nil})
	}
	for id, data := range s.Rows {
		changes = append(changes, change{id, append([]byte{}, data...)}) // not even an empty row is nil
		if len(changes) >= batch {
			if err := t.putChunks(c, changes, sum); err != nil {
				return err
			}
			changes = changes[:0]
		}
	}
	return t.putChunks(c, changes, sum)
}

func (t *fileTenant) putChunks(c *connection, changes []change, sum *summary) error {
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.id, b.id) })
	for len(changes) > 0 {
		number, n := changes[0].id>>chunkBits, 1
		for n < len(changes) && changes[n].id>>chunkBits == number {
			n++
		}
		if err := putChunk(c, t.head.record(kindChunk, number), changes[:n], sum); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// putChunk merges changes, which are sorted, into one chunk.
func putChunk(c *connection, at place, changes []change, sum *summary) error {
	old, err := c.record(at)
	if err != nil {
		return err
	}
	var packed []byte
	rows, before := 0, 0
	add := func(row change) {
		if row.data != nil {
			packed = appendRow(packed, row)
			rows++
		}
	}
	if old != nil {
		was, whole := at.unseal(old)
		if !whole || !unpack(at.number, was, func(row change) bool {
			before++
			for ; len(changes) > 0 && changes[0].id < row.id; changes = changes[1:] {
				add(changes[0])
			}
			if len(changes) == 0 || changes[0].id != row.id {
				add(row)
			}
			return true
		}) {
			return damagedf("rows")
		}
		sum.add(-1, before, at, old)
	}
	for _, row := range changes {
		add(row)
	}
	if rows == 0 {
		return c.replace(at, nil)
	}
	packed = at.seal(packed)
	sum.add(+1, rows, at, packed)
	return c.replace(at, packed)
}

// putSwept appends to what the sweep in progress has seen.
func (t *fileTenant) putSwept(c *connection, s *incident.Saved, h *head) error {
	if s.NewSweep {
		h.Parts = 0
		if err := c.exec("DELETE FROM records WHERE tenant = ? AND kind = ?", t.head.tenant, kindSwept); err != nil {
			return err
		}
	}
	if len(s.Swept) == 0 {
		return nil
	}
	packed := make([]byte, 0, 8*len(s.Swept)+sealLength)
	for _, id := range s.Swept {
		packed = binary.LittleEndian.AppendUint64(packed, uint64(id))
	}
	at := t.head.record(kindSwept, int64(h.Parts))
	h.Parts++
	return c.replace(at, at.seal(packed))
}
