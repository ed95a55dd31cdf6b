package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/odata"
)

func TestOrderAndPaging(t *testing.T) {
	everywhere(t, "backlog", Options{Seed: 1, Incidents: 350, Light: true, Limits: unlimited}, func(t *testing.T, _ *Tenant, c *caller) {
		rows := c.all("")
		if got, want := len(rows), 350; got != want {
			t.Fatalf("got %d rows, want %d", got, want)
		}
		digits := map[int]bool{}
		for i, row := range rows {
			text := row["lastUpdateTime"].(string)
			digits[len(text)] = true
			if i > 0 && !newer(t, rows[i-1], row) {
				t.Errorf("row %d (%v) is not before row %d (%v)", i-1, rows[i-1]["lastUpdateTime"], i, text)
			}
			if strings.HasSuffix(text, "0Z") && strings.Contains(text, ".") || !strings.HasSuffix(text, "Z") {
				t.Errorf("timestamp %q is not as the API writes it", text)
			}
		}
		if len(digits) < 4 {
			t.Errorf("got timestamps of %d lengths, want several", len(digits))
		}
		if got, want := ids(c.page("$top=7&$skip=93").Value), ids(rows[93:100]); !slices.Equal(got, want) {
			t.Errorf("$top and $skip: got %v, want %v", got, want)
		}
		if got := c.page("$skip=350"); len(got.Value) != 0 || got.Next != "" {
			t.Errorf("behind the end: got %d rows and link %q", len(got.Value), got.Next)
		}
	})
}

// newer tells whether a comes before b in a list.
func newer(t *testing.T, a, b map[string]any) bool {
	t.Helper()
	at, bt := parseTime(t, a["lastUpdateTime"]), parseTime(t, b["lastUpdateTime"])
	return at.After(bt) || at.Equal(bt) && a["incidentId"].(float64) > b["incidentId"].(float64)
}

func parseTime(t *testing.T, v any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestTiesAcrossPages(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now, Limits: unlimited})
	var want []int64
	for range 250 {
		want = append(want, tenant.Create(Spec{}))
	}
	slices.Reverse(want)
	c := inProcess(t, tenant)
	if got := ids(c.all("")); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	at := start.Format(odata.TimeFormat)
	for operator, n := range map[string]int{"ge": 250, "le": 250, "eq": 250, "gt": 0, "lt": 0} {
		if got := len(c.all("$filter=lastUpdateTime " + operator + " " + at)); got != n {
			t.Errorf("%s: got %d rows, want %d", operator, got, n)
		}
	}
	// A touch moves one to the front, and changes nothing else.
	clock.add(time.Second)
	tenant.Touch(want[200])
	want = slices.Concat(want[200:201], want[:200], want[201:])
	if got := ids(c.all("")); !slices.Equal(got, want) {
		t.Errorf("after a touch: got %v, want %v", got, want)
	}
}

// TestFilters compares every answer with a search through the plain list.
func TestFilters(t *testing.T) {
	tenant := New(Options{Seed: 3, Incidents: 400, Light: true, Limits: unlimited, Mix: Mix{Active: 1, InProgress: 1, Resolved: 1, Redirected: 1}})
	c := inProcess(t, tenant)
	rows := c.all("")
	middle, late := rows[200]["lastUpdateTime"].(string), rows[100]["lastUpdateTime"].(string)
	created := rows[50]["createdTime"].(string)
	between := func(row map[string]any) bool {
		at := parseTime(t, row["lastUpdateTime"])
		return !at.Before(parseTime(t, middle)) && !at.After(parseTime(t, late))
	}
	for filter, matches := range map[string]func(map[string]any) bool{
		"lastUpdateTime ge " + middle + " and lastUpdateTime le " + late: between,
		"status eq 'Active'":        func(row map[string]any) bool { return row["status"] == "Active" },
		"status eq 'AwaitingChief'": func(map[string]any) bool { return false },
		"assignedTo eq 'analyst3@example.com'": func(row map[string]any) bool {
			return row["assignedTo"] == "analyst3@example.com"
		},
		"createdTime gt " + created: func(row map[string]any) bool {
			return parseTime(t, row["createdTime"]).After(parseTime(t, created))
		},
		"lastUpdateTime ge " + middle + " and lastUpdateTime le " + late + " and status eq 'Resolved'": func(row map[string]any) bool {
			return between(row) && row["status"] == "Resolved"
		},
		"lastUpdateTime gt " + late + " and lastUpdateTime lt " + middle: func(map[string]any) bool { return false },
	} {
		t.Run(filter, func(t *testing.T) {
			var want []map[string]any
			for _, row := range rows {
				if matches(row) {
					want = append(want, row)
				}
			}
			if got := c.all("$filter=" + filter); !slices.Equal(ids(got), ids(want)) {
				t.Errorf("got %v, want %v", ids(got), ids(want))
			}
			if got := c.all("$top=30&$filter=" + filter); !slices.Equal(ids(got), ids(want)) {
				t.Errorf("by pages of 30: got %v, want %v", ids(got), ids(want))
			}
		})
	}
}

func TestBadQueries(t *testing.T) {
	c := inProcess(t, New(Options{Limits: unlimited}))
	for _, query := range []string{
		"$top=101", "$top=-1", "$top=x", "$skip=-1", "$orderby=lastUpdateTime", "$count=true", "$select=status",
		"$filter=severity+eq+'High'", "$filter=", "$filter=status+eq+'A'&$filter=status+eq+'B'", "%zz",
	} {
		a := c.get("/api/incidents?" + query)
		if code, _ := errorCode(t, a); a.status != http.StatusBadRequest || code != "ODataError" {
			t.Errorf("%s: got %d %s, want 400 ODataError", query, a.status, code)
		}
	}
	if a := c.get("/api/incidents?$top=100&unknown=1"); a.status != http.StatusOK {
		t.Errorf("got %d, want a name without $ to be ignored", a.status)
	}
}

func TestNextLink(t *testing.T) {
	filter := "lastUpdateTime ge 1990-01-01T00:00:00Z and status eq 'Active'"
	query := "/api/incidents?$top=20&$filter=" + url.QueryEscape(filter)
	for name, test := range map[string]struct {
		links Links
		want  string
	}{
		"observed": {Links{}, "/api/incidents/?$skip=20"},
		"full":     {Links{Shape: LinkFull}, "/api/incidents?%24filter=" + url.QueryEscape(filter) + "&%24top=20&%24skip=20"},
		"absent":   {Links{None: true}, ""},
	} {
		opts := Options{Incidents: 60, Light: true, Mix: Mix{Active: 1}}
		everywhere(t, name, opts, func(t *testing.T, tenant *Tenant, c *caller) {
			tenant.Fault(Faults{Links: test.links})
			var p pageRead
			if err := json.Unmarshal([]byte(c.get(query).body), &p); err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want != "" {
				want = c.base + want
			}
			if p.Next != want {
				t.Errorf("got %q, want %q", p.Next, want)
			}
			if want == "" {
				return
			}
			if a := c.get(strings.TrimPrefix(p.Next, c.base)); a.status != http.StatusOK {
				t.Errorf("following it: got %d %s", a.status, a.body)
			}
		})
	}
}

func TestByID(t *testing.T) {
	everywhere(t, "get", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		id := tenant.Create(Spec{Name: "one \"odd\" näme", Severity: "High"})
		path := "/api/incidents/" + strconv.FormatInt(id, 10)
		var row map[string]any
		if err := json.Unmarshal([]byte(c.get(path).body), &row); err != nil {
			t.Fatal(err)
		}
		if row["incidentId"] != float64(id) || row["severity"] != "High" || row["incidentName"] != "one \"odd\" näme" {
			t.Errorf("got %v", row)
		}
		tenant.Delete(id)
		if code, _ := errorCode(t, c.get(path)); code != "ResourceNotFound" {
			t.Errorf("got code %s, want ResourceNotFound", code)
		}
		if got := c.page("").Value; len(got) != 0 {
			t.Errorf("got %v, want the list to omit it", got)
		}
		if a := c.get("/api/incidents/x"); a.status != http.StatusBadRequest {
			t.Errorf("got %d, want 400", a.status)
		}
	})
}

func TestWeightOfPages(t *testing.T) {
	c := inProcess(t, New(Options{Seed: 7, Incidents: 1200, Limits: unlimited}))
	sum, pages := 0, 12
	for i := range pages {
		a := c.get("/api/incidents?$skip=" + strconv.Itoa(100*i))
		sum += len(a.body)
	}
	if mean := sum / pages; mean < 700_000 || mean > 1_000_000 {
		t.Errorf("a page weighs %d bytes, want about 840,000", mean)
	}
	first := []byte(c.get("/api/incidents").body)
	if len(first) < 600_000 || len(first) > 1_100_000 || !json.Valid(first) {
		t.Errorf("the first page weighs %d bytes", len(first))
	}
}
