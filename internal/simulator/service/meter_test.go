package service

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			var w window
			at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
			var all []time.Time
			for range 300 {
				// Whole seconds, so that calls are often exactly a minute apart.
				at = at.Add(time.Duration(rng.IntN(40)) * time.Second * time.Duration(rng.IntN(2)))
				w.received(at, nil)
				all = append(all, at)
			}
			if got, want := w.perMinute, densest(all, time.Minute); got != want {
				t.Errorf("per minute: got %d, want %d", got, want)
			}
			if got, want := w.perHour, densest(all, time.Hour); got != want {
				t.Errorf("per hour: got %d, want %d", got, want)
			}
		})
	}
}

// densest tries every closed window that begins at a call.
func densest(all []time.Time, period time.Duration) int {
	most := 0
	for _, from := range all {
		n := 0
		for _, at := range all {
			if !at.Before(from) && !at.After(from.Add(period)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
