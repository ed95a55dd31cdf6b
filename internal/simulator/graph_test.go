package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/odata"
)

// graphCaller is a caller that holds the role and asks for the newer enums.
type graphCaller struct {
	*caller
	plain bool // without the Prefer header
}

func newGraph(t *testing.T, opts Options) (*Tenant, *graphCaller) {
	t.Helper()
	opts.Now = newClock().now
	opts.GraphLimits = unlimited
	tenant := New(opts)
	tenant.SetRoles(DefaultGraphRole)
	c := &graphCaller{caller: inProcess(t, tenant)}
	c.http.Transport = preferring{c, c.http.Transport}
	return tenant, c
}

type preferring struct {
	c    *graphCaller
	next http.RoundTripper
}

func (p preferring) RoundTrip(r *http.Request) (*http.Response, error) {
	if !p.c.plain {
		r.Header.Set("Prefer", "include-unknown-enum-members")
	}
	return p.next.RoundTrip(r)
}

func (c *graphCaller) list(options string) pageRead {
	c.t.Helper()
	a := c.get("/v1.0/security/incidents" + "?" + strings.ReplaceAll(options, " ", "%20"))
	if a.err != nil || a.status/100 != 2 {
		c.t.Fatalf("%s: got %d %v %.300s", options, a.status, a.err, a.body)
	}
	var p pageRead
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// follow reads all pages by their links and returns the ids in order.
func (c *graphCaller) follow(options string) (ids []string, pages int) {
	c.t.Helper()
	for {
		p := c.list(options)
		pages++
		for _, row := range p.Value {
			ids = append(ids, row["id"].(string))
		}
		if p.Next == "" {
			return ids, pages
		}
		link, ok := strings.CutPrefix(p.Next, c.base+"/v1.0/security/incidents"+"?")
		if !ok || !strings.HasPrefix(link, "$skiptoken=") {
			c.t.Fatalf("link: %s", p.Next)
		}
		options = link
	}
}

func TestGraphListIsTheTenant(t *testing.T) {
	tenant, c := newGraph(t, Options{Seed: 1, Incidents: 230, Light: true})
	want := tenant.IDs()
	for _, order := range []odata.Order{odata.NewestUpdate, OldestUpdate, NewestCreated, odata.OldestCreated, NoOrder} {
		for _, empty := range []bool{false, true} {
			tenant.Fault(Faults{Order: order, Pages: Pages{Empty: empty}})
			got, pages := c.follow("$expand=alerts")
			wantPages := 5
			if empty {
				wantPages = 10
			}
			if len(got) != len(want) || pages != wantPages {
				t.Errorf("order %d: %d rows on %d pages, want %d on %d", order, len(got), pages, len(want), wantPages)
			}
			slices.Sort(got)
			if got = slices.Compact(got); len(got) != len(want) {
				t.Errorf("order %d: rows came twice", order)
			}
		}
	}
}

func TestGraphOrderBy(t *testing.T) {
	tenant, c := newGraph(t, Options{Seed: 1, Incidents: 60, Light: true})
	at := ""
	for _, row := range c.list("$orderby=lastUpdateDateTime asc").Value {
		if now := row["lastUpdateDateTime"].(string); parseTime(t, now).Before(start.AddDate(-1, 0, 0)) || at != "" && parseTime(t, now).Before(parseTime(t, at)) {
			t.Fatalf("%s after %s", now, at)
		} else {
			at = now
		}
	}
	tenant.Fault(Faults{Takes: Takes{OrderBy: Refused}})
	if a := c.get("/v1.0/security/incidents" + "?$orderby=lastUpdateDateTime%20asc"); a.status != http.StatusBadRequest {
		t.Errorf("got %d", a.status)
	}
}

func TestGraphFilters(t *testing.T) {
	tenant, c := newGraph(t, Options{Seed: 2})
	old := tenant.Create(Spec{Status: "Resolved", Updated: start.Add(-2 * time.Hour)})
	tenant.Create(Spec{Status: "InProgress", AssignedTo: "me", Updated: start.Add(-time.Hour)})
	waiting := tenant.Create(Spec{Status: "AwaitingAction", Updated: start.Add(-time.Minute)})
	for filter, want := range map[string]int{
		"status eq 'inProgress'":                     1,
		"status eq 'awaitingAction'":                 1,
		"assignedTo eq 'me'":                         1,
		"lastUpdateDateTime ge 2026-11-24T08:00:00Z": 2,
		"lastUpdateDateTime gt 2026-11-24T08:00:00Z": 1,
		"lastUpdateDateTime ge 2026-11-24T07:00:00Z and lastUpdateDateTime lt 2026-11-24T08:00:00Z": 1,
	} {
		if got := len(c.list("$filter=" + filter).Value); got != want {
			t.Errorf("%s: got %d rows, want %d", filter, got, want)
		}
	}
	for _, query := range []string{
		"$top=51", "$top=-1", "$filter=status%20eq%20'Sleeping'", "$filter=lastUpdateTime%20ge%202026-11-24T08:00:00Z%20or%201", "$select=id",
		"$expand=evidence", "$skiptoken=%25", "$orderby=severity",
	} {
		a := c.get("/v1.0/security/incidents" + "?" + query)
		if code, _ := errorCode(t, a); a.status != http.StatusBadRequest || code != "BadRequest" || !strings.Contains(a.body, `"innerError":{`) {
			t.Errorf("%s: got %d %s", query, a.status, a.body)
		}
	}
	if _, message := errorCode(t, c.get("/v1.0/security/incidents"+"?$top=51")); !strings.Contains(message, "limit of '50' for Top query has been exceeded") {
		t.Errorf("got %q", message)
	}
	tenant.Fault(Faults{SkipCap: 500})
	if a := c.get("/v1.0/security/incidents" + "?$skip=501"); a.status != http.StatusBadRequest {
		t.Errorf("skip: got %d", a.status)
	}
	if a := c.get(fmt.Sprintf("%s/%d?$expand=alerts", "/v1.0/security/incidents", old)); a.status != http.StatusOK || !strings.Contains(a.body, `"alerts":[{`) {
		t.Errorf("by id: got %d %.200s", a.status, a.body)
	}
	if a := c.get("/v1.0/security/incidents" + "/1"); a.status != http.StatusNotFound {
		t.Errorf("by id: got %d", a.status)
	}
	c.plain = true
	if row := c.list("$filter=status eq 'awaitingAction'").Value[0]; row["status"] != "unknownFutureValue" || row["id"] != fmt.Sprint(waiting) {
		t.Errorf("without Prefer: got %v", row["status"])
	}
}

// TestGraphWords: what a row says, in Graph's words.
func TestGraphWords(t *testing.T) {
	tenant, c := newGraph(t, Options{})
	target := tenant.Create(Spec{Status: "New", Severity: "UnSpecified"})
	tenant.Create(Spec{
		Status: "Redirected", RedirectID: target, Severity: "High", Classification: "FalsePositive", Determination: "Clean",
		Alerts: []Alert{{ServiceSource: "MicrosoftDefenderATP", Category: "InitialAccess", Severity: "Low", Status: "InProgress"}},
	})
	rows := c.list("$expand=alerts&$orderby=lastUpdateDateTime asc").Value
	if rows[0]["status"] != "active" || rows[0]["severity"] != "unknown" || rows[0]["determination"] != "unknown" || rows[0]["redirectIncidentId"] != nil {
		t.Errorf("got %v", rows[0])
	}
	row, alert := rows[1], rows[1]["alerts"].([]any)[0].(map[string]any)
	if row["status"] != "redirected" || row["redirectIncidentId"] != fmt.Sprint(target) || row["classification"] != "falsePositive" || row["determination"] != "notMalicious" {
		t.Errorf("got %v", row)
	}
	if alert["serviceSource"] != "microsoftDefenderForEndpoint" || alert["category"] != "InitialAccess" || alert["severity"] != "low" || alert["status"] != "inProgress" {
		t.Errorf("got %v", alert)
	}
	if rows := c.list("").Value; rows[0]["alerts"] != nil {
		t.Error("alerts that were not asked for")
	}
}

func TestGraphFaults(t *testing.T) {
	tenant, c := newGraph(t, Options{Seed: 1, Incidents: 20, Light: true})
	status := func(query string) int { return c.get("/v1.0/security/incidents" + query).status }
	tenant.Fault(Faults{Heavy: Heavy{Top: 10, Status: 500, WithAlerts: true}})
	if a, b, d := status("?$expand=alerts"), status("?$expand=alerts&$top=10"), status(""); a != 500 || b != 200 || d != 200 {
		t.Errorf("got %d, %d, %d", a, b, d)
	}
	tenant.Fault(Faults{Partial: faults.Partial{Status206: true, Warning: true}})
	if a := c.get("/v1.0/security/incidents"); a.status != http.StatusPartialContent || a.header.Get("Warning") == "" {
		t.Errorf("got %d, %q", a.status, a.header.Get("Warning"))
	}
	tenant.Fault(Faults{Status: 429, RetryAfter: "7"})
	a := c.get("/v1.0/security/incidents")
	if code, _ := errorCode(t, a); a.status != 429 || code != "TooManyRequests" || a.header.Get("Retry-After") != "7" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	tenant.Fault(Faults{Links: Links{Host: Foreign}, Pages: Pages{Empty: true}})
	if p := c.list(""); !strings.HasPrefix(p.Next, Foreign) || len(p.Value) != 0 {
		t.Errorf("got %s, %d rows", p.Next, len(p.Value))
	}
	tenant.SetRoles(DefaultRole)
	c.login()
	if got := status(""); got != http.StatusForbidden {
		t.Errorf("with the native role: got %d", got)
	}
}

// TestGraphLimits: 150 calls a minute, of both kinds together.
func TestGraphLimits(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now})
	tenant.SetRoles(DefaultGraphRole)
	c := inProcess(t, tenant)
	id := tenant.Create(Spec{})
	for i := range 150 {
		path := "/v1.0/security/incidents"
		if i%2 == 1 {
			path += fmt.Sprint("/", id)
		}
		if a := c.do(context.Background(), path); a.status != http.StatusOK {
			t.Fatalf("call %d: got %d", i, a.status)
		}
	}
	if a := c.get("/v1.0/security/incidents"); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("got %d", a.status)
	}
	clock.add(2 * time.Minute)
	if a := c.get("/v1.0/security/incidents"); a.status != http.StatusOK {
		t.Errorf("got %d", a.status)
	}
	if m := tenant.Meter(); m.GraphCalls != 152 || m.MaxGraphPerMinute != 151 || m.Throttled != 1 || m.Calls != 0 {
		t.Errorf("meter: %d, %d, %d, %d", m.GraphCalls, m.MaxGraphPerMinute, m.Throttled, m.Calls)
	}
}

// TestRetired: the native API is no more, and Graph goes on.
func TestRetired(t *testing.T) {
	tenant, c := newGraph(t, Options{Seed: 1, Incidents: 20, Light: true})
	for _, status := range []int{404, 410} {
		tenant.Fault(Faults{Retired: Retired{Status: status}})
		for _, path := range []string{"/api/incidents", fmt.Sprint("/api/incidents/", tenant.IDs()[0])} {
			if got := c.get(path).status; got != status {
				t.Errorf("%s: got %d, want %d", path, got, status)
			}
		}
		if got := len(c.list("").Value); got != 20 {
			t.Errorf("%d rows of Graph", got)
		}
	}
	tenant.Fault(Faults{Retired: Retired{NoHost: true}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/api/incidents", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tenant.RoundTripper().RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if dns := new(net.DNSError); !errors.As(err, &dns) || !dns.IsNotFound || dns.Name != "api.example" {
		t.Errorf("got %v", err)
	}
	if got := len(c.list("").Value); got != 20 {
		t.Errorf("%d rows of Graph", got)
	}
}
