package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"m365_defender_exporter/internal/pass"
)

// ErrDamaged says that bytes are no packed Log, or not all of one, or that they
// were changed.
var ErrDamaged = errors.New("quota: the log is damaged")

// The packed form of a Log, version 1. Numbers are varints (encoding/binary),
// signed where a difference may be negative; fractions are 8 bytes, the bits of
// an IEEE 754 double, little-endian. Instants are in milliseconds: At since 1970,
// all others since At.
//
//	version, flags (one byte each), At
//	share, number of windows, and for each: period in nanoseconds, limit
//	factor, consecutive 429s, and RefusedAt, HalvedAt, BlockedUntil where flagged
//	number of learned limits, and for each: period, limit, until
//	number of grants that ended, and for each: milliseconds since the one before
//	(the first: since At, signed) times 4, plus the pass
//	the same of those in flight
//	CRC-32C of all that, 4 bytes, little-endian
//
// That is about 3 bytes a grant.
const (
	packedVersion = 1

	flagClosed       = 1
	flagRefusedAt    = 2
	flagHalvedAt     = 4
	flagBlockedUntil = 8
	flagsKnown       = 15
)

// maxMillis bounds every instant and difference in milliseconds: 8,900 years.
const maxMillis = 1 << 48

// MarshalBinary packs the log. It fails only if an instant is thousands of years
// away or a number is negative, which none from a ledger is. Instants are rounded
// to milliseconds as in Log.
func (l Log) MarshalBinary() ([]byte, error) {
	p := packer{data: make([]byte, 0, 96+4*len(l.Grants))}
	flags := byte(0)
	for _, f := range []struct {
		flag byte
		set  bool
	}{
		{flagClosed, l.Closed}, {flagRefusedAt, !l.RefusedAt.IsZero()}, {flagHalvedAt, !l.HalvedAt.IsZero()},
		{flagBlockedUntil, !l.BlockedUntil.IsZero()},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	p.data = append(p.data, packedVersion, flags)
	p.at = p.millis(l.At)
	p.data = binary.AppendVarint(p.data, p.at)
	p.float(l.Settings.Share)
	p.count(int64(len(l.Settings.Windows)))
	for _, w := range l.Settings.Windows {
		p.count(int64(w.Period))
		p.count(int64(w.Limit))
	}
	p.float(l.Factor)
	p.count(int64(l.Consecutive))
	if flags&flagRefusedAt != 0 {
		p.instant(l.RefusedAt)
	}
	if flags&flagHalvedAt != 0 {
		p.instant(l.HalvedAt.Truncate(tick))
	}
	if flags&flagBlockedUntil != 0 {
		p.instant(l.BlockedUntil)
	}
	p.count(int64(len(l.Learned)))
	for _, limit := range l.Learned {
		p.count(int64(limit.Period))
		p.count(int64(limit.Limit))
		p.instant(limit.Until)
	}
	p.grants(l.Grants, false)
	p.grants(l.Grants, true)
	if p.err != nil {
		return nil, p.err
	}
	return binary.LittleEndian.AppendUint32(p.data, checksum(p.data)), nil
}

// UnmarshalBinary unpacks a log. Bytes that were cut or changed are an error that
// matches ErrDamaged; those of another version are another error. After an error
// the log is as before.
func (l *Log) UnmarshalBinary(data []byte) error {
	const sum = 4
	if len(data) < sum {
		return fmt.Errorf("%w: %d bytes", ErrDamaged, len(data))
	}
	body := data[:len(data)-sum]
	if got, want := checksum(body), binary.LittleEndian.Uint32(data[len(body):]); got != want {
		return fmt.Errorf("%w: checksum %08x instead of %08x", ErrDamaged, got, want)
	}
	log, err := unpack(body)
	if err != nil {
		return err
	}
	*l = log
	return nil
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// packer appends to data until something does not fit.
type packer struct {
	data []byte
	at   int64 // Log.At
	err  error
}

// millis is an instant since 1970, rounded up.
func (p *packer) millis(t time.Time) int64 {
	ms := t.Add(tick - 1).UnixMilli()
	if ms < -maxMillis || ms > maxMillis {
		p.err = fmt.Errorf("quota: pack the log: the instant %v is out of range", t)
		return 0
	}
	return ms
}

func (p *packer) instant(t time.Time) { p.data = binary.AppendVarint(p.data, p.millis(t)-p.at) }

func (p *packer) count(n int64) {
	if n < 0 {
		p.err = fmt.Errorf("quota: pack the log: %d is negative", n)
		return
	}
	p.data = binary.AppendUvarint(p.data, uint64(n))
}

func (p *packer) float(f float64) {
	p.data = binary.LittleEndian.AppendUint64(p.data, math.Float64bits(f))
}

// grants packs those that are in flight, or those that are not.
func (p *packer) grants(all []Entry, inFlight bool) {
	of := make([]Entry, 0, len(all))
	for _, e := range all {
		if e.InFlight == inFlight {
			of = append(of, e)
		}
	}
	byTime := func(a, b Entry) int { return a.At.Compare(b.At) }
	if !slices.IsSortedFunc(of, byTime) {
		slices.SortStableFunc(of, byTime)
	}
	p.count(int64(len(of)))
	last := p.at
	for i, e := range of {
		ms := p.millis(e.At)
		packed := (ms-last)<<2 | int64(min(e.Pass, pass.Sweep))
		if i == 0 {
			p.data = binary.AppendVarint(p.data, packed)
		} else {
			p.data = binary.AppendUvarint(p.data, uint64(packed))
		}
		last = ms
	}
}

// unpack reads what the checksum has vouched for, and trusts none of it.
func unpack(data []byte) (log Log, err error) {
	u := unpacker{data: data}
	if version := u.byte(); u.err == nil && version != packedVersion {
		return Log{}, fmt.Errorf("quota: the log has version %d, this program knows %d", version, packedVersion)
	}
	flags := u.byte()
	if flags&^flagsKnown != 0 {
		u.fail("flags %#x", flags)
	}
	log.Closed = flags&flagClosed != 0
	u.at = u.signed(0)
	log.At = u.time(u.at)
	log.Settings.Share = u.float()
	for range u.count() {
		log.Settings.Windows = append(log.Settings.Windows, Window{Period: time.Duration(u.number(math.MaxInt64)), Limit: u.limit()})
	}
	log.Factor = u.float()
	log.Consecutive = int(u.number(math.MaxInt32))
	if flags&flagRefusedAt != 0 {
		log.RefusedAt = u.instant()
	}
	if flags&flagHalvedAt != 0 {
		log.HalvedAt = u.instant()
	}
	if flags&flagBlockedUntil != 0 {
		log.BlockedUntil = u.instant()
	}
	for range u.count() {
		log.Learned = append(log.Learned, Learned{Period: time.Duration(u.number(math.MaxInt64)), Limit: u.limit(), Until: u.instant()})
	}
	log.Grants = u.grants(nil, false)
	log.Grants = u.grants(log.Grants, true)
	if len(u.data) > 0 {
		u.fail("%d bytes too many", len(u.data))
	}
	if u.err != nil {
		return Log{}, u.err
	}
	return log, nil
}

// unpacker takes from data until something does not make sense. After that it
// returns zeros.
type unpacker struct {
	data []byte
	at   int64
	err  error
}

func (u *unpacker) fail(format string, args ...any) {
	if u.err == nil {
		u.err = fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
	u.data = nil
}

func (u *unpacker) byte() byte {
	if len(u.data) == 0 {
		u.fail("it ends too early")
		return 0
	}
	b := u.data[0]
	u.data = u.data[1:]
	return b
}

func (u *unpacker) float() float64 {
	if len(u.data) < 8 {
		u.fail("it ends too early")
		return 0
	}
	bits := binary.LittleEndian.Uint64(u.data)
	u.data = u.data[8:]
	return math.Float64frombits(bits)
}

// number is at most the given one.
func (u *unpacker) number(most uint64) uint64 {
	n, length := binary.Uvarint(u.data)
	if length <= 0 || n > most {
		u.fail("a number is missing or out of range")
		return 0
	}
	u.data = u.data[length:]
	return n
}

func (u *unpacker) limit() int { return int(u.number(math.MaxInt32)) }

// count is that of things of one byte at least.
func (u *unpacker) count() int { return int(u.number(uint64(len(u.data)))) }

// signed is a difference of milliseconds, shifted.
func (u *unpacker) signed(shift uint) int64 {
	n, length := binary.Varint(u.data)
	if length <= 0 || n>>shift < -2*maxMillis || n>>shift > 2*maxMillis {
		u.fail("a number is missing or out of range")
		return 0
	}
	u.data = u.data[length:]
	return n
}

func (u *unpacker) instant() time.Time {
	return u.time(u.at + u.signed(0))
}

func (u *unpacker) time(ms int64) time.Time {
	if ms < -maxMillis || ms > maxMillis {
		u.fail("an instant is out of range")
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// grants adds those that are in flight, or those that are not.
func (u *unpacker) grants(all []Entry, inFlight bool) []Entry {
	n := u.count()
	all = slices.Grow(all, n)
	last := u.at
	for i := range n {
		var packed int64
		if i == 0 {
			packed = u.signed(2)
		} else {
			packed = int64(u.number(4*2*maxMillis | 3))
		}
		last += packed >> 2
		e := Entry{At: u.time(last), Pass: pass.Pass(packed & 3), InFlight: inFlight}
		if e.Pass > pass.Sweep {
			u.fail("an unknown pass")
		}
		if u.err != nil {
			return nil
		}
		all = append(all, e)
	}
	return all
}
