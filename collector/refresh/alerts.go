package refresh

import (
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
)

// A source may fail to deliver alerts for a while. The incidents are counted
// without them then, and no count of alerts is shown until those of all
// incidents are known again. Deltas bring them for what changed within the
// overlap; for the rest a sweep is begun.

// alertWatch is whether the source delivers alerts.
type alertWatch struct {
	Lost  bool `json:"lost,omitempty"` // the last page came without, or they are not even asked for
	told  bool // since the last delta there were rows that tell
	asked bool // for the sweep that reads again what was read without
	wait  time.Duration
}

// noteAlerts looks at the rows of a page, or at none after a failure, and at
// whether the server refuses alerts now. Incidents that were merged away have no
// alerts, and tell nothing.
func (l *Loop) noteAlerts(rows []incident.Incident) {
	a := &l.Alerts
	if l.Server.Unsupported(listing.OptionAlerts) {
		a.Lost = true
		return
	}
	if l.Draft.Unsupported[listing.OptionAlerts] { // until now
		a.Lost, a.asked = false, false
	}
	some, without := false, true
	for i := range rows {
		if in := &rows[i]; in.Status != incident.StatusRedirected {
			some, without = true, without && in.AlertsUnknown
		}
	}
	if some {
		a.told, a.asked = true, a.asked && (without || !a.Lost)
		a.Lost = without
	}
}

// knownAlerts takes those links to further alerts from a page that need not be followed
// again, and returns the incidents: this version is known, with all of its alerts. A sweep
// looks at everything.
func (l *Loop) knownAlerts(p pass.Pass, page *listing.Page) map[int64]bool {
	if p == pass.Sweep || len(page.MoreAlerts) == 0 || l.mirror.DimensionsMissing() > 0 {
		return nil
	}
	known := make(map[int64]bool)
	for i := range page.Rows {
		in := &page.Rows[i]
		if page.MoreAlerts[in.ID] == "" {
			continue
		}
		updated, is := l.mirror.Updated(in.ID)
		is = is && !in.Updated.IsZero() && updated.Equal(in.Updated) && !l.mirror.LacksAlerts(in.ID)
		if was, twice := known[in.ID]; !twice || was {
			known[in.ID] = is
		}
	}
	for i := range page.Rows {
		if in := &page.Rows[i]; known[in.ID] {
			delete(page.MoreAlerts, in.ID)
			in.AlertsUnknown = false // they are delivered
		}
	}
	return known
}

// firstAlertWait is how long the second sweep in a row waits that was begun for
// the alerts. A server that fails now and then must not be swept for ever.
const firstAlertWait = 10 * time.Minute

// sweepForAlerts begins a sweep, at once the first time, if alerts are back and
// some were missed.
func (l *Loop) sweepForAlerts(now time.Time) {
	a := &l.Alerts
	told := a.told
	a.told = false
	if l.mirror.AlertsMissing() == 0 {
		a.asked, a.wait = true, 0
		// What is known is right, and a quiet tenant shows no row that says more.
		a.Lost = l.Server.Unsupported(listing.OptionAlerts) || a.Lost && told
		return
	}
	if a.Lost || a.asked || l.Scan != nil {
		return
	}
	a.asked = true
	l.NextSweep = earlier(l.NextSweep, now.Add(a.wait))
	a.wait = min(max(2*a.wait, firstAlertWait), l.opts.SweepInterval)
	l.opts.Logger.Info("Alerts are delivered again, reading those that were missed", "incidents", l.mirror.AlertsMissing(), "from", l.NextSweep)
}
