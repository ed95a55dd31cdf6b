package listing

import (
	"math/rand/v2"
	"testing"
)

// TestByChance: small pages of a list that is sorted by nothing look sorted now and
// then, which must not be taken for an order.
func TestByChance(t *testing.T) {
	seeds := []uint64{983, 15494, 16593}
	for seed := range uint64(400) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := newModel(rng, 10+rng.IntN(150), false)
		m.order = "random"
		if rng.IntN(2) == 0 {
			m.weight = 3 + rng.IntN(6)
		} else {
			m.cap = 3 + rng.IntN(6)
		}
		if rng.IntN(2) == 0 {
			m.graph()
			m.orderBy = refuses
		}
		if rng.IntN(2) == 0 {
			m.skip = refuses
		}
		s, began := NewServer(m.offer), m.now
		l := New(s, true, kinds["scan"].ranges(m.now)...)
		got, err := m.read(l, 5000)
		if missing := m.missing(got, began, l.Whole...); err != nil || len(missing) > 0 {
			t.Errorf("seed %d: %v, %d of %d rows are missing\n%v\n%s", seed, err, len(missing), len(m.rows), m, tail(m.log))
		}
	}
}
