package incident

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-time.Second, 0, time.Minute, time.Minute + 1, time.Hour, 90 * 24 * time.Hour} {
		h.Observe(d)
	}
	if h.Count != 6 || h.Zero != 2 {
		t.Errorf("got %d observations, %d zero, want 6 and 2", h.Count, h.Zero)
	}
	if h.Classic[0] != 3 || h.Classic[1] != 1 {
		t.Errorf("a bound belongs to its own bucket: got %v", h.Classic)
	}
	var classic uint64
	for _, n := range h.Classic {
		classic += n
	}
	if classic != 5 {
		t.Errorf("got %d in classic buckets, want all but the one of 90 days", classic)
	}
}

// TestNativeIndex: a value lies in (b^(i-1), b^i].
func TestNativeIndex(t *testing.T) {
	bound := func(i int) float64 { return math.Exp2(float64(i) / 8) }
	check := func(v float64) {
		i := nativeIndex(v)
		if !(bound(i-1) < v && v <= bound(i)) {
			t.Errorf("%v: got bucket %d, (%v, %v]", v, i, bound(i-1), bound(i))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		check(math.Exp2(r.Float64()*60 - 20))
	}
	for i := range 200 {
		check(bound(i - 50))
		check(math.Nextafter(bound(i-50), math.Inf(1)))
	}
}
