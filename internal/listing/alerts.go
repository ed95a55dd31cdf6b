package listing

import (
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// pendingAlerts is a row that came with a part of its alerts, and the link to
// the next part. What is saved of it is the row alone.
type pendingAlerts struct {
	Row    incident.Incident `json:"row"`
	alerts []incident.Alert
	link   string
	links  int // that were followed
	fails  int
}

// The bounds of what is followed: an incident of more alerts counts as one
// whose alerts are not known.
const (
	maxAlertLinks = 100
	maxAlerts     = 10_000
	// maxAlertFails is after how many rows none is tried any more.
	maxAlertFails = 3
)

// holdBack takes the rows out of a page whose alerts are only a part, and
// returns the others.
func (l *Listing) holdBack(page *Page) []incident.Incident {
	rows := make([]incident.Incident, 0, len(page.Rows))
	for i := range page.Rows {
		in := &page.Rows[i]
		if in.ID == 0 {
			continue
		}
		if link := page.MoreAlerts[in.ID]; link != "" && l.alertFails >= maxAlertFails {
			in.Alerts, in.AlertsUnknown = nil, true
		} else if link != "" {
			row := *in
			row.Alerts = nil
			l.Pending = append(l.Pending, pendingAlerts{Row: row, alerts: in.Alerts, link: link})
			continue
		}
		rows = append(rows, *in)
	}
	return rows
}

// moreAlerts adds a further part, and returns the row once it is whole.
func (l *Listing) moreAlerts(page Page) ([]incident.Incident, *Error) {
	p := &l.Pending[0]
	p.alerts = append(p.alerts, page.Alerts...)
	p.links++
	switch {
	case page.Link == "":
		row := p.Row
		row.Alerts = p.alerts
		l.Pending, l.alertFails = l.Pending[1:], 0
		return []incident.Incident{row}, nil
	case page.Link == p.link, p.links >= maxAlertLinks, len(p.alerts) > maxAlerts:
		l.withoutAlerts()
		return l.Leftover(), nil
	}
	p.link = page.Link
	return nil, nil
}

// withoutAlerts gives up on the alerts of the row that is being completed.
func (l *Listing) withoutAlerts() {
	row := l.Pending[0].Row
	row.AlertsUnknown = true
	l.Pending = l.Pending[1:]
	l.leftover = append(l.leftover, row)
}

// alertsFailed is called when further alerts could not be had. Unless nothing
// can be had at all, the row does without them after a few times.
func (l *Listing) alertsFailed(err *Error) Verdict {
	switch err.Reason {
	case reason.Throttled, reason.Auth, reason.Network:
		return passing(err)
	}
	p := &l.Pending[0]
	refused, _ := classify(err)
	if p.fails++; refused || err.unsent() || p.fails > 2 || l.alertFails > 0 {
		l.alertFails++
		l.withoutAlerts()
		for l.alertFails >= maxAlertFails && len(l.Pending) > 0 {
			l.withoutAlerts()
		}
		return RetryNow
	}
	return RetryLater
}

// Leftover returns, once, the rows that were held back and have to do without
// their alerts.
func (l *Listing) Leftover() []incident.Incident {
	rows := l.leftover
	l.leftover = nil
	return rows
}
