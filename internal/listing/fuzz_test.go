package listing

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var firstSeed = flag.Uint64("listing.seed", 1, "the first seed of TestRandomServers")

var steps = flag.Int("listing.steps", 40_000, "requests that TestRandomServers makes at least")

// TestRandomServers reads servers that are random combinations of everything
// that one can do: a listing that says that it is done has read every row.
func TestRandomServers(t *testing.T) {
	names := make([]string, 0, len(ways))
	for name := range ways {
		names = append(names, name)
	}
	slices.Sort(names)
	kindNames := []string{"scan", "open", "delta"}
	made, done, incomplete := 0, 0, 0
	reasons := map[string]int{}
	for seed := *firstSeed; made < *steps; seed++ {
		rng := rand.New(rand.NewPCG(seed, 99))
		m := newModel(rng, rng.IntN(600), rng.IntN(2) == 0)
		var chosen []string
		for range 1 + rng.IntN(3) {
			name := names[rng.IntN(len(names))]
			chosen = append(chosen, name)
			ways[name](m)
		}
		if rng.IntN(6) == 0 {
			m.script()
		}
		if rng.IntN(3) == 0 {
			m.moving = rng.Float64() * 0.5
		}
		if rng.IntN(4) == 0 {
			m.flaky = rng.Float64() * 0.3
		}
		if rng.IntN(4) == 0 {
			m.restarts = rng.Float64() * 0.05
		}
		if len(m.rows) == 0 {
			m.moving = 0
		}
		if (m.randomPages || m.alone) && m.links == "none" {
			m.links = "full" // no page would tell that it is not the last
		}
		s := NewServer(m.offer)
		for i := range 3 {
			kind := kinds[kindNames[rng.IntN(3)]]
			if i == 0 {
				kind = kinds["scan"]
			}
			began := m.now
			l := New(s, kind.prove, kind.ranges(m.now)...)
			l.Blank = i == 0
			m.calls, m.log, m.odd = 0, nil, nil
			if l.Prove && s.Takes(OptionSkip, m.now) && m.skip == takes && m.skipCap == 0 && !m.alone && !m.upperEmpty && rng.IntN(4) == 0 {
				// Two short ones in a row may agree by chance.
				from, length, part := rng.IntN(30), 1, rng.Float64()-0.3
				if part < 0 {
					length += rng.IntN(2)
				}
				m.odd = func(page *Page) {
					if m.calls >= from && m.calls < from+length {
						page.Rows, page.Link = page.Rows[:int(max(0, part)*float64(len(page.Rows)))], ""
					}
				}
			}
			got, err := m.read(l, 5000)
			made += m.calls
			if err != nil {
				incomplete++
				reasons[err.Error()]++
				continue
			}
			done++
			missing, unseen := m.missing(got, began, read(l, m.now)...), l.Skipped+m.unchecked(s, len(got))
			if m.odd != nil && !s.Takes(OptionSkip, m.now) {
				continue // positions were blamed for failures, and nothing else shows an end that is none
			}
			if m.odd != nil {
				// What has come meanwhile may be what made room.
				for _, in := range m.rows {
					if in.Updated.After(began) {
						unseen++
					}
				}
			}
			if len(missing) > unseen && (m.odd == nil || len(got) > 0) {
				t.Errorf("seed %d, %q: %d of %d rows are missing after %d calls, first %v\n%v\n%s",
					seed, chosen, len(missing), len(m.rows), m.calls, m.rows[missing[0]], m, tail(m.log))
				if testing.Verbose() {
					return
				}
			}
			m.now = m.now.Add(time.Minute)
		}
	}
	t.Logf("%d requests, %d listings complete, %d not: %v", made, done, incomplete, reasons)
}
