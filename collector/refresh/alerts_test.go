package refresh

import (
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
)

// TestAlertsLost: while the server cannot deliver alerts the incidents are
// counted exactly; alerts are shown again when those of all are known, for which
// a sweep is begun at once.
func TestAlertsLost(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		sleep(time.Minute)
		lose := func(lost bool) { f.change(func() { f.noAlerts = lost }) }
		available := func(want bool) {
			t.Helper()
			if got := r.Snapshot().AlertsAvailable; got != want {
				t.Errorf("available: got %v, want %v", got, want)
			}
			r.equal(t)
		}
		available(true)

		// Nothing changed meanwhile: nothing is to be read again.
		lose(true)
		sleep(time.Minute)
		available(false)
		sleep(30 * time.Minute)
		lose(false)
		sleep(2 * time.Hour)
		available(true)
		if n := len(f.of(pass.Sweep)); n > 0 {
			t.Errorf("%d calls of a sweep", n)
		}

		lose(true)
		f.set(7, func(in *incident.Incident) { in.Status = incident.StatusActive })
		sleep(31 * time.Second)
		available(false)
		sleep(30 * time.Minute)
		available(false)
		lose(false)
		f.set(8, nil) // which shows that they are back
		before := len(f.of(pass.Sweep))
		sleep(70 * time.Minute)
		available(true)
		if n := len(f.of(pass.Sweep)) - before; n == 0 || n > 40 {
			t.Errorf("%d calls of a sweep", n)
		}
		if got := r.Status().Corrections; got != [3]uint64{} {
			t.Errorf("nothing was to be corrected: %v", got)
		}
	})
}

// TestSomeAlerts: they are lost if no row of a page has them.
func TestSomeAlerts(t *testing.T) {
	with, without := incident.Incident{ID: 1}, incident.Incident{ID: 2, AlertsUnknown: true}
	for _, test := range []struct {
		rows []incident.Incident
		lost bool
	}{
		{[]incident.Incident{with, without}, false},
		{[]incident.Incident{without, with}, false},
		{[]incident.Incident{without, without}, true},
	} {
		f := graph(10)
		l := New(Options{Source: f, Ledger: f})
		l.noteAlerts(test.rows)
		if l.Alerts.Lost != test.lost {
			t.Errorf("%v: lost %v, want %v", test.rows, l.Alerts.Lost, test.lost)
		}
	}
}

// TestAlertsRefused: while they are not even asked for they are not available, however
// quiet the tenant.
func TestAlertsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := graph(10)
		f.fill(60)
		r := start(t, f, Options{SweepInterval: 24 * time.Hour})
		sleep(30 * time.Minute)
		f.fails(func(c call) error {
			if c.req.Alerts {
				return faults["400"](c)
			}
			return nil
		})
		sleep(time.Hour)
		if s := r.Status(); !s.Up || !s.Unsupported[listing.OptionAlerts] || r.Snapshot().AlertsAvailable {
			t.Errorf("available: %v, status: %+v", r.Snapshot().AlertsAvailable, s)
		}
	})
}

// TestAlertsBackDuringSweep: a sweep that is under way brings those that were missed,
// and no further one is begun for them.
func TestAlertsBackDuringSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(60)
		f.every[pass.Sweep] = 20 * time.Second
		r := start(t, f, Options{SweepInterval: 6 * time.Hour, Overlap: time.Second})
		until(t, "sweeping", func() bool { return r.Status().Sweeping })
		f.change(func() { f.noAlerts = true })
		f.set(7, nil)
		sleep(61 * time.Second)
		f.change(func() { f.noAlerts = false })
		f.set(8, nil) // which shows that they are back
		sleep(31 * time.Second)
		if !r.Status().Sweeping || r.Snapshot().AlertsAvailable {
			t.Fatal("the test shows nothing: the sweep is over, or a delta has brought them")
		}
		until(t, "swept", func() bool { return !r.Status().Sweeping })
		before := len(f.of(pass.Sweep))
		sleep(time.Hour)
		if n := len(f.of(pass.Sweep)) - before; n > 0 {
			t.Errorf("%d calls of a further sweep", n)
		}
		if !r.Snapshot().AlertsAvailable {
			t.Error("alerts are not available again")
		}
	})
}

// TestAlertsComeAndGo: a server that fails every now and then is not swept for
// ever.
func TestAlertsComeAndGo(t *testing.T) {
	bothAPIs(t, 10, func(t *testing.T, f *tenant) {
		f.fill(60)
		f.fails(func(c call) error {
			f.change(func() { f.noAlerts = c.pass == pass.Sweep || len(f.calls) < 20 })
			return nil
		})
		r := start(t, f, Options{SweepInterval: 6 * time.Hour})
		for range 24 {
			f.set(1, nil)
			sleep(time.Hour)
		}
		r.equal(t)
		if r.Snapshot().AlertsAvailable {
			t.Error("alerts are shown that were never read")
		}
		if n := len(f.of(pass.Sweep)); n > 13*30 {
			t.Errorf("%d calls of sweeps in a day", n)
		}
	})
}

// TestAlertsLostOverRestart: that they are lost is known to the next process.
func TestAlertsLostOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := graph(10), newDisk()
		f.noAlerts = true
		f.fill(60)
		opts := Options{Store: d, SweepInterval: 24 * time.Hour, Stagger: 0.5}
		r := start(t, f, opts)
		r.synced(t)
		r.stop()
		f.change(func() { f.noAlerts = false })
		r = start(t, f, opts)
		if s := r.Snapshot(); s == nil || s.AlertsAvailable {
			t.Error("alerts are shown that were never read")
		}
		f.set(1, nil)
		sleep(2 * time.Hour)
		if !r.Snapshot().AlertsAvailable {
			t.Error("alerts are not available again")
		}
		r.equal(t)
	})
}
