package incident

import (
	"math/rand/v2"
	"testing"
)

// TestIndex: after any additions and removals it finds what a map does, whether
// it began empty or with room.
func TestIndex(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		var ids []int64 // by slot
		x := newIndex(int(seed%3)*50, func(slot uint32) int64 { return ids[slot] })
		want := map[int64]uint32{}
		some := 1 + r.Int64N(300) // ids, so that they come back
		for range 3000 {
			id := r.Int64N(some) - some/2
			switch slot, ok := want[id]; {
			case !ok:
				ids = append(ids, id)
				want[id] = uint32(len(ids) - 1)
				x.add(id, want[id])
			case r.IntN(3) > 0:
				x.remove(id)
				ids[slot] = 0
				delete(want, id)
			}
			if x.n != len(want) {
				t.Fatalf("seed %d: got %d, want %d", seed, x.n, len(want))
			}
			probe := r.Int64N(some) - some/2
			slot, ok := x.find(probe)
			if at, there := want[probe]; ok != there || ok && slot != at {
				t.Fatalf("seed %d: %d: got %d, %v, want %d, %v", seed, probe, slot, ok, at, there)
			}
		}
		for id, at := range want {
			if slot, ok := x.find(id); !ok || slot != at {
				t.Fatalf("seed %d: %d: got %d, %v, want %d", seed, id, slot, ok, at)
			}
		}
	}
}
