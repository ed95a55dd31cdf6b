package state

import (
	"cmp"
	"context"
	"database/sql"
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
type summary struct{ rows, bytes, sum uint64 }

func (s *summary) add(number int64, rows int, sealed []byte) {
	s.rows, s.bytes, s.sum = s.rows+uint64(rows), s.bytes+uint64(len(sealed)), s.sum+fingerprint(number, sealed)
}

func (s *summary) remove(number int64, rows int, sealed []byte) {
	s.rows, s.bytes, s.sum = s.rows-uint64(rows), s.bytes-uint64(len(sealed)), s.sum-fingerprint(number, sealed)
}

func fingerprint(number int64, sealed []byte) uint64 {
	sum := checksum(chunkPlace(0, number), sealed)
	return uint64(sum) * 0x9E3779B97F4A7C15 // spread, so that sums do not meet
}

// The places that checksums are good for.
func headPlace(name string, tenant int64) string  { return fmt.Sprintf("head %d %s", tenant, name) }
func chunkPlace(tenant, number int64) string      { return fmt.Sprintf("chunk %d %d", tenant, number) }
func sweptPlace(tenant int64, part uint64) string { return fmt.Sprintf("swept %d %d", tenant, part) }

// head is what belongs to all rows together.
type head struct {
	summary
	// parts of what the sweep in progress has seen.
	parts uint64
	// saves of the ledger that there had been.
	saves            uint64
	tables, progress []byte
}

func (h *head) seal(place string) []byte {
	var b []byte
	for _, n := range []uint64{h.rows, h.bytes, h.sum, h.parts, h.saves, uint64(len(h.tables))} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return seal(place, append(append(b, h.tables...), h.progress...))
}

// readHead returns nil if there is none.
func readHead(c connection, name string, tenant int64) (*head, error) {
	var sealed []byte
	err := c.QueryRowContext(context.Background(), "SELECT data FROM heads WHERE tenant = ?", tenant).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var h head
	numbers := []*uint64{&h.rows, &h.bytes, &h.sum, &h.parts, &h.saves, new(uint64)}
	b, whole := unseal(headPlace(name, tenant), sealed)
	if !whole || len(b) < 8*len(numbers) {
		return nil, damagedf("its head")
	}
	for _, n := range numbers {
		*n, b = binary.LittleEndian.Uint64(b), b[8:]
	}
	tables := *numbers[len(numbers)-1]
	if tables > uint64(len(b)) {
		return nil, damagedf("its head")
	}
	h.tables, h.progress = b[:tables:tables], b[tables:]
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
		h       *head
		tenant  int64
		chunks  chunks
		swept   []int64
		damage  error
		d       = t.store.incidents
		setting = func(c connection) error {
			err := t.store.setTenantAside(c, tenant, damage)
			if err == nil {
				err = d.aside
			}
			return err
		}
	)
	opened := 0
	err := d.view(func(c connection) (err error) {
		var known bool
		opened = d.opened
		if tenant, known = t.store.numbers[t.name]; !known {
			return d.aside
		}
		if h, damage = readHead(c, t.name, tenant); damage == nil && h != nil {
			if chunks, damage = readChunks(c, tenant); damage == nil {
				swept, damage = readSwept(c, tenant, h.parts)
			}
		}
		if errors.Is(damage, errDamaged) {
			return setting(c)
		}
		return damage
	})
	if err != nil || h == nil {
		return err
	}
	// The rest is done while others read.
	var got summary
	saved := &incident.Saved{Full: true, Len: int(h.rows), Tables: h.tables, Progress: h.progress, Swept: swept}
	saved.Rows = func(yield func(int64, []byte) bool) { got = chunks.rows(tenant, yield) }
	if err = restore(saved); err == nil && got != h.summary {
		err = damagedf("its rows are not those that were saved")
	}
	if err == nil {
		t.last, t.known, t.saves = h.summary, opened, h.saves
		t.size[0].Store(int64(h.bytes) + int64(len(h.tables)+len(h.progress)))
		return nil
	}
	if damage = err; errors.Is(err, errDamaged) || errors.Is(err, incident.ErrSaved) {
		return d.view(setting)
	}
	return err
}

// chunks are all of a tenant, sealed, one after the other.
type chunks struct {
	numbers []int64
	ends    []int
	data    []byte
}

func readChunks(c connection, tenant int64) (all chunks, err error) {
	err = c.each(func(rows *sql.Rows) error {
		var number int64
		var data sql.RawBytes
		if err := rows.Scan(&number, &data); err != nil {
			return err
		}
		all.data = append(all.data, data...)
		all.numbers, all.ends = append(all.numbers, number), append(all.ends, len(all.data))
		return nil
	}, "SELECT chunk, data FROM chunks WHERE tenant = ? ORDER BY chunk", tenant)
	return all, err
}

// rows yields all rows, until one is damaged, and returns the summary of those.
func (a *chunks) rows(tenant int64, yield func(int64, []byte) bool) (got summary) {
	start := 0
	for i, number := range a.numbers {
		sealed := a.data[start:a.ends[i]]
		start = a.ends[i]
		packed, whole := unseal(chunkPlace(tenant, number), sealed)
		n := 0
		if !whole || !unpack(number, packed, func(row change) bool {
			n++
			return yield(row.id, row.data)
		}) {
			return got
		}
		got.add(number, n, sealed)
	}
	return got
}

func readSwept(c connection, tenant int64, parts uint64) (ids []int64, err error) {
	var next uint64
	err = c.each(func(rows *sql.Rows) error {
		var part uint64
		var sealed sql.RawBytes
		if err := rows.Scan(&part, &sealed); err != nil {
			return err
		}
		packed, whole := unseal(sweptPlace(tenant, part), sealed)
		if !whole || len(packed)%8 != 0 || part != next {
			return damagedf("a part of the sweep")
		}
		for next++; len(packed) > 0; packed = packed[8:] {
			ids = append(ids, int64(binary.LittleEndian.Uint64(packed)))
		}
		return nil
	}, "SELECT part, data FROM swept WHERE tenant = ? ORDER BY part", tenant)
	if err == nil && next != parts {
		err = damagedf("parts of the sweep are missing")
	}
	return ids, err
}

// Save implements Tenant.
func (t *fileTenant) Save(export func(full bool) (*incident.Saved, error)) error {
	var h *head
	opened := 0
	err := t.store.incidents.write(func(c connection) (err error) {
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
	t.size[0].Store(int64(h.bytes) + int64(len(h.tables)+len(h.progress)))
	return nil
}

func (t *fileTenant) save(c connection, export func(bool) (*incident.Saved, error)) (*head, error) {
	numbers := t.store.numbers
	tenant, ok := numbers[t.name]
	if !ok {
		for _, n := range numbers {
			tenant = max(tenant, n)
		}
		tenant++
		numbers[t.name] = tenant
	}
	// What is there may be something else if saving failed at the last moment, or
	// if the files begin anew.
	h, err := readHead(c, t.name, tenant)
	if err != nil && !errors.Is(err, errDamaged) {
		return nil, err
	}
	known := t.known == t.store.incidents.opened && h != nil && h.summary == t.last
	s, err := export(!known)
	if err != nil {
		return nil, err
	}
	if s.Full || h == nil {
		h = &head{}
		if err := c.exec("DELETE FROM chunks WHERE tenant = ?", tenant); err != nil {
			return nil, err
		}
	}
	if err := putRows(c, tenant, s, &h.summary); err != nil {
		return nil, err
	}
	if h.rows != uint64(s.Len) {
		if s.Full {
			return nil, fmt.Errorf("%w: %d rows, not %d", incident.ErrSaved, h.rows, s.Len)
		}
		return nil, damagedf("%d rows, not %d", h.rows, s.Len)
	}
	if err := putSwept(c, tenant, s, h); err != nil {
		return nil, err
	}
	h.tables, h.progress, h.saves = s.Tables, s.Progress, t.saves
	return h, c.exec("INSERT INTO heads VALUES (?1, ?2, ?3) ON CONFLICT (tenant) DO UPDATE SET name = ?2, data = ?3",
		tenant, t.name, h.seal(headPlace(t.name, tenant)))
}

// putRows puts rows a batch at a time: the rows of a full export are many, and in
// no order.
func putRows(c connection, tenant int64, s *incident.Saved, sum *summary) error {
	const batch = 50_000
	p, err := newPutter(c, tenant, sum)
	if err != nil {
		return err
	}
	defer p.close()
	changes := make([]change, 0, len(s.Removed))
	for _, id := range s.Removed {
		changes = append(changes, change{id, nil})
	}
	for id, data := range s.Rows {
		// Not even an empty row is nil.
		changes = append(changes, change{id, append(make([]byte, 0, len(data)), data...)})
		if len(changes) >= batch {
			if err := p.put(changes); err != nil {
				return err
			}
			changes = changes[:0]
		}
	}
	return p.put(changes)
}

// putter changes chunks.
type putter struct {
	tenant       int64
	sum          *summary
	get, set, no *sql.Stmt
}

func newPutter(c connection, tenant int64, sum *summary) (p *putter, err error) {
	p = &putter{tenant: tenant, sum: sum}
	for statement, text := range map[**sql.Stmt]string{
		&p.get: "SELECT data FROM chunks WHERE tenant = ? AND chunk = ?",
		&p.set: "INSERT INTO chunks VALUES (?1, ?2, ?3) ON CONFLICT (tenant, chunk) DO UPDATE SET data = ?3",
		&p.no:  "DELETE FROM chunks WHERE tenant = ? AND chunk = ?",
	} {
		if *statement, err = c.PrepareContext(context.Background(), text); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *putter) close() {
	for _, statement := range []*sql.Stmt{p.get, p.set, p.no} {
		if statement != nil {
			_ = statement.Close()
		}
	}
}

func (p *putter) put(changes []change) error {
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.id, b.id) })
	for len(changes) > 0 {
		number, n := changes[0].id>>chunkBits, 1
		for n < len(changes) && changes[n].id>>chunkBits == number {
			n++
		}
		if err := p.putChunk(number, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// putChunk merges changes, which are sorted, into one chunk.
func (p *putter) putChunk(number int64, changes []change) error {
	var old []byte
	ctx, place := context.Background(), chunkPlace(p.tenant, number)
	err := p.get.QueryRowContext(ctx, p.tenant, number).Scan(&old)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
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
	if err == nil {
		was, whole := unseal(place, old)
		if !whole || !unpack(number, was, func(row change) bool {
			before++
			for ; len(changes) > 0 && changes[0].id < row.id; changes = changes[1:] {
				add(changes[0])
			}
			if len(changes) > 0 && changes[0].id == row.id {
				return true // replaced
			}
			add(row)
			return true
		}) {
			return damagedf("rows")
		}
		p.sum.remove(number, before, old)
	}
	for _, row := range changes {
		add(row)
	}
	if rows == 0 {
		_, err = p.no.ExecContext(ctx, p.tenant, number)
		return err
	}
	packed = seal(place, packed)
	p.sum.add(number, rows, packed)
	_, err = p.set.ExecContext(ctx, p.tenant, number, packed)
	return err
}

// putSwept appends to what the sweep in progress has seen.
func putSwept(c connection, tenant int64, s *incident.Saved, h *head) error {
	if s.NewSweep {
		h.parts = 0
		if err := c.exec("DELETE FROM swept WHERE tenant = ?", tenant); err != nil {
			return err
		}
	}
	if len(s.Swept) == 0 {
		return nil
	}
	packed := make([]byte, 0, 8*len(s.Swept)+4)
	for _, id := range s.Swept {
		packed = binary.LittleEndian.AppendUint64(packed, uint64(id))
	}
	part := h.parts
	h.parts++
	return c.exec("INSERT INTO swept VALUES (?, ?, ?)", tenant, int64(part), seal(sweptPlace(tenant, part), packed))
}
