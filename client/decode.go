package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
)

// decoder reads pages as a stream and keeps only what is counted. It takes
// the API as it was found: fields of another type than documented count as
// absent, a row that cannot be used does not spoil the rest.
type decoder struct {
	logger *slog.Logger
	// names of the flavour's fields; nil: the native ones.
	names map[string]string
	odd   once
	texts texts
}

// rawPage is a page as it was sent.
type rawPage struct {
	// rows in their order; those that cannot be used have the ID 0.
	rows     []incident.Incident
	unusable int
	// lists counts the rows that came with a list of alerts, empty or not.
	lists    int
	nextLink string
}

var errNoList = errors.New("the answer is not a list of incidents")

// page reads a whole answer; a torn one is an error, not a short page.
func (d *decoder) page(r io.Reader) (page rawPage, err error) {
	dec := newJSON(r)
	if dec.PeekKind() != '{' {
		return page, notJSON(dec)
	}
	found := false
	err = object(dec, d.table(), func(name string) error {
		switch name {
		case "value", "incidents":
			if dec.PeekKind() != '[' {
				return dec.SkipValue()
			}
			found = true
			return array(dec, func() error { return d.row(dec, &page) })
		case "@odata.nextLink":
			page.nextLink, err = stringValue(dec)
			return err
		}
		return dec.SkipValue()
	})
	switch {
	case err != nil:
		return rawPage{}, fmt.Errorf("read page: %w", err)
	case !found:
		return rawPage{}, errNoList
	}
	return page, nil
}

// row reads one element of the list.
func (d *decoder) row(dec *jsontext.Decoder, page *rawPage) error {
	var in incident.Incident
	var err error
	why := "it is not an object"
	if dec.PeekKind() == '{' {
		var listed bool
		in, listed, err = d.object(dec)
		why = "it has no id"
		if listed {
			page.lists++
		}
	} else {
		err = dec.SkipValue()
	}
	if err != nil {
		return err
	}
	page.rows = append(page.rows, in)
	if in.ID != 0 {
		return nil
	}
	page.unusable++
	level := slog.LevelDebug
	if d.odd.first() {
		level = slog.LevelWarn
	}
	d.logger.Log(context.Background(), level, "An incident in the answer cannot be used; the others are", "reason", why)
	return nil
}

// incident reads the answer to a lookup, and tells whether it came with a list
// of alerts.
func (d *decoder) incident(r io.Reader) (in incident.Incident, listed bool, err error) {
	dec := newJSON(r)
	if dec.PeekKind() != '{' {
		return in, false, notJSON(dec)
	}
	in, listed, err = d.object(dec)
	if err == nil && in.ID == 0 {
		err = errors.New("the answer is not an incident")
	}
	return in, listed, err
}

func (d *decoder) table() map[string]string {
	if d.names == nil {
		return nativeNames
	}
	return d.names
}

// object reads an incident, whose ID is 0 if there is none, and tells whether
// it came with a list of alerts.
func (d *decoder) object(dec *jsontext.Decoder) (in incident.Incident, listed bool, err error) {
	err = object(dec, d.table(), func(name string) (err error) {
		switch name {
		case "incidentId":
			in.ID, err = d.id(dec)
		case "redirectIncidentId":
			in.RedirectID, err = d.id(dec)
		case "createdTime":
			in.Created, err = d.time(dec)
		case "lastUpdateTime":
			in.Updated, err = d.time(dec)
		case "assignedTo":
			in.Assigned, err = someone(dec)
		case "status":
			in.Status, err = enum(d, dec, incident.ParseStatus, incident.FieldStatus, &in.Unrecognized)
		case "severity":
			in.Severity, err = enum(d, dec, incident.ParseSeverity, incident.FieldSeverity, &in.Unrecognized)
		case "classification":
			in.Classification, err = enum(d, dec, incident.ParseClassification, incident.FieldClassification, &in.Unrecognized)
		case "determination":
			in.Determination, err = enum(d, dec, incident.ParseDetermination, incident.FieldDetermination, &in.Unrecognized)
		case "alerts":
			if dec.PeekKind() != '[' {
				return dec.SkipValue()
			}
			in.Alerts, listed = in.Alerts[:0], true
			return array(dec, func() error { return d.alert(dec, &in) })
		default:
			return dec.SkipValue()
		}
		return err
	})
	return in, listed, err
}

func (d *decoder) alert(dec *jsontext.Decoder, in *incident.Incident) error {
	if dec.PeekKind() != '{' {
		return dec.SkipValue()
	}
	a := incident.Alert{Source: "unknown", Category: "unknown"}
	err := object(dec, d.table(), func(name string) (err error) {
		switch name {
		case "severity":
			a.Severity, err = enum(d, dec, incident.ParseSeverity, incident.FieldAlertSeverity, &in.Unrecognized)
		case "status":
			a.Status, err = enum(d, dec, incident.ParseAlertStatus, incident.FieldAlertStatus, &in.Unrecognized)
		case "serviceSource":
			a.Source, err = d.texts.label(dec, sourceLabel)
		case "category":
			a.Category, err = d.texts.label(dec, categoryLabel)
		default:
			return dec.SkipValue()
		}
		return err
	})
	in.Alerts = append(in.Alerts, a)
	return err
}

func enum[T any](d *decoder, dec *jsontext.Decoder, parse func(string) (T, bool), field incident.Fields, unrecognized *incident.Fields) (T, error) {
	text, err := d.texts.text(dec)
	value, ok := parse(text)
	if !ok {
		*unrecognized |= field
	}
	return value, err
}

// id reads a positive number or a text that holds one; anything else is 0.
func (d *decoder) id(dec *jsontext.Decoder) (int64, error) {
	switch dec.PeekKind() {
	case '0', '"':
	default:
		return 0, dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	if err != nil || n < 0 {
		return 0, nil //nolint:nilerr // it reads as absent
	}
	return n, nil
}

// time reads a point in time; what is none reads as the zero time. The texts
// are all different, so that they are not worth remembering.
func (d *decoder) time(dec *jsontext.Decoder) (time.Time, error) {
	if dec.PeekKind() != '"' {
		return time.Time{}, dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return time.Time{}, err
	}
	return parseTime(raw[1 : len(raw)-1]), nil
}

// someone tells whether a text names anybody. The name is personal data and
// not kept, not even for a moment longer than needed.
func someone(dec *jsontext.Decoder) (bool, error) {
	who, err := stringValue(dec)
	return strings.ContainsFunc(who, visible), err
}

// visible is false for blanks and for the zero-width characters that were
// seen in names.
func visible(r rune) bool {
	return !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) && !unicode.IsControl(r)
}

// once is true the first time only.
type once struct{ done atomic.Bool }

func (o *once) first() bool { return o.done.CompareAndSwap(false, true) }
