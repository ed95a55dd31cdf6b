package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// decoder reads answers as a stream and keeps only what is counted. It takes
// the API as it was found: fields of another type than documented count as
// absent, a row that cannot be used does not spoil the rest. It is safe for
// concurrent use.
type decoder struct {
	list, row members
	mu        sync.Mutex
	texts     map[string]*text
}

// members are those of an object that are read, by their names in quotes, as
// they are in JSON: none has in it what would be escaped.
type members map[string]func(*reading)

func newDecoder(is *api) *decoder {
	return &decoder{texts: map[string]*text{}, list: members{
		`"value"`:              (*reading).list,
		strconv.Quote(is.list): (*reading).list,
		`"@odata.nextLink"`:    func(r *reading) { r.page.Link = r.link() },
		`"@odata.count"`:       (*reading).count,
		`"error"`:              (*reading).failure,
	}, row: members{
		strconv.Quote(is.id):      func(r *reading) { r.in.ID, _ = integer(r.value()) },
		strconv.Quote(is.created): func(r *reading) { r.in.Created = parseTime(unquote(r.value())) },
		strconv.Quote(is.updated): func(r *reading) { r.in.Updated = parseTime(unquote(r.value())) },
		`"redirectIncidentId"`:    func(r *reading) { r.in.RedirectID, _ = integer(r.value()) },
		`"assignedTo"`:            func(r *reading) { r.in.Assigned = isOwner(unquote(r.value())) },
		`"status"`:                func(r *reading) { r.in.Status = enum(r, incident.ParseStatus, incident.FieldStatus) },
		`"severity"`:              func(r *reading) { r.in.Severity = enum(r, incident.ParseSeverity, incident.FieldSeverity) },
		`"classification"`: func(r *reading) {
			r.in.Classification = enum(r, incident.ParseClassification, incident.FieldClassification)
		},
		`"determination"`: func(r *reading) {
			r.in.Determination = enum(r, incident.ParseDetermination, incident.FieldDetermination)
		},
		`"alerts"`:                (*reading).alerts,
		`"alerts@odata.nextLink"`: func(r *reading) { r.more = r.link() },
		`"error"`:                 (*reading).failure,
	}}
}

var alertMembers = members{
	`"severity"`:      func(r *reading) { r.last.Severity = enum(r, incident.ParseSeverity, incident.FieldAlertSeverity) },
	`"status"`:        func(r *reading) { r.last.Status = enum(r, incident.ParseAlertStatus, incident.FieldAlertStatus) },
	`"serviceSource"`: func(r *reading) { r.last.Source = r.text().source },
	`"category"`:      func(r *reading) { r.last.Category = r.text().category },
}

// reading is one answer being read. Its first error ends it: nothing is read
// after that, and values are empty.
type reading struct {
	*decoder
	dec *jsontext.Decoder
	err error

	element     func(*reading) // reads one of the list's
	found, null bool           // there is a list, or null in its place
	page        listing.Page

	in   *incident.Incident
	more string          // the link to further alerts of it
	last *incident.Alert // of it
	seen int             // alerts of all rows
}

// page reads a list of incidents.
func (d *decoder) page(body io.Reader) (listing.Page, error) {
	r := d.readList(body, (*reading).incident)
	if n := len(r.page.Rows); n > 0 && unusable(r.page.Rows) == n {
		r.fail(fmt.Errorf("none of the %d incidents in the answer has a usable id", n))
	}
	return r.result()
}

// alertPage reads a list of one incident's alerts.
func (d *decoder) alertPage(body io.Reader) (listing.Page, error) {
	r := d.readList(body, (*reading).alert)
	r.page.Alerts = r.in.Alerts
	return r.result()
}

// incident reads the answer to a lookup: a page of one row.
func (d *decoder) incident(body io.Reader, id int64) (listing.Page, error) {
	r := d.read(body, (*reading).incident)
	switch {
	case r.in.ID == 0:
		r.fail(errors.New("the answer is not an incident"))
	case r.in.ID != id:
		r.fail(errors.New("the answer is another incident than was asked for"))
	case r.more != "":
		// A part of the alerts is no number of alerts.
		r.in.Alerts, r.in.AlertsUnknown = nil, true
	}
	return r.result()
}

// unusable counts the rows that cannot be used.
func unusable(rows []incident.Incident) (n int) {
	for i := range rows {
		if rows[i].ID == 0 {
			n++
		}
	}
	return n
}

// readList reads an object that holds a list, and what is said about it.
func (d *decoder) readList(body io.Reader, element func(*reading)) *reading {
	r := d.read(body, func(r *reading) {
		r.element = element
		r.object(d.list)
	})
	switch {
	case r.found:
	case !r.null:
		r.fail(&partialError{text: "the answer has no list"})
	case r.page.Link != "" || r.page.Count > 0:
		// Seen of an empty tenant, where neither is there.
		r.fail(&partialError{text: "the answer has null for a list that is not empty"})
	}
	return r
}

// read reads an answer to its end; a torn one is an error, not a short page.
func (d *decoder) read(body io.Reader, object func(*reading)) *reading {
	r := &reading{decoder: d, dec: newJSON(body), in: &incident.Incident{}, page: listing.Page{Count: -1}}
	if r.dec.PeekKind() != '{' {
		r.err = notJSON(r.dec)
		return r
	}
	if object(r); r.err == nil {
		r.err = end(r.dec)
	}
	if r.err != nil {
		r.err = fmt.Errorf("read answer: %w", r.err)
	}
	return r
}

func (r *reading) result() (listing.Page, error) {
	if r.err != nil {
		return listing.Page{}, r.err
	}
	return r.page, nil
}

func (r *reading) list() {
	r.null = r.null || r.dec.PeekKind() == 'n'
	r.found = r.array(r.element) || r.found
}

func (r *reading) count() {
	r.page.Count = -1
	if n, ok := integer(r.value()); ok && n <= math.MaxInt32 {
		r.page.Count = int(n)
	}
}

// failure reads an error beside what was asked for; null is none, and a row may
// have one of its own.
func (r *reading) failure() {
	if r.dec.PeekKind() == 'n' || r.dec.StackDepth() > 1 {
		r.skip()
		return
	}
	raw := r.raw()
	code, message := serverError(fmt.Appendf(nil, `{"error":%s}`, raw[:min(len(raw), maxErrorBody)]))
	r.fail(&partialError{"the answer has an error in it", code, message})
}

// incident reads a row; one that cannot be used has the ID 0.
func (r *reading) incident() {
	if r.page.Rows = append(r.page.Rows, incident.Incident{AlertsUnknown: true}); len(r.page.Rows) > maxRows {
		r.fail(fmt.Errorf("%w: more than %d incidents", errTooLarge, maxRows))
	}
	r.in, r.more = &r.page.Rows[len(r.page.Rows)-1], ""
	r.object(r.row)
	if r.in.Status == incident.StatusRedirected {
		// Its alerts were moved to another one; that none are sent is normal.
		r.in.AlertsUnknown = false
	}
	if r.more != "" && r.in.ID != 0 {
		if r.page.MoreAlerts == nil {
			r.page.MoreAlerts = make(map[int64]string)
		}
		r.page.MoreAlerts[r.in.ID] = r.more
	}
}

func (r *reading) alerts() {
	if r.dec.PeekKind() == '[' {
		r.in.Alerts, r.in.AlertsUnknown = r.in.Alerts[:0], false
	}
	r.array((*reading).alert)
}

// Bounds of one answer. The APIs give at most 100 incidents, and the most alerts
// that were seen in one are 150.
const (
	maxRows       = 10_000
	maxRowAlerts  = 10_000
	maxPageAlerts = 100_000
)

func (r *reading) alert() {
	if r.dec.PeekKind() != '{' {
		r.skip()
		return
	}
	if r.seen++; len(r.in.Alerts) >= maxRowAlerts || r.seen > maxPageAlerts {
		r.fail(fmt.Errorf("%w: more than %d alerts of one incident, or %d in all", errTooLarge, maxRowAlerts, maxPageAlerts))
	}
	r.in.Alerts = append(r.in.Alerts, incident.Alert{Source: "unknown", Category: "unknown"})
	r.last = &r.in.Alerts[len(r.in.Alerts)-1]
	r.object(alertMembers)
}

// enum reads a text; null is unknown like an absent one, a value of another type
// is not recognised.
func enum[T any](r *reading, parse func(string) (T, bool), field incident.Fields) T {
	kind := r.dec.PeekKind()
	value, ok := parse(r.text().plain)
	if !ok || kind != '"' && kind != 'n' {
		r.in.Unrecognized |= field
	}
	return value
}

// text is the value of an enum or label, and the label values made of it.
type text struct{ plain, source, category string }

// text reads a text; what is none reads as empty. Texts are interned, so that
// repeating them costs nothing.
func (r *reading) text() *text {
	// Longer ones are no enums. Past that many all are forgotten, which costs a
	// moment and nothing else.
	const maxText, maxTexts = 256, 4096
	raw := r.value()
	raw = raw[:min(len(raw), maxText)]
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.texts[string(raw)]
	if known == nil {
		plain := unquote(raw)
		known = &text{plain, incident.ServiceSource(plain), incident.Label(plain)}
		if len(r.texts) >= maxTexts {
			clear(r.texts)
		}
		r.texts[string(raw)] = known
	}
	return known
}

// link reads an address of the server's.
func (r *reading) link() string {
	link, _ := jsontext.AppendUnquote(nil, r.value())
	if len(link) > maxLink {
		r.fail(errLink)
		return ""
	}
	return string(link)
}
