package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// decoder reads answers as a stream and keeps only what is counted. It takes
// the API as it was found: fields of another type than documented count as
// absent, a row that cannot be used does not spoil the rest. It is safe for
// concurrent use.
type decoder struct {
	names map[string]string
	texts texts
}

// Bounds of one answer. The APIs give at most 100 incidents, and the most alerts
// that were seen in one are 150.
const (
	maxRows       = 10_000
	maxRowAlerts  = 10_000
	maxPageAlerts = 100_000
)

// reading is one answer being read.
type reading struct {
	*decoder
	dec *jsontext.Decoder
	// alerts counts those of all rows.
	alerts int
}

func (d *decoder) read(body io.Reader) *reading { return &reading{decoder: d, dec: newJSON(body)} }

// page reads a list of incidents to its end; a torn one is an error, not a
// short page.
func (d *decoder) page(body io.Reader) (listing.Page, error) {
	r, page := d.read(body), listing.Page{Count: -1}
	usable := 0
	err := r.list(&page, func() error {
		in, err := r.row(r.skip)
		if err != nil {
			return err
		}
		if page.Rows = append(page.Rows, in.Incident); len(page.Rows) > maxRows {
			return fmt.Errorf("%w: more than %d incidents", errTooLarge, maxRows)
		}
		if in.ID == 0 {
			return nil
		}
		if usable++; in.more != "" {
			if page.MoreAlerts == nil {
				page.MoreAlerts = make(map[int64]string)
			}
			page.MoreAlerts[in.ID] = in.more
		}
		return nil
	})
	if err == nil && usable == 0 && len(page.Rows) > 0 {
		err = fmt.Errorf("none of the %d incidents in the answer has a usable id", len(page.Rows))
	}
	if err != nil {
		return listing.Page{}, err
	}
	return page, nil
}

// alertPage reads a list of one incident's alerts to its end.
func (d *decoder) alertPage(body io.Reader) (listing.Page, error) {
	r, page := d.read(body), listing.Page{Count: -1}
	var unrecognized incident.Fields
	if err := r.list(&page, func() error { return r.alert(&page.Alerts, &unrecognized) }); err != nil {
		return listing.Page{}, err
	}
	return page, nil
}

// incident reads the answer to a lookup.
func (d *decoder) incident(body io.Reader) (incident.Incident, error) {
	r := d.read(body)
	if r.dec.PeekKind() != '{' {
		return incident.Incident{}, notJSON(r.dec)
	}
	in, err := r.row(func(name string) error {
		if name == "error" {
			return r.failure()
		}
		return r.skip(name)
	})
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return incident.Incident{}, fmt.Errorf("read answer: %w", err)
	case in.ID == 0:
		return incident.Incident{}, errors.New("the answer is not an incident")
	case in.more != "":
		// A part of the alerts is no number of alerts.
		in.Alerts, in.AlertsUnknown = nil, true
	}
	return in.Incident, nil
}

// list reads an object that holds a list, and what is said about it.
func (r *reading) list(page *listing.Page, element func() error) error {
	if r.dec.PeekKind() != '{' {
		return notJSON(r.dec)
	}
	found, null := false, false
	err := r.object(func(name string) (err error) {
		switch name {
		case "value":
			if r.dec.PeekKind() == '[' {
				found = true
				return array(r.dec, element)
			}
			null = null || r.dec.PeekKind() == 'n'
			return r.dec.SkipValue()
		case "error":
			return r.failure()
		case "@odata.nextLink":
			page.Link, err = r.link()
		case "@odata.count":
			page.Count, err = r.count()
		default:
			return r.dec.SkipValue()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case found:
		return nil
	case !null:
		return &partialError{text: "the answer has no list"}
	case page.Link != "" || page.Count > 0:
		// Seen of an empty tenant, where neither is there.
		return &partialError{text: "the answer has null for a list that is not empty"}
	}
	return nil
}

// failure reads an error beside what was asked for; null is none.
func (r *reading) failure() error {
	raw, err := r.dec.ReadValue()
	if err != nil || raw.Kind() == 'n' {
		return err
	}
	return &partialError{text: "the answer has an error in it", member: slices.Clone(raw[:min(len(raw), maxErrorBody)])}
}

// row is an incident as it was sent.
type row struct {
	incident.Incident
	// more is the link to further alerts.
	more string
}

// row reads one element of a list of incidents; one that cannot be used has the
// ID 0. Members that are no incident's are given to also.
func (r *reading) row(also func(string) error) (in row, err error) {
	if r.dec.PeekKind() != '{' {
		return in, r.dec.SkipValue()
	}
	in.AlertsUnknown = true
	err = r.object(func(name string) (err error) {
		switch name {
		case "incidentId":
			in.ID, err = r.id()
		case "redirectIncidentId":
			in.RedirectID, err = r.id()
		case "createdTime":
			in.Created, err = r.time()
		case "lastUpdateTime":
			in.Updated, err = r.time()
		case "assignedTo":
			in.Assigned, err = r.assigned()
		case "status":
			in.Status, err = enum(r, incident.ParseStatus, incident.FieldStatus, &in.Unrecognized)
		case "severity":
			in.Severity, err = enum(r, incident.ParseSeverity, incident.FieldSeverity, &in.Unrecognized)
		case "classification":
			in.Classification, err = enum(r, incident.ParseClassification, incident.FieldClassification, &in.Unrecognized)
		case "determination":
			in.Determination, err = enum(r, incident.ParseDetermination, incident.FieldDetermination, &in.Unrecognized)
		case "alerts@odata.nextLink":
			in.more, err = r.link()
		case "alerts":
			if r.dec.PeekKind() != '[' {
				return r.dec.SkipValue()
			}
			in.Alerts, in.AlertsUnknown = in.Alerts[:0], false
			err = array(r.dec, func() error { return r.alert(&in.Alerts, &in.Unrecognized) })
		default:
			err = also(name)
		}
		return err
	})
	if in.Status == incident.StatusRedirected {
		// Its alerts were moved to another one; that none are sent is normal.
		in.AlertsUnknown = false
	}
	return in, err
}

func (r *reading) alert(list *[]incident.Alert, unrecognized *incident.Fields) error {
	if r.dec.PeekKind() != '{' {
		return r.dec.SkipValue()
	}
	if r.alerts++; len(*list) >= maxRowAlerts || r.alerts > maxPageAlerts {
		return fmt.Errorf("%w: more than %d alerts of one incident, or %d in all", errTooLarge, maxRowAlerts, maxPageAlerts)
	}
	a := incident.Alert{Source: "unknown", Category: "unknown"}
	err := r.object(func(name string) (err error) {
		var raw jsontext.Value
		switch name {
		case "severity":
			a.Severity, err = enum(r, incident.ParseSeverity, incident.FieldAlertSeverity, unrecognized)
		case "status":
			a.Status, err = enum(r, incident.ParseAlertStatus, incident.FieldAlertStatus, unrecognized)
		case "serviceSource":
			raw, err = r.value()
			a.Source = r.texts.of(raw).source
		case "category":
			raw, err = r.value()
			a.Category = r.texts.of(raw).category
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	*list = append(*list, a)
	return err
}

// enum reads a text; null is unknown like an absent one, a value of another type
// is not recognised.
func enum[T any](r *reading, parse func(string) (T, bool), field incident.Fields, unrecognized *incident.Fields) (T, error) {
	kind := r.dec.PeekKind()
	raw, err := r.value()
	value, ok := parse(r.texts.of(raw).plain)
	if !ok || kind != '"' && kind != 'n' {
		*unrecognized |= field
	}
	return value, err
}

// id reads a positive integer; anything else is 0.
func (r *reading) id() (int64, error) {
	raw, err := r.value()
	n, _ := integer(raw)
	return n, err
}

// count reads a number of rows; anything else is -1.
func (r *reading) count() (int, error) {
	raw, err := r.value()
	if n, ok := integer(raw); ok && n <= math.MaxInt32 {
		return int(n), err
	}
	return -1, err
}

// time reads a point in time; what is none reads as the zero time. The texts
// are all different, so that they are not worth interning.
func (r *reading) time() (time.Time, error) {
	raw, err := r.value()
	return parseTime(unquote(raw)), err
}

// assigned tells whether a text names an owner. The name is personal data and
// not kept. Microsoft's portal shows Unassigned where there is none.
func (r *reading) assigned() (bool, error) {
	raw, err := r.value()
	// Blanks, and the zero-width characters that were seen in names.
	name := strings.TrimFunc(unquote(raw), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
	})
	return name != "" && !strings.EqualFold(name, "unassigned"), err
}

// link reads an address of the server's.
func (r *reading) link() (string, error) {
	raw, err := r.value()
	link, _ := jsontext.AppendUnquote(nil, raw)
	if len(link) > maxLink {
		return "", errLink
	}
	return string(link), err
}
