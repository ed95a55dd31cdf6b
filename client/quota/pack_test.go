package quota

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/retryafter"
)

func pack(t testing.TB, log Log) []byte {
	t.Helper()
	data, err := log.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sealed is a body with the checksum that fits it.
func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte(nil), body...), checksum(body))
}

func logs(t testing.TB) map[string]Log {
	lost := newLedger(t, Options{})
	lost.RestoreLost(at(0))
	return map[string]Log{
		"worn":      worn(t).Log(at(70 * s)),
		"final":     worn(t).Final(at(70 * s)),
		"fresh":     newLedger(t, Options{}).Log(at(0)),
		"lost":      lost.Log(at(s)),
		"zero":      {},
		"in future": {At: at(0), Grants: []Entry{{at(time.Hour), pass.Delta, false}, {at(2 * time.Hour), pass.Sweep, true}}},
		"long ago":  {At: at(0), Grants: []Entry{{time.Unix(0, 0).UTC(), pass.Delta, false}}, RefusedAt: time.Unix(-1, 0).UTC()},
	}
}

func packedBytes(t testing.TB) []byte {
	l := newLedger(t, Options{})
	spend(t, l, at(0), pass.Delta, 3)
	l.Take(at(s), pass.First)
	l.Refused(at(2*s), Refusal{Message: perMinuteText})
	return pack(t, l.Log(at(3*s)))
}

func TestPack(t *testing.T) {
	for name, want := range logs(t) {
		t.Run(name, func(t *testing.T) {
			data := pack(t, want)
			var got Log
			if err := got.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			if again := pack(t, got); !reflect.DeepEqual(again, data) {
				t.Errorf("got %x, want %x again", again, data)
			}
		})
	}
	t.Run("unsorted, and rounded", func(t *testing.T) {
		log := Log{
			At: at(1), HalvedAt: at(ms + 1), RefusedAt: at(ms + 1),
			Grants: []Entry{{at(2 * s), pass.Delta, true}, {at(s + 1), pass.Sweep, false}, {at(0), 77, false}, {at(s), pass.First, true}},
		}
		want := Log{
			At: at(ms), HalvedAt: at(ms), RefusedAt: at(2 * ms),
			Grants: []Entry{{at(0), pass.Sweep, false}, {at(s + ms), pass.Sweep, false}, {at(s), pass.First, true}, {at(2 * s), pass.Delta, true}},
		}
		var got Log
		if err := got.UnmarshalBinary(pack(t, log)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
}

// TestPackedSize: about three bytes a grant.
func TestPackedSize(t *testing.T) {
	rest, full := newLedger(t, Options{}), newLedger(t, Options{})
	for i := range 120 {
		spend(t, rest, at(time.Duration(i)*30*s), pass.Delta, 1)
	}
	for i := range 1200 {
		spend(t, full, at(time.Duration(i)*3*s), pass.Delta, 1)
	}
	for _, tt := range []struct {
		ledger *Ledger
		grants int
		most   int
	}{{rest, 120, 440}, {full, 1200, 3700}} {
		log := tt.ledger.Log(at(59*time.Minute + 58*s))
		got := len(pack(t, log))
		if len(log.Grants) != tt.grants || got > tt.most {
			t.Errorf("%d grants: got %d bytes, want at most %d", len(log.Grants), got, tt.most)
		}
		t.Logf("%d grants: %d bytes", tt.grants, got)
	}
}

func TestPackRefuses(t *testing.T) {
	far := time.Date(290000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, log := range map[string]Log{
		"far away":       {At: far},
		"a grant":        {At: at(0), Grants: []Entry{{At: far}}},
		"a learned one":  {At: at(0), Learned: []Learned{{time.Minute, 5, far}}},
		"negative limit": {At: at(0), Learned: []Learned{{time.Minute, -5, at(0)}}},
		"negative count": {At: at(0), Consecutive: -1},
	} {
		if data, err := log.MarshalBinary(); err == nil || !strings.HasPrefix(err.Error(), "quota: pack the log: ") {
			t.Errorf("%s: got %x, %v, want an error", name, data, err)
		}
	}
}

// TestUnpackDamage: every flip of a bit and every cut is an error, and nothing is
// half read.
func TestUnpackDamage(t *testing.T) {
	data := packedBytes(t)
	check := func(what string, at int, damaged []byte) {
		t.Helper()
		before := Log{Consecutive: 7}
		got := before
		if err := got.UnmarshalBinary(damaged); !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(got, before) {
			t.Errorf("%s at %d: got %+v, %v, want an error", what, at, got, err)
		}
	}
	for i := range data {
		check("cut", i, data[:i])
		for bit := range 8 {
			flipped := append([]byte(nil), data...)
			flipped[i] ^= 1 << bit
			check("flip", i, flipped)
		}
		check("left out", i, append(append([]byte(nil), data[:i]...), data[i+1:]...))
	}
	check("more", len(data), append(append([]byte(nil), data...), 0))
	check("JSON", 0, []byte(`{"grants":[],"factor":1}`))

	// What has the right checksum and makes no sense all the same.
	body := data[:len(data)-4]
	for i := range body {
		check("cut and sealed", i, sealed(body[:i]))
	}
	check("more and sealed", len(body), sealed(append(append([]byte(nil), body...), 0)))
	check("unknown flags", 1, sealed(append([]byte{1, 0x80}, body[2:]...)))

	body = append([]byte{2}, body[1:]...)
	var log Log
	if err := log.UnmarshalBinary(sealed(body)); err == nil || errors.Is(err, ErrDamaged) || err.Error() != "quota: the log has version 2, this program knows 1" {
		t.Errorf("got %v", err)
	}
}

// FuzzUnpack: no bytes make it panic, or take much memory; and what is read can be
// gone on from, and written.
func FuzzUnpack(f *testing.F) {
	for _, log := range logs(f) {
		data := pack(f, log)
		f.Add(data)
		f.Add(data[:len(data)-4])
	}
	f.Add(packedBytes(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealed(data)} {
			var log Log
			if err := log.UnmarshalBinary(data); err != nil {
				if !reflect.DeepEqual(log, Log{}) {
					t.Fatalf("got %+v with %v", log, err)
				}
				continue
			}
			if math.IsNaN(log.Factor) || math.IsNaN(log.Settings.Share) {
				log.Factor, log.Settings.Share = 0, 0 // equal to nothing
			}
			var again Log
			if err := again.UnmarshalBinary(pack(t, log)); err != nil || !reflect.DeepEqual(again, log) {
				t.Fatalf("got %+v, %v\nwant %+v", again, err, log)
			}
			l := newLedger(t, Options{})
			l.Restore(at(0), log)
			for _, u := range l.Usage(at(0)) {
				if u.Effective < 1 || u.Effective > u.Window.Limit || u.Window.Limit > u.Configured || u.LearnedUntil.After(at(24*time.Hour)) {
					t.Fatalf("got %+v", u)
				}
			}
			if got := l.BlockedUntil(); got.After(at(retryafter.Max)) {
				t.Fatalf("blocked until %v", got)
			}
			pack(t, l.Log(at(s)))
		}
	})
}
