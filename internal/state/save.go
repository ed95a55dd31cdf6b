package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"m365_defender_exporter/internal/incident"
)

// Save implements Tenant.
func (t *boltTenant) Save(export func(full bool) (*incident.Saved, error)) error {
	err := t.save(export)
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return nil
}

func (t *boltTenant) save(export func(bool) (*incident.Saved, error)) error {
	if err := t.rows.writable(); err != nil {
		return err
	}
	if !t.current() {
		t.known = false
	}
	s, err := export(!t.known)
	if err != nil {
		return err
	}
	if s.Full {
		return t.saveAll(s)
	}
	sum := t.last
	err = t.rows.update(func(tx *bbolt.Tx) error {
		sum = t.last
		if err := putChanges(tx, s, &sum); err != nil {
			return err
		}
		return putHead(tx, s, sum)
	})
	switch {
	case err == nil:
		t.last = sum
	case errors.Is(err, errDamaged):
		t.known = false // the next save replaces everything
	}
	return err
}

// current tells that the file holds what we think it does. It may not if
// saving failed at the last moment, or if the file was out of our hands.
func (t *boltTenant) current() bool {
	same := false
	_ = t.rows.view(func(tx *bbolt.Tx) error { // an error means that it does not
		if b := tx.Bucket(metaBucket); b != nil {
			if sum, _, err := openHead(b.Get(headKey)); err == nil {
				same = sum == t.last
			}
		}
		return nil
	})
	return same
}

func putChanges(tx *bbolt.Tx, s *incident.Saved, sum *summary) error {
	rows := tx.Bucket(rowsBucket)
	if rows == nil {
		return damagedf("it has no rows")
	}
	for _, id := range s.Removed {
		key := rowKey(id)
		if old := rows.Get(key); old != nil {
			sum.remove(key, old)
		}
		if err := rows.Delete(key); err != nil {
			return err
		}
	}
	for id, data := range s.Rows {
		key := rowKey(id)
		if old := rows.Get(key); old != nil {
			sum.remove(key, old)
		}
		sum.add(key, data)
		if err := rows.Put(key, bytes.Clone(data)); err != nil {
			return err
		}
	}
	if sum.rows != uint64(s.Len) {
		return damagedf("%d rows, not %d", sum.rows, s.Len)
	}
	return putSwept(tx, s)
}

func rowKey(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// putSwept appends to what the sweep in progress has seen.
func putSwept(tx *bbolt.Tx, s *incident.Saved) error {
	if s.NewSweep {
		if err := tx.DeleteBucket(sweptBucket); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
	}
	if len(s.Swept) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(sweptBucket)
	if err != nil {
		return err
	}
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	packed := make([]byte, 0, 8*len(s.Swept)+4)
	for _, id := range s.Swept {
		packed = binary.BigEndian.AppendUint64(packed, uint64(id))
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, n), seal(packed))
}

// saveAll replaces everything, in several steps because bolt keeps a step in
// memory. Without a head the file counts as empty, and that comes last.
func (t *boltTenant) saveAll(s *incident.Saved) error {
	err := t.rows.update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(metaBucket).Delete(headKey); err != nil {
			return err
		}
		if tx.Bucket(rowsBucket) != nil {
			if err := tx.DeleteBucket(rowsBucket); err != nil {
				return err
			}
		}
		_, err := tx.CreateBucket(rowsBucket)
		return err
	})
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(s.Rows)
	defer stop()
	var sum summary
	for more := true; more; {
		err := t.rows.update(func(tx *bbolt.Tx) (err error) {
			more, err = putSome(tx, next, &sum)
			return err
		})
		if err != nil {
			return err
		}
	}
	if sum.rows != uint64(s.Len) {
		return fmt.Errorf("%w: %d rows, not %d", incident.ErrSaved, sum.rows, s.Len)
	}
	err = t.rows.update(func(tx *bbolt.Tx) error {
		if err := putSwept(tx, s); err != nil {
			return err
		}
		return putHead(tx, s, sum)
	})
	if err == nil {
		t.last, t.known = sum, true
	}
	return err
}

// putSome puts the rows of one step; false when there are no more.
func putSome(tx *bbolt.Tx, next func() (int64, []byte, bool), sum *summary) (more bool, err error) {
	const step = 20_000
	rows := tx.Bucket(rowsBucket)
	for range step {
		id, data, ok := next()
		if !ok {
			return false, nil
		}
		key := rowKey(id)
		sum.add(key, data)
		if err := rows.Put(key, bytes.Clone(data)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// The head is what belongs to all rows together: their fingerprint, the
// mirror's tables and the progress.
const headStart = 20

func putHead(tx *bbolt.Tx, s *incident.Saved, sum summary) error {
	b := binary.LittleEndian.AppendUint64(nil, sum.rows)
	b = binary.LittleEndian.AppendUint64(b, sum.sum)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Tables)))
	b = append(append(b, s.Tables...), s.Progress...)
	return tx.Bucket(metaBucket).Put(headKey, seal(b))
}

func openHead(sealed []byte) (sum summary, s *incident.Saved, err error) {
	b, ok := unseal(sealed)
	if !ok || len(b) < headStart {
		return sum, nil, damagedf("its head")
	}
	sum = summary{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	n := uint64(binary.LittleEndian.Uint32(b[16:]))
	if b = b[headStart:]; n > uint64(len(b)) {
		return sum, nil, damagedf("its head")
	}
	return sum, &incident.Saved{Full: true, Tables: b[:n:n], Progress: b[n:]}, nil
}
