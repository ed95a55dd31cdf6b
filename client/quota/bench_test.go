package quota

import (
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// busy is a ledger whose hour is full, and the instant at which the next grant
// leaves it. Grants are 3.001s apart.
func busy(b *testing.B) (*Ledger, time.Time) {
	b.Helper()
	l := newLedger(b, Options{Share: 1, Reserve: []int{2, 120}})
	now := start
	for range 1199 {
		now = now.Add(3*s + ms)
		spend(b, l, now, pass.Delta, 1)
	}
	return l, now
}

func BenchmarkTakeSettle(b *testing.B) {
	for p := range pass.Sweep + 1 {
		b.Run(p.String(), func(b *testing.B) {
			l, now := busy(b)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(3*s + ms)
				if p != pass.Delta {
					l.Settle(l.Take(now, p).Grant, now)
				}
				d := l.Take(now, pass.Delta)
				l.Settle(d.Grant, now.Add(300*time.Millisecond))
			}
		})
	}
}

func BenchmarkPeekRefused(b *testing.B) {
	l, now := busy(b)
	for l.Take(now, pass.Delta).Grant != 0 {
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Peek(now, pass.Sweep)
	}
}

func BenchmarkLog(b *testing.B) {
	l, now := busy(b)
	b.ReportAllocs()
	for b.Loop() {
		l.Log(now)
	}
}

func BenchmarkPack(b *testing.B) {
	l, now := busy(b)
	log := l.Log(now)
	var packed []byte
	b.ReportAllocs()
	for b.Loop() {
		packed, _ = log.MarshalBinary()
	}
	b.ReportMetric(float64(len(packed))/float64(len(log.Grants)), "B/grant")
}

func BenchmarkUnpackRestore(b *testing.B) {
	l, now := busy(b)
	packed, err := l.Log(now).MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var log Log
		if err := log.UnmarshalBinary(packed); err != nil {
			b.Fatal(err)
		}
		newLedger(b, Options{Share: 1}).Restore(now, log)
	}
}

func BenchmarkRestoreLost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newLedger(b, Options{Share: 1}).RestoreLost(start)
	}
}
