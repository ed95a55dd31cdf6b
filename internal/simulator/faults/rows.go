package faults

import (
	"fmt"
	"slices"
	"strconv"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
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

// shape is what the faults make of a row. Of one that was asked for by id
// nothing is odd.
func (f *Faults) shape(x *odata.Exchange, r *life.Record, listed bool) (s odata.Shape) {
	if f.OddRows && listed {
		s = oddShape(r)
	}
	if f.IDs.Form != IDUsual && (f.IDs.Share == 0 || chosen(r.ID, f.IDs.Share, saltIDs)) {
		f.IDs.Form.set(&s, r.ID, x.Face.TextIDs)
	}
	if chosen(r.ID, f.NumericEnums, saltEnums) {
		s.Status, s.Severity = enumNumber(r.Status), enumNumber(r.Severity)
		s.Classification, s.Determination = enumNumber(r.Classification), enumNumber(r.Determination)
	}
	if f.Unassigned && r.AssignedTo == "" {
		s.Assigned = `"Unassigned"`
	}
	if f.Alerts.Share == 0 || chosen(r.ID, f.Alerts.Share, saltAlerts) {
		switch {
		case f.Alerts.Absent:
			s.NoAlerts = true
		case f.Alerts.Null:
			s.Alerts = "null"
		case f.Alerts.Page > 0 && len(r.Alerts) > f.Alerts.Page:
			s.Shown, s.More = f.Alerts.Page, x.AlertsLink(r.ID, f.Alerts.Page)
		}
	}
	return s
}

func (f IDForm) set(s *odata.Shape, id int64, text bool) {
	switch f {
	case IDAbsent:
		s.NoID = true
	case IDGUID:
		s.ID = fmt.Sprintf(`"00000000-0000-4000-8000-%012x"`, id)
	case IDFloat:
		s.ID = strconv.FormatInt(id, 10) + ".0"
		if text {
			s.ID = `"` + s.ID + `"`
		}
	}
}

// enumNumber is a member of an enum as a number: serializers that are not told
// to write names do that.
func enumNumber(word string) string {
	for _, members := range [][]string{life.Statuses, life.Severities, {"Unknown", "FalsePositive", "TruePositive", "InformationalExpectedActivity"}} {
		if i := slices.Index(members, word); i >= 0 {
			return strconv.Itoa(1 << i)
		}
	}
	return "0"
}

// timeNoZone is how some timestamps were seen: UTC, but they do not say so.
const timeNoZone = `"2006-01-02T15:04:05.9999999"`

// oddShape is one of the shapes that Faults.OddRows promises, chosen by the
// incident's id. Each touches only what is not counted in such a row: of a
// redirected one nothing but itself, of an open one no verdict.
func oddShape(r *life.Record) odata.Shape {
	var shapes []odata.Shape
	noZone := r.Updated.UTC().Format(timeNoZone)
	switch {
	case r.Status == life.Redirected:
		shapes = []odata.Shape{
			{NoAlerts: true}, {Alerts: "null"}, {Alerts: `{}`},
			{Created: `"2026-13-45T99:00:00Z"`}, {Severity: `"Catastrophic"`},
		}
	case r.IsOpen():
		shapes = []odata.Shape{
			{Classification: `"NotYetInvented"`}, {Updated: noZone},
			{Name: "\"Zero\u200bwidth\ufeff incident\""}, {Entity: `{"entityType":"QuantumMailbox","spin":[0.5,null]}`},
		}
	default:
		shapes = []odata.Shape{{Tags: `[{"tag":"odd","order":1}]`}, {Updated: noZone}, {Comments: "null"}}
	}
	return shapes[r.ID%int64(len(shapes))]
}
