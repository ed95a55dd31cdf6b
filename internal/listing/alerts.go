package listing

import "m365_defender_exporter/internal/incident"

// pendingAlerts is a row that came with a part of its alerts, and the link to
// the next part.
type pendingAlerts struct {
	row   incident.Incident
	link  string
	links int // that were followed
	fails int
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
		link := page.MoreAlerts[in.ID]
		switch {
		case link != "" && l.alertFails >= maxAlertFails:
			in.Alerts, in.AlertsUnknown = nil, true
		case link != "":
			l.pending = append(l.pending, pendingAlerts{row: *in, link: link})
			continue
		}
		rows = append(rows, *in)
	}
	return rows
}

// moreAlerts adds a further part, and returns the row once it is whole.
func (l *Listing) moreAlerts(page Page) ([]incident.Incident, *Error) {
	p := &l.pending[0]
	p.row.Alerts = append(p.row.Alerts, page.Alerts...)
	p.links++
	switch {
	case page.Link == "":
	case page.Link == p.link, p.links >= maxAlertLinks, len(p.row.Alerts) > maxAlerts:
		l.withoutAlerts()
		return l.Leftover(), nil
	default:
		p.link = page.Link
		return nil, nil
	}
	row := p.row
	l.pending, l.alertFails = l.pending[1:], 0
	return []incident.Incident{row}, nil
}

// withoutAlerts gives up on the alerts of the row that is being completed.
func (l *Listing) withoutAlerts() {
	row := l.pending[0].row
	row.Alerts, row.AlertsUnknown = nil, true
	l.pending = l.pending[1:]
	l.leftover = append(l.leftover, row)
}

// alertsFailed is called when further alerts could not be had.
func (l *Listing) alertsFailed(err *Error) Verdict {
	p := &l.pending[0]
	refused, heavy := classify(err)
	if !refused && !heavy {
		return passing(err)
	}
	if p.fails++; refused || p.fails > 2 || l.alertFails > 0 {
		l.alertFails++
		l.withoutAlerts()
		for l.alertFails >= maxAlertFails && len(l.pending) > 0 {
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
