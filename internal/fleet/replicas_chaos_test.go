package fleet

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

var (
	chaosSeed    = flag.Uint64("chaos.seed", 1, "first seed of TestReplicasAtRandom")
	chaosSeeds   = flag.Uint64("chaos.seeds", 1, "how many seeds")
	chaosTenants = flag.Int("chaos.tenants", 0, "how many tenants; 0: a few")
	chaosTime    = flag.Duration("chaos.time", 0, "how long replicas are disturbed, in virtual time; 0: for two hours")
)

// TestReplicasAtRandom: three replicas are killed, stopped, suspended, cut off, and
// what they share is out of reach, loses answers and is emptied, at random, while
// they spend all of small quotas. No window is ever exceeded by the count of the
// API; each tenant has one owner soon after each fault is over; at the end the
// counts are exact. The same of tenants that may be read by either API, whose native
// one comes and goes.
func TestReplicasAtRandom(t *testing.T) {
	tenants, length := *chaosTenants, *chaosTime
	if tenants == 0 {
		tenants = tenanttest.Sized(8)
	}
	if length == 0 {
		length = tenanttest.Virtual(2 * time.Hour)
	}
	for seed := *chaosSeed; seed < *chaosSeed+*chaosSeeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inHerd(t, func(h *herd) { newChaos(h, seed, tenants, false).run(length) })
		})
		t.Run(fmt.Sprint("auto ", seed), func(t *testing.T) {
			inHerd(t, func(h *herd) { newChaos(h, seed, tenants, true).run(length) })
		})
	}
}

const chaosPatience = 10 * time.Second

// chaos is three replicas and what befalls them.
type chaos struct {
	*herd
	random  *rand.Rand
	configs []config.Tenant
	now     [3]*life
	faults  map[string]int
	auto    bool
}

var chaosFaults = simulator.Faults{Delay: 200 * time.Millisecond}

const (
	chaosPerMinute = 8
	chaosPerHour   = 150
)

func newChaos(h *herd, seed uint64, tenants int, auto bool) *chaos {
	c := &chaos{herd: h, random: rand.New(rand.NewPCG(seed, 7)), faults: map[string]int{}, auto: auto}
	for i := range tenants {
		name := fmt.Sprintf("t%03d", i)
		h.Sims[name] = simulator.New(simulator.Options{
			Seed: seed + uint64(i), Incidents: 150, Light: true, TenantID: "id-" + name, ClientID: "app-" + name,
			Rates: simulator.Rates{Create: 6, Assign: 10, Change: 20, Resolve: 5, Reopen: 1},
		})
		h.Sims[name].Fault(chaosFaults)
		h.Sims[name].SetRoles(bothRoles...)
		cfg := h.Tenant(name)
		if auto {
			cfg = undecided(cfg)
		}
		cfg.QuotaPerMinute, cfg.QuotaPerHour, cfg.QuotaShare = chaosPerMinute, chaosPerHour, 1
		cfg.Interval, cfg.SweepInterval = 5*time.Second, time.Hour
		c.configs = append(c.configs, cfg)
	}
	for i := range c.now {
		c.begins(i)
	}
	return c
}

func (c *chaos) begins(i int) {
	c.now[i] = c.begin(string(rune('a'+i)), chaosPatience, c.configs...)
}

// between is a time at random.
func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}

// run disturbs the replicas for so long, and lets them come to rest.
func (c *chaos) run(length time.Duration) {
	began := time.Now()
	c.wait(time.Minute)
	for time.Since(began) < length {
		c.disturb()
		if c.random.IntN(3) == 0 {
			continue // the next one strikes before all is well
		}
		c.wait(chaosPatience + 3*time.Second)
		if why := c.unserved(c.configs); why != "" {
			c.t.Fatalf("%v: %s", time.Since(began), why)
		}
		c.wait(c.between(time.Second, 5*time.Minute))
	}
	for _, sim := range c.Sims {
		sim.Rest()
	}
	// What was emptied last leaves a lost ledger, and everything to be read again.
	c.wait(100 * time.Minute)
	c.once(c.configs)
	minute, hour := 0, 0
	for name, sim := range c.Sims {
		m := sim.Meter()
		minute, hour = max(minute, m.MaxPerMinute), max(hour, m.MaxPerHour)
		if m.MaxGraphPerMinute > chaosPerMinute || m.MaxPerMinute > chaosPerMinute || m.MaxPerHour > chaosPerHour || m.Throttled > 0 {
			c.t.Errorf("%s: %d calls in a minute, %d in an hour, %d refused", name, m.MaxPerMinute, m.MaxPerHour, m.Throttled)
		}
	}
	for _, l := range c.now {
		for _, tenant := range l.Tenants() {
			c.exact(tenant)
		}
	}
	c.t.Logf("%v, at most %d calls in a minute and %d in an hour", c.faults, minute, hour)
	// Where there is too little time, or too little of one API, none may be.
	if minute < chaosPerMinute && hour < chaosPerHour && !tenanttest.Raced && !c.auto {
		c.t.Errorf("at most %d calls in a minute and %d in an hour: no quota was used up, this test sees nothing", minute, hour)
	}
}

// disturb does one thing to the replicas, until it is over.
func (c *chaos) disturb() {
	i := c.random.IntN(len(c.now))
	l := c.now[i]
	kinds := []string{"kill", "kill", "restart", "stop", "suspend", "suspend", "cut", "away", "lose", "empty"}
	if c.auto {
		kinds = append(kinds, "retire", "retire", "retire")
	}
	kind := kinds[c.random.IntN(len(kinds))]
	c.faults[kind]++
	switch kind {
	case "kill":
		l.kill()
		c.wait(c.between(0, 40*time.Second))
		c.begins(i)
	case "retire":
		faults := chaosFaults
		if c.random.IntN(3) > 0 {
			faults.Retired.Status = 404
		}
		c.Sims[c.configs[c.random.IntN(len(c.configs))].Name].Fault(faults)
		c.faults[fmt.Sprint("graph ", c.byGraph())]++
		c.wait(c.between(0, 10*time.Minute))
	case "restart":
		l.kill()
		c.begins(i)
	case "stop":
		began := time.Now()
		if l.stop(); time.Since(began) > 2*time.Second {
			c.t.Errorf("the stop took %v", time.Since(began))
		}
		c.wait(c.between(0, 40*time.Second))
		c.begins(i)
	case "suspend":
		goOn := l.store.Freeze()
		c.wait(c.between(time.Second, 90*time.Second))
		goOn()
	case "cut":
		l.store.Cut(true)
		c.wait(c.between(time.Second, 60*time.Second))
		l.store.Cut(false)
	case "away":
		c.board.Away(true)
		c.wait(c.between(500*time.Millisecond, 2*time.Minute))
		c.board.Away(false)
	case "lose":
		random := rand.New(rand.NewPCG(c.random.Uint64(), 1))
		l.store.Lose(func() bool { return random.IntN(5) == 0 })
		c.wait(c.between(time.Second, 90*time.Second))
		l.store.Lose(nil)
	case "empty":
		// While all live and know of each other. What is lost with an owner that was
		// silent in the same moment nobody knows, and who had the tenant before that one
		// would go on from an older ledger.
		c.wait(chaosPatience + 3*time.Second)
		c.board.Empty()
		c.wait(chaosPatience + 3*time.Second)
	}
}

// byGraph is how many tenants are read by Graph.
func (c *chaos) byGraph() (n int) {
	for _, l := range c.now {
		for _, of := range l.Tenants() {
			if of.Config().API == config.Graph {
				n++
			}
		}
	}
	return n
}

// exact fails the test if a tenant's series differ from the truth.
func (c *chaos) exact(of *tenant.Tenant) {
	exact(c.t, c.Sims[of.String()], of)
}

func exact(t testing.TB, sim *simulator.Tenant, of *tenant.Tenant) {
	t.Helper()
	cfg, s := of.Config(), of.Status(time.Now())
	if s.Snapshot == nil || !s.Refresh.Up {
		t.Errorf("%s is not up: %s", of, s.Refresh.LastError)
		return
	}
	truth := sim.Truth(s.Snapshot.At, cfg.Lookback)
	for _, line := range tenanttest.Differences(tenanttest.Expected(truth, cfg.AgeThresholds), series(t, of)) {
		t.Errorf("%s: %s", of, line)
	}
}

// series are the samples of a tenant.
func series(t testing.TB, of *tenant.Tenant) map[string]map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, source := range of.Series().Sources() {
		registry.MustRegister(source)
	}
	return tenanttest.Scrape(t, registry)
}
