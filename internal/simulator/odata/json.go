package odata

import (
	"encoding/json"
	"fmt"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// Shape is what one row shows otherwise than usually. Its texts replace raw JSON
// where they are not empty.
type Shape struct {
	NoID, NoAlerts             bool
	ID, Name, Status, Severity string
	Classification             string
	Determination, Assigned    string
	Created, Updated           string
	Tags, Comments, Alerts     string
	// Entity is one more of each alert's entities, where they are shown as such.
	Entity string
	// Shown is how many alerts the row has, More the link to the others; 0: all.
	Shown int
	More  string
	// Expand and Prefer are what the request asks for: alerts, and the newer
	// members of enums.
	Expand, Prefer bool
}

// AppendMember writes ,"name": and the text, or raw JSON instead.
func AppendMember(b []byte, name, raw, text string) []byte {
	if b, done := appendRaw(b, name, raw); done {
		return b
	}
	return AppendText(appendName(b, name), text)
}

// AppendAssigned writes the assignee, null if there is none.
func AppendAssigned(b []byte, r *life.Record, s *Shape) []byte {
	if s.Assigned == "" && r.AssignedTo == "" {
		return append(b, `,"assignedTo":null`...)
	}
	return AppendMember(b, "assignedTo", s.Assigned, r.AssignedTo)
}

// AppendTimeMember writes ,"name": and the time, or raw JSON instead.
func AppendTimeMember(b []byte, name, raw string, at time.Time) []byte {
	if b, done := appendRaw(b, name, raw); done {
		return b
	}
	return AppendTime(appendName(b, name), at)
}

// AppendList writes ,"name": and an array of n values, or raw JSON instead.
func AppendList(b []byte, name, raw string, n int, value func(b []byte, i int) []byte) []byte {
	if b, done := appendRaw(b, name, raw); done {
		return b
	}
	b = append(appendName(b, name), '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = value(b, i)
	}
	return append(b, ']')
}

// AppendTags writes the tags under the name that a face has for them.
func AppendTags(b []byte, name string, r *life.Record, s *Shape) []byte {
	return AppendList(b, name, s.Tags, len(r.Tags), func(b []byte, i int) []byte { return AppendText(b, r.Tags[i]) })
}

// AppendComments writes as many comments as there are.
func AppendComments(b []byte, r *life.Record, s *Shape) []byte {
	return AppendList(b, "comments", s.Comments, r.Comments, func(b []byte, _ int) []byte {
		return append(b, `{"comment":"Looked into it.","createdBy":"analyst1@example.com"}`...)
	})
}

// AppendMade writes what both APIs call the same of an alert: its techniques and
// its detector.
func AppendMade(b []byte, a *life.Alert) []byte {
	techniques := a.Techniques()
	b = AppendList(b, "mitreTechniques", "", len(techniques), func(b []byte, i int) []byte { return AppendText(b, techniques[i]) })
	if a.DetectorID() == "" {
		return append(b, `,"detectorId":null`...)
	}
	return AppendMember(b, "detectorId", "", a.DetectorID())
}

// AppendAlerts writes the alerts that a row has, and the link to others.
func AppendAlerts(b []byte, r *life.Record, s *Shape, alert func(b []byte, a *life.Alert) []byte) []byte {
	if s.NoAlerts {
		return b
	}
	n := len(r.Alerts)
	if s.Shown > 0 {
		n = s.Shown
	}
	b = AppendList(b, "alerts", s.Alerts, n, func(b []byte, i int) []byte { return alert(b, &r.Alerts[i]) })
	if s.Shown > 0 && s.Alerts == "" {
		b = AppendMember(b, "alerts@odata.nextLink", "", s.More)
	}
	return b
}

func appendName(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendRaw(b []byte, name, raw string) ([]byte, bool) {
	if raw == "" {
		return b, false
	}
	return append(appendName(b, name), raw...), true
}

// AppendText writes a JSON string. Nearly all are plain ASCII.
func AppendText(b []byte, s string) []byte {
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

// TimeFormat is how both APIs write a timestamp: UTC, nought to seven
// fractional digits, no trailing zeros.
const TimeFormat = "2006-01-02T15:04:05.9999999Z"

// AppendTime writes a timestamp in quotes.
func AppendTime(b []byte, at time.Time) []byte {
	b = append(b, '"')
	b = at.UTC().AppendFormat(b, TimeFormat)
	return append(b, '"')
}
