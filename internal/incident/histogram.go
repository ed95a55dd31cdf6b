package incident

import (
	"maps"
	"math"
	"slices"
	"time"
)

// DurationBuckets are the classic buckets of the time histograms, in seconds:
// from a minute to a month, with the service objectives people use as bounds.
var DurationBuckets = [...]float64{
	60, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600,
	2 * 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600, 14 * 24 * 3600, 30 * 24 * 3600,
}

// AlertBuckets are the classic buckets of the histogram of alerts: 150 is the most
// that the API was seen to show of one incident.
var AlertBuckets = [...]float64{1, 2, 3, 5, 10, 25, 50, 100, 150}

// NativeSchema is the resolution of the native histograms: eight buckets for
// each power of two, a relative error under 5 %.
const NativeSchema = 3

// Histogram counts durations in seconds, or alerts, in classic and native buckets
// at once. It is a plain value so that it can be saved and copied; an empty one
// takes next to nothing where it is saved.
type Histogram struct {
	Count uint64  `json:"count,omitempty"`
	Sum   float64 `json:"sum,omitempty"`
	Zero  uint64  `json:"zero,omitempty"`
	// Classic counts per bucket of DurationBuckets or AlertBuckets, not cumulated;
	// what is above the last is only in Count.
	Classic [len(DurationBuckets)]uint64 `json:"classic,omitzero"`
	// Native counts per native bucket index.
	Native map[int]int64 `json:"native,omitempty"`
}

// Observe counts d. What is not positive counts as zero: a server that says
// that something ended before it began has told us nothing else.
func (h *Histogram) Observe(d time.Duration) {
	h.observe(DurationBuckets[:], max(d.Seconds(), 0))
}

// ObserveAlerts counts an incident with n alerts.
func (h *Histogram) ObserveAlerts(n int) { h.observe(AlertBuckets[:], float64(n)) }

func (h *Histogram) observe(bounds []float64, v float64) {
	h.Count++
	h.Sum += v
	if i, _ := slices.BinarySearch(bounds, v); i < len(bounds) {
		h.Classic[i]++
	}
	if v == 0 {
		h.Zero++
		return
	}
	if h.Native == nil {
		h.Native = make(map[int]int64)
	}
	h.Native[nativeIndex(v)]++
}

// nativeIndex is the index i of the bucket (b^(i-1), b^i] that holds v, with
// b = 2^(1/8).
func nativeIndex(v float64) int {
	const perOctave = 1 << NativeSchema
	i := int(math.Ceil(math.Log2(v) * perOctave))
	// The logarithm is rounded; the bounds decide.
	if math.Exp2(float64(i-1)/perOctave) >= v {
		return i - 1
	}
	if math.Exp2(float64(i)/perOctave) < v {
		return i + 1
	}
	return i
}

func (h Histogram) clone() Histogram {
	h.Native = maps.Clone(h.Native)
	return h
}
