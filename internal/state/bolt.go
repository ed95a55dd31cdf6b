package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"

	"m365_defender_exporter/internal/incident"
)

// bolt keeps each tenant in files of its own, so that whatever happens to one
// of them happens to nobody else.
type bolt struct {
	dir    string
	noSync bool
}

// boltTenant has two files. The ledger's is small and written before every
// call; the other one is as large as the tenant. Apart, the first stays fast
// and outlives damage of the second.
type boltTenant struct {
	rows, ledger *file
	// last is what the rows' file held when it was last read or written. If it
	// holds something else it is not the one that we know.
	last  summary
	known bool
	// opening is what was wrong when the state was opened, for Load to tell.
	opening error
}

const ledgerSuffix = ".ledger.db"

var (
	rowsBucket   = []byte("rows")
	sweptBucket  = []byte("swept")
	headKey      = []byte("head")
	ledgerBucket = []byte("ledger")
	ledgerKey    = []byte("log")
)

// Open implements Store.
func (b *bolt) Open(key Key) (Tenant, error) {
	base := filepath.Join(b.dir, fileName(key))
	t := &boltTenant{
		rows:   &file{path: base + ".db", key: key, noSync: b.noSync},
		ledger: &file{path: base + ledgerSuffix, key: key, noSync: b.noSync},
	}
	if t.opening = t.rows.open(); errors.Is(t.opening, ErrInUse) {
		return nil, t.opening
	}
	return t, nil
}

// fileName is the same for spellings of a tenant that mean the same, and for
// no others.
func fileName(key Key) string {
	name := strings.ToLower(key.Tenant + "-" + key.API)
	clean := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, name)
	const longest = 100
	if clean == name && len(name) <= longest && name[0] != '.' {
		return name
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name)) // a hash cannot fail
	return "t" + clean[:min(len(clean), longest)] + "-" + hex.EncodeToString(sum.Sum(nil))
}

// Load implements Tenant.
func (t *boltTenant) Load(restore func(*incident.Saved) error) error {
	if err := t.opening; err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	err := t.rows.view(func(tx *bbolt.Tx) error { return t.read(tx, restore) })
	if errors.Is(err, errDamaged) || errors.Is(err, incident.ErrSaved) {
		err = t.rows.setAside("damaged", err)
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	return nil
}

func (t *boltTenant) read(tx *bbolt.Tx, restore func(*incident.Saved) error) error {
	head := tx.Bucket(metaBucket).Get(headKey)
	rows := tx.Bucket(rowsBucket)
	if head == nil {
		// New, or a full save was cut off.
		return nil
	}
	want, saved, err := openHead(head)
	if err != nil {
		return err
	}
	if rows == nil {
		return damagedf("it has no rows")
	}
	if saved.Swept, err = readSwept(tx); err != nil {
		return err
	}
	var got summary
	whole := true
	saved.Len = int(want.rows)
	saved.Rows = func(yield func(int64, []byte) bool) {
		whole = rows.ForEach(func(k, v []byte) error {
			if len(k) != 8 {
				return errDamaged
			}
			got.add(k, v)
			if !yield(int64(binary.BigEndian.Uint64(k)), v) {
				return errDamaged
			}
			return nil
		}) == nil
	}
	if err := restore(saved); err != nil {
		return err
	}
	if !whole || got != want {
		return damagedf("its rows are not those that were saved")
	}
	t.last, t.known = want, true
	return nil
}

func readSwept(tx *bbolt.Tx) (ids []int64, err error) {
	b := tx.Bucket(sweptBucket)
	if b == nil {
		return nil, nil
	}
	err = b.ForEach(func(_, v []byte) error {
		packed, ok := unseal(v)
		if !ok || len(packed)%8 != 0 {
			return damagedf("a part of the sweep")
		}
		for ; len(packed) > 0; packed = packed[8:] {
			ids = append(ids, int64(binary.BigEndian.Uint64(packed)))
		}
		return nil
	})
	return ids, err
}

// LoadLedger implements Tenant.
func (t *boltTenant) LoadLedger() (ledger []byte, err error) {
	if err := t.ledger.open(); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	err = t.ledger.view(func(tx *bbolt.Tx) error {
		ledger, err = readLedger(tx)
		return err
	})
	if errors.Is(err, errDamaged) {
		err = t.ledger.setAside("damaged", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return ledger, nil
}

func readLedger(tx *bbolt.Tx) ([]byte, error) {
	b := tx.Bucket(ledgerBucket)
	if b == nil {
		return nil, nil
	}
	sealed := b.Get(ledgerKey)
	data, ok := unseal(sealed)
	if sealed != nil && !ok {
		return nil, damagedf("the ledger")
	}
	return bytes.Clone(data), nil
}

func writeLedger(tx *bbolt.Tx, ledger []byte) error {
	b, err := tx.CreateBucketIfNotExists(ledgerBucket)
	if err != nil {
		return err
	}
	return b.Put(ledgerKey, seal(bytes.Clone(ledger)))
}

// SaveLedger implements Tenant.
func (t *boltTenant) SaveLedger(ledger []byte) error {
	if err := t.ledger.writable(); err != nil {
		return fmt.Errorf("save the ledger: %w", err)
	}
	err := t.ledger.update(func(tx *bbolt.Tx) error { return writeLedger(tx, ledger) })
	if err != nil {
		return fmt.Errorf("save the ledger: %w", err)
	}
	return nil
}

// Size implements Tenant.
func (t *boltTenant) Size() int64 { return t.rows.size.Load() + t.ledger.size.Load() }

// Close implements Tenant.
func (t *boltTenant) Close() error {
	t.rows.close()
	t.ledger.close()
	return nil
}

// summary is a fingerprint of all rows that can be kept up to date row by row:
// bolt's pages carry no checksums, and a damaged one can lose rows as well as
// alter them.
type summary struct{ rows, sum uint64 }

func (s *summary) add(k, v []byte)    { s.rows++; s.sum += fingerprint(k, v) }
func (s *summary) remove(k, v []byte) { s.rows--; s.sum -= fingerprint(k, v) }

func fingerprint(k, v []byte) uint64 {
	sum := crc32.Update(crc32.Checksum(k, castagnoli), castagnoli, v)
	return uint64(sum) * 0x9E3779B97F4A7C15 // spread, so that sums do not meet
}

// Forget implements Store: a file costs nothing while it is closed.
func (*bolt) Forget(Key) {}
