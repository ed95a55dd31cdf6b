package listing

import (
	"time"

	"m365_defender_exporter/internal/incident"
)

// pendingAlerts is a row that came with a part of its alerts, and the link to
// the next part. What is saved of it is the row alone.
type pendingAlerts struct {
	Row    incident.Incident `json:"row"`
	alerts []incident.Alert
	link   string
	links  map[string]struct{} // that were followed
	blanks int                 // parts in a row without an alert
	fails  int
}

// The bounds of what is followed: an incident of more alerts counts as one
// whose alerts are not known.
const (
	maxAlertLinks = 100
	maxAlerts     = 10_000
	// maxBlanks bounds the parts in a row without an alert.
	maxBlanks = 3
	// maxAlertFails is after how many rows none is tried for a while.
	maxAlertFails = 3
)

// holdBack takes the rows out of a page whose alerts are only a part, and
// returns the others.
func (l *Listing) holdBack(page *Page, now time.Time) []incident.Incident {
	rows := make([]incident.Incident, 0, len(page.Rows))
	for i := range page.Rows {
		in := &page.Rows[i]
		if in.ID == 0 {
			continue
		}
		if link := page.MoreAlerts[in.ID]; link != "" && !l.server.Further.over(now) {
			in.Alerts, in.AlertsUnknown = nil, true
		} else if link != "" {
			row := *in
			row.Alerts = nil
			l.Pending = append(l.Pending, pendingAlerts{Row: row, alerts: in.Alerts, link: link, links: map[string]struct{}{link: {}}})
			continue
		}
		rows = append(rows, *in)
	}
	return rows
}

// moreAlerts adds a further part, and returns the row once it is whole.
func (l *Listing) moreAlerts(page Page, now time.Time) ([]incident.Incident, *Error) {
	p := &l.Pending[0]
	p.alerts = append(p.alerts, page.Alerts...)
	if p.blanks++; len(page.Alerts) > 0 {
		p.blanks = 0
	}
	_, cycle := p.links[page.Link]
	switch {
	case page.Link == "":
		row := p.Row
		row.Alerts, row.AlertsUnknown = p.alerts, false
		l.Pending, l.alertFails, l.server.Further = l.Pending[1:], 0, pause{}
		return []incident.Incident{row}, nil
	case cycle, p.blanks > maxBlanks, len(p.links) >= maxAlertLinks, len(p.alerts) > maxAlerts:
		l.alertsLost(now)
		return l.Leftover(), nil
	}
	p.links[page.Link] = struct{}{}
	p.link = page.Link
	return nil, nil
}

// alertsLost gives up on the further alerts of a row, and after a few rows on those of
// all for a while: each page that shows them would cost as much again.
func (l *Listing) alertsLost(now time.Time) {
	l.alertFails++
	l.withoutAlerts()
	if l.alertFails < maxAlertFails {
		return
	}
	l.server.Further.extend(now, firstWait, longestWait)
	for len(l.Pending) > 0 {
		l.withoutAlerts()
	}
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
func (l *Listing) alertsFailed(err *Error, now time.Time) Verdict {
	outage := everywhere(err)
	if outage && !l.lone.again() {
		return passing(err)
	}
	p := &l.Pending[0]
	refused, _ := classify(err)
	if p.fails++; outage && p.fails > 1 || refused || err.Unsent || p.fails > 2 || l.alertFails > 0 {
		l.alertsLost(now)
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
