package incident

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

func filled(n int) (*Mirror, []Incident) {
	r := rand.New(rand.NewPCG(7, 7))
	m := NewMirror(testOptions)
	m.StartFlows(time.Time{}, epoch)
	incidents := make([]Incident, 0, min(n, 100_000))
	for id := range n {
		in := randomVersion(r, int64(id+1), epoch.Add(-time.Duration(r.Int64N(int64(100*24*time.Hour)))), epoch)
		m.Apply(&in)
		if len(incidents) < cap(incidents) {
			incidents = append(incidents, in)
		}
	}
	return m, incidents
}

// BenchmarkMirrorHeap reports the heap that a million incidents need.
func BenchmarkMirrorHeap(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m, _ := filled(1_000_000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(m)
	}
}

// BenchmarkApplyPage applies a page of a hundred real changes.
func BenchmarkApplyPage(b *testing.B) {
	for _, n := range []int{12_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, incidents := filled(n)
			at, i := epoch, 0
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(time.Second)
				for range 100 {
					in := &incidents[i%len(incidents)]
					in.Updated, in.Assigned = at, !in.Assigned
					m.Apply(in)
					i++
				}
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, _ := filled(n)
			m.Snapshot(epoch)
			b.ReportAllocs()
			for b.Loop() {
				m.Snapshot(epoch)
			}
		})
	}
}
