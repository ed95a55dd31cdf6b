package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

func (d *decoder) page(body io.Reader) (listing.Page, error) {
	return d.read(body, (*reading).readIncident, false)
}

func (d *decoder) alertPage(body io.Reader) (listing.Page, error) {
	return d.read(body, (*reading).readAlert, true)
}

func (d *decoder) incident(body io.Reader) (listing.Page, error) {
	return d.read(body, nil, false)
}

func TestDecodeRow(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const long = "\u200bLateral movement "
	none := incident.Incident{ID: 7, AlertsUnknown: true}
	with := func(change func(*incident.Incident)) incident.Incident {
		in := none
		change(&in)
		return in
	}
	plain := incident.Alert{Source: "unknown", Category: "unknown", Detection: "unknown"}
	tests := []struct {
		name, in string
		want     incident.Incident
	}{
		{"documented", `{"incidentId":7,"redirectIncidentId":null,"createdTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05.1234567Z",
			"assignedTo":"a@b","classification":"TruePositive","determination":"Malware","status":"InProgress","severity":"High","tags":["x"],"comments":[],
			"alerts":[{"alertId":"1","serviceSource":"OfficeATP","detectionSource":"WindowsDefenderAv","investigationState":"PendingApproval","firstActivity":"2026-01-01T03:04:05.5Z","category":"InitialAccess","status":"New","severity":"Low","entities":[{"entityType":"User"}]}]}`,
			incident.Incident{ID: 7, Created: at, Updated: at.Add(123456700), Severity: incident.SeverityHigh, Status: incident.StatusInProgress,
				Classification: incident.ClassificationTruePositive, Determination: 2, Assigned: true, Noted: true, Alerts: []incident.Alert{{
					ID: alertID([]byte(`"1"`)), Severity: incident.SeverityLow, Investigation: 7, Detection: "antivirus", FirstActivity: at.Add(500*time.Millisecond - 24*time.Hour), Status: incident.AlertNew, Source: "microsoft_defender_for_office365", Category: "initial_access"}}}},
		{"numbers as texts", `{"incidentId":"7","redirectIncidentId":"9","status":"Redirected"}`, incident.Incident{ID: 7, RedirectID: 9, Status: incident.StatusRedirected}},
		{"escaped digits", `{"incidentId":"\u0037"}`, none},
		{"float", `{"incidentId":7.0}`, none},
		{"float with exponent", `{"incidentId":70e-1}`, none},
		{"large", `{"incidentId":9223372036854775807}`, with(func(in *incident.Incident) { in.ID = 1<<63 - 1 })},
		{"nothing but an id", `{"incidentId":7}`, none},
		{"no alert", `{"incidentId":7,"alerts":[]}`, with(func(in *incident.Incident) { in.AlertsUnknown = false })},
		{"merged, no alert", `{"incidentId":7,"alerts":null,"status":"redirected"}`, incident.Incident{ID: 7, Status: incident.StatusRedirected}},
		{"nulls", `{"incidentId":7,"createdTime":null,"lastUpdateTime":null,"assignedTo":null,"classification":null,"determination":null,"status":null,"severity":null,"alerts":null}`, none},
		{"wrong types", `{"incidentId":7,"createdTime":5,"lastUpdateTime":{},"assignedTo":[],"classification":1,"determination":[],"status":true,"severity":{"a":[1]},"alerts":{"a":1}}`,
			with(func(in *incident.Incident) {
				in.Unrecognized = incident.FieldStatus | incident.FieldSeverity | incident.FieldClassification | incident.FieldDetermination
			})},
		{"wrong types in an alert", `{"incidentId":7,"alerts":[{"status":3,"severity":false,"serviceSource":1,"category":{}},{"status":null,"severity":null}]}`,
			incident.Incident{ID: 7, Unrecognized: incident.FieldAlertStatus | incident.FieldAlertSeverity, Alerts: []incident.Alert{plain, plain}}},
		{"unknown values", `{"incidentId":7,"status":"Paused","severity":"Critical","classification":"Maybe","determination":"Odd","alerts":[{"status":"Gone","severity":"Ultra"}]}`,
			incident.Incident{ID: 7, Unrecognized: incident.FieldStatus | incident.FieldSeverity | incident.FieldClassification | incident.FieldDetermination |
				incident.FieldAlertStatus | incident.FieldAlertSeverity, Alerts: []incident.Alert{plain}}},
		{"owner of blanks", `{"incidentId":7,"assignedTo":" \u200b\u00a0\u0000"}`, none},
		{"owner unassigned", `{"incidentId":7,"assignedTo":" \u200buNASSIGNED\t"}`, none},
		{"owner", `{"incidentId":7,"assignedTo":"Unassigned Team"}`, with(func(in *incident.Incident) { in.Assigned = true })},
		{"long owner", `{"incidentId":7,"assignedTo":"` + strings.Repeat("x", 100_000) + `"}`, with(func(in *incident.Incident) { in.Assigned = true })},
		{"long label", `{"incidentId":7,"alerts":[{"category":"` + strings.Repeat(long, 10_000) + `"}]}`,
			incident.Incident{ID: 7, Alerts: []incident.Alert{{Source: "unknown", Detection: "unknown", Category: strings.Repeat("_lateral_movement", 4)[1:65]}}}},
		{"alerts that are none", `{"incidentId":7,"alerts":[null,1,"x",[],{}]}`, incident.Incident{ID: 7, Alerts: []incident.Alert{plain}}},
		{"tags of objects", `{"incidentId":7,"tags":[{"a":"b"}],"entities":[{"entityType":"New","x":[[[]]]}]}`, with(func(in *incident.Incident) { in.Noted = true })},
		{"a comment", `{"incidentId":7,"comments":[{"comment":"x","createdBy":"a@b"}]}`, with(func(in *incident.Incident) { in.Noted = true })},
		{"no tag, no comment", `{"incidentId":7,"tags":[null],"comments":{"comment":"x"}}`, none},
		{"a tag, and none", `{"incidentId":7,"tags":["x",null]}`, with(func(in *incident.Incident) { in.Noted = true })},
		{"alerts that tell no id", `{"incidentId":7,"alerts":[{"alertId":""},{"alertId":null},{"alertId":[1]},{}]}`,
			incident.Incident{ID: 7, Alerts: []incident.Alert{plain, plain, plain, plain}}},
		{"alerts twice", `{"incidentId":7,"alerts":[{},{}],"alerts":[{}]}`, incident.Incident{ID: 7, Alerts: []incident.Alert{plain}}},
		{"an error of its own", `{"incidentId":7,"error":{"code":"x"},"status":"Active"}`, with(func(in *incident.Incident) { in.Status = incident.StatusActive })},
		{"twice the same name", `{"incidentId":6,"incidentId":7}`, none},
		{"invalid UTF-8", "{\"incidentId\":7,\"incidentName\":\"\xff\xfe\",\"assignedTo\":\"\xff\"}", with(func(in *incident.Incident) { in.Assigned = true })},
		{"escaped", `{"incidentId":7,"status":"\u0041ctive"}`, with(func(in *incident.Incident) { in.Status = incident.StatusActive })},
		{"escaped names", `{"\u0069ncident\u0049d":7,"st\u0061tus":"Active","alerts":[{"\u0073erviceSource":"x","cate\u0067ory":"y"}],"\"status\"":"Resolved","status\u0000":"Resolved"}`,
			incident.Incident{ID: 7, Status: incident.StatusActive, Alerts: []incident.Alert{{Source: "x", Category: "y", Detection: "unknown"}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			page, err := newDecoder(&defender, Dimensions{}).page(strings.NewReader(`{"value":[` + test.in + `]}`))
			if err != nil || len(page.Rows) != 1 {
				t.Fatalf("%d rows, %v", len(page.Rows), err)
			}
			want := fmt.Sprintf("%+v", test.want)
			if got := fmt.Sprintf("%+v", page.Rows[0]); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
			page, err = newDecoder(&defender, Dimensions{}).incident(strings.NewReader(test.in))
			if strings.Contains(test.in, `"error"`) {
				return
			}
			if err != nil || len(page.Rows) != 1 {
				t.Fatalf("looked up: %d rows, %v", len(page.Rows), err)
			}
			if got := fmt.Sprintf("%+v", page.Rows[0]); got != want {
				t.Errorf("looked up:\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

func TestDecodeGraphRow(t *testing.T) {
	page, err := newDecoder(&graph, Dimensions{}).page(strings.NewReader(`{"value":[{"id":"29","tenantId":"x","status":"inProgress","redirectIncidentId":"31","displayName":"n","createdDateTime":"2026-01-02T03:04:05Z",
		"lastUpdateDateTime":"2026-01-02T03:04:05.1234567Z","assignedTo":"a@b","classification":"truePositive","determination":"multiStagedAttack","severity":"High","comments":[],"customTags":[],"systemTags":["x"],"priorityScore":86,
		"alerts":[{"id":"a","providerAlertId":"9","detectionSource":"antivirus","investigationState":"unsupportedAlertType","firstActivityDateTime":"2026-01-01T03:04:05.5Z","incidentId":"29","status":"inProgress","severity":"unknownFutureValue","serviceSource":"azureAdIdentityProtection","category":"InitialAccess","categories":["x"],
			"createdDateTime":"2026-01-01T00:00:00Z","evidence":[{"status":"new","severity":"low","createdDateTime":"2020-01-01T00:00:00Z"}]}]}]}`))
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%d rows, %v", len(page.Rows), err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := incident.Incident{
		ID: 29, RedirectID: 31, Created: at, Updated: at.Add(123456700), Severity: incident.SeverityHigh, Status: incident.StatusInProgress,
		Classification: incident.ClassificationTruePositive, Determination: 7, Assigned: true, Unrecognized: incident.FieldAlertSeverity, Priority: incident.PriorityTop,
		Alerts: []incident.Alert{{ID: alertID([]byte(`"a"`)), Status: incident.AlertInProgress, Investigation: 13, Detection: "antivirus", FirstActivity: at.Add(500*time.Millisecond - 24*time.Hour), Source: "azure_ad_identity_protection", Category: "initial_access"}},
	}
	if got, want := fmt.Sprintf("%+v", page.Rows[0]), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
}

// TestDecodeUnusableRows: what cannot be used costs nothing of the rest, but a
// page of nothing else is no page.
func TestDecodeUnusableRows(t *testing.T) {
	const unusable = `null,"x",[1],{"incidentName":"no id"},{"incidentId":-4},{"incidentId":1.5},{"incidentId":"a"},{"incidentId":"+7"},{"incidentId":"1e3"},
		{"incidentId":99999999999999999999},{"incidentId":"e0b8d2a1-0000-0000-0000-000000000000"},{"incidentId":0},{"incidentId":true}`
	d := newDecoder(&defender, Dimensions{})
	page, err := d.page(strings.NewReader(`{"value":[{"incidentId":1},` + unusable + `,{"incidentId":2}]}`))
	if err != nil || len(page.Rows) != 15 || page.Rows[0].ID != 1 || page.Rows[14].ID != 2 {
		t.Fatalf("%d rows, %v", len(page.Rows), err)
	}
	for i := range page.Rows[1:14] {
		if id := page.Rows[1+i].ID; id != 0 {
			t.Errorf("row %d has the id %d", 1+i, id)
		}
	}
	if _, err := d.page(strings.NewReader(`{"value":[` + unusable + `]}`)); err == nil || !strings.Contains(err.Error(), "none of the 13 incidents") {
		t.Errorf("got %v", err)
	}
}

func TestDecodePage(t *testing.T) {
	const link = "https://h/api/incidents/?$skip=100"
	far := "https://h/?" + strings.Repeat("x", maxLink)
	tests := []struct {
		name, in string
		rows     int
		count    int
		link     string
		err      string
		partial  bool
	}{
		{name: "empty list", in: `{"value":[]}`, count: -1},
		{name: "null for an empty list", in: `{"value":null}`, count: -1},
		{name: "null for a list of none", in: `{"@odata.count":0,"value":null,"@odata.nextLink":null}`},
		{name: "null for a list of some", in: `{"@odata.count":1,"value":null}`, err: "null", partial: true},
		{name: "null for a list that goes on", in: `{"value":null,"@odata.nextLink":"https://h/"}`, err: "null", partial: true},
		{name: "null for one of two lists", in: `{"value":null,"incidents":[{"incidentId":1}],"@odata.nextLink":"` + link + `"}`, rows: 1, count: -1, link: link},
		{name: "null for the other of two lists", in: `{"incidents":[{"incidentId":1}],"value":null,"@odata.nextLink":"` + link + `"}`, rows: 1, count: -1, link: link},
		{name: "null, and what is no list", in: `{"value":null,"incidents":{"incidentId":1}}`, err: "no list", partial: true},
		{name: "context and link", in: `{"@odata.context":"c","value":[{"incidentId":1}],"@odata.nextLink":"https://h/api/incidents/?$skip=100"}`, rows: 1, count: -1, link: link},
		{name: "count", in: `{"@odata.count":17,"value":[{"incidentId":1}]}`, rows: 1, count: 17},
		{name: "count as a text", in: `{"@odata.count":"17","value":[]}`, count: 17},
		{name: "count that is none", in: `{"@odata.count":"many","value":[]}`, count: -1},
		{name: "count beyond all bounds", in: `{"@odata.count":4294967297,"value":[]}`, count: -1},
		{name: "negative count", in: `{"@odata.count":-5,"value":[]}`, count: -1},
		{name: "no error", in: `{"error":null,"value":[{"incidentId":1}]}`, rows: 1, count: -1},
		{name: "error beside the list", in: `{"value":[{"incidentId":1}],"error":{"code":"c","message":"m"}}`, err: "error in it", partial: true},
		{name: "error before the list", in: `{"error":"x","value":[{"incidentId":1}]}`, err: "error in it", partial: true},
		{name: "an error with status 200", in: `{"error":{"code":"x","message":"y"}}`, err: "error in it", partial: true},
		{name: "escaped name of the list", in: `{"\u0076alue":[{"incidentId":1}],"\u0040odata.nextLink":"` + link + `","@odata\u002ecount":3}`, rows: 1, count: 3, link: link},
		{name: "escaped error", in: `{"value":[{"incidentId":1}],"\u0065rror":{"code":"c"}}`, err: "error in it", partial: true},
		{name: "other name of the list", in: `{"incidents":[{"incidentId":1}]}`, rows: 1, count: -1},
		{name: "byte order mark", in: "\ufeff" + `{"value":[{"incidentId":1}]}`, rows: 1, count: -1},
		{name: "blanks around", in: " \n" + `{"value":[]}` + "\r\n\t ", count: -1},
		{name: "torn in a row", in: `{"value":[{"incidentId":1},{"incid`, err: "read answer"},
		{name: "torn after a row", in: `{"value":[{"incidentId":1}`, err: "read answer"},
		{name: "torn in an error", in: `{"value":[],"error":{"code":"c"`, err: "unexpected EOF"},
		{name: "torn before the end", in: `{"value":[{"incidentId":1}]`, err: "read answer"},
		{name: "more after the end", in: `{"value":[]}{"value":[]}`, err: "followed by more"},
		{name: "garbage after the end", in: `{"value":[]}<html>`, err: "read answer"},
		{name: "zero bytes after the end", in: `{"value":[]}` + "\x00\x00", err: "read answer"},
		{name: "a web page", in: "<!DOCTYPE html>\n<title>Sign in</title>", err: "not JSON: <!DOCTYPE html>\n<title>"},
		{name: "nothing", in: "", err: "empty"},
		{name: "one byte", in: "x", err: "not JSON: x"},
		{name: "blanks", in: " \n ", err: "empty"},
		{name: "a list", in: `[{"incidentId":1}]`, err: "not a JSON object"},
		{name: "a text", in: `"no"`, err: "not a JSON object"},
		{name: "null", in: `null`, err: "not a JSON object"},
		{name: "no list", in: `{"value":{"incidentId":1}}`, err: "no list", partial: true},
		{name: "nothing in it", in: `{}`, err: "no list", partial: true},
		{name: "a link too long", in: `{"value":[],"@odata.nextLink":"` + far + `"}`, err: "longer than"},
		{name: "a link to alerts too long", in: `{"value":[{"incidentId":1,"alerts@odata.nextLink":"` + far + `"}]}`, err: "longer than"},
		{name: "too deep", in: `{"x":` + strings.Repeat("[", 100_000), err: "read answer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			page, err := newDecoder(&defender, Dimensions{}).page(strings.NewReader(test.in))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error: got %v, want %q", err, test.err)
			}
			if _, ok := errors.AsType[*partialError](err); ok != test.partial {
				t.Errorf("partial: got %v, want %v", ok, test.partial)
			}
			if len(page.Rows) != test.rows || page.Link != test.link || err == nil && page.Count != test.count {
				t.Errorf("got %d rows, %d in all, link %q", len(page.Rows), page.Count, page.Link)
			}
		})
	}
}

func TestDecodeMoreAlerts(t *testing.T) {
	d := newDecoder(&graph, Dimensions{})
	page, err := d.page(strings.NewReader(`{"value":[{"id":"7","alerts@odata.nextLink":"https://h/7","alerts":[{}]},{"id":"8","alerts":[],"alerts@odata.nextLink":null},{"alerts@odata.nextLink":"https://h/0"},{"id":"9","alerts":[{}]}]}`))
	if want := map[int64]string{7: "https://h/7"}; err != nil || !maps.Equal(page.MoreAlerts, want) || len(page.Rows[0].Alerts) != 1 {
		t.Errorf("got %+v, %v", page, err)
	}
	page, err = d.page(strings.NewReader(`{"value":[{"id":"7","alerts":[{}],"alerts@odata.nextLink":"https://h/7"}]}`))
	if err != nil || len(page.Rows[0].Alerts) != 1 || page.Rows[0].AlertsUnknown {
		t.Errorf("the last row: %+v, %v", page, err)
	}
	page, err = d.alertPage(strings.NewReader(`{"@odata.context":"c","value":[{"id":"a","severity":"low"},{"severity":"high"}],"@odata.nextLink":"https://h/9"}`))
	if err != nil || len(page.Alerts) != 2 || page.Alerts[1].Severity != incident.SeverityHigh || page.Link != "https://h/9" || len(page.Rows) > 0 {
		t.Errorf("got %+v, %v", page, err)
	}
	page, err = d.incident(strings.NewReader(`{"id":"7","alerts":[{}],"alerts@odata.nextLink":"https://h/7"}`))
	if err != nil || !page.Rows[0].AlertsUnknown || page.Rows[0].Alerts != nil {
		t.Errorf("a part of the alerts passes for all: %+v, %v", page, err)
	}
}

func TestParseTime(t *testing.T) {
	tests := []struct{ in, want string }{
		{"2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"2026-11-24T01:02:03.5Z", "2026-11-24T01:02:03.5Z"},
		{"2026-11-24T01:02:03.1234567Z", "2026-11-24T01:02:03.1234567Z"},
		{"2026-11-24T01:02:03.123456789Z", "2026-11-24T01:02:03.123456789Z"},
		{"2026-11-24T01:02:03.364306", "2026-11-24T01:02:03.364306Z"},
		{"2026-11-24T01:02:03", "2026-11-24T01:02:03Z"},
		{"2026-11-24T01:02:03+02:00", "2026-11-23T23:02:03Z"},
		{"2026-11-24 01:02:03Z", "2026-11-24T01:02:03Z"},
		{"2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"2026-02-29T00:00:00Z", ""},
		{"2026-13-01T00:00:00Z", ""},
		{"2026-11-24T24:00:00Z", ""},
		{"2026-11-24T01:02:03.Z", ""},
		{"0001-01-01T00:00:00Z", ""},
		{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"1969-12-31T23:59:59Z", ""},
		{"2261-12-31T23:59:59Z", "2261-12-31T23:59:59Z"},
		{"2262-01-01T00:00:00Z", ""},
		{"9999-12-31T23:59:59Z", ""},
		{"9999-12-31T23:59:59", ""},
		{"yesterday", ""},
		{"", ""},
		{"Z", ""},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			page, err := newDecoder(&defender, Dimensions{}).page(strings.NewReader(`{"value":[{"incidentId":1,"createdTime":"` + test.in + `"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if at := page.Rows[0].Created; !at.IsZero() {
				got = at.Format(time.RFC3339Nano)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestInteger: what is no whole number, or too large to be told exactly, is none.
func TestInteger(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "7": 7, `"7"`: 7, "7.0": 7, "7e2": 700, "0.0": 0, "-0.0": 0, "9223372036854775807": math.MaxInt64, "9007199254740991.0": 1<<53 - 1, "9007199254740992.0": -1, "9007199254740993.0": -1,
		"9007199254740994.0": -1, "1e300": -1, "-7": -1, "-7.0": -1, "7.5": -1, `"7.0"`: -1, `""`: -1, `"x"`: -1, "": -1,
	} {
		if got := integer(jsontext.Value(in)); got != want {
			t.Errorf("%s: got %d, want %d", in, got, want)
		}
	}
}

// FuzzDecodePage: whatever comes, nothing panics, and a page that is accepted
// holds only rows that can be counted.
func FuzzDecodePage(f *testing.F) {
	f.Add([]byte(`{"value":[{"incidentId":1,"status":"Active","alerts":[{"severity":"High"}]}],"@odata.nextLink":"x"}`))
	f.Add([]byte(`{"value":[{"incidentId":"1","createdTime":"2026-01-01T00:00:00.1234567","assignedTo":"\u200b"},null,{}]}`))
	f.Add([]byte(`{"@odata.count":3,"error":null,"value":null}`))
	f.Add([]byte(`<html>`))
	f.Add(realisticPage(2))
	f.Fuzz(func(t *testing.T, body []byte) { fuzzPage(t, newDecoder(&defender, Dimensions{}), body) })
}

// FuzzDecodeGraphPage is the same for the other API.
func FuzzDecodeGraphPage(f *testing.F) {
	f.Add([]byte(`{"@odata.context":"c","value":[{"id":"29","status":"awaitingAction","severity":"high","redirectIncidentId":null,"createdDateTime":"2026-01-22T12:09:23.1433333Z",
		"alerts":[{"id":"a","severity":"medium","serviceSource":"microsoftDefenderForEndpoint"}],"alerts@odata.nextLink":"https://h/"}],"@odata.nextLink":"x"}`))
	f.Add([]byte(`{"value":[{"id":7,"alerts":null},{"id":"x"},{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) { fuzzPage(t, newDecoder(&graph, Dimensions{}), body) })
}

func fuzzPage(t *testing.T, d *decoder, body []byte) {
	page, err := d.page(bytes.NewReader(body))
	if err != nil && (page.Rows != nil || page.Link != "" || page.MoreAlerts != nil) {
		t.Errorf("rows of a page that is an error: %v", err)
	}
	m := incident.NewMirror(incident.MirrorOptions{Lookback: time.Hour, Thresholds: []time.Duration{time.Hour}})
	usable := 0
	for i := range page.Rows {
		in := &page.Rows[i]
		if in.ID < 0 || in.AlertsUnknown && in.Alerts != nil {
			t.Errorf("got %+v", in)
		}
		if in.ID > 0 {
			usable++
			m.Apply(in)
		}
	}
	if usable == 0 && len(page.Rows) > 0 || len(page.MoreAlerts) > usable || len(page.Link) > maxLink || page.Count < -1 {
		t.Errorf("%d usable rows of %d, count %d", usable, len(page.Rows), page.Count)
	}
	m.Snapshot(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	if page, err := d.incident(bytes.NewReader(body)); err == nil && (len(page.Rows) != 1 || page.Rows[0].ID == 0) || err != nil && page.Rows != nil {
		t.Errorf("got %+v, %v", page, err)
	}
	if _, err := d.alertPage(bytes.NewReader(body)); err != nil && errors.Is(err, listing.ErrNotFound) {
		t.Error(err)
	}
}

// realisticPage weighs what a captured page of a real tenant does: of 100
// incidents most are merged, the others have alerts with entities whose fields
// are mostly null.
func realisticPage(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"@odata.context":"https://api.security.microsoft.com/api/$metadata#Incidents","value":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"incidentId":%d,"incidentUri":"https://security.microsoft.com/incidents/%[1]d","redirectIncidentId":null,"incidentName":"Multi-stage incident %[1]d on one endpoint",`+
			`"createdTime":"2026-11-%02[2]dT10:11:12.1233333Z","lastUpdateTime":"2026-11-20T10:11:%02[2]d.7566667Z","assignedTo":null,"classification":"Unknown","determination":"NotAvailable",`+
			`"status":"Active","severity":"Medium","tags":[],"comments":[],"alerts":[`, 900000+i, 1+i%28)
		alerts := 0
		if i%8 < 3 {
			alerts = 8
		}
		for a := range alerts {
			if a > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"alertId":"da%d_%d","incidentId":%[1]d,"serviceSource":"MicrosoftDefenderForEndpoint","creationTime":"2026-11-20T10:11:12.7566667Z","lastUpdatedTime":"2026-11-20T10:11:12.7566667Z",`+
				`"resolvedTime":null,"firstActivity":"2026-11-20T10:11:12Z","lastActivity":"2026-11-20T10:11:12Z","title":"Suspicious process injection observed","description":%[3]q,"category":"DefenseEvasion",`+
				`"status":"New","severity":"Medium","investigationId":null,"investigationState":"UnsupportedAlertType","classification":null,"determination":null,"detectionSource":"WindowsDefenderAtp",`+
				`"assignedTo":null,"actorName":null,"threatFamilyName":null,"mitreTechniques":["T1055"],"devices":[{"mdatpDeviceId":"24c222b0b60fe148","deviceDnsName":"client.contoso.example","osPlatform":"Windows11"}],"entities":[`,
				900000+i, a, strings.Repeat("A process abnormally injected code into another process. ", 5))
			for e := range 2 {
				if e > 0 {
					b.WriteByte(',')
				}
				b.WriteString(`{"entityType":"User","accountName":"jdoe","domainName":"contoso","userSid":"S-1-5-21-1721254763-462695806-1538882281-4156657"`)
				for field := range 30 {
					fmt.Fprintf(&b, `,"someLongFieldName%d":null`, field)
				}
				b.WriteByte('}')
			}
			b.WriteString("]}")
		}
		b.WriteString(`],"entities":[]}`)
	}
	b.WriteString("]}")
	return b.Bytes()
}

func BenchmarkDecodePage(b *testing.B) {
	body := realisticPage(100)
	d := newDecoder(&defender, Dimensions{})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if page, err := d.page(bytes.NewReader(body)); err != nil || len(page.Rows) != 100 {
			b.Fatal(err)
		}
	}
}

// TestNullForLists: null is an empty list, until it has stood for one that is not, and
// again once lists come as lists.
func TestNullForLists(t *testing.T) {
	d := newDecoder(&defender, Dimensions{})
	for i, test := range []struct {
		in      string
		partial bool
	}{
		{`{"value":null}`, false},
		{`{"value":null,"@odata.nextLink":"https://h/"}`, true},
		{`{"value":null}`, true},
		{`{"value":[]}`, false},
		{`{"value":null}`, false},
	} {
		_, err := d.page(strings.NewReader(test.in))
		if _, partial := errors.AsType[*partialError](err); partial != test.partial || !partial && err != nil {
			t.Errorf("answer %d, %s: %v", i, test.in, err)
		}
		if _, err := d.alertPage(strings.NewReader(`{"value":null}`)); !errors.As(err, new(*partialError)) {
			t.Errorf("null for further alerts after answer %d: %v", i, err)
		}
		if _, err := d.read(strings.NewReader(`{"incidentId":7}`), nil, false); err != nil {
			t.Errorf("a look-up after answer %d: %v", i, err)
		}
	}
}

// TestAlertsThatAreNone: what is in the place of all alerts says nothing of how many
// there are.
func TestAlertsThatAreNone(t *testing.T) {
	for alerts, want := range map[string]string{
		`[]`: "0 false", `[7]`: "0 true", `[null]`: "0 true", `["da637551227677560813_-961444813"]`: "0 true", `[[{}]]`: "0 true", `[{"severity":"High"},null]`: "1 false",
	} {
		page, err := newTest(t, answer(200, `{"value":[{"incidentId":7,"status":"Active","alerts":`+alerts+`}]}`), nil).List(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(len(page.Rows[0].Alerts), page.Rows[0].AlertsUnknown); got != want {
			t.Errorf("%s: got %s, want %s", alerts, got, want)
		}
		page, err = newTest(t, answer(200, `{"value":`+alerts+`}`), nil).List(t.Context(), listing.Request{Link: "/more", AlertsOf: 7})
		if unknown := strings.HasSuffix(want, "true"); (err != nil) != unknown {
			t.Errorf("further alerts %s: got %+v, %v", alerts, page, err)
		}
	}
}
