package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// page is a list answer that was decided on, to be written without the lock.
type page struct {
	base    string
	rows    []*entry
	next    string
	odd     bool
	padding int
	// Of the Graph flavour: with alerts, and with the newer members of enums.
	expand, prefer bool
}

// size is about how long the page will be.
func (p *page) size() int {
	n := 1024 + p.padding
	for _, e := range p.rows {
		n += 700
		for i := range e.Alerts {
			n += 1400 + 1000*int(e.Alerts[i].Entities) + 500*int(e.Alerts[i].Devices)
		}
	}
	return n
}

func (p *page) appendTo(b []byte) []byte {
	b = append(b, `{"@odata.context":`...)
	b = appendText(b, p.base+"/api/$metadata#Incidents")
	b = appendPadding(b, p.padding)
	b = append(b, `,"value":[`...)
	for i, e := range p.rows {
		if i > 0 {
			b = append(b, ',')
		}
		if p.odd {
			b = appendOdd(b, &e.Record, i == len(p.rows)/2)
		} else {
			b = append(b, '{')
			b = appendIncident(b, &e.Record, plain)
			b = append(b, '}')
		}
	}
	b = append(b, ']')
	if p.next != "" {
		b = append(b, `,"@odata.nextLink":`...)
		b = appendText(b, p.next)
	}
	return append(b, '}')
}

// appendSingle writes the answer to a call by id.
func appendSingle(b []byte, base string, r *Record, padding int) []byte {
	b = append(b, `{"@odata.context":`...)
	b = appendText(b, base+"/api/$metadata#Incidents/$entity")
	b = appendPadding(b, padding)
	b = append(b, ',')
	b = appendIncident(b, r, plain)
	return append(b, '}')
}

func appendPadding(b []byte, n int) []byte {
	if n <= 0 {
		return b
	}
	b = append(b, `,"padding":"`...)
	b = append(b, bytes.Repeat([]byte{'x'}, n)...)
	return append(b, '"')
}

// shape is what the odd rows do differently. Its fields replace raw JSON
// where they are not empty.
type shape struct {
	noID, noAlerts            bool
	alerts, tags, created     string
	severity, classification  string
	comments, name, updatedAs string
	entity                    string
}

var plain = shape{}

// appendIncident writes the members of an incident without the braces.
func appendIncident(b []byte, r *Record, s shape) []byte {
	if !s.noID {
		b = append(b, `"incidentId":`...)
		b = strconv.AppendInt(b, r.ID, 10)
		b = append(b, ',')
	}
	b = append(b, `"incidentUri":"https://security.microsoft.com/incidents/`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = append(b, `","redirectIncidentId":`...)
	if r.RedirectID != 0 {
		b = strconv.AppendInt(b, r.RedirectID, 10)
	} else {
		b = append(b, "null"...)
	}
	b = appendMember(b, "incidentName", s.name, r.Name)
	b = appendTimes(b, r, s, `,"createdTime":`, `,"lastUpdateTime":`)
	b = append(b, `,"assignedTo":`...)
	b = appendTextOrNull(b, r.AssignedTo)
	b = appendMember(b, "classification", s.classification, r.Classification)
	b = appendMember(b, "determination", "", r.Determination)
	b = appendMember(b, "status", "", r.Status)
	b = appendMember(b, "severity", s.severity, r.Severity)
	b = appendTags(b, r, s)
	return appendAlerts(b, r, s)
}

// appendTimes writes creation and last update under the names of a flavour.
func appendTimes(b []byte, r *Record, s shape, created, updated string) []byte {
	b = append(b, created...)
	if s.created != "" {
		b = append(b, s.created...)
	} else {
		b = appendTime(b, r.Created)
	}
	b = append(b, updated...)
	if s.updatedAs == "" {
		return appendTime(b, r.Updated)
	}
	b = append(b, '"')
	b = r.Updated.UTC().AppendFormat(b, s.updatedAs)
	return append(b, '"')
}

func appendTags(b []byte, r *Record, s shape) []byte {
	b = append(b, `,"tags":`...)
	b = appendTagList(b, r, s)
	b = append(b, `,"comments":`...)
	if s.comments != "" {
		return append(b, s.comments...)
	}
	return append(b, "[]"...)
}

func appendTagList(b []byte, r *Record, s shape) []byte {
	if s.tags != "" {
		return append(b, s.tags...)
	}
	b = append(b, '[')
	for i, tag := range r.Tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, tag)
	}
	return append(b, ']')
}

func appendAlerts(b []byte, r *Record, s shape) []byte {
	if s.noAlerts {
		return b
	}
	b = append(b, `,"alerts":`...)
	if s.alerts != "" {
		return append(b, s.alerts...)
	}
	b = append(b, '[')
	for i := range r.Alerts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendAlert(b, r, &r.Alerts[i], s.entity)
	}
	return append(b, ']')
}

func appendMember(b []byte, name, raw, text string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	if raw != "" {
		return append(b, raw...)
	}
	return appendText(b, text)
}

func appendTextOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendText(b, s)
}

// appendText writes a JSON string. Nearly all are plain ASCII.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string can always be written
				panic(fmt.Sprintf("simulator: %v", err))
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendTimeOrNull writes null for a time that is zero.
func appendTimeOrNull(b []byte, at time.Time) []byte {
	if at.IsZero() {
		return append(b, "null"...)
	}
	return appendTime(b, at)
}
