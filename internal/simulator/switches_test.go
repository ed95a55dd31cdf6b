package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator/entra"
	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/odata"
)

// trace is what a client sees of a tenant of which something changes: all that
// could be asked for, in all orders.
func trace(t *testing.T, graph bool, set ...func(*Faults)) string {
	t.Helper()
	clock := newClock()
	tenant := New(Options{Seed: 3, Incidents: 150, Light: true, Now: clock.now, Limits: unlimited, GetLimits: unlimited, GraphLimits: unlimited})
	tenant.SetRoles(DefaultRole, DefaultGraphRole)
	r := &reader{inProcess(t, tenant), graph, tenant, clock}
	r.http.Timeout = time.Hour
	var f Faults
	for _, set := range set {
		set(&f)
	}
	tenant.Fault(f)
	clock.add(time.Second)
	id := tenant.Create(Spec{Updated: clock.now().Add(50 * time.Microsecond)})
	other := tenant.Create(Spec{Updated: clock.now().Add(51 * time.Microsecond), Alerts: make([]Alert, 3)})
	gone := tenant.IDs()[0]
	tenant.Delete(gone)
	for _, some := range tenant.IDs()[:30] {
		tenant.Touch(some)
	}
	bound := clock.now().Add(50 * time.Microsecond).Format(odata.TimeFormat)
	expand := ""
	if graph {
		expand = "&$expand=alerts"
	}
	var seen strings.Builder
	look := func(a answer) {
		_, _ = fmt.Fprintln(&seen, a.status, a.err != nil, a.header.Get("Date"), a.body)
	}
	link := ""
	for _, options := range []string{
		"", "$top=20&$skip=5" + expand, "$top=40&$skip=80", "$skip=61", "$skip=148", "$count=true&$top=3", "$orderby=UPDATED&$top=3",
		"$filter=UPDATED gt " + bound, "$filter=UPDATED lt 2026-10-01T00:00:00Z", "$filter=UPDATED le 2026-10-01T00:00:00Z&$top=7",
		"$filter=UPDATED ge 2026-06-01T00:00:00Z&$top=2", "$filter=status eq ACTIVE&$top=4", "$filter=status eq WAITING", "$top=26" + expand, "$top=30&$skip=130",
	} {
		waiting := map[bool]string{false: "'AwaitingAction'", true: "'awaitingAction'"}[graph]
		a := r.ask(strings.ReplaceAll(options, "WAITING", waiting))
		look(a)
		var p listRead
		if json.Unmarshal([]byte(a.body), &p) == nil && p.Next != "" && link == "" {
			link = p.Next
		}
	}
	if strings.HasPrefix(link, r.base) {
		look(r.ask(link))
	}
	for _, id := range []int64{id, other, gone} {
		look(r.byID(id))
	}
	return seen.String()
}

// TestSwitches: each makes a difference in the APIs that it names.
func TestSwitches(t *testing.T) {
	for _, graph := range []bool{false, true} {
		api := map[bool]APIs{false: Native, true: Graph}[graph]
		synctest.Test(t, func(t *testing.T) {
			healthy := trace(t, graph)
			names := map[string]bool{}
			for _, s := range Switches() {
				if names[s.Name] || s.Name == "" {
					t.Errorf("%s: the name is not its own", s.Name)
				}
				names[s.Name] = true
				if s.APIs&api == 0 {
					continue
				}
				if trace(t, graph, s.Set) == healthy {
					t.Errorf("%s makes no difference (API %d)", s.Name, api)
				}
				if got := Knowable(api, s); got != s.Knowable {
					t.Errorf("%s: alone it is %d, got %d (API %d)", s.Name, s.Knowable, got, api)
				}
			}
		})
	}
}

// TestPairs: any two are answered, by what is no broken JSON, and leave the
// truth alone.
func TestPairs(t *testing.T) {
	all := Switches()
	for _, graph := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			clock := newClock()
			tenant := New(Options{Seed: 3, Incidents: 70, Alerts: -1, Now: clock.now, Limits: unlimited, GraphLimits: unlimited})
			tenant.SetRoles(DefaultRole, DefaultGraphRole)
			r := &reader{inProcess(t, tenant), graph, tenant, clock}
			r.http.Timeout = time.Minute
			truth := tenant.Truth(clock.now(), 0).Incidents
			for i, a := range all {
				for _, b := range all[i+1:] {
					var f Faults
					a.Set(&f)
					b.Set(&f)
					tenant.Fault(f)
					got := r.ask("$top=20&$skip=20&$filter=UPDATED ge 2026-06-01T00:00:00Z")
					if got.err == nil && !json.Valid([]byte(strings.TrimPrefix(got.body, "\ufeff"))) {
						t.Errorf("%s, %s: got %d %.200s", a.Name, b.Name, got.status, got.body)
					}
				}
			}
			if got := tenant.Truth(clock.now(), 0).Incidents; !reflect.DeepEqual(got, truth) {
				t.Error("the truth changed")
			}
		})
	}
}

func TestKnowable(t *testing.T) {
	by := map[string]Switch{}
	for _, s := range Switches() {
		by[s.Name] = s
	}
	for _, test := range []struct {
		api   APIs
		names string
		want  faults.Kind
	}{
		{Native, "", Exact},
		{Native, "order none, skip ignored", Exact},
		{Native, "order none, skip ignored, upper bound refused 500", Incomplete},
		{Native, "skip refused 501, upper bound ignored", Incomplete},
		{Native, "skip refused 501, upper bound ignored, links opaque", Exact},
		{Graph, "skip refused 501, upper bound ignored", Exact},
		{Graph, "skip refused 501, upper bound ignored, no links", Exact}, // $orderby
		{Graph, "skip refused 501, upper bound ignored, no links, orderby refused 400", Incomplete},
		{Native, "some back, order none", faults.Sweep},
		{faults.Both, "heavy 504, top ignored", Incomplete},
		{faults.Both, "heavy 504, top limit", Exact},
		{Graph, "heavy with alerts, top refused 400", Exact},
		{faults.Both, "pages empty, links foreign", Incomplete},
		{faults.Both, "pages empty, no links", Exact},
		{faults.Both, "one in 2099, date ahead", faults.Sweep},
		{faults.Both, "unassigned, all hidden", Incomplete},
		{faults.Both, "pages empty, links forth and back", Incomplete},
		{Native, "skip refused 400, pages ragged", Incomplete},
		{Graph, "skip refused 400, pages ragged", Exact},
		{Native, "heavy 504, pages empty", Incomplete},
		{Native, "heavy 504, pages empty, links full", Exact},
		{Graph, "poisoned alerts, pages empty", Incomplete},
		{faults.Both, "pages ragged, links to themselves", Incomplete},
		{Native, "value null, no links", Unknowable},
		{Graph, "value null, no links", Incomplete},
	} {
		var switches []Switch
		for name := range strings.SplitSeq(test.names, ", ") {
			if name == "" {
				continue
			}
			s, ok := by[name]
			if !ok {
				t.Fatalf("no switch %q", name)
			}
			switches = append(switches, s)
		}
		for _, api := range []APIs{Native, Graph} {
			if test.api&api != 0 {
				if got := Knowable(api, switches...); got != test.want {
					t.Errorf("%s in API %d: got %d, want %d", test.names, api, got, test.want)
				}
			}
		}
	}
}

// TestWeather: each hits some calls, and lets others pass.
func TestWeather(t *testing.T) {
	for _, s := range Weather() {
		synctest.Test(t, func(t *testing.T) {
			tenant := New(Options{Seed: 3, Incidents: 30, Alerts: -1, Limits: unlimited, TokenLifetime: 1000 * day})
			c := inProcess(t, tenant)
			right := c.get("/api/incidents")
			var f Faults
			s.Set(&f)
			tenant.Fault(f)
			hits := 0
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				began := time.Now()
				a := weathered(ctx, c, s)
				if a.status != right.status || a.body != right.body || a.err != nil || time.Since(began) > 0 {
					hits++
				}
				cancel()
			}
			want := [2]int{30, 95}
			if s.Group == "token" {
				want = [2]int{200, 200}
			}
			if s.Name == "some 1xx" || s.Name == "bad checksum" {
				want = [2]int{0, 0} // nothing that this caller sees
			}
			if hits < want[0] || hits > want[1] {
				t.Errorf("%s: got %d hits of 200, want %v", s.Name, hits, want)
			}
		})
	}
}

// weathered makes one call of the kind that the switch is about.
func weathered(ctx context.Context, c *caller, s Switch) answer {
	if s.Group == "token" {
		resp, err := c.http.PostForm(c.base+"/"+DefaultTenantID+entra.TokenPath, form())
		if err != nil {
			return answer{err: err}
		}
		_ = resp.Body.Close()
		return answer{status: resp.StatusCode}
	}
	if s.Name != "101" {
		return c.do(ctx, "/api/incidents")
	}
	// Nothing ends a read of what comes after it.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/incidents", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, body: string(body), err: err}
}
