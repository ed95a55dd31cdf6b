package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// errDamaged says that what was read is not what was written.
var errDamaged = errors.New("it is damaged")

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends a checksum of the data and of where it belongs. SQLite checks how
// its pages hang together, not what is in them.
func seal(where string, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(data, checksum(where, data))
}

// unseal takes the checksum off.
func unseal(where string, sealed []byte) ([]byte, bool) {
	n := len(sealed) - 4
	if n < 0 || checksum(where, sealed[:n]) != binary.LittleEndian.Uint32(sealed[n:]) {
		return nil, false
	}
	return sealed[:n:n], true
}

func checksum(where string, data []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(where), castagnoli), castagnoli, data)
}
