package refresh

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

var (
	chaosSeed  = flag.Uint64("refresh.seed", 1, "the first seed of TestChaos")
	chaosSeeds = flag.Uint64("refresh.seeds", 12, "how many lives TestChaos lives")
)

// TestChaos lives through a few hours in which everything happens at random:
// incidents change and vanish, requests fail in every way, the store panics,
// the process is killed. In between the deltas keep their pace as far as they
// are let; when it is over the counts are exact.
func TestChaos(t *testing.T) {
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	for seed := *chaosSeed; seed < *chaosSeed+*chaosSeeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 3))
				f := native(5 + rng.IntN(30))
				if rng.IntN(2) == 0 {
					f = graph(f.offer.MaxTop)
				}
				f.skew = time.Duration(rng.IntN(5)-2) * time.Hour
				f.noDate = rng.IntN(6) == 0 && f.skew == 0
				f.fill(rng.IntN(250))
				for p := range f.every {
					f.every[p] = time.Duration(rng.IntN(4)) * time.Second
				}
				// One generator each, because the source's calls are on another goroutine.
				failing := rand.New(rand.NewPCG(seed, 4))
				often := 0.0
				f.fault = func(c call) error {
					f.mu.Lock()
					fails, name := failing.Float64() < often, names[failing.IntN(len(names))]
					f.mu.Unlock()
					if fails && name != "incomplete" {
						return faults[name](c)
					}
					return nil
				}
				d := newDisk()
				opts := Options{Store: d, SweepInterval: 20 * time.Minute, Stagger: rng.Float64()}
				r := start(t, f, opts)
				for range 100 {
					switch rng.IntN(12) {
					case 0:
						f.change(func() { often = []float64{0, 0.1, 0.5, 1}[rng.IntN(4)] })
					case 1:
						r.stop()
						r = start(t, f, opts)
					case 2:
						d.change(func() {
							if d.during = nil; rng.IntN(3) == 0 {
								d.during = func() { panic("a mistake of the store's") }
							}
						})
					case 3:
						f.drop(1 + rng.Int64N(f.nextID+1))
					case 4:
						f.set(1+rng.Int64N(f.nextID+1), func(in *incident.Incident) {
							in.Updated = in.Updated.Add(time.Duration(rng.IntN(86400)) * time.Second)
						})
					case 5:
						f.set(1+rng.Int64N(f.nextID+1), func(in *incident.Incident) {
							in.Updated = in.Updated.Add(-time.Duration(rng.IntN(86400)) * time.Second)
						})
					default:
						f.set(1+rng.Int64N(f.nextID+3), func(in *incident.Incident) {
							in.Status = incident.Status(rng.IntN(incident.NumStatuses))
							in.Assigned = rng.IntN(2) == 0
						})
					}
					sleep(time.Duration(rng.ExpFloat64() * float64(time.Minute)))
					if age := time.Since(r.Heartbeat()); age > 61*time.Second {
						t.Errorf("no heartbeat for %v", age)
					}
				}
				f.fails(nil)
				d.change(func() { d.during = nil })
				sleep(4 * time.Hour)
				r.equal(t)
				s := r.Status()
				if !s.Up || !s.Coverage.All {
					t.Errorf("status: %+v", s)
				}
				f.resolve(1)
				f.set(0, nil)
				sleep(2 * time.Minute)
				r.equal(t)
			})
		})
	}
}
