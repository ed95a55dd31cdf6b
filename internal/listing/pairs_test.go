package listing

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestPairs: a list at rest is read whole, whatever two things its server does. Only
// where a row cannot be had, or rows do not tell their time, it may be incomplete.
func TestPairs(t *testing.T) {
	for one, way := range ways {
		for other, too := range ways {
			if other < one {
				continue
			}
			for kind, k := range kinds {
				for _, n := range []int{1, 3, 90, 300} {
					m := newModel(rand.New(rand.NewPCG(1, 7)), n, false)
					way(m)
					too(m)
					s, began := NewServer(m.offer), m.now
					if (m.randomPages || m.alone) && m.links == "none" || m.nameless > 0 && n == 1 || m.unchecked(s, 0) > rereads {
						continue // no page tells that it is not the last; there is no row; nothing shows the order
					}
					if kind == "delta" { // which others come before
						_, _ = m.read(New(s, true, kinds["scan"].ranges(m.now)...), 600)
						m.calls, m.log = 0, nil
					}
					l := New(s, k.prove, k.ranges(m.now)...)
					got, err := m.read(l, 600)
					unsure := m.poison != 0 || m.timeless != 0
					what := fmt.Sprintf("%s and %s, %s of %d rows", one, other, kind, n)
					if err != nil && !unsure {
						t.Errorf("%s: %v after %d calls\n%s", what, err, m.calls, tail(m.log))
					}
					if missing := m.missing(got, began, read(l, m.now)...); err == nil && len(missing) > l.Skipped+m.unchecked(s, len(got)) {
						t.Errorf("%s: %d are missing after %d calls\n%s", what, len(missing), m.calls, tail(m.log))
					}
				}
			}
		}
	}
}
