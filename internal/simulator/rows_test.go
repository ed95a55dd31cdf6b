package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/life"
)

// single is a row by id.
func (r *reader) single(id int64) map[string]any {
	r.t.Helper()
	var row map[string]any
	if a := r.byID(id); a.err != nil || json.Unmarshal([]byte(a.body), &row) != nil {
		r.t.Fatalf("got %d %v %s", a.status, a.err, a.body)
	}
	return row
}

func TestIDForms(t *testing.T) {
	eachFace(t, "", Options{Incidents: 40, Light: true}, func(t *testing.T, r *reader) {
		truth := r.tenant.Truth(r.clock.now(), 0)
		name := map[bool]string{false: "incidentId", true: "id"}[r.graph]
		quote := map[bool]string{false: "", true: `"`}[r.graph]
		id := r.rows("")[0]
		for form, want := range map[faults.IDForm]string{
			faults.IDGUID: fmt.Sprintf(`"00000000-0000-4000-8000-%012x"`, id), faults.IDFloat: fmt.Sprintf("%s%d.0%s", quote, id, quote), faults.IDAbsent: "",
		} {
			r.tenant.Fault(Faults{IDs: faults.IDs{Form: form}})
			for _, a := range []answer{r.ask("$top=1"), r.byID(id)} {
				if has := strings.Contains(a.body, `{"`+name+`":`) || strings.Contains(a.body, `,"`+name+`":`) && !strings.Contains(a.body, "alerts"); want == "" && has && !r.graph {
					t.Errorf("form %d: got %.300s", form, a.body)
				}
				if want != "" && !strings.Contains(a.body, `"`+name+`":`+want+`,`) {
					t.Errorf("form %d: got %.300s, want %s", form, a.body, want)
				}
			}
		}
		if got := r.tenant.Truth(r.clock.now(), 0); fmt.Sprint(got.Incidents) != fmt.Sprint(truth.Incidents) {
			t.Error("the truth changed")
		}
		r.tenant.Fault(Faults{IDs: faults.IDs{Form: faults.IDGUID, Share: 0.4}})
		odd := 0
		for _, row := range r.read("").Value {
			if text, ok := row[name].(string); ok && strings.Contains(text, "-") {
				odd++
			}
		}
		if odd < 6 || odd > 28 {
			t.Errorf("got %d GUIDs of 40", odd)
		}
	})
}

func TestAlertsOfRows(t *testing.T) {
	eachFace(t, "", Options{Alerts: 5, Light: true}, func(t *testing.T, r *reader) {
		var spec Spec
		for range 7 {
			spec.Alerts = append(spec.Alerts, Alert{Category: "Malware", Severity: "High", Status: life.AlertNew, ServiceSource: "OfficeATP"})
		}
		id := r.tenant.Create(spec)
		for range 39 {
			r.tenant.Create(Spec{})
		}
		options, get := "", ""
		if r.graph {
			options, get = "$expand=alerts", "?$expand=alerts"
		}
		lookup := func() map[string]any {
			var row map[string]any
			if err := json.Unmarshal([]byte(r.get(fmt.Sprintf("%s/%d%s", r.face().Path, id, get)).body), &row); err != nil {
				t.Fatal(err)
			}
			return row
		}
		count := func(alerts faults.Alerts) (null, absent int) {
			r.tenant.Fault(Faults{Alerts: alerts})
			for _, row := range append(r.read(options).Value, lookup()) {
				switch value, has := row["alerts"]; {
				case !has:
					absent++
				case value == nil:
					null++
				}
			}
			return null, absent
		}
		if null, absent := count(faults.Alerts{}); null+absent > 0 {
			t.Errorf("healthy: got %d, %d", null, absent)
		}
		if null, absent := count(faults.Alerts{Null: true}); null != 41 || absent != 0 {
			t.Errorf("null: got %d, %d", null, absent)
		}
		if null, absent := count(faults.Alerts{Null: true, Absent: true}); null != 0 || absent != 41 {
			t.Errorf("absent: got %d, %d", null, absent)
		}
		if _, absent := count(faults.Alerts{Absent: true, Share: 0.5}); absent < 8 || absent > 32 {
			t.Errorf("share: got %d of 41", absent)
		}
		r.tenant.Fault(Faults{Alerts: faults.Alerts{Page: 3}})
		for _, row := range []map[string]any{r.read(options + "&$skip=39").Value[0], lookup()} {
			alerts := row["alerts"].([]any)
			next, _ := row["alerts@odata.nextLink"].(string)
			if len(alerts) != 3 || next == "" {
				t.Fatalf("got %d alerts, link %q", len(alerts), next)
			}
			pages := 1
			for ; next != ""; pages++ {
				p := r.read(next)
				for _, alert := range p.Value {
					alerts = append(alerts, alert)
				}
				next = p.Next
			}
			seen := map[any]bool{}
			for _, alert := range alerts {
				seen[alert.(map[string]any)[map[bool]string{false: "alertId", true: "id"}[r.graph]]] = true
			}
			if len(seen) != 7 || pages != 3 {
				t.Errorf("got %d alerts on %d pages", len(seen), pages)
			}
		}
		if row := r.read(options).Value[0]; row["alerts@odata.nextLink"] != nil {
			t.Error("a link where there is nothing more")
		}
		m := r.tenant.Meter()
		if r.graph && m.Gets > 0 || !r.graph && m.Gets < 4 {
			t.Errorf("meter: %+v", m.Gets)
		}
		for path, want := range map[string]int{"/1/alerts": 404, "/x/alerts": 400, "/1/alerts/x": 404} {
			if a := r.get(r.face().Path + path); a.status != want {
				t.Errorf("%s: got %d", path, a.status)
			}
		}
	})
}

func TestWordsOfRows(t *testing.T) {
	eachFace(t, "", Options{Incidents: 40, Light: true, Mix: Mix{Active: 1}}, func(t *testing.T, r *reader) {
		id := r.tenant.Create(Spec{})
		r.tenant.Fault(Faults{NumericEnums: 1, Unassigned: true})
		for _, row := range append(r.read("").Value, r.single(id)) {
			if row["status"] != 4.0 || row["classification"] != 1.0 || row["severity"] == "Medium" || row["assignedTo"] == nil {
				t.Errorf("got %v", row)
			}
		}
		if row := r.single(id); row["severity"] != 8.0 || row["assignedTo"] != "Unassigned" {
			t.Errorf("got %v", row)
		}
		r.tenant.Fault(Faults{NumericEnums: 0.5})
		numbers := 0
		for _, row := range r.read("").Value {
			if row["status"] == 4.0 {
				numbers++
			}
		}
		if numbers < 8 || numbers > 32 {
			t.Errorf("got %d of 41", numbers)
		}
	})
}

func TestByteOrderMark(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		id := r.tenant.Create(Spec{})
		r.tenant.Fault(Faults{BOM: true})
		for _, a := range []answer{r.ask(""), r.byID(id)} {
			if body, ok := strings.CutPrefix(a.body, "\xef\xbb\xbf"); !ok || !json.Valid([]byte(body)) {
				t.Errorf("got %.40q", a.body)
			}
		}
	})
}

func TestLookupFaults(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		id := r.tenant.Create(Spec{})
		for _, status := range []int{500, 410, 403} {
			r.tenant.Fault(Faults{Lookups: faults.Lookups{Missing: status}})
			if a, b := r.byID(1).status, r.byID(id).status; a != status || b != 200 {
				t.Errorf("missing: got %d, %d", a, b)
			}
			r.tenant.Fault(Faults{Lookups: faults.Lookups{Status: status, Missing: 404}})
			if a, b, c := r.byID(1).status, r.byID(id).status, r.ask("").status; a != status || b != status || c != 200 {
				t.Errorf("all: got %d, %d, list %d", a, b, c)
			}
		}
	})
}

func TestThrottleTexts(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		for _, text := range []string{"API calls quota exceeded! maximum allowed 40 per 00:05:00", "1 per minute"} {
			r.tenant.Fault(Faults{Status: 429, ThrottleText: text, RetryAfter: "99999999999"})
			a := r.ask("")
			if _, message := errorCode(t, a); a.status != 429 || message != text || a.header.Get("Retry-After") != "99999999999" {
				t.Errorf("got %d %q", a.status, message)
			}
		}
		r.tenant.Fault(Faults{Status: 429, ThrottleBody: faults.ThrottleBody500})
		a := r.ask("")
		if _, message := errorCode(t, a); a.status != 500 || message != "Rate limit reached because of too many requests" {
			t.Errorf("got %d %q", a.status, message)
		}
		if got := r.tenant.Meter().Throttled; got != 3 {
			t.Errorf("got %d throttled", got)
		}
		for _, status := range []int{400, 401, 404, 500, 502, 503} {
			r.tenant.Fault(Faults{Status: status, RetryAfter: "86400"})
			if a := r.ask(""); a.status != status || a.header.Get("Retry-After") != "86400" {
				t.Errorf("got %d, %q", a.status, a.header.Get("Retry-After"))
			}
		}
	})
}

func TestDate(t *testing.T) {
	for name, opts := range map[string]faults.ServerOptions{"TCP": {}, "HTTP/1.1": {HTTP1: true}} {
		t.Run(name, func(t *testing.T) {
			tenant := New(Options{Skew: 48 * time.Hour})
			_, c := overTCP(t, tenant, opts)
			checkDate(t, tenant, func() http.Header { return c.get("/api/incidents").header })
		})
	}
	eachFace(t, "", Options{Skew: 48 * time.Hour}, func(t *testing.T, r *reader) {
		checkDate(t, r.tenant, func() http.Header { return r.ask("").header })
	})
}

func checkDate(t *testing.T, tenant *Tenant, ask func() http.Header) {
	t.Helper()
	for _, off := range []time.Duration{0, -time.Hour, 24 * time.Hour} {
		tenant.Fault(Faults{DateOff: off})
		got, err := http.ParseTime(ask().Get("Date"))
		if want := tenant.Now().Add(off); err != nil || got.Sub(want).Abs() > 10*time.Second {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
	}
	tenant.Fault(Faults{NoDate: true})
	if h := ask(); h == nil || h.Get("Date") != "" {
		t.Errorf("got %v", h)
	}
}
