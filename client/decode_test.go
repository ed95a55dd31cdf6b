package client

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

func newDecoder(log *bytes.Buffer) *decoder {
	return &decoder{logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))}
}

func TestDecodeRow(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name, in string
		want     incident.Incident
	}{
		{"documented", `{"incidentId":7,"redirectIncidentId":null,"createdTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05.1234567Z",
			"assignedTo":"a@b","classification":"TruePositive","determination":"Malware","status":"InProgress","severity":"High","tags":["x"],"comments":[],
			"alerts":[{"alertId":"1","serviceSource":"OfficeATP","category":"InitialAccess","status":"New","severity":"Low","entities":[{"entityType":"User"}]}]}`,
			incident.Incident{ID: 7, Created: at, Updated: at.Add(123456700), Severity: incident.SeverityHigh, Status: incident.StatusInProgress,
				Classification: incident.ClassificationTruePositive, Determination: 2, Assigned: true, Alerts: []incident.Alert{{
					Severity: incident.SeverityLow, Status: incident.AlertNew, Source: "microsoft_defender_for_office365", Category: "initial_access"}}}},
		{"numbers as texts", `{"incidentId":"7","redirectIncidentId":"9","status":"Redirected"}`, incident.Incident{ID: 7, RedirectID: 9, Status: incident.StatusRedirected}},
		{"nothing but an id", `{"incidentId":7}`, incident.Incident{ID: 7}},
		{"nulls", `{"incidentId":7,"createdTime":null,"lastUpdateTime":null,"assignedTo":null,"classification":null,"status":null,"severity":null,"alerts":null}`, incident.Incident{ID: 7}},
		{"wrong types", `{"incidentId":7,"createdTime":5,"lastUpdateTime":{},"assignedTo":[],"classification":1,"status":true,"severity":{"a":[1]},"alerts":{"a":1}}`, incident.Incident{ID: 7}},
		{"unknown values", `{"incidentId":7,"status":"Paused","severity":"Critical","classification":"Maybe","determination":"Odd","alerts":[{"status":"Gone","severity":"Ultra"}]}`,
			incident.Incident{ID: 7, Unrecognized: incident.FieldStatus | incident.FieldSeverity | incident.FieldClassification | incident.FieldDetermination |
				incident.FieldAlertStatus | incident.FieldAlertSeverity, Alerts: []incident.Alert{{Source: "unknown", Category: "unknown"}}}},
		{"owner of blanks", `{"incidentId":7,"assignedTo":" \u200b\u00a0"}`, incident.Incident{ID: 7}},
		{"alerts that are none", `{"incidentId":7,"alerts":[null,1,"x",[],{}]}`, incident.Incident{ID: 7, Alerts: []incident.Alert{{Source: "unknown", Category: "unknown"}}}},
		{"tags of objects", `{"incidentId":7,"tags":[{"a":"b"}],"entities":[{"entityType":"New","x":[[[]]]}]}`, incident.Incident{ID: 7}},
		{"twice the same name", `{"incidentId":6,"incidentId":7}`, incident.Incident{ID: 7}},
		{"invalid UTF-8", "{\"incidentId\":7,\"incidentName\":\"\xff\xfe\",\"assignedTo\":\"\xff\"}", incident.Incident{ID: 7, Assigned: true}},
		{"escaped", `{"incidentId":7,"status":"\u0041ctive"}`, incident.Incident{ID: 7, Status: incident.StatusActive}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			page, err := newDecoder(&bytes.Buffer{}).page(strings.NewReader(`{"value":[` + test.in + `]}`))
			if err != nil || len(page.rows) != 1 || page.unusable != 0 {
				t.Fatalf("%d rows, %d unusable, %v", len(page.rows), page.unusable, err)
			}
			if got, want := fmt.Sprintf("%+v", page.rows[0]), fmt.Sprintf("%+v", test.want); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

// TestDecodeUnusableRows: what cannot be used is counted, said once, and costs
// nothing of the rest.
func TestDecodeUnusableRows(t *testing.T) {
	var log bytes.Buffer
	d := newDecoder(&log)
	for range 3 {
		page, err := d.page(strings.NewReader(`{"value":[{"incidentId":1},null,"x",{"incidentName":"no id"},{"incidentId":-4},{"incidentId":1.5},{"incidentId":"a"},
			{"incidentId":99999999999999999999},{"incidentId":2},{"incidentId":0}]}`))
		if err != nil || len(page.rows) != 10 || page.unusable != 8 {
			t.Fatalf("%d rows, %d unusable, %v", len(page.rows), page.unusable, err)
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("said %d times: %s", got, log.String())
	}
}

func TestDecodePage(t *testing.T) {
	tests := []struct {
		name, in string
		rows     int
		err      string
	}{
		{"empty list", `{"value":[]}`, 0, ""},
		{"context and link", `{"@odata.context":"c","value":[{"incidentId":1}],"@odata.nextLink":"https://h/api/incidents/?$skip=100"}`, 1, ""},
		{"other name of the list", `{"incidents":[{"incidentId":1}]}`, 1, ""},
		{"torn in a row", `{"value":[{"incidentId":1},{"incid`, 0, "read page"},
		{"torn after a row", `{"value":[{"incidentId":1}`, 0, "read page"},
		{"torn before the end", `{"value":[{"incidentId":1}]`, 0, "read page"},
		{"a web page", "<!DOCTYPE html>\n<title>Sign in</title>", 0, `not JSON: <!DOCTYPE html>\n<title>`},
		{"nothing", "", 0, "empty"},
		{"blanks", " \n ", 0, "empty"},
		{"an error with status 200", `{"error":{"code":"x","message":"y"}}`, 0, "not a list"},
		{"a list", `[{"incidentId":1}]`, 0, "not a list"},
		{"a text", `"no"`, 0, "not a list"},
		{"no list", `{"value":{"incidentId":1}}`, 0, "not a list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			page, err := newDecoder(&bytes.Buffer{}).page(strings.NewReader(test.in))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error: got %v, want %q", err, test.err)
			}
			if len(page.rows) != test.rows {
				t.Errorf("rows: got %d, want %d", len(page.rows), test.rows)
			}
		})
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
		{"9999-12-31T23:59:59Z", ""},
		{"yesterday", ""},
		{"", ""},
		{"Z", ""},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got := ""
			if at := parseTime([]byte(test.in)); !at.IsZero() {
				got = at.Format(time.RFC3339Nano)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzDecodePage: whatever comes, nothing panics, and a page that is accepted
// holds only rows that can be counted.
func FuzzDecodePage(f *testing.F) {
	f.Add([]byte(`{"value":[{"incidentId":1,"status":"Active","alerts":[{"severity":"High"}]}],"@odata.nextLink":"x"}`))
	f.Add([]byte(`{"value":[{"incidentId":"1","createdTime":"2026-01-01T00:00:00.1234567","assignedTo":"\u200b"},null,{}]}`))
	f.Add([]byte(`<html>`))
	f.Add(realisticPage(2))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := newDecoder(&bytes.Buffer{})
		page, err := d.page(bytes.NewReader(body))
		if err != nil && len(page.rows) > 0 {
			t.Errorf("rows of a page that is an error: %v", err)
		}
		m := incident.NewMirror(incident.MirrorOptions{Lookback: time.Hour, Thresholds: []time.Duration{time.Hour}})
		for i := range page.rows {
			switch id := page.rows[i].ID; {
			case id < 0:
				t.Errorf("id %d", id)
			case id > 0:
				m.Apply(&page.rows[i])
			}
		}
		m.Snapshot(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
		_, _, _ = d.incident(bytes.NewReader(body))
	})
}

// FuzzDecodeGraphPage is the same for the other flavour.
func FuzzDecodeGraphPage(f *testing.F) {
	f.Add([]byte(`{"@odata.context":"c","value":[{"id":"29","status":"awaitingAction","severity":"high","redirectIncidentId":null,"createdDateTime":"2026-01-22T12:09:23.1433333Z",
		"alerts":[{"id":"a","severity":"medium","serviceSource":"microsoftDefenderForEndpoint"}]}],"@odata.nextLink":"x"}`))
	f.Add([]byte(`{"value":[{"id":7,"alerts":null},{"id":"x"},{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := newDecoder(&bytes.Buffer{})
		d.names = graphNames
		page, err := d.page(bytes.NewReader(body))
		if err != nil && len(page.rows) > 0 {
			t.Errorf("rows of a page that is an error: %v", err)
		}
		s := &stretch{q: incident.Query{Since: time.Unix(1e9, 0)}}
		if _, err := s.check(&page); err != nil {
			t.Errorf("a page of no status was refused: %v", err)
		}
		if next, last, err := s.next(&page, graphPage); err == nil && !last && next == (incident.Cursor{}) {
			t.Error("the reading would begin again")
		}
		for _, in := range s.wanted(&page, false) {
			if in.ID <= 0 {
				t.Errorf("id %d", in.ID)
			}
		}
	})
}

func TestDecodeGraphRow(t *testing.T) {
	d := newDecoder(&bytes.Buffer{})
	d.names = graphNames
	page, err := d.page(strings.NewReader(`{"value":[{"id":"29","tenantId":"x","status":"inProgress","redirectIncidentId":"31","displayName":"n","createdDateTime":"2026-01-02T03:04:05Z",
		"lastUpdateDateTime":"2026-01-02T03:04:05.1234567Z","assignedTo":"a@b","classification":"truePositive","determination":"multiStagedAttack","severity":"High","comments":[],
		"alerts":[{"id":"a","providerAlertId":"9","incidentId":"29","status":"inProgress","severity":"unknownFutureValue","serviceSource":"azureAdIdentityProtection","category":"InitialAccess","categories":["x"],
			"createdDateTime":"2026-01-01T00:00:00Z","evidence":[{"status":"new","severity":"low","createdDateTime":"2020-01-01T00:00:00Z"}]}]}]}`))
	if err != nil || len(page.rows) != 1 || page.lists != 1 {
		t.Fatalf("%d rows, %d lists, %v", len(page.rows), page.lists, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := incident.Incident{
		ID: 29, RedirectID: 31, Created: at, Updated: at.Add(123456700), Severity: incident.SeverityHigh, Status: incident.StatusInProgress,
		Classification: incident.ClassificationTruePositive, Determination: 7, Assigned: true, Unrecognized: incident.FieldAlertSeverity,
		Alerts: []incident.Alert{{Status: incident.AlertInProgress, Source: "azure_ad_identity_protection", Category: "initial_access"}},
	}
	if got, want := fmt.Sprintf("%+v", page.rows[0]), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
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
	d := newDecoder(&bytes.Buffer{})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if page, err := d.page(bytes.NewReader(body)); err != nil || len(page.rows) != 100 {
			b.Fatal(err)
		}
	}
}
