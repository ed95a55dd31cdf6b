package simulator

// How the native flavour writes things.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

func appendPadding(b []byte, n int) []byte {
	if n <= 0 {
		return b
	}
	b = append(b, `,"padding":"`...)
	b = append(b, bytes.Repeat([]byte{'x'}, n)...)
	return append(b, '"')
}

// appendIncident writes the members of an incident without the braces.
func appendIncident(b []byte, r *Record, s shape) []byte {
	if !s.noID {
		b = append(b, `"incidentId":`...)
		if s.id != "" {
			b = append(b, s.id...)
		} else {
			b = strconv.AppendInt(b, r.ID, 10)
		}
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
	b = appendAssigned(b, r, s)
	b = appendMember(b, "classification", s.classification, r.Classification)
	b = appendMember(b, "determination", s.determination, r.Determination)
	b = appendMember(b, "status", s.status, r.Status)
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

func appendAssigned(b []byte, r *Record, s shape) []byte {
	b = append(b, `,"assignedTo":`...)
	if s.assigned != "" {
		return append(b, s.assigned...)
	}
	return appendTextOrNull(b, r.AssignedTo)
}

func appendAlerts(b []byte, r *Record, s shape) []byte {
	return appendAlertList(b, r, s, false, func(b []byte, a *Alert) []byte { return appendAlert(b, r, a, s.entity) })
}

// appendAlertList writes the alerts that a row has in either flavour, and the
// link to others.
func appendAlertList(b []byte, r *Record, s shape, graph bool, appendOne func([]byte, *Alert) []byte) []byte {
	if s.noAlerts {
		return b
	}
	b = append(b, `,"alerts":`...)
	if s.alerts != "" {
		return append(b, s.alerts...)
	}
	alerts := r.Alerts
	if s.shown > 0 {
		alerts = alerts[:s.shown]
	}
	b = append(b, '[')
	for i := range alerts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendOne(b, &alerts[i])
	}
	b = append(b, ']')
	if s.shown > 0 {
		b = append(b, `,"alerts@odata.nextLink":`...)
		b = appendText(b, alertsLink(s.rest, graph, r.ID, s.shown))
	}
	return b
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

// wireTime is how both APIs write a timestamp: UTC, nought to seven fractional
// digits, no trailing zeros.
const wireTime = "2006-01-02T15:04:05.9999999Z"

func appendTime(b []byte, at time.Time) []byte {
	b = append(b, '"')
	b = at.UTC().AppendFormat(b, wireTime)
	return append(b, '"')
}
