package collector

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

var update = flag.Bool("update", false, "write the expositions in testdata anew")

var epoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type fixed struct {
	snapshot *incident.Snapshot
	status   *refresh.Status
}

func (f fixed) Snapshot() *incident.Snapshot { return f.snapshot }
func (f fixed) Status() *refresh.Status      { return f.status }

// tenantMirror is a small tenant in which every metric has something to count.
func tenantMirror() *incident.Mirror {
	dimensions := incident.Dimensions{
		Tags: []string{"vip"}, DeviceGroups: []string{incident.AllDeviceGroups}, Techniques: true, Detectors: 1, Assignees: incident.AssigneesListed,
	}
	kept := func(owner string) *incident.Kept {
		return &incident.Kept{Mark: dimensions.Mark(), Owner: owner, Tags: []string{"vip"}}
	}
	m := incident.NewMirror(incident.MirrorOptions{
		Dimensions: dimensions,
		Lookback:   180 * 24 * time.Hour,
		Thresholds: []time.Duration{30 * time.Minute, time.Hour, 720 * time.Hour},
		Priorities: true,
		Objectives: incident.Objectives{incident.SeverityLow: {incident.ObjectiveAssign: 15 * time.Second, incident.ObjectiveResolve: 4 * time.Hour}},
	})
	at := epoch.Add
	alerts := []incident.Alert{
		{Severity: incident.SeverityHigh, Status: incident.AlertNew, Source: "microsoft_defender_for_endpoint", Category: "malware",
			Kept: &incident.KeptOfAlert{Techniques: []string{"T1059"}, DeviceGroups: []string{"Servers"}, Detector: "rule-1"}, Detection: "antivirus", Investigation: investigation("pendingApproval"), FirstActivity: at(-3 * time.Minute)},
		{Severity: incident.SeverityLow, Status: incident.AlertResolved, Source: "microsoft_defender_for_endpoint", Category: "initial_access",
			Detection: "custom_detection"},
	}
	apply := func(in incident.Incident) {
		owner := ""
		if in.Assigned {
			owner = "somebody@example.com"
		}
		in.Kept = kept(owner)
		m.Apply(&in)
	}
	apply(incident.Incident{ID: 1, Created: at(-2 * time.Hour), Updated: at(-time.Hour), Severity: incident.SeverityHigh, Status: incident.StatusActive, Alerts: alerts})
	apply(incident.Incident{ID: 7, Created: at(-80 * time.Hour), Updated: at(-73 * time.Hour), Severity: incident.SeverityMedium, Status: incident.StatusActive, Priority: incident.PriorityTop, Alerts: alerts[:1]})
	apply(incident.Incident{ID: 2, Created: at(-40 * time.Minute), Updated: at(-40 * time.Minute), Severity: incident.SeverityHigh, Status: incident.StatusInProgress, Assigned: true, Alerts: alerts[:1]})
	apply(incident.Incident{ID: 3, Created: at(-1000 * time.Hour), Updated: at(-900 * time.Hour), Severity: incident.SeverityMedium, Status: incident.StatusResolved,
		Classification: incident.ClassificationTruePositive, Alerts: alerts[1:]})
	apply(incident.Incident{ID: 4, Created: at(-30 * time.Hour), Updated: at(-20 * time.Hour), Severity: incident.SeverityLow, Status: incident.StatusRedirected, RedirectID: 1})
	m.StartFlows(at(-time.Minute), at(-time.Minute))
	apply(incident.Incident{ID: 5, Created: at(-30 * time.Second), Updated: at(-20 * time.Second), Severity: incident.SeverityLow, Status: incident.StatusActive, Assigned: true,
		Unrecognized: incident.FieldStatus, Alerts: alerts})
	apply(incident.Incident{ID: 5, Created: at(-30 * time.Second), Updated: at(90 * time.Second), Severity: incident.SeverityLow, Status: incident.StatusResolved, Assigned: true,
		Classification: incident.ClassificationFalsePositive, Alerts: alerts})
	apply(incident.Incident{ID: 6, Created: at(-30 * time.Second), Updated: at(-20 * time.Second), Severity: incident.SeverityLow, Status: incident.StatusRedirected, RedirectID: 1})
	return m
}

func investigation(s string) incident.Investigation {
	state, _ := incident.ParseInvestigation(s)
	return state
}

func statusOf(coverage incident.Coverage) *refresh.Status {
	s := &refresh.Status{Up: true, Interval: 30 * time.Second, Coverage: coverage,
		Start: epoch.Add(-2 * time.Minute), ProcessStart: epoch.Add(-time.Second / 4)}
	s.Passes[pass.First] = refresh.PassStatus{LastAttempt: epoch}
	if coverage.All {
		s.Passes[pass.First] = refresh.PassStatus{LastSuccess: epoch, LastAttempt: epoch, LastDuration: time.Minute, Refreshes: 1}
		s.Passes[pass.Delta] = refresh.PassStatus{LastSuccess: epoch, LastAttempt: epoch, LastDuration: 250 * time.Millisecond, Refreshes: 7}
		s.Passes[pass.Delta].Failures[reason.Throttled] = 2
		s.Corrections[0] = 3
	}
	return s
}

var (
	openOnly = incident.Coverage{Open: true, Statuses: [incident.NumStatuses]bool{false, true, true, true, false, false}}
	complete = incident.Coverage{Open: true, All: true, Statuses: [incident.NumStatuses]bool{true, true, true, true, true, true}}
)

func tenantIn(coverage incident.Coverage, known bool, now time.Time) *Tenant {
	r := fixed{status: statusOf(coverage)}
	if known {
		r.snapshot = tenantMirror().Snapshot(epoch)
		r.snapshot.Coverage = coverage
	}
	return NewTenant(Options{Refresher: r, MaxAge: time.Hour, Now: func() time.Time { return now }})
}

// TestExposition compares whole expositions: before anything is known, when
// open incidents are, when everything is, and when it has become too old.
func TestExposition(t *testing.T) {
	withoutAlerts := tenantIn(complete, true, epoch)
	withoutAlerts.opts.Refresher.(fixed).snapshot.AlertsAvailable = false
	tests := []struct {
		name   string
		tenant *Tenant
	}{
		{"nothing", tenantIn(incident.Coverage{}, false, epoch)},
		{"open", tenantIn(openOnly, true, epoch)},
		{"complete", tenantIn(complete, true, epoch.Add(time.Hour))},
		{"withdrawn", tenantIn(complete, true, epoch.Add(time.Hour+time.Second))},
		{"withoutalerts", withoutAlerts},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			registry := prometheus.NewPedanticRegistry()
			prometheus.WrapRegistererWith(prometheus.Labels{"tenant": "contoso"}, registry).MustRegister(test.tenant)
			compare(t, test.name+".prom", exposition(t, registry))
			problems, err := testutil.GatherAndLint(registry)
			if err != nil || len(problems) > 0 {
				t.Errorf("lint: %v, %v", problems, err)
			}
		})
	}
}

// TestUpWhileRefreshingHangs: the last status says up for ever then, and is not believed.
func TestUpWhileRefreshingHangs(t *testing.T) {
	hangs := false
	tenant := tenantIn(complete, true, epoch)
	tenant.opts.Hangs = func() bool { return hangs }
	for _, hangs = range []bool{false, true, false} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(tenant)
		want := fmt.Sprintf("\nm365_defender_up %v\n", number(!hangs))
		if got := exposition(t, registry); !bytes.Contains(got, []byte(want)) {
			t.Errorf("hangs %v: want %q in\n%s", hangs, want, got)
		}
	}
}

// compare compares an exposition with a file of testdata.
func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (write it anew with -update):\n%s", file, got)
	}
}

func exposition(t *testing.T, from prometheus.Gatherer) []byte {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestNativeHistogram: a server that scrapes native histograms gets both
// kinds of buckets of the same observations.
func TestNativeHistogram(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(tenantIn(complete, true, epoch))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != timeToResolve.Name {
			continue
		}
		for _, metric := range family.Metric {
			if metric.Label[0].GetValue() != "false_positive" {
				continue
			}
			h := metric.Histogram
			if h.GetSampleCount() != 1 || h.GetSampleSum() != 120 {
				t.Errorf("got %d observations, sum %v, want one of 120 s", h.GetSampleCount(), h.GetSampleSum())
			}
			if h.GetSchema() != incident.NativeSchema || len(h.PositiveSpan) != 1 || h.PositiveDelta[0] != 1 {
				t.Errorf("no native bucket: %v", h)
			}
			if len(h.Bucket) != len(incident.DurationBuckets) || h.Bucket[1].GetCumulativeCount() != 1 {
				t.Errorf("no classic buckets: %v", h.Bucket)
			}
			return
		}
	}
	t.Errorf("%s is not there", timeToResolve.Name)
}

func TestAPI(t *testing.T) {
	api := NewAPI()
	api.Request(listing.OperationList, 200, 120*time.Millisecond, 1000)
	api.Request(listing.OperationList, 429, 20*time.Millisecond, 100)
	api.Request(listing.OperationGet, 0, 30*time.Second, 0)
	api.Waited("minute", 1500*time.Millisecond)
	api.Token("")
	api.Token("invalid_client")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(api)
	got := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			key := family.GetName()[len(Namespace)+1:]
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			if m.Counter != nil {
				got[key] = m.Counter.GetValue()
			} else {
				got[key] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	want := map[string]float64{
		"api_requests_total 200 list":                 1,
		"api_requests_total 429 list":                 1,
		"api_requests_total error get":                1,
		"api_request_duration_seconds list":           2,
		"api_request_duration_seconds get":            1,
		"api_response_bytes_total":                    1100,
		"api_too_many_requests_total":                 1,
		"api_throttle_waits_total minute":             1,
		"api_throttle_waits_total hour":               0,
		"api_throttle_waits_total retry_after":        0,
		"api_throttle_wait_seconds_total minute":      1.5,
		"api_throttle_wait_seconds_total hour":        0,
		"api_throttle_wait_seconds_total retry_after": 0,
		"token_requests_total":                        2,
		"token_failures_total invalid_client":         1,
		"api_calls_handed_in_total":                   0,
	}
	for key, value := range want {
		if v, ok := got[key]; !ok || v != value {
			t.Errorf("%s: got %v (there: %v), want %v", key, v, ok, value)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("not expected: %v", got)
	}
}

func TestThreshold(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"1h": time.Hour, "720h": 720 * time.Hour, "90m": 90 * time.Minute, "45s": 45 * time.Second,
	} {
		if got := Threshold(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// BenchmarkScrape collects and encodes one tenant with everything in it.
func BenchmarkScrape(b *testing.B) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(tenantIn(complete, true, epoch), NewAPI())
	var out bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		families, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		for _, family := range families {
			if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(bytes.Count(out.Bytes(), []byte("\n"))), "lines")
}
