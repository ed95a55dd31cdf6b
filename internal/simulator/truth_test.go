package simulator

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/wire"
)

// recount is a second opinion: what one finds by reading the pages. It folds
// words by rule where the truth has tables.
func recount(t *testing.T, rows []map[string]any, now time.Time, lookback time.Duration) Truth {
	t.Helper()
	tr := Truth{
		Incidents: map[[3]string]int{}, Resolved: map[[3]string]int{}, OpenBySource: map[[2]string]int{},
		OpenByCategory: map[[2]string]int{}, Alerts: map[[3]string]int{}, OldestOpen: map[string]time.Time{},
		Detections: map[[2]string]int{}, Investigations: map[string]int{},
	}
	for _, row := range rows {
		old := now.Sub(parseTime(t, row["lastUpdateTime"])) >= lookback
		sev, status := word(row["severity"]), word(row["status"])
		switch {
		case status == "redirected" && !old:
			tr.Redirected++
		case status == "resolved" && !old:
			tr.Resolved[[3]string{sev, word(row["classification"]), word(row["determination"])}]++
		}
		if status == "redirected" || status == "resolved" && old {
			continue
		}
		tr.Incidents[[3]string{sev, status, fmt.Sprint(row["assignedTo"] != nil)}]++
		seen := map[string]bool{}
		for _, v := range row["alerts"].([]any) {
			alert := v.(map[string]any)
			source, category := word(alert["serviceSource"]), word(alert["category"])
			tr.Alerts[[3]string{word(alert["severity"]), word(alert["status"]), source}]++
			if status == "resolved" {
				if detection := word(alert["detectionSource"]); !seen[detection] {
					tr.Detections[[2]string{detection, word(row["classification"])}]++
					seen[detection] = true
				}
				continue
			}
			tr.Investigations[word(alert["investigationState"])]++
			if !seen["s"+source] {
				tr.OpenBySource[[2]string{sev, source}]++
			}
			if !seen["c"+category] {
				tr.OpenByCategory[[2]string{sev, category}]++
			}
			seen["s"+source], seen["c"+category] = true, true
		}
		created := parseTime(t, row["createdTime"])
		if oldest := tr.OldestOpen[sev]; status != "resolved" && (oldest.IsZero() || created.Before(oldest)) {
			tr.OldestOpen[sev] = created
		}
	}
	return tr
}

var (
	hump     = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	synonyms = map[string]string{
		"un_specified": "unknown", "not_available": "unknown", "compromised_user": "compromised_account",
		"confirmed_user_activity": "confirmed_activity", "clean": "not_malicious",
		"insufficient_data":                "not_enough_data_to_validate",
		"microsoft_defender_atp":           "microsoft_defender_for_endpoint",
		"microsoft_cloud_app_security":     "microsoft_defender_for_cloud_apps",
		"office_atp":                       "microsoft_defender_for_office365",
		"microsoft_application_protection": "microsoft_app_governance",
		"aadidentity_protection":           "azure_ad_identity_protection",
		"windows_defender_atp":             "microsoft_defender_for_endpoint",
		"windows_defender_av":              "antivirus",
		"mtp":                              "microsoft365_defender",
		"mcas":                             "cloud_app_security",
		"azure_atp":                        "microsoft_defender_for_identity",
		"customer_ti":                      "custom_ti",
		"defender_for_databases":           "microsoft_defender_for_databases",
	}
)

func word(v any) string {
	s := strings.ToLower(hump.ReplaceAllString(v.(string), "${1}_$2"))
	if synonym, ok := synonyms[s]; ok {
		return synonym
	}
	return s
}

func TestTruthIsWhatThePagesSay(t *testing.T) {
	mixed := Mix{Redirected: 3, Resolved: 3, Active: 2, InProgress: 2, AwaitingAction: 1, Classified: 0.9}
	for name, opts := range map[string]Options{
		"resting": {Seed: 1, Incidents: 100},
		"mixed":   {Seed: 2, Incidents: 250, Mix: mixed, Light: true},
		"lively":  {Seed: 3, Incidents: 300, Mix: mixed, Light: true, Rates: fraction(0, 10).Rates},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			opts.Now, opts.Limits = clock.now, unlimited
			tenant := New(opts)
			c := inProcess(t, tenant)
			for _, lookback := range []time.Duration{180 * day, 30 * day, time.Hour} {
				clock.add(5 * time.Hour)
				rows := c.all("")
				now := clock.now()
				got := tenant.Truth(now, lookback)
				for _, threshold := range []time.Duration{time.Hour, 3 * day} {
					want := map[[2]string]int{}
					for _, row := range rows {
						if s := row["status"]; s != life.Resolved && s != life.Redirected && now.Sub(parseTime(t, row["createdTime"])) >= threshold {
							want[[2]string{word(row["severity"]), fmt.Sprint(row["assignedTo"] != nil)}]++
						}
					}
					if older := got.OpenOlder(threshold); !reflect.DeepEqual(older, want) {
						t.Errorf("older than %v: got %v, want %v", threshold, older, want)
					}
				}
				want := recount(t, rows, now, lookback)
				got = Truth{
					Incidents: got.Incidents, Redirected: got.Redirected, Resolved: got.Resolved, OpenBySource: got.OpenBySource,
					OpenByCategory: got.OpenByCategory, Alerts: got.Alerts, OldestOpen: got.OldestOpen,
					Detections: got.Detections, Investigations: got.Investigations,
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("look-back %v: got\n%+v, want\n%+v", lookback, got, want)
				}
			}
		})
	}
}

func TestTruthAtTheBorder(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now})
	tenant.Create(Spec{Status: life.Resolved, Severity: "High"})
	tenant.Create(Spec{Status: "Strange", AssignedTo: "me", Alerts: []Alert{{Status: "Odd", ServiceSource: "OfficeATP", Category: "InitialAccess"}}})
	tenant.Create(Spec{Status: "New", Severity: "UnSpecified", Alerts: []Alert{}})
	tr := tenant.Truth(start.Add(time.Hour-1), time.Hour)
	want := map[[3]string]int{{"high", "resolved", "false"}: 1, {"medium", "unknown", "true"}: 1, {"unknown", "active", "false"}: 1}
	if !reflect.DeepEqual(tr.Incidents, want) {
		t.Errorf("got %v, want %v", tr.Incidents, want)
	}
	if got := tr.OpenOlder(time.Hour); len(got) != 0 {
		t.Errorf("got %v older than an hour", got)
	}
	tr = tenant.Truth(start.Add(time.Hour), time.Hour)
	delete(want, [3]string{"high", "resolved", "false"})
	if !reflect.DeepEqual(tr.Incidents, want) || len(tr.Resolved) != 0 {
		t.Errorf("an hour later: got %v, want %v", tr.Incidents, want)
	}
	if got := tr.OpenOlder(time.Hour); got[[2]string{"medium", "true"}] != 1 || got[[2]string{"unknown", "false"}] != 1 {
		t.Errorf("got %v older than an hour", got)
	}
	if got := tr.Alerts[[3]string{"unknown", "unknown", "microsoft_defender_for_office365"}]; got != 1 {
		t.Errorf("got alerts %v", tr.Alerts)
	}
}

// The tenant that benchmarks of others start from must be cheap itself.
func BenchmarkList(b *testing.B) {
	for name, opts := range map[string]Options{
		"page":       {Incidents: 12_000},
		"light100k":  {Incidents: 100_000, Light: true},
		"lively100k": {Incidents: 100_000, Light: true, Rates: Rates{Change: 1e6}},
	} {
		b.Run(name, func(b *testing.B) {
			opts.Limits = unlimited
			tenant := New(opts)
			c := &wire.Call{Method: "GET", Path: "/api/incidents", Base: "https://simulated.example", Header: make(http.Header)}
			tenant.Do(func(now time.Time) {
				c.Header.Set("Authorization", fmt.Sprint("Bearer ", tenant.Entra.Issue("", now)["access_token"]))
			})
			for b.Loop() {
				if rep := tenant.Answer(c); rep.Status != 200 {
					b.Fatal(rep.Status)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(Options{Incidents: 100_000, Light: true})
	}
}
