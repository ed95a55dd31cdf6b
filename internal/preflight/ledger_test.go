package preflight

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// keepIn makes the check find the state that an exporter left in a directory,
// which had spent so many calls just now. The exporter is returned as it runs.
func (c *checked) keepIn(dir string, spent int) *tenant.Tenant {
	c.t.Helper()
	var err error
	if c.store, err = state.New("bolt:" + dir); err != nil {
		c.t.Fatal(err)
	}
	if err := c.config.Complete(); err != nil {
		c.t.Fatal(err)
	}
	exporter, err := tenant.New(c.config, tenant.Dependencies{Store: c.store, Transport: c.shared(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := exporter.Open(nil, time.Now()); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(exporter.Close)
	for range spent {
		id, _ := exporter.Ledger().Take(time.Now(), 0)
		exporter.Ledger().Settle(id, time.Now())
	}
	return exporter
}

// used is how many calls of the last hour the saved ledger knows.
func (c *checked) used() int {
	c.t.Helper()
	l, err := quota.New(quota.Options{Windows: []quota.Window{{Period: time.Minute, Limit: c.config.QuotaPerMinute}, {Period: time.Hour, Limit: c.config.QuotaPerHour}}, Share: 1})
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := c.store.Borrow(state.Key{Tenant: c.config.TenantID, API: c.config.API}).Load()
	if err != nil {
		c.t.Fatal(err)
	}
	var log quota.Log
	if err := log.UnmarshalBinary(data); err != nil {
		c.t.Fatal(err)
	}
	l.Restore(time.Now(), log)
	return l.Usage(time.Now())[1].Used
}

// TestCheckTakesFromTheSavedLedger: the exporter that starts after a check
// knows of its calls.
func TestCheckTakesFromTheSavedLedger(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		c.keepIn(dir, 7).Close()
		rows := func() []byte {
			names, err := filepath.Glob(filepath.Join(dir, "*defender.db"))
			if err != nil || len(names) != 1 {
				t.Fatalf("got %v, %v", names, err)
			}
			data, err := os.ReadFile(names[0])
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		before := rows()
		result := c.check()
		if s := result.step("quota"); !result.OK || !strings.HasPrefix(s.Detail, "40 of 50 calls a minute, 8 used") || strings.Contains(s.Detail, "ledger") {
			t.Errorf("got %+v", s)
		}
		if got := c.used(); got != 8 {
			t.Errorf("%d calls are remembered, want 8", got)
		}
		if !bytes.Equal(rows(), before) {
			t.Error("the saved incidents were touched")
		}
	})
}

// TestCheckWithFullSavedLedger: it says when there is a call to be had.
func TestCheckWithFullSavedLedger(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		c.keepIn(dir, 40).Close()
		result := c.check()
		if s := result.step("list"); s.Status != Failed || !strings.Contains(s.Detail, "the quota is spent: no call before") || result.APICalls != 0 {
			t.Errorf("got %+v", result)
		}
		if got := c.sim.Meter().Calls; got != 0 {
			t.Errorf("%d calls", got)
		}
	})
}

// TestCheckBesideTheExporter: the ledger that is in use is not to be had, and
// the check says what that means.
func TestCheckBesideTheExporter(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		dir := t.TempDir()
		exporter := c.keepIn(dir, 7)
		result := c.check()
		want := "the exporter is running and has the ledger: this check's calls come on top of its own, for which a share of 0.8 leaves room"
		if s := result.step("quota"); !result.OK || !strings.HasPrefix(s.Detail, "40 of 50 calls a minute, 1 used") || !strings.HasSuffix(s.Detail, want) {
			t.Errorf("got %+v", s)
		}
		exporter.Close()
		if got := c.used(); got != 7 {
			t.Errorf("%d calls are remembered, want 7", got)
		}
	})
}
