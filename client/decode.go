package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/scrub"
)

// decoder reads answers as a stream and keeps only what is counted. It takes
// the API as it was found: fields of another type than documented count as
// absent, a row that cannot be used does not spoil the rest. It is safe for
// concurrent use.
type decoder struct {
	list, row, alertRow members
	mu                  sync.Mutex
	interned            map[string]*text
	mark                string // of the dimensions
	scrubber            *scrub.Scrubber
	// lied: null has stood for a list that was not empty, and no list has come since.
	lied atomic.Bool
}

// alertSeed is of the ids of alerts, which are told apart within a process.
var alertSeed = maphash.MakeSeed()

func alertID(raw jsontext.Value) uint64 {
	if len(raw) == 0 || string(raw) == `""` {
		return 0
	}
	return maphash.Bytes(alertSeed, raw)
}

// members are those of an object that are read, by their names in quotes, as
// they are in JSON where nothing is escaped.
type members map[string]func(*reading)

func newDecoder(is *api, dimensions Dimensions) *decoder {
	d := &decoder{interned: map[string]*text{}, list: members{
		`"value"`:              (*reading).list,
		strconv.Quote(is.list): (*reading).list,
		`"@odata.nextLink"`:    func(r *reading) { r.page.Link = r.link() },
		`"@odata.count"`:       (*reading).count,
		`"error"`:              (*reading).failure,
	}, row: members{
		strconv.Quote(is.id):      func(r *reading) { r.in.ID = max(integer(r.value()), 0) },
		strconv.Quote(is.created): func(r *reading) { r.in.Created = r.time() },
		strconv.Quote(is.updated): func(r *reading) { r.in.Updated = r.time() },
		`"redirectIncidentId"`:    func(r *reading) { r.in.RedirectID = max(integer(r.value()), 0) },
		`"assignedTo"`:            (*reading).assigned,
		`"status"`:                func(r *reading) { r.in.Status = enum(r, incident.ParseStatus, incident.FieldStatus) },
		`"severity"`:              func(r *reading) { r.in.Severity = enum(r, incident.ParseSeverity, incident.FieldSeverity) },
		`"classification"`: func(r *reading) {
			r.in.Classification = enum(r, incident.ParseClassification, incident.FieldClassification)
		},
		`"determination"`: func(r *reading) {
			r.in.Determination = enum(r, incident.ParseDetermination, incident.FieldDetermination)
		},
		strconv.Quote(is.tags):    (*reading).note,
		`"comments"`:              (*reading).note,
		`"priorityScore"`:         func(r *reading) { r.in.Priority = incident.PriorityOf(integer(r.value())) },
		`"alerts"`:                (*reading).readAlerts,
		`"alerts@odata.nextLink"`: func(r *reading) { r.more = r.link() },
		`"error"`:                 (*reading).failure,
	}, alertRow: members{
		strconv.Quote(is.alertID): func(r *reading) {
			r.alert.ID = alertID(r.value())
		},
		`"severity"`:      func(r *reading) { r.alert.Severity = enum(r, incident.ParseSeverity, incident.FieldAlertSeverity) },
		`"status"`:        func(r *reading) { r.alert.Status = enum(r, incident.ParseAlertStatus, incident.FieldAlertStatus) },
		`"serviceSource"`: func(r *reading) { r.alert.Source = r.text().source },
		`"category"`:      func(r *reading) { r.alert.Category = r.text().category },
		`"investigationState"`: func(r *reading) {
			r.alert.Investigation = enum(r, incident.ParseInvestigation, incident.FieldInvestigation)
		},
		`"detectionSource"`:           func(r *reading) { r.alert.Detection = r.text().detection },
		strconv.Quote(is.firstActive): func(r *reading) { r.alert.FirstActivity = r.time() },
	}}
	dimensions.addTo(d, is)
	return d
}

// reading is one answer being read. Its first error ends it: nothing is read
// after that, and values are empty.
type reading struct {
	*decoder
	dec         *jsontext.Decoder
	err         error
	page        listing.Page
	element     func(*reading)     // reads one of the list's
	found, null bool               // there is a list, or null in its place
	promised    bool               // that there are some
	in          *incident.Incident // that is being read
	more        string             // the link to further alerts of it
	failed      bool               // the row has an error of its own
	junk        bool               // what it has in the place of alerts is none
	alert       *incident.Alert    // that is being read
	alerts      int                // of all incidents
	noAlerts    int                // in the place of alerts
	name        []byte             // of an owner, for a moment
}

// read reads an answer to its end; a torn one is an error, not a short page. It
// is a list of what element reads, or, without one, one incident. Of a promised list
// there are some.
func (d *decoder) read(body io.Reader, element func(*reading), promised bool) (listing.Page, error) {
	var single incident.Incident
	r := &reading{decoder: d, dec: newJSON(body), in: &single, element: element, promised: promised}
	r.page = listing.Page{Count: -1, MoreAlerts: map[int64]string{}}
	switch {
	case r.dec.PeekKind() != '{':
		return listing.Page{}, notJSON(r.dec)
	case element == nil:
		r.readIncident()
	default:
		r.object(d.list)
	}
	if r.err == nil {
		// Only at the end a length or checksum that does not fit shows.
		if _, r.err = r.dec.ReadToken(); r.err == nil {
			r.err = errors.New("the JSON is followed by more")
		} else if errors.Is(r.err, io.EOF) {
			r.err = nil
		}
	}
	if r.err != nil {
		return listing.Page{}, fmt.Errorf("read answer: %w", r.err)
	}
	if err := r.wrong(); err != nil {
		return listing.Page{}, err
	}
	if element == nil && r.more != "" {
		// A part of the alerts is no number of alerts.
		r.in.Alerts, r.in.AlertsUnknown = nil, true
	}
	r.page.Alerts = single.Alerts // those of no row
	return r.page, nil
}

// wrong tells what is wrong with an answer that could be read.
func (r *reading) wrong() error {
	n := len(r.page.Rows)
	switch {
	case r.element == nil && r.in.ID == 0:
		return errors.New("the answer is no incident")
	case r.element != nil && !r.found && !r.null:
		return &partialError{text: "the answer has no list"}
	case r.null && !r.found && r.promised:
		return &partialError{text: "the answer has null for what a link leads to"}
	case r.null && !r.found && (r.page.Link != "" || r.page.Count > 0 || r.lied.Load()):
		// Seen of an empty tenant, where neither a link nor a count is there.
		r.lied.Store(true)
		return &partialError{text: "the answer has null for a list that is not empty"}
	case n == 0 && r.noAlerts > 0 && r.alerts == 0:
		return fmt.Errorf("none of the %d alerts in the answer can be read", r.noAlerts)
	case n > 0 && unusable(r.page.Rows) == n:
		return fmt.Errorf("none of the %d incidents in the answer has a usable id", n)
	}
	return nil
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

func (r *reading) list() {
	r.null = r.dec.PeekKind() == 'n'
	if r.loop('[', ']', r.element) {
		r.found = true
		r.lied.Store(false)
	}
}

func (r *reading) count() {
	if n := integer(r.value()); n <= math.MaxInt32 {
		r.page.Count = int(n)
	}
}

// failure reads an error beside what was asked for; null is none, and a row may
// have one of its own.
func (r *reading) failure() {
	if r.dec.PeekKind() == 'n' || r.dec.StackDepth() > 1 {
		r.failed = r.dec.PeekKind() != 'n'
		r.skip()
		return
	}
	raw := r.raw()
	code, message := serverError(fmt.Appendf(nil, `{"error":%s}`, raw[:min(len(raw), maxErrorBody)]))
	r.fail(&partialError{"the answer has an error in it", code, message})
}

// readIncident reads a row; one that cannot be used has the ID 0.
func (r *reading) readIncident() {
	if r.page.Rows = append(r.page.Rows, incident.Incident{AlertsUnknown: true}); len(r.page.Rows) > maxRows {
		r.fail(fmt.Errorf("%w: more than %d incidents", errTooLarge, maxRows))
	}
	r.in, r.more, r.failed, r.junk = &r.page.Rows[len(r.page.Rows)-1], "", false, false
	if r.mark != "" {
		r.in.Kept = &incident.Kept{Mark: r.mark}
	}
	r.object(r.row)
	if r.junk {
		r.in.AlertsUnknown, r.more = true, ""
	}
	if r.failed && r.in.Status == incident.StatusUnknown && r.in.Updated.IsZero() {
		r.in.ID = 0 // there is an error in the place of what it is
	}
	if r.in.Status == incident.StatusRedirected {
		// Its alerts were moved to another one; that none are sent is normal.
		r.in.AlertsUnknown = false
	}
	if r.more != "" && r.in.ID != 0 {
		r.page.MoreAlerts[r.in.ID] = r.more
	}
}

// note reads a list of tags or comments, of which only matters whether there are
// any; tags were seen as texts and as objects.
func (r *reading) note() {
	r.loop('[', ']', func(r *reading) {
		r.in.Noted = r.in.Noted || r.dec.PeekKind() != 'n'
		r.skip()
	})
}

func (r *reading) readAlerts() {
	if r.dec.PeekKind() == '[' {
		r.in.Alerts, r.in.AlertsUnknown = r.in.Alerts[:0], false
	}
	before := r.noAlerts
	r.loop('[', ']', (*reading).readAlert)
	r.junk = r.noAlerts > before && len(r.in.Alerts) == 0
}

// Bounds of one answer. The APIs give at most 100 incidents, and the most alerts
// that were seen in one are 150.
const (
	maxRows       = 10_000
	maxRowAlerts  = 10_000
	maxPageAlerts = 50_000
)

func (r *reading) readAlert() {
	if r.dec.PeekKind() != '{' {
		r.noAlerts++
		r.skip()
		return
	}
	if r.alerts++; len(r.in.Alerts) >= maxRowAlerts || r.alerts > maxPageAlerts {
		r.fail(fmt.Errorf("%w: more than %d alerts of one incident, or %d in all", errTooLarge, maxRowAlerts, maxPageAlerts))
	}
	r.in.Alerts = append(r.in.Alerts, incident.Alert{Source: "unknown", Category: "unknown", Detection: "unknown"})
	r.alert = &r.in.Alerts[len(r.in.Alerts)-1]
	r.object(r.alertRow)
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

// maxText bounds what is read of a text, in bytes: labels and names are shorter.
const maxText = 256

// text is the value of an enum or label: plain and given are as they came, given less
// what no name has, to be compared only. The others are the label values made of it: name
// is one that a customer has chosen.
type text struct{ plain, given, source, category, detection, name string }

// text reads a text; what is none reads as empty. In label values one that repeats a
// secret is removed. Texts are interned, so that repeating them costs nothing.
func (r *reading) text() *text {
	// Longer ones are no enums. Past that many all are forgotten, which costs a
	// moment and nothing else.
	const maxInterned = 4096
	raw := r.value()
	raw = raw[:min(len(raw), maxText)]
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.interned[string(raw)]
	if known == nil {
		plain := unquote(raw)
		shown := r.harmless(plain)
		known = &text{plain, name(plain), incident.ServiceSource(shown), incident.Label(shown), incident.DetectionSource(shown), name(shown)}
		if len(r.interned) >= maxInterned {
			clear(r.interned)
		}
		r.interned[string(raw)] = known
	}
	return known
}

// harmless is the text, unless there is a secret of ours in it: whoever sends it would
// have it shown to all who see a label. What only looks like one is how somebody has
// called something. A word of the API's is shown even where a password is the same.
func (d *decoder) harmless(text string) string {
	if d.scrubber.Holds(text) && !incident.KnownSource(text) {
		return scrub.Removed
	}
	return text
}

// time reads a time; what is none is the zero time. As it usually comes it costs no
// memory: there is one for each alert.
func (r *reading) time() time.Time {
	raw := r.value()
	const usual = len(`"2006-01-02T15:04:05.9999999Z"`)
	if n := len(raw); n >= 2 && n <= usual {
		if t, _ := time.Parse(time.RFC3339, string(raw[1:n-1])); inRange(t) {
			return t.UTC()
		}
	}
	return parseTime(unquote(raw))
}

// inRange tells whether Unix nanoseconds can tell the time; not the zero time,
// which is what a text that is no time reads as.
func inRange(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2262 }

// link reads an address of the server's.
func (r *reading) link() string {
	link, _ := jsontext.AppendUnquote(nil, r.value())
	if len(link) > maxLink {
		r.fail(errLink)
		return ""
	}
	return string(link)
}

var byteOrderMark = []byte("\ufeff")

// newJSON reads JSON, and before it a byte order mark if there is one.
func newJSON(r io.Reader) *jsontext.Decoder {
	from := bufio.NewReader(r)
	if start, _ := from.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		_, _ = from.Discard(len(start))
	}
	dec := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if bounded, ok := r.(*boundedReader); ok {
		bounded.decoded = dec.InputOffset
	}
	return dec
}

// notJSON tells what came instead of an object.
func notJSON(dec *jsontext.Decoder) error {
	_, err := dec.ReadToken()
	switch {
	case err == nil:
		return errors.New("the body is not a JSON object")
	case errors.Is(err, io.EOF):
		return errors.New("the body is empty")
	}
	return fmt.Errorf("the body is not JSON: %s", dec.UnreadBuffer())
}

func (r *reading) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reading) skip() {
	if r.err == nil {
		r.err = r.dec.SkipValue()
	}
}

// raw reads any value, or the name of a member. It is not called after an error:
// loop calls nothing then, and what it calls reads one value.
func (r *reading) raw() (raw jsontext.Value) {
	raw, r.err = r.dec.ReadValue()
	return raw
}

// value reads a text or a number; any other value is skipped, and nil.
func (r *reading) value() jsontext.Value {
	switch r.dec.PeekKind() {
	case '"', '0':
		return r.raw()
	}
	r.skip()
	return nil
}

// object reads members of an object, and skips the others.
func (r *reading) object(known members) {
	r.loop('{', '}', func(r *reading) {
		name := r.raw()
		if bytes.IndexByte(name, '\\') >= 0 {
			plain, _ := jsontext.AppendUnquote(nil, name)
			name, _ = jsontext.AppendQuote(nil, plain)
		}
		read := known[string(name)]
		if read == nil && isError(name) {
			read = known[`"error"`]
		}
		if read != nil {
			read(r)
		} else {
			r.skip()
		}
	})
}

// isError tells whether a member is an error by a name that is not the usual one.
func isError(name []byte) bool {
	return slices.ContainsFunc([]string{`"error"`, `"odata.error"`, `"@odata.error"`}, func(one string) bool {
		return bytes.EqualFold(name, []byte(one))
	})
}

// loop reads an object or array, which begins and ends so, and tells whether it
// is one; any other value is skipped.
func (r *reading) loop(begin, end jsontext.Kind, next func(*reading)) bool {
	if r.err != nil || r.dec.PeekKind() != begin {
		r.skip()
		return false
	}
	_, r.err = r.dec.ReadToken()
	for r.err == nil && r.dec.PeekKind() != end {
		next(r)
	}
	if r.err == nil {
		_, r.err = r.dec.ReadToken()
	}
	return true
}

// integer reads 7, "7" and 7.0, of which the last was seen of servers that keep
// numbers as floats; anything else is -1.
func integer(raw jsontext.Value) int64 {
	text := string(raw)
	if raw.Kind() == '"' {
		text = unquote(raw)
	}
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		return int64(n)
	}
	const exact = 1 << 53 // below it a float is one integer and no other
	if f, err := strconv.ParseFloat(string(raw), 64); err == nil && f >= 0 && f < exact && f == math.Trunc(f) {
		return int64(f)
	}
	return -1
}

// timeLayouts are the forms that were observed: the usual one, or with an
// offset, and with no zone at all, which means UTC. Up to nine digits of a
// second may follow each. The last but one is ISO 8601's other way to write an
// offset.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02"}

// parseTime reads a time of the API; the zero time if it is none.
func parseTime(text string) time.Time {
	text = strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range timeLayouts {
		if t, _ := time.Parse(layout, text); inRange(t) {
			return t.UTC()
		}
	}
	return time.Time{}
}

// assigned reads whether there is an owner.
func (r *reading) assigned() {
	r.in.Assigned = len(r.owner()) > 0
	clear(r.name)
}

// owner reads an owner's name; empty if there is none. Microsoft's portal shows
// Unassigned then. The name is personal data: it stands in r.name alone, which the
// caller clears.
func (r *reading) owner() []byte {
	raw := r.value()
	r.name, _ = jsontext.AppendUnquote(r.name[:0], raw[:min(len(raw), maxText)])
	// Blanks, and the zero-width characters that were seen in names.
	name := bytes.TrimFunc(r.name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
	})
	if bytes.EqualFold(name, []byte("unassigned")) {
		return nil
	}
	return name
}

// unquote returns the beginning of a text. What is wrong with it, and all that
// can be is invalid UTF-8, is replaced.
func unquote(raw jsontext.Value) string {
	plain, _ := jsontext.AppendUnquote(nil, raw[:min(len(raw), maxText)])
	return string(plain)
}
