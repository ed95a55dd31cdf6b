package tenant

import (
	"math"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// TestIntervalBelowTheQuota: a setting of more refreshes than the quota
// allows gets as many as it does but for a tenth, which sweeps need, and the first sync
// half of it.
func TestIntervalBelowTheQuota(t *testing.T) {
	const incidents, perMinute, left = 6000, 30, 27
	hurried := func(c *config.Tenant) {
		c.Interval, c.QuotaPerMinute, c.QuotaPerHour, c.QuotaShare = time.Second, perMinute, 0, 1
		c.Overlap = time.Second
	}
	o := simulator.Options{Seed: 4, Incidents: incidents}
	inBubble(t, o, hurried, func(b *bubble) {
		b.wait(time.Second)
		if got := b.value("refresh_interval_seconds", ""); math.Abs(got*left-2*60) > 1e-6 {
			t.Errorf("during the first sync: an interval of %v s", got)
		}
		began := time.Now()
		for !b.tenant.loop.Status().Coverage.All && time.Since(began) < time.Hour {
			b.wait(time.Second)
		}
		// The open incidents are read twice, with all the others.
		pages := incidents/100 + len(b.sim.IDs("Active"))/100 + len(b.sim.IDs("InProgress"))/100 + 3
		want := time.Duration(pages) * time.Minute / (perMinute / 2)
		if took := time.Since(began); took > want+time.Minute {
			t.Errorf("the first sync took %v for %d pages, want about %v", took, pages, want)
		}
		b.wait(time.Minute)
		if got := b.value("refresh_interval_seconds", ""); math.Abs(got*left-60) > 1e-6 {
			t.Errorf("afterwards: an interval of %v s", got)
		}
		calls := b.sim.Meter().Calls
		b.wait(10 * time.Minute)
		if got := b.sim.Meter().Calls - calls; got < 9*perMinute || got > 10*perMinute {
			t.Errorf("%d calls in ten minutes, want about %d", got, 10*perMinute)
		}
		b.frugal(perMinute, 60*perMinute)
		b.exact()
	})
}
