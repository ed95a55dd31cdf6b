package simulator

import (
	"fmt"
	"slices"
	"strconv"
)

// IDForm is a form of ids that are no integers.
type IDForm int

// The forms.
const (
	IDUsual IDForm = iota
	// IDGUID is a text such as "00000000-0000-4000-8000-0000000dbba1".
	IDGUID
	// IDFloat is 7.0 for 7, in quotes where ids are texts.
	IDFloat
	// IDAbsent rows have none.
	IDAbsent
)

// IDs are the ids that rows show, in lists and by id.
type IDs struct {
	Form IDForm
	// Share of the incidents that have them so; 0 means 1.
	Share float64
}

// Alerts are what is wrong with the alerts in rows, in lists and by id.
type Alerts struct {
	// Null and Absent rows have null for alerts or no such member, even where
	// there are none. Absent comes first.
	Null, Absent bool
	// Page leaves so many alerts in a row; alerts@odata.nextLink leads to the
	// others, in pages of that size. 0: rows have them all.
	Page int
	// Share of the incidents that are so; 0 means 1.
	Share float64
}

// shapes are what the faults make of rows, apart from which there are.
type shapes struct {
	odd, unassigned bool
	ids             IDs
	alerts          Alerts
	numbers         float64
}

func (f *Faults) shapes() shapes {
	return shapes{f.OddRows, f.Unassigned, f.IDs, f.Alerts, f.NumericEnums}
}

// shape is what one row does differently. Its texts replace raw JSON where they
// are not empty.
type shape struct {
	noID, noAlerts            bool
	alerts, tags, created     string
	severity, classification  string
	comments, name, updatedAs string
	entity                    string
	id, status, determination string
	assigned                  string
	shown                     int    // alerts that the row has; 0: all
	rest                      string // base of the link to the others
}

var plain = shape{}

// of is the shape of a row; base is that of links.
func (s *shapes) of(r *Record, graph bool, base string) shape {
	row := plain
	if s.odd {
		row = oddShape(r)
	}
	if s.ids.Form != IDUsual && (s.ids.Share == 0 || chosen(r.ID, s.ids.Share, saltIDs)) {
		row.setID(s.ids.Form, r.ID, graph)
	}
	if chosen(r.ID, s.numbers, saltEnums) {
		row.status, row.severity = enumNumber(r.Status), enumNumber(r.Severity)
		row.classification, row.determination = enumNumber(r.Classification), enumNumber(r.Determination)
	}
	if s.unassigned && r.AssignedTo == "" {
		row.assigned = `"Unassigned"`
	}
	if s.alerts.Share == 0 || chosen(r.ID, s.alerts.Share, saltAlerts) {
		switch {
		case s.alerts.Absent:
			row.noAlerts = true
		case s.alerts.Null:
			row.alerts = "null"
		case s.alerts.Page > 0 && len(r.Alerts) > s.alerts.Page:
			row.shown, row.rest = s.alerts.Page, base
		}
	}
	return row
}

func (s *shape) setID(form IDForm, id int64, graph bool) {
	switch form {
	case IDAbsent:
		s.noID = true
	case IDGUID:
		s.id = `"` + guid(id) + `"`
	case IDFloat:
		s.id = strconv.FormatInt(id, 10) + ".0"
		if graph {
			s.id = `"` + s.id + `"`
		}
	}
}

func guid(id int64) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", id) }

// enumNumber is a member of an enum as a number: serializers that are not told
// to write names do that.
func enumNumber(word string) string {
	for _, members := range [][]string{statuses, severities, {"Unknown", "FalsePositive", "TruePositive", "InformationalExpectedActivity"}} {
		if i := slices.Index(members, word); i >= 0 {
			return strconv.Itoa(1 << i)
		}
	}
	return "0"
}

// page is a list answer that was decided on, to be written without the lock.
type page struct {
	base           string
	graph          bool
	rows           []*entry
	next           string
	count          string // @odata.count unless empty
	expand, prefer bool   // with alerts, with the newer members of Graph's enums
	shapes         shapes
	padding        int
	flood          Flood

	failed, noValue, nullValue bool // see Partial
}

// size is about how long the page will be.
func (p *page) size() int {
	n := 1024 + p.padding + 2*(p.flood.Rows+p.flood.Alerts)
	for _, e := range p.rows {
		n += 700
		for i := range e.Alerts {
			n += 1400 + 1000*int(e.Alerts[i].Entities) + 500*int(e.Alerts[i].Devices)
		}
	}
	return n
}

// appendTo writes the page in its flavour.
func (p *page) appendTo(b []byte) []byte {
	b = append(b, `{"@odata.context":`...)
	if p.graph {
		b = appendText(b, p.base+"/v1.0/$metadata#security/incidents")
	} else {
		b = appendText(b, p.base+"/api/$metadata#Incidents")
	}
	b = appendPadding(b, p.padding)
	if p.count != "" {
		b = append(b, `,"@odata.count":`...)
		b = append(b, p.count...)
	}
	if p.failed {
		b = append(b, `,"error":{"code":"GatewayTimeout","message":"One of the providers did not answer in time."}`...)
	}
	switch {
	case p.noValue:
	case p.nullValue:
		b = append(b, `,"value":null`...)
	default:
		b = append(b, `,"value":[`...)
		b = p.appendRows(b)
		b = append(b, ']')
	}
	if p.next != "" {
		b = append(b, `,"@odata.nextLink":`...)
		b = appendText(b, p.next)
	}
	return append(b, '}')
}

func (p *page) appendRows(b []byte) []byte {
	for i, e := range p.rows {
		if i > 0 {
			b = append(b, ',')
		}
		s := p.shapes.of(&e.Record, p.graph, p.base)
		if i == 0 && p.flood.Alerts > 0 {
			s.alerts = "[" + ones(p.flood.Alerts) + "]"
		}
		b = append(b, '{')
		b = p.appendRow(b, &e.Record, s)
		b = append(b, '}')
		if p.shapes.odd && i == len(p.rows)/2 {
			ghost := e.clone()
			ghost.Status, ghost.Severity = active, "High"
			b = append(b, `,"this row is not an incident",{`...)
			b = p.appendRow(b, &ghost, shape{noID: true})
			b = append(b, '}')
		}
	}
	if p.flood.Rows > 0 {
		if len(p.rows) > 0 {
			b = append(b, ',')
		}
		b = append(b, ones(p.flood.Rows)...)
	}
	return b
}

func (p *page) appendRow(b []byte, r *Record, s shape) []byte {
	if p.graph {
		return appendGraphIncident(b, r, s, p.expand, p.prefer)
	}
	return appendIncident(b, r, s)
}

// single is the answer to a call by id, written without the lock.
type single struct {
	base           string
	graph          bool
	entry          *entry
	expand, prefer bool
	shapes         shapes
}

func (s *single) appendTo(b []byte) []byte {
	b = append(b, `{"@odata.context":`...)
	row := s.shapes
	row.odd = false
	shape := row.of(&s.entry.Record, s.graph, s.base)
	if s.graph {
		b = appendText(b, s.base+"/v1.0/$metadata#security/incidents/$entity")
		b = append(b, ',')
		b = appendGraphIncident(b, &s.entry.Record, shape, s.expand, s.prefer)
		return append(b, '}')
	}
	b = appendText(b, s.base+"/api/$metadata#Incidents/$entity")
	b = append(b, ',')
	b = appendIncident(b, &s.entry.Record, shape)
	return append(b, '}')
}

// alertPage is the answer to a link to alerts, written without the lock.
type alertPage struct {
	base   string
	graph  bool
	entry  *entry
	from   int // the first alert
	size   int // 0: all others
	prefer bool
}

func (p *alertPage) appendTo(b []byte) []byte {
	to := len(p.entry.Alerts)
	if p.size > 0 {
		to = min(to, p.from+p.size)
	}
	b = append(b, `{"value":[`...)
	for i := p.from; i < to; i++ {
		if i > p.from {
			b = append(b, ',')
		}
		if p.graph {
			b = appendGraphAlert(b, &p.entry.Record, &p.entry.Alerts[i], p.prefer)
		} else {
			b = appendAlert(b, &p.entry.Record, &p.entry.Alerts[i], "")
		}
	}
	b = append(b, ']')
	if to < len(p.entry.Alerts) {
		b = append(b, `,"@odata.nextLink":`...)
		b = appendText(b, alertsLink(p.base, p.graph, p.entry.ID, to))
	}
	return append(b, '}')
}

// alertsPath is what follows the id in the path of an incident's alerts.
const alertsPath = "/alerts"

// alertsLink leads to an incident's alerts from the given one on.
func alertsLink(base string, graph bool, id int64, from int) string {
	path := nativeFlavour.path
	if graph {
		path = graphFlavour.path
	}
	return fmt.Sprintf("%s%s/%d%s?$skiptoken=%d", base, path, id, alertsPath, from)
}
