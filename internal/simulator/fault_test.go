package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/life"
)

const (
	sinceLong  = "$filter=lastUpdateTime%20ge%201980-01-01T00:00:00Z"
	sinceNever = "$filter=lastUpdateTime%20gt%202990-01-01T00:00:00Z"
	untilLong  = "$filter=lastUpdateTime%20le%201980-01-01T00:00:00Z"
	beforeLong = "$filter=lastUpdateTime%20lt%201980-01-01T00:00:00Z"
	onlyActive = "$filter=status%20eq%20'Active'"
	onlyOdd    = "$filter=status%20eq%20'AwaitingAction'"
)

// TestFaultyAnswers looks at single answers of a tenant with three incidents,
// one of which is active.
func TestFaultyAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		faults   Faults
		query    string
		status   int
		code     string // of the error, where there is one
		contains string
		rows     int // of a right page, where status is 200 and contains is empty
	}{
		"healthy":              {Faults{}, "", 200, "", "", 3},
		"server error":         {Faults{Status: 500}, "", 500, "InternalServerError", "", 0},
		"unavailable":          {Faults{Status: 503, RetryAfter: "17"}, "", 503, "ServiceUnavailable", "", 0},
		"unauthorized":         {Faults{Status: 401}, "", 401, "Unauthorized", "", 0},
		"forbidden":            {Faults{Status: 403}, "", 403, "Forbidden", "", 0},
		"empty":                {Faults{Status: 405, EmptyBody: true}, "", 405, "", "", 0},
		"throttled":            {Faults{Status: 429, RetryAfter: "3"}, "", 429, "429", "maximum allowed 50 per 00:01:00", 0},
		"throttled, no limit":  {Faults{Status: 429, ThrottleBody: faults.ThrottleBodyPlain}, "", 429, "TooManyRequests", "", 0},
		"throttled, page":      {Faults{Status: 429, ThrottleBody: faults.ThrottleBodyHTML}, "", 429, "", "<html>", 0},
		"throttled, silent":    {Faults{Status: 429, ThrottleBody: faults.ThrottleBodyEmpty}, "", 429, "", "", 0},
		"not JSON":             {Faults{NotJSON: true}, "", 200, "", "<!DOCTYPE html>", 0},
		"padding":              {Faults{Padding: 1 << 20}, "", 200, "", "", 3},
		"redirect":             {Faults{Redirect: Foreign + "/login"}, "", 302, "", "", 0},
		"other operation":      {Faults{Operation: "get", Status: 500}, "", 200, "", "", 3},
		"le refused":           {Faults{Takes: Takes{Le: Refused}}, untilLong, 400, "ODataError", "", 0},
		"lt refused":           {Faults{Takes: Takes{Lt: Refused}}, beforeLong, 400, "ODataError", "", 0},
		"le, where lt refused": {Faults{Takes: Takes{Lt: Refused}}, untilLong, 200, "", "", 0},
		"le ignored":           {Faults{Takes: Takes{Le: Ignored}}, untilLong, 200, "", "", 3},
		"lt ignored":           {Faults{Takes: Takes{Lt: Ignored}}, beforeLong, 200, "", "", 3},
		"since ignored":        {Faults{Takes: Takes{Since: Ignored}}, sinceNever, 200, "", "", 3},
		"since refused":        {Faults{Takes: Takes{Since: Refused}}, sinceNever, 400, "ODataError", "", 0},
		"since kept":           {Faults{}, sinceNever, 200, "", "", 0},
		"status kept":          {Faults{}, onlyActive, 200, "", "", 1},
		"status ignored":       {Faults{Takes: Takes{Status: Ignored}}, onlyActive, 200, "", "", 3},
		"status refused":       {Faults{Takes: Takes{Status: Refused}}, onlyActive, 400, "ODataError", "", 0},
		"value refused":        {Faults{RefuseStatusValues: []string{"AwaitingAction"}}, onlyOdd, 400, "ODataError", "", 0},
		"value known":          {Faults{RefuseStatusValues: []string{"AwaitingAction"}}, onlyActive, 200, "", "", 1},
		"skip cap":             {Faults{SkipCap: 10}, "$skip=11", 400, "ODataError", "", 0},
		"skip cap kept":        {Faults{SkipCap: 2}, "$skip=2", 200, "", "", 1},
		"foreign next":         {Faults{Links: Links{Host: Foreign}}, "$top=1", 200, "", `"@odata.nextLink":"https://foreign.invalid/api/`, 0},
	} {
		everywhere(t, name, Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
			for _, status := range []string{life.Active, life.InProgress, life.Resolved} {
				tenant.Create(Spec{Status: status})
			}
			tenant.Fault(test.faults)
			a := c.get("/api/incidents?" + test.query)
			if a.err != nil || a.status != test.status {
				t.Fatalf("got %d %v %.200s, want %d", a.status, a.err, a.body, test.status)
			}
			if got := a.header.Get("Retry-After"); got != test.faults.RetryAfter {
				t.Errorf("got Retry-After %q, want %q", got, test.faults.RetryAfter)
			}
			if got := a.header.Get("Location"); got != test.faults.Redirect {
				t.Errorf("got Location %q, want %q", got, test.faults.Redirect)
			}
			if !strings.Contains(a.body, test.contains) {
				t.Errorf("got %.200q, want %q in it", a.body, test.contains)
			}
			switch {
			case test.code != "":
				if got, _ := errorCode(t, a); got != test.code {
					t.Errorf("got code %q, want %q", got, test.code)
				}
			case test.status != 200 && test.contains == "" && a.body != "":
				t.Errorf("got body %q, want none", a.body)
			case test.status == 200 && test.contains == "":
				checkRows(t, a, test.rows, test.faults.Padding)
			}
		})
	}
}

func checkRows(t *testing.T, a answer, rows, padding int) {
	t.Helper()
	var p pageRead
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v in %.200s", err, a.body)
	}
	if len(p.Value) != rows || len(a.body) < padding {
		t.Errorf("got %d rows in %d bytes, want %d rows", len(p.Value), len(a.body), rows)
	}
}

func TestBrokenConnections(t *testing.T) {
	for name, test := range map[string]struct {
		faults Faults
		fails  func(answer) bool
	}{
		"torn": {Faults{Torn: true}, func(a answer) bool {
			return a.err == nil && a.status == 200 && !json.Valid([]byte(a.body)) && strings.HasPrefix(a.body, "{")
		}},
		"before headers": {Faults{Drop: DropBeforeHeaders}, func(a answer) bool { return errors.Is(a.err, io.EOF) && a.status == 0 }},
		"mid-body": {Faults{Drop: DropMidBody}, func(a answer) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && a.status == 200 && strings.HasPrefix(a.body, "{")
		}},
		"mid-body, dripping": {Faults{Drop: DropMidBody, Drip: 20 * time.Millisecond}, func(a answer) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && a.status == 200
		}},
		"slow answer": {Faults{Delay: 30 * time.Millisecond}, func(a answer) bool {
			return a.err == nil && a.took >= 30*time.Millisecond && json.Valid([]byte(a.body))
		}},
	} {
		everywhere(t, name, Options{Incidents: 50, Light: true, Mix: Mix{Active: 1}}, func(t *testing.T, tenant *Tenant, c *caller) {
			tenant.Fault(test.faults)
			if a := c.get("/api/incidents"); !test.fails(a) {
				t.Errorf("got %d %v %.60q after %v", a.status, a.err, a.body, a.took)
			}
			tenant.Fault(Faults{})
			c.page("")
		})
	}
}

func TestSlownessHonoursTheContext(t *testing.T) {
	for name, faults := range map[string]Faults{"delay": {Delay: time.Hour}, "drip": {Drip: time.Hour}} {
		everywhere(t, name, Options{Incidents: 50, Mix: Mix{Active: 1}}, func(t *testing.T, tenant *Tenant, c *caller) {
			tenant.Fault(faults)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if a := c.do(ctx, "/api/incidents"); !errors.Is(a.err, context.DeadlineExceeded) {
				t.Errorf("got %v after %v", a.err, a.took)
			}
		})
	}
	t.Run("exactly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tenant := New(Options{Incidents: 50, Mix: Mix{Active: 1}})
			c := inProcess(t, tenant)
			tenant.Fault(Faults{Delay: 3 * time.Second, Drip: time.Minute})
			if a := c.get("/api/incidents"); a.err != nil || a.took != 63*time.Second {
				t.Errorf("got %v after %v", a.err, a.took)
			}
			c.http.Timeout = 10 * time.Second
			if a := c.get("/api/incidents"); a.err == nil || a.took != 10*time.Second {
				t.Errorf("with a timeout: got %v after %v", a.err, a.took)
			}
		})
	})
}

func TestCountAndShare(t *testing.T) {
	tenant := New(Options{Limits: unlimited})
	c := inProcess(t, tenant)
	statuses := func(n int) []int {
		var got []int
		for range n {
			got = append(got, c.get("/api/incidents").status)
		}
		return got
	}
	tenant.Fault(Faults{Status: 500, Count: 2})
	if got, want := statuses(4), []int{500, 500, 200, 200}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	tenant.Fault(Faults{Status: 503, Share: 0.25})
	failed := 0
	for _, status := range statuses(1000) {
		if status == 503 {
			failed++
		}
	}
	if failed < 200 || failed > 300 {
		t.Errorf("got %d failures of 1000, want about 250", failed)
	}
}

func TestForeign(t *testing.T) {
	tenant := New(Options{})
	c := inProcess(t, tenant)
	c.base = Foreign
	if a := c.get("/api/incidents"); a.err == nil {
		t.Errorf("got %d, want a failure", a.status)
	}
	if m := tenant.Meter(); m.Foreign != 1 || m.ForeignWithCredentials != 1 || m.Calls != 0 {
		t.Errorf("got %+v", m)
	}
}

// TestOddRows reads pages with odd rows as a careful client would, and finds
// the same incidents as without.
func TestOddRows(t *testing.T) {
	tenant := New(Options{Seed: 9, Incidents: 300, Light: true, Limits: unlimited, Mix: Mix{Redirected: 1, Resolved: 1, Active: 1}})
	c := inProcess(t, tenant)
	plainRows := ids(c.all(""))
	tenant.Fault(Faults{OddRows: true})
	var got []int64
	kinds := map[string]bool{}
	for skip := 0; skip < 300; skip += 100 {
		var p struct{ Value []json.RawMessage }
		if err := json.Unmarshal([]byte(c.get("/api/incidents?$skip="+[]string{"0", "100", "200"}[skip/100]).body), &p); err != nil {
			t.Fatal(err)
		}
		for _, raw := range p.Value {
			var row map[string]any
			if json.Unmarshal(raw, &row) != nil {
				kinds["text"] = true
				continue
			}
			id, ok := row["incidentId"].(float64)
			if !ok {
				kinds["no id"] = true
				continue
			}
			got = append(got, int64(id))
			noteOddness(row, kinds)
		}
	}
	if !slices.Equal(got, plainRows) {
		t.Errorf("got %v, want %v", got, plainRows)
	}
	for _, kind := range []string{
		"text", "no id", "no alerts", "null alerts", "alerts object", "malformed time", "severity", "classification", "no zone",
		"zero width", "comments", "tags", "entity",
	} {
		if !kinds[kind] {
			t.Errorf("no row of kind %q", kind)
		}
	}
}

func noteOddness(row map[string]any, kinds map[string]bool) {
	alerts, has := row["alerts"]
	_, object := alerts.(map[string]any)
	tags, _ := row["tags"].([]any)
	text, _ := json.Marshal(row)
	for kind, is := range map[string]bool{
		"no alerts": !has, "null alerts": has && alerts == nil, "alerts object": object,
		"malformed time": strings.Contains(row["createdTime"].(string), "-13-"),
		"severity":       row["severity"] == "Catastrophic",
		"classification": row["classification"] == "NotYetInvented",
		"no zone":        !strings.HasSuffix(row["lastUpdateTime"].(string), "Z"),
		"zero width":     strings.Contains(row["incidentName"].(string), "\u200b"),
		"comments":       row["comments"] == nil,
		"tags":           len(tags) == 1 && strings.Contains(string(text), `"tag":"odd"`),
		"entity":         strings.Contains(string(text), "QuantumMailbox"),
	} {
		if is {
			kinds[kind] = true
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	everywhere(t, "post", Options{}, func(t *testing.T, _ *Tenant, c *caller) {
		resp, err := c.http.Post(c.base+"/api/incidents", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusMethodNotAllowed || len(body) != 0 {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
}
