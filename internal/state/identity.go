package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"m365_defender_exporter/internal/incident"
)

// schema is the version of the layout of the files. Rows and tables have their
// own, see incident.Encoding.
const schema = 1

var (
	metaBucket  = []byte("meta")
	identityKey = []byte("identity")
)

// otherError says that a file is whole but not ours to read.
type otherError struct{ suffix, text string }

func (e *otherError) Error() string { return e.text }

// sign writes into a new file whose it is.
func (f *file) sign(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	return b.Put(identityKey, f.identity())
}

func (f *file) identity() []byte {
	id := binary.LittleEndian.AppendUint16(nil, schema)
	id = binary.LittleEndian.AppendUint16(id, incident.Encoding)
	key := f.key.folded()
	id = append(id, key.Tenant...)
	id = append(id, 0)
	return seal(append(id, key.API...))
}

// identify checks whose file it is.
func (f *file) identify(tx *bbolt.Tx) error {
	b := tx.Bucket(metaBucket)
	if b == nil {
		return damagedf("it has no owner")
	}
	got, ok := unseal(b.Get(identityKey))
	if !ok || len(got) < 4 {
		return damagedf("its owner cannot be read")
	}
	want, _ := unseal(f.identity())
	switch {
	case !bytes.Equal(got[:4], want[:4]):
		return &otherError{"other-version", fmt.Sprintf("it is of another version of this program: layout %d.%d, not %d.%d",
			binary.LittleEndian.Uint16(got), binary.LittleEndian.Uint16(got[2:]), schema, incident.Encoding)}
	case !bytes.Equal(bytes.ToLower(got[4:]), want[4:]):
		// Older files have the spelling that was configured.
		return &otherError{"other-tenant", "it is of another tenant or API"}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends a checksum, unseal takes it off.
func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(b []byte) ([]byte, bool) {
	n := len(b) - 4
	if n < 0 || crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, false
	}
	return b[:n], true
}
