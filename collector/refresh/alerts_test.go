package refresh

import (
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

// TestAlertsLost: while the source cannot deliver alerts the incidents are
// counted exactly; alerts are shown again when those of all are known, for which
// a sweep is begun at once.
func TestAlertsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.ascending = true
		f.fill(60)
		loop := start(t, Options{Source: f, SweepInterval: 24 * time.Hour})
		wait(time.Minute)
		available := func(want bool) {
			t.Helper()
			if got := loop.Snapshot().AlertsAvailable; got != want {
				t.Errorf("available: got %v, want %v", got, want)
			}
			equal(t, loop, f)
		}
		available(true)

		// Nothing changed meanwhile: nothing is to be read again.
		f.noAlerts = true
		wait(30 * time.Minute)
		available(false)
		f.noAlerts = false
		wait(time.Minute)
		available(true)
		if n := f.callsOf(incident.PassSweep); n > 0 {
			t.Errorf("%d calls of a sweep", n)
		}

		f.noAlerts = true
		f.set(7, func(in *incident.Incident) { in.Status = incident.StatusActive })
		wait(31 * time.Second)
		available(false)
		wait(30 * time.Minute)
		f.noAlerts = false
		before := f.callsOf(incident.PassSweep)
		wait(2 * time.Minute)
		available(true)
		if n := f.callsOf(incident.PassSweep) - before; n == 0 || n > 20 {
			t.Errorf("%d calls of a sweep", n)
		}
		if got := loop.Status().Corrections; got != [3]uint64{} {
			t.Errorf("nothing was to be corrected: %v", got)
		}
	})
}

// TestAlertsComeAndGo: a server that fails every now and then is not swept for
// ever.
func TestAlertsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.ascending = true
		f.fill(60)
		f.before = func(q incident.Query) error {
			f.noAlerts = q.Pass == incident.PassSweep || len(f.calls) < 20
			return nil
		}
		loop := start(t, Options{Source: f, SweepInterval: 6 * time.Hour})
		wait(24 * time.Hour)
		equal(t, loop, f)
		if loop.Snapshot().AlertsAvailable {
			t.Error("alerts are shown that were never read")
		}
		if n := f.callsOf(incident.PassSweep); n > 12*12 {
			t.Errorf("%d calls of sweeps in a day", n)
		}
	})
}

// TestCursorRefused: a reading goes back to the border of a cursor that the
// server no longer takes.
func TestCursorRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTenant(10)
		f.ascending = true
		f.fill(100)
		refused := 0
		f.before = func(q incident.Query) error {
			if q.Pass == incident.PassFirst && len(f.calls) == 5 {
				refused++
				return incident.ErrCursorRefused
			}
			return nil
		}
		loop := start(t, Options{Source: f})
		wait(2 * time.Minute)
		if refused != 1 {
			t.Errorf("refused %d times", refused)
		}
		equal(t, loop, f)
	})
}
