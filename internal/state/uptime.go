package state

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Uptime tells how long the machine is up, by a clock that nobody sets and that goes
// on when the process is restarted, and which boot that is: readings of the same can
// be compared. "": it is not known.
type Uptime func() (boot string, up time.Duration)

// stampLength is that of what a ledger on a disk begins with: a hash of the boot and
// the nanoseconds since then, when it was written. A wall clock cannot tell how old it
// is, for it may have been set meanwhile.
const stampLength = 8 + 8

func bootHash(boot string) uint64 {
	sum := sha256.Sum256([]byte(boot))
	return binary.LittleEndian.Uint64(sum[:])
}

// stamp puts before a ledger when it is written, zeros if that is not known.
func (u Uptime) stamp(ledger []byte) []byte {
	stamped := make([]byte, stampLength, stampLength+len(ledger))
	if boot, up := u(); boot != "" {
		binary.LittleEndian.PutUint64(stamped, bootHash(boot))
		binary.LittleEndian.PutUint64(stamped[8:], uint64(up))
	}
	return append(stamped, ledger...)
}

// open takes the stamp off. In another boot the age is not known.
func (u Uptime) open(stamped []byte) Written {
	if len(stamped) < stampLength {
		return Written{Age: -1}
	}
	w := Written{stamped[stampLength:], -1}
	if boot, up := u(); boot != "" && bootHash(boot) == binary.LittleEndian.Uint64(stamped) {
		// A virtual machine that went back to a snapshot is younger than its disk.
		w.Age = max(0, up-time.Duration(binary.LittleEndian.Uint64(stamped[8:])))
	}
	return w
}
