package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const patience, interval = 10 * time.Second, time.Second

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestObserver is a table of instants: what was seen, and who is silent then.
func TestObserver(t *testing.T) {
	type sight struct {
		at     float64 // seconds
		beats  string  // "a1 b7": identity and count, one letter and a digit each
		silent string
	}
	for name, sights := range map[string][]sight{
		"silent for the patience": {
			{0, "a1 b1", ""}, {2, "a2 b1", ""}, {4, "a3 b1", ""}, {6, "a4 b1", ""}, {8, "a5 b1", ""}, {9.9, "a6 b1", ""}, {10, "a7 b1", "b1"}, {11, "a8 b1", "b1"},
		},
		"a beat begins anew": {
			{0, "a1", ""}, {2, "a1", ""}, {4, "a1", ""}, {6, "a1", ""}, {8, "a2", ""}, {10, "a2", ""}, {12, "a2", ""}, {14, "a2", ""}, {16, "a2", ""}, {18, "a2", "a2"},
		},
		"after a pause": {
			{0, "a1", ""}, {2, "a1", ""}, {4, "a1", ""}, {6, "a1", ""}, {8.6, "a1", ""}, {10, "a1", ""}, {12, "a1", ""}, {14, "a1", ""}, {16, "a1", ""}, {18, "a1", ""}, {18.6, "a1", "a1"},
		},
		"a long pause": {{0, "a1", ""}, {1000, "a1", ""}, {1001, "a1", ""}},
		"gone and back": {
			{0, "a1", ""}, {2, "a1", ""}, {4, "", ""}, {6, "a1", ""}, {8, "a1", ""}, {10, "a1", ""}, {12, "a1", ""}, {14, "a1", ""}, {16, "a1", "a1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := NewObserver(patience, interval)
			for _, s := range sights {
				var beats []Beat
				for b := range slices.Chunk([]byte(s.beats+" "), 3) {
					if len(b) == 3 {
						beats = append(beats, Beat{string(b[0]), uint64(b[1] - '0')})
					}
				}
				got := ""
				for _, b := range o.Observe(start.Add(time.Duration(s.at*float64(time.Second))), beats) {
					got += fmt.Sprint(b.Identity, b.Count)
				}
				if got != s.silent {
					t.Fatalf("at %v: %q are silent, want %q", s.at, got, s.silent)
				}
			}
		})
	}
}

// TestObserverAtRandom: replicas that beat every interval are never found silent,
// whatever outages all have in common and whatever pauses the observer has; one
// that has stopped is, at most a patience and two intervals of observations after
// the last pause.
func TestObserverAtRandom(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		patience := 3*time.Second + time.Duration(random.Int64N(int64(30*time.Second)))
		o := NewObserver(patience, interval)
		var (
			now   time.Duration
			count uint64
			dead  = time.Duration(-1)
			// Since when the observer has seen everything.
			since time.Duration
		)
		for range 400 {
			step := interval + time.Duration(random.Int64N(int64(interval/10)))
			if random.IntN(20) == 0 { // nobody could beat
				step += time.Duration(random.Int64N(int64(2 * patience)))
			}
			if now += step; step > interval*3/2 {
				since = now
			}
			late := random.IntN(2) == 0 && step > interval*3/2 // an outage: it beats only after us
			if dead < 0 && random.IntN(100) == 0 {
				dead = now
			}
			if dead < 0 && !late {
				count++
			}
			silent := o.Observe(start.Add(now), []Beat{{"a", count}})
			switch quiet := now - max(dead, since); {
			case len(silent) > 0 && dead < 0:
				t.Fatalf("seed %d: struck off though alive, at %v", seed, now)
			case len(silent) == 0 && dead >= 0 && quiet >= patience+2*interval:
				t.Fatalf("seed %d: not found silent after %v, patience %v", seed, quiet, patience)
			}
		}
	}
}
