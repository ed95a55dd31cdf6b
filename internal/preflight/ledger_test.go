package preflight

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

// keepIn makes the check find the state that an exporter left in a directory,
// which had spent so many calls just now. The exporter runs until stop.
func (c *checked) keepIn(dir string, spent int) (exporter *tenant.Tenant, stop func()) {
	c.t.Helper()
	if err := c.config.Complete(); err != nil {
		c.t.Fatal(err)
	}
	c.store = storeIn(c.t, dir)
	store := storeIn(c.t, dir)
	exporter = c.exporter(store)
	for range spent {
		id, _, _ := exporter.Ledger().Take(time.Now(), 0)
		exporter.Ledger().Settle(id, time.Now())
	}
	return exporter, func() {
		exporter.Close()
		if err := store.Close(); err != nil {
			c.t.Error(err)
		}
	}
}

func storeIn(t *testing.T, dir string) state.Store {
	t.Helper()
	store, err := state.New("file:"+dir, state.Options{Uptime: tenanttest.Uptime})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// exporter is the tenant that a store belongs to.
func (c *checked) exporter(store state.Store) *tenant.Tenant {
	c.t.Helper()
	exporter, err := tenant.New(c.config, tenant.Dependencies{Store: store, Transport: c.shared(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := exporter.Open(nil, time.Now()); err != nil {
		c.t.Fatal(err)
	}
	return exporter
}

// used is how many calls of the last hour an exporter that starts now knows.
func (c *checked) used(dir string) int {
	c.t.Helper()
	store := storeIn(c.t, dir)
	defer func() { _ = store.Close() }()
	exporter := c.exporter(store)
	defer exporter.Close()
	return exporter.Ledger().Usage(time.Now())[1].Used
}

// TestCheckTakesFromTheSavedLedger: the exporter that starts after a check
// knows of its calls, and so does another check.
func TestCheckTakesFromTheSavedLedger(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		_, stop := c.keepIn(dir, 7)
		stop()
		before := databases(t, dir)
		for _, want := range []string{"40 of 50 calls a minute, 8 used", "40 of 50 calls a minute, 9 used"} {
			c.tenant = nil // another process
			result := c.check()
			if s := result.step("quota"); !result.OK || !strings.HasPrefix(s.Detail, want) || strings.Contains(s.Detail, "ledger") {
				t.Errorf("got %+v", s)
			}
		}
		if !maps.Equal(databases(t, dir), before) {
			t.Error("the databases were touched")
		}
		for range 2 {
			if got := c.used(dir); got != 9 {
				t.Errorf("%d calls are remembered, want 9", got)
			}
		}
	})
}

// databases are the contents of the exporter's files, by name.
func databases(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.db*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("got %v, %v", names, err)
	}
	all := map[string]string{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// TestCheckWithFullSavedLedger: it says when there is a call to be had.
func TestCheckWithFullSavedLedger(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		_, stop := c.keepIn(dir, 40)
		stop()
		result := c.check()
		if s := result.step("list"); s.Status != Failed || !strings.Contains(s.Detail, "the quota is spent: no call before") || result.APICalls != 0 {
			t.Errorf("got %+v", result)
		}
		if got := c.sim.Meter().Calls; got != 0 {
			t.Errorf("%d calls", got)
		}
	})
}

// TestCheckBesideTheExporter: the ledger that is in use is not to be had, but its
// owner is told of the calls, and the check says what that means.
func TestCheckBesideTheExporter(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		exporter, stop := c.keepIn(dir, 7)
		defer stop()
		result := c.check()
		want := "the exporter is running and has the ledger: it is told of this check's calls, for which a share of 0.8 leaves room"
		if s := result.step("quota"); !result.OK || !strings.HasPrefix(s.Detail, "40 of 50 calls a minute, 1 used") || !strings.HasSuffix(s.Detail, want) {
			t.Errorf("got %+v", s)
		}
		used := func() int { return exporter.Ledger().Usage(time.Now())[1].Used }
		for _, want := range []int{9, 10} { // its own next call, and that of the check, once
			id, _, _ := exporter.Ledger().Take(time.Now(), 0)
			exporter.Ledger().Settle(id, time.Now())
			if got := used(); got != want {
				t.Errorf("%d calls are known, want %d", got, want)
			}
		}
	})
}

// TestChecksBesideTheExporter: what the exporter has not counted yet other checks do.
func TestChecksBesideTheExporter(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		_, stop := c.keepIn(t.TempDir(), 7)
		defer stop()
		c.many(45, 40)
	})
}

// TestChecksBeforeTheExporter: the quota holds for them, and it knows of them when it starts.
func TestChecksBeforeTheExporter(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		if err := c.config.Complete(); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		c.store = storeIn(t, dir)
		c.many(45, 40)
		if got := c.used(dir); got != 40 {
			t.Errorf("%d calls are remembered, want 40", got)
		}
	})
}

// many makes checks, each by another process, one right after the other.
func (c *checked) many(checks, want int) {
	c.t.Helper()
	for range checks {
		c.tenant = nil
		c.check()
	}
	if got := c.sim.Meter().Calls; got != want {
		c.t.Errorf("%d checks made %d calls, want %d", checks, got, want)
	}
}
