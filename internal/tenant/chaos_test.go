package tenant

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", 1, "how many seeds TestChaos runs for each API")
	chaosSeed  = flag.Uint64("chaos.seed", 1, "the first of them")
	chaosHours = flag.Duration("chaos.time", time.Hour, "how much time of the tenant's each takes")
)

// TestChaos: the API misbehaves at random moments in random ways, the first sync
// included, and the process is stopped and killed in between. It lives and is
// healthy throughout, shows the last good counts, exceeds no window, and is exact
// once the weather is over.
func TestChaos(t *testing.T) {
	for _, api := range []struct {
		name               string
		is                 simulator.APIs
		perMinute, perHour int
	}{{config.Defender, simulator.Native, 50, 1500}, {config.Graph, simulator.Graph, 150, 0}} {
		for seed := range uint64(*chaosSeeds) {
			t.Run(fmt.Sprintf("%s/%d", api.name, *chaosSeed+seed), func(t *testing.T) {
				t.Parallel()
				o := simulator.Options{
					Seed: 21, Incidents: 400, Rates: simulator.Rates{Create: 30, Assign: 40, Change: 60, Merge: 10, Resolve: 30, Reopen: 6},
					History: 150 * 24 * time.Hour,
				}
				change := func(c *config.Tenant) { c.API, c.SweepInterval, c.QuotaShare = api.name, 30*time.Minute, 1 }
				withLives(t, o, change, func(l *lives) {
					l.sim.SetRoles(simulator.DefaultRole, simulator.DefaultGraphRole)
					c := &chaos{lives: l, rng: rand.New(rand.NewPCG(*chaosSeed+seed, 7)), api: api.is}
					for until := time.Now().Add(tenanttest.Virtual(*chaosHours)); time.Now().Before(until); {
						c.act()
					}
					c.calm(api.perMinute, api.perHour)
				})
			})
		}
	}
}

// chaos is what happens to a tenant and its exporter.
type chaos struct {
	*lives
	rng    *rand.Rand
	api    simulator.APIs
	story  []string
	known  bool // counts were shown once
	counts map[string]float64
}

func (c *chaos) tell(format string, args ...any) {
	c.story = append(c.story, time.Now().Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

// act changes the weather, ends a life, or lets time pass.
func (c *chaos) act() {
	switch c.rng.IntN(8) {
	case 0:
		c.sim.Fault(simulator.Faults{})
		c.tell("calm")
	case 1:
		c.tell("stopped")
		c.stop()
		c.wait(time.Duration(c.rng.IntN(300)) * time.Second)
		c.begin()
	case 2:
		c.tell("killed")
		c.crash()
		c.wait(time.Duration(c.rng.IntN(300)) * time.Second)
		c.begin()
	default:
		var f simulator.Faults
		var names []string
		for range 1 + c.rng.IntN(3) {
			all := simulator.Switches()
			if c.rng.IntN(2) == 0 {
				all = simulator.Weather()
			}
			s := all[c.rng.IntN(len(all))]
			if s.APIs&c.api != 0 && s.Knowable != simulator.Incomplete {
				s.Set(&f)
				names = append(names, s.Name)
			}
		}
		c.sim.Fault(f)
		c.tell("%s", strings.Join(names, ", "))
	}
	for range 1 + c.rng.IntN(20) {
		c.wait(time.Duration(c.rng.IntN(20)) * time.Second)
		c.look()
	}
}

// look wants the exporter to be alive, and to show what it has shown.
func (c *chaos) look() {
	c.t.Helper()
	if !c.tenant.Healthy(time.Now()) {
		c.fatal("not healthy: the last heartbeat is %v old", time.Since(c.tenant.loop.Heartbeat()))
	}
	if n := c.tenant.loop.Status().Passes[pass.Delta].Failures[reason.Panic]; n > 0 {
		c.fatal("%d panics: %s", n, c.tenant.loop.Status().LastError)
	}
	shown := len(c.series("incidents"))
	s := c.tenant.loop.Snapshot()
	if s != nil && time.Since(s.At) < c.cfg.MaxAge && shown == 0 {
		c.fatal("counts %v old are not shown", time.Since(s.At))
	}
	// Open counts may be withdrawn in a first sync, which is said.
	withdrawn := !c.tenant.loop.Status().Coverage.Open && c.tenant.loop.Status().Unsupported[listing.OptionStatus]
	if c.known && s == nil && !withdrawn {
		c.fatal("what was known is forgotten")
	}
	c.known = s != nil
	// Counters go on, over a crash too.
	for _, name := range []string{"incidents_created_total", "incidents_resolved_total"} {
		for labels, n := range c.series(name) {
			key := name + labels
			if n < c.counts[key] {
				c.fatal("%s steps back from %v to %v", key, c.counts[key], n)
			}
			if c.counts == nil {
				c.counts = map[string]float64{}
			}
			c.counts[key] = n
		}
	}
}

// calm ends the weather and the tenant's life, and wants the truth.
func (c *chaos) calm(perMinute, perHour int) {
	c.t.Helper()
	c.sim.Fault(simulator.Faults{})
	c.sim.Rest()
	c.tell("the end")
	// What only a sweep can know: two of them, after the hour that a server can ask
	// for; or as long as a limit is believed that it has named.
	var v verdict
	for range 12 {
		c.wait(3 * time.Hour)
		if v = c.judge(false); v.exact {
			break
		}
	}
	if !v.exact {
		c.fatal("%s", v)
	}
	m := c.sim.Meter()
	if perHour > 0 && (m.MaxPerMinute > perMinute || m.MaxPerHour > perHour) || m.MaxGraphPerMinute > 150 {
		c.fatal("%d calls in 60 s, %d in 3,600 s, %d of Graph in 60 s", m.MaxPerMinute, m.MaxPerHour, m.MaxGraphPerMinute)
	}
}

func (c *chaos) fatal(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf(format+"\n%s", append(args, strings.Join(c.story, "\n"))...)
}
