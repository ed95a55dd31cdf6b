package tenant

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

var (
	matrixPairs = flag.Int("matrix.pairs", 6, "pairs of misbehaviours that TestMatrix tries for each API, besides each alone; 0: all")
	matrixSets  = flag.Int("matrix.sets", 0, "sets of three or four of them that TestMatrix tries for each API, besides")
	matrixSeed  = flag.Uint64("matrix.seed", 1, "which pairs and sets those are")
)

// TestMatrix: whatever the API does, and whatever else it does besides, the
// counts are the truth at rest, or the exporter says that it does not know.
func TestMatrix(t *testing.T) {
	for _, api := range []struct {
		name string
		is   simulator.APIs
	}{{config.Defender, simulator.Native}, {config.Graph, simulator.Graph}} {
		var switches []simulator.Switch
		for _, s := range simulator.Switches() {
			if s.APIs&api.is != 0 {
				switches = append(switches, s)
			}
		}
		for i, s := range switches {
			if tenanttest.Raced && i%8 != 0 {
				continue // the race detector looks at the same code
			}
			t.Run(api.name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				tryMatrix(t, api.name, api.is, s)
			})
		}
		type pair [2]simulator.Switch
		var pairs []pair
		for i, a := range switches {
			for _, b := range switches[:i] {
				if (a.Group == "" || a.Group != b.Group) && simulator.Knowable(api.is, a, b) != simulator.Unknowable {
					pairs = append(pairs, pair{b, a})
				}
			}
		}
		rng := rand.New(rand.NewPCG(*matrixSeed, 0))
		rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		if *matrixPairs > 0 {
			pairs = pairs[:min(*matrixPairs, len(pairs))]
		}
		if tenanttest.Raced {
			pairs = pairs[:min(4, len(pairs))]
		}
		for range *matrixSets {
			set := randomSet(rng, api.is, switches)
			names := make([]string, len(set))
			for i, s := range set {
				names[i] = s.Name
			}
			t.Run(api.name+"/"+strings.Join(names, " + "), func(t *testing.T) {
				t.Parallel()
				tryMatrix(t, api.name, api.is, set...)
			})
		}
		for _, p := range pairs {
			t.Run(api.name+"/"+p[0].Name+" + "+p[1].Name, func(t *testing.T) {
				t.Parallel()
				tryMatrix(t, api.name, api.is, p[0], p[1])
			})
		}
	}
}

// TestEmptied: an option that is answered with an empty list does not make a tenant empty.
func TestEmptied(t *testing.T) {
	for name, set := range map[string]func(*simulator.Faults){
		"order":       func(f *simulator.Faults) { f.Takes.OrderBy = simulator.Emptied },
		"lower bound": func(f *simulator.Faults) { f.Takes.Since = simulator.Emptied },
		"upper bound": func(f *simulator.Faults) { f.Takes.Lt, f.Takes.Le = simulator.Emptied, simulator.Emptied },
		"status":      func(f *simulator.Faults) { f.Takes.Status = simulator.Emptied },
		"alerts":      func(f *simulator.Faults) { f.Takes.Alerts = simulator.Emptied },
		"count":       func(f *simulator.Faults) { f.Takes.Count = simulator.Emptied },
		"top":         func(f *simulator.Faults) { f.Takes.Top = simulator.Emptied },
	} {
		for api, is := range map[string]simulator.APIs{config.Defender: simulator.Native, config.Graph: simulator.Graph} {
			t.Run(api+"/"+name, func(t *testing.T) {
				tryMatrix(t, api, is, simulator.Switch{Name: name, APIs: is, Set: set, Knowable: simulator.Incomplete})
			})
		}
	}
}

// randomSet is one of three or four switches that can be set at once.
func randomSet(rng *rand.Rand, api simulator.APIs, switches []simulator.Switch) (set []simulator.Switch) {
	for {
		set = set[:0]
		for _, i := range rng.Perm(len(switches)) {
			s := switches[i]
			if s.Group != "" && slices.ContainsFunc(set, func(has simulator.Switch) bool { return has.Group == s.Group }) {
				continue
			}
			if set = append(set, s); len(set) == 3+rng.IntN(2) {
				break
			}
		}
		if simulator.Knowable(api, set...) < simulator.Incomplete {
			return set
		}
	}
}

// tryMatrix lets a tenant move while its API misbehaves, and looks when it rests.
func tryMatrix(t *testing.T, name string, api simulator.APIs, switches ...simulator.Switch) {
	knowable := simulator.Knowable(api, switches...)
	noAlerts, later := false, false
	for _, s := range switches {
		noAlerts, later = noAlerts || s.NoAlerts, later || s.Later
	}
	o := simulator.Options{
		Seed: 11, Incidents: 260, Rates: simulator.Rates{Create: 30, Assign: 40, Change: 60, Merge: 10, Resolve: 30, Reopen: 6},
		History: 150 * 24 * time.Hour,
	}
	const sweeps = time.Hour
	inBubble(t, o, func(c *config.Tenant) {
		c.API, c.SweepInterval = name, sweeps
	}, func(b *bubble) {
		var f simulator.Faults
		for _, s := range switches {
			s.Set(&f)
		}
		if later {
			b.wait(5 * time.Minute)
		}
		b.sim.Fault(f)
		b.wait(15 * time.Minute)
		b.sim.Rest()
		interval := func() time.Duration { return b.tenant.loop.Status().Interval }
		b.wait(2*interval() + time.Second)
		got := b.judge(noAlerts)
		if knowable == simulator.Exact && got.exact {
			b.cheap(t, f)
			return
		}
		if knowable == simulator.Exact && got.wrong != nil {
			t.Logf("two intervals after rest: %s", got)
		}
		// What only a sweep can know takes two of them.
		b.wait(2*sweeps + 30*time.Minute)
		later := b.judge(noAlerts)
		switch {
		case later.wrong != nil && !later.honest:
			t.Errorf("silently wrong: %s", later)
		case !later.exact && knowable != simulator.Incomplete && len(switches) <= 2: // more may leave no way that pairs do
			t.Errorf("not exact: %s", later)
		case got.wrong != nil && !got.honest && knowable == simulator.Exact:
			t.Errorf("silently wrong until a sweep: %s", got)
		}
	})
}

// verdict is how a tenant's series compare with the truth.
type verdict struct {
	wrong  []string
	exact  bool // everything is there, and right
	honest bool // it says that it does not know
	why    string
}

func (v verdict) String() string {
	return fmt.Sprintf("%d wrong, honest %v (%s): %s", len(v.wrong), v.honest, v.why, strings.Join(v.wrong[:min(3, len(v.wrong))], "; "))
}

// judge compares every series with the truth.
func (b *bubble) judge(noAlerts bool) (v verdict) {
	s := b.tenant.loop.Status()
	v.why = fmt.Sprintf("up %v, open %v, all %v, skipped %v, %s", s.Up, s.Coverage.Open, s.Coverage.All, s.Skipped, s.LastError)
	skipped := s.Skipped[0]+s.Skipped[1] > 0
	series := b.scrape()
	unrecognized := 0.0
	for _, n := range series["unrecognized_values_total"] {
		unrecognized += n
	}
	v.honest = !s.Up || !s.Coverage.All || skipped || unrecognized > 0
	snapshot := b.tenant.loop.Snapshot()
	if snapshot == nil {
		return v
	}
	want := tenanttest.Expected(b.sim.Truth(snapshot.At, b.tenant.config.Lookback), b.tenant.config.AgeThresholds)
	if !s.Coverage.All {
		// What is shown has to be right; the rest is not there.
		for _, name := range []string{"resolved_incidents", "incidents_redirected", "alerts"} {
			delete(want, name)
		}
		for key := range want["incidents"] {
			if strings.HasSuffix(key, "status=resolved") || strings.HasSuffix(key, "status=unknown") {
				delete(want["incidents"], key)
			}
		}
	}
	if noAlerts && series["alerts_available"][""] == 0 {
		for _, name := range alertSeries {
			delete(want, name)
		}
	}
	v.wrong = tenanttest.Differences(want, series)
	v.exact = s.Up && s.Coverage.All && v.wrong == nil
	return v
}

// cheap: a tenant at rest costs one call per interval.
func (b *bubble) cheap(t *testing.T, f simulator.Faults) {
	t.Helper()
	unsupported := b.tenant.loop.Status().Unsupported
	if !unsupported[listing.OptionLowerBound] && !unsupported[listing.OptionPageSize] && b.value("alerts_available", "") == 1 && !f.Pages.Empty {
		b.wait(12*time.Minute - min(f.DateOff, 0)) // until the overlap is past
		before, at := b.sim.Meter().Calls, time.Now()
		b.wait(10 * time.Minute)
		intervals := int(time.Since(at) / b.tenant.loop.Status().Interval)
		if calls := b.sim.Meter().Calls - before; calls > intervals+6 { // some are read again by id, and an end is proven now and then
			t.Errorf("%d calls in %d intervals at rest", calls, intervals)
			log := b.sim.Meter().Log
			for _, r := range log[len(log)-12:] {
				t.Log(r.Status, r.Path, r.Query)
			}
		}
	}
}
