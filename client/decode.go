package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
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
	odd    once

	mu    sync.Mutex
	texts map[string]string // values seen before, so that repeating them costs nothing
	// labels made of the texts, which is the expensive part.
	sources, categories map[string]string
}

// rawPage is a page as it was sent.
type rawPage struct {
	rows     []incident.Incident
	unusable int
	// tail counts unusable rows after the last usable one.
	tail     int
	nextLink string
}

func (p *rawPage) len() int { return len(p.rows) + p.unusable }

var errNoList = errors.New("the answer is not a list of incidents")

// page reads a whole answer; a torn one is an error, not a short page.
func (d *decoder) page(r io.Reader) (page rawPage, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dec := newJSON(r)
	if dec.PeekKind() != '{' {
		return page, notJSON(dec)
	}
	found := false
	err = object(dec, func(name string) error {
		switch name {
		case "value", "incidents":
			if dec.PeekKind() != '[' {
				return dec.SkipValue()
			}
			found = true
			return array(dec, func() error { return d.row(dec, &page) })
		case "@odata.nextLink":
			link, err := d.stringValue(dec)
			page.nextLink = strings.Clone(link)
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
	if dec.PeekKind() != '{' {
		d.unusable(page, "it is not an object")
		return dec.SkipValue()
	}
	in, err := d.object(dec)
	switch {
	case err != nil:
		return err
	case in.ID == 0:
		d.unusable(page, "it has no incidentId")
	default:
		page.rows = append(page.rows, in)
		page.tail = 0
	}
	return nil
}

func (d *decoder) unusable(page *rawPage, why string) {
	page.unusable++
	page.tail++
	level := slog.LevelDebug
	if d.odd.first() {
		level = slog.LevelWarn
	}
	d.logger.Log(context.Background(), level, "An incident in the answer cannot be used; the others are", "reason", why)
}

// incident reads the answer to a lookup.
func (d *decoder) incident(r io.Reader) (incident.Incident, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dec := newJSON(r)
	if dec.PeekKind() != '{' {
		return incident.Incident{}, notJSON(dec)
	}
	in, err := d.object(dec)
	if err == nil && in.ID == 0 {
		err = errors.New("the answer is not an incident")
	}
	return in, err
}

// object reads an incident. Its ID is 0 if there is none.
func (d *decoder) object(dec *jsontext.Decoder) (in incident.Incident, err error) {
	err = object(dec, func(name string) (err error) {
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
			var who string
			who, err = d.stringValue(dec)
			in.Assigned = strings.ContainsFunc(who, visible)
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
			return array(dec, func() error { return d.alert(dec, &in) })
		default:
			return dec.SkipValue()
		}
		return err
	})
	return in, err
}

func (d *decoder) alert(dec *jsontext.Decoder, in *incident.Incident) error {
	if dec.PeekKind() != '{' {
		return dec.SkipValue()
	}
	a := incident.Alert{Source: "unknown", Category: "unknown"}
	err := object(dec, func(name string) (err error) {
		switch name {
		case "severity":
			a.Severity, err = enum(d, dec, incident.ParseSeverity, incident.FieldAlertSeverity, &in.Unrecognized)
		case "status":
			a.Status, err = enum(d, dec, incident.ParseAlertStatus, incident.FieldAlertStatus, &in.Unrecognized)
		case "serviceSource":
			a.Source, err = d.label(dec, &d.sources, incident.ServiceSource)
		case "category":
			a.Category, err = d.label(dec, &d.categories, incident.Label)
		default:
			return dec.SkipValue()
		}
		return err
	})
	in.Alerts = append(in.Alerts, a)
	return err
}

// maxTexts bounds what is remembered of foreign texts; past it everything is
// forgotten, which costs a moment and nothing else.
const maxTexts = 4096

// stringValue reads a string; a value of any other type reads as empty.
func (d *decoder) stringValue(dec *jsontext.Decoder) (string, error) {
	if dec.PeekKind() != '"' {
		return "", dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return "", err
	}
	if text, ok := d.texts[string(raw)]; ok {
		return text, nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		// Invalid UTF-8 has been replaced; nothing else can be wrong here.
		text = raw[1 : len(raw)-1]
	}
	if d.texts == nil || len(d.texts) >= maxTexts {
		d.texts = make(map[string]string)
	}
	s := string(text)
	d.texts[string(raw)] = s
	return s, nil
}

func (d *decoder) label(dec *jsontext.Decoder, cache *map[string]string, of func(string) string) (string, error) {
	text, err := d.stringValue(dec)
	if label, ok := (*cache)[text]; ok || err != nil {
		return label, err
	}
	if *cache == nil || len(*cache) >= maxTexts {
		*cache = make(map[string]string)
	}
	label := of(text)
	(*cache)[text] = label
	return label, nil
}

func enum[T any](d *decoder, dec *jsontext.Decoder, parse func(string) (T, bool), field incident.Fields, unrecognized *incident.Fields) (T, error) {
	text, err := d.stringValue(dec)
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

// visible is false for blanks and for the zero-width characters that were
// seen in names.
func visible(r rune) bool {
	return !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) && !unicode.IsControl(r)
}
