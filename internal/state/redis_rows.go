package state

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"

	"m365_defender_exporter/internal/incident"
)

// redisRows is what is known of a tenant's rows in the engine. They are one hash:
// "head", each row by the eight bytes of its incident's id, and "s" with eight bytes
// for each part of what the sweep in progress has seen. All values are sealed.
type redisRows struct {
	written string // the layout that was written last, by any owner
	last    string // number of the save that is there, "": not known
	parts   uint64 // of the sweep
	average int64  // bytes of a row
}

const (
	headField = "head"
	// numberLength is that of the number that tells a save from every other.
	numberLength = 8 // bytes
	// stepRows are the rows of one step of a full save, mostChanges those that are
	// saved at once: the engine does nothing else meanwhile.
	stepRows    = 1000
	mostChanges = 5000
	// longestRow bounds what is taken for a row, in bytes.
	longestRow = 1 << 20
)

// The answers of the script.
const (
	saveRefused = -1
	saveUnknown = -2
	saveOther   = -3
)

// redisHead belongs to all rows together.
type redisHead struct {
	fixedHead
	tables, progress []byte
}

type fixedHead struct{ Rows, Parts, Tables uint64 }

// longestHead bounds a head when it is inflated, in bytes.
const longestHead = 64 << 20

// pack deflates and seals it, after the number of the save: it is text, that most
// saves write and hardly any changes much.
func (s *redisStore) pack(h *redisHead, at place, number string) string {
	h.Tables = uint64(len(h.tables))
	var out bytes.Buffer
	out.WriteString(number)
	small := s.deflate.Get().(*flate.Writer)
	defer s.deflate.Put(small)
	small.Reset(&out)
	_ = binary.Write(small, binary.LittleEndian, h.fixedHead) // to memory nothing fails
	_, _ = small.Write(h.tables)
	_, _ = small.Write(h.progress)
	_ = small.Close()
	return string(at.record(kindHead, 0).seal(out.Bytes()))
}

func unpackRedisHead(at place, sealed string) (h *redisHead, number string, whole bool) {
	data, whole := at.record(kindHead, 0).unseal([]byte(sealed))
	if !whole || len(data) < numberLength {
		return nil, "", false
	}
	h = &redisHead{}
	number = string(data[:numberLength])
	data, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data[numberLength:])), longestHead))
	if err != nil {
		return nil, "", false
	}
	n, err := binary.Decode(data, binary.LittleEndian, &h.fixedHead)
	if err != nil || h.Tables > uint64(len(data)-n) {
		return nil, "", false
	}
	h.tables, h.progress = data[n:][:h.Tables:h.Tables], data[n:][h.Tables:]
	return h, number, true
}

// rowsKey is where the rows of a layout are.
func (t *redisTenant) rowsKey(layout string) string {
	return t.store.record(t.key) + ":rows:" + layout
}

// Load implements Tenant.
func (t *redisTenant) Load(restore func(*incident.Saved) error) error {
	err := t.load(restore)
	if errors.Is(err, errDamaged) || errors.Is(err, incident.ErrSaved) {
		err = t.setAside(err, t.rowsKey(redisLayout))
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	return nil
}

func (t *redisTenant) load(restore func(*incident.Saved) error) error {
	sealed := ""
	err := t.store.exchange(context.Background(), OperationLoad, func(ctx context.Context, client redis.UniversalClient) (err error) {
		sealed, err = client.HGet(ctx, t.rowsKey(redisLayout), headField).Result()
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		return err
	})
	if t.mends(err, false) {
		return fmt.Errorf("%w: something else was in its place", ErrSetAside)
	}
	if err != nil || sealed == "" {
		return err // there may be rows of a save that was not completed
	}
	h, number, whole := unpackRedisHead(t.at, sealed)
	if !whole {
		return damagedf("its head")
	}
	found, err := t.readRows(h)
	if err != nil {
		return err
	}
	err = restore(&incident.Saved{
		Full: true, Len: int(h.Rows), Tables: h.tables, Progress: h.progress, Swept: found.swept,
		Rows: func(yield func(int64, []byte) bool) {
			for i, id := range found.ids {
				if !yield(id, found.rows[i]) {
					return
				}
			}
		},
	})
	if err == nil {
		t.rows.last, t.rows.parts = number, h.Parts
		t.rows.average = found.bytes / max(1, int64(h.Rows))
		t.size[0].Store(found.bytes + int64(len(sealed)))
	}
	return err
}

// foundRows are all rows of a tenant, and what the sweep has seen.
type foundRows struct {
	ids   []int64
	rows  [][]byte
	bytes int64
	swept []int64
}

// readRows reads everything but the head. The engine may tell a field twice.
func (t *redisTenant) readRows(h *redisHead) (found foundRows, err error) {
	const batch = 5000
	known := make(map[int64]struct{}, min(h.Rows, 1<<20))
	parts := make(map[uint64][]byte)
	take := func(field, value string) error {
		number, isRow, isPart := fieldNumber(field)
		switch {
		case field == headField:
			return nil
		case isRow:
			if _, twice := known[int64(number)]; twice {
				return nil
			}
			row, whole := t.at.record(kindRow, int64(number)).unseal([]byte(value))
			if !whole || len(row) > longestRow || uint64(len(known)) == h.Rows {
				return damagedf("a row")
			}
			known[int64(number)] = struct{}{}
			found.ids, found.rows = append(found.ids, int64(number)), append(found.rows, row)
			found.bytes += int64(len(field) + len(value))
			return nil
		case isPart && number < h.Parts:
			ids, whole := t.at.record(kindSwept, int64(number)).unseal([]byte(value))
			if !whole || len(ids)%8 != 0 {
				return damagedf("a part of the sweep")
			}
			parts[number] = ids
			return nil
		}
		return damagedf("a field that belongs to nothing")
	}
	for cursor := uint64(0); ; {
		var fields []string
		err := t.store.exchange(context.Background(), OperationLoad, func(ctx context.Context, client redis.UniversalClient) (err error) {
			fields, cursor, err = client.HScan(ctx, t.rowsKey(redisLayout), cursor, "", batch).Result()
			return err
		})
		if err != nil {
			return found, err
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if err := take(fields[i], fields[i+1]); err != nil {
				return found, err
			}
		}
		if cursor == 0 {
			break
		}
	}
	if uint64(len(known)) != h.Rows || uint64(len(parts)) != h.Parts {
		return found, damagedf("it has %d rows, not %d", len(known), h.Rows)
	}
	for part := range h.Parts {
		for ids := parts[part]; len(ids) > 0; ids = ids[8:] {
			found.swept = append(found.swept, int64(binary.LittleEndian.Uint64(ids)))
		}
	}
	return found, nil
}

// fieldNumber tells what a field is, and its number.
func fieldNumber(field string) (number uint64, isRow, isPart bool) {
	isRow, isPart = len(field) == 8, len(field) == 9 && field[0] == 's'
	if isRow || isPart {
		number = binary.BigEndian.Uint64([]byte(field[len(field)-8:]))
	}
	return number, isRow, isPart
}

func rowField(id int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(id))) }

func partField(part uint64) string { return "s" + string(binary.BigEndian.AppendUint64(nil, part)) }

// Save implements Tenant.
func (t *redisTenant) Save(export func(full bool) (*incident.Saved, error)) error {
	t.mu.Lock()
	err := t.ours()
	t.mu.Unlock()
	if err == nil {
		err = t.save(export)
	}
	if err != nil {
		t.rows.last = "" // the next one replaces everything
		return fmt.Errorf("save the state: %w", err)
	}
	return nil
}

// errOther says that there is something else than what the changes build upon.
var errOther = errors.New("the shared state has other rows")

func (t *redisTenant) save(export func(full bool) (*incident.Saved, error)) error {
	s, err := export(t.rows.last == "")
	if err != nil {
		return err
	}
	if !s.Full {
		if done, err := t.saveChanges(s); done || err != nil && !errors.Is(err, errOther) {
			return err
		}
		if s, err = export(true); err != nil {
			return err
		}
	}
	return t.saveAll(s)
}

// step is one run of the script.
type step struct {
	kind, number, before, head string
	fields                     uint64 // that there must be afterwards
	removed, set               []any
}

func (t *redisTenant) run(st *step) error {
	keys := []string{t.store.record(t.key), t.rowsKey(redisLayout)}
	if was := t.rows.written; was != "" && was != redisLayout {
		keys = append(keys, t.rowsKey(was))
	}
	args := []any{t.identity, t.epoch, redisLayout, int(keptAside.Seconds()), st.kind, st.number, st.before, st.head, st.fields, len(st.removed)}
	args = append(append(args, st.removed...), st.set...)
	// An engine that has lost everything is told first whose the state is.
	for again := false; ; again = true {
		answer, err := t.store.number(context.Background(), OperationSave, t.store.scripts.save, keys, args...)
		switch {
		case !again && t.mends(err, false): // it is as if that had been lost
		case err != nil:
			return err
		case answer == saveUnknown && !again:
			if err := t.writeBack(); err != nil {
				return err
			}
		case answer == saveRefused, answer == saveUnknown:
			t.mu.Lock()
			t.lost = true
			t.mu.Unlock()
			return ErrInUse
		case answer == saveOther:
			return errOther
		default:
			return nil
		}
	}
}

// saveChanges saves what has changed, in one step. It is not done if that is too
// much for one, or not all there is.
func (t *redisTenant) saveChanges(s *incident.Saved) (done bool, err error) {
	st := &step{kind: "changes", number: newNumber(), before: t.rows.last}
	parts := t.rows.parts
	if s.NewSweep {
		for part := range parts {
			st.removed = append(st.removed, partField(part))
		}
		parts = 0
	}
	for _, id := range s.Removed {
		st.removed = append(st.removed, rowField(id))
	}
	for id, row := range s.Rows {
		st.set = append(st.set, rowField(id), t.sealRow(id, row))
		if len(st.set) > 2*mostChanges {
			return false, nil
		}
	}
	if len(st.removed) > mostChanges || len(s.Swept) > mostChanges {
		return false, nil
	}
	if len(s.Swept) > 0 {
		st.set = append(st.set, partField(parts), t.sealPart(parts, s.Swept))
		parts++
	}
	if err := t.finish(st, s, parts); err != nil {
		return false, err
	}
	return true, nil
}

// saveAll replaces everything, in steps. Only the last makes it usable.
func (t *redisTenant) saveAll(s *incident.Saved) error {
	st, bytes, parts := &step{kind: "begin", number: newNumber()}, int64(0), uint64(0)
	next := func() error {
		err := t.run(st)
		st = &step{kind: "rows", number: st.number}
		return err
	}
	put := func(field, value string) error {
		st.set = append(st.set, field, value)
		if len(st.set) < 2*stepRows {
			return nil
		}
		return next()
	}
	for id, row := range s.Rows {
		sealed := t.sealRow(id, row)
		bytes += int64(8 + len(sealed))
		if err := put(rowField(id), sealed); err != nil {
			return err
		}
	}
	for swept := s.Swept; len(swept) > 0; parts++ {
		n := min(len(swept), mostChanges)
		if err := put(partField(parts), t.sealPart(parts, swept[:n])); err != nil {
			return err
		}
		swept = swept[n:]
	}
	if st.kind == "begin" {
		if err := next(); err != nil {
			return err
		}
	}
	st.kind = "head"
	t.rows.average = bytes / max(1, int64(s.Len))
	return t.finish(st, s, parts)
}

// finish adds the head to the last step, and runs it.
func (t *redisTenant) finish(st *step, s *incident.Saved, parts uint64) error {
	h := &redisHead{fixedHead{Rows: uint64(s.Len), Parts: parts}, s.Tables, s.Progress}
	st.head, st.fields = t.store.pack(h, t.at, st.number), h.Rows+parts+1
	if err := t.run(st); err != nil {
		return err
	}
	t.rows.last, t.rows.parts, t.rows.written = st.number, parts, redisLayout
	t.size[0].Store(t.rows.average*int64(s.Len) + int64(len(st.head)))
	return nil
}

func (t *redisTenant) sealRow(id int64, row []byte) string {
	return string(t.at.record(kindRow, id).seal(append(make([]byte, 0, len(row)+sealLength), row...)))
}

func (t *redisTenant) sealPart(part uint64, ids []int64) string {
	packed := make([]byte, 0, 8*len(ids)+sealLength)
	for _, id := range ids {
		packed = binary.LittleEndian.AppendUint64(packed, uint64(id))
	}
	return string(t.at.record(kindSwept, int64(part)).seal(packed))
}

// newNumber tells a save from every other.
func newNumber() string {
	var b [numberLength]byte
	_, _ = rand.Read(b[:]) // it never fails
	return string(b[:])
}
