package check

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/prometheus/promql/parser"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/dashboards"
)

// unused are the metrics that no dashboard and no rule uses, and why.
var unused = map[string]string{
	"m365_defender_tenant_open_failures_total": "to ask how often; that a tenant is not served is an alert",
}

// exposed maps what a Prometheus that scrapes the exporter knows to its labels.
func exposed(t *testing.T) metrics {
	t.Helper()
	all := metrics{
		"up":                                namesOf("job", "instance"),
		"scrape_duration_seconds":           namesOf("job", "instance"),
		"m365_defender_exporter_build_info": namesOf("job", "instance", "version", "revision", "branch", "goversion", "goos", "goarch", "tags"),
	}
	for _, m := range collector.Metrics() {
		set := namesOf(append(slices.Clone(m.Labels), "job", "instance")...)
		if !strings.Contains(m.Help, "Without the label tenant.") {
			set["tenant"] = true
		}
		all[m.Name] = set
		if m.Type == collector.Histogram {
			all[m.Name+"_sum"], all[m.Name+"_count"] = set, set
			bucket := maps.Clone(set)
			bucket["le"] = true
			all[m.Name+"_bucket"] = bucket
		}
	}
	usual := prometheus.NewRegistry()
	usual.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := usual.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		all[f.GetName()] = namesOf("job", "instance")
	}
	all["ALERTS"] = namesOf("alertname", "alertstate", "severity", "tenant", "job", "instance")
	for _, r := range dashboards.Rules() {
		e, err := parse(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		set, err := all.labels(e)
		if err != nil {
			t.Errorf("%s: %v", r.Record, err)
		}
		level, _, _ := strings.Cut(r.Record, ":")
		if got := strings.Join(slices.Sorted(maps.Keys(set)), "_"); got != sortedLevel(level) {
			t.Errorf("%s has the labels %s", r.Record, got)
		}
		all[r.Record] = set
	}
	return all
}

func sortedLevel(level string) string {
	names := strings.Split(level, "_")
	slices.Sort(names)
	return strings.Join(names, "_")
}

func TestQueriesNameWhatIsExposed(t *testing.T) {
	all := exposed(t)
	used := map[string]bool{}
	for _, p := range dashboards.Places() {
		for _, q := range p.Queries {
			e, err := parse(q.Expr)
			if err != nil {
				t.Errorf("%s: %s: %v", p.File, p.Name, err)
				continue
			}
			set, err := all.labels(e)
			if err != nil {
				t.Errorf("%s: %s: %v", p.File, p.Name, err)
			}
			for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(q.Legend, -1) {
				if !set[label[1]] {
					t.Errorf("%s: %s: the legend names %s, which %s has not", p.File, p.Name, label[1], q.Expr)
				}
			}
			selectors(e, func(s *parser.VectorSelector) { used[s.Name] = true })
		}
	}
	for _, g := range dashboards.Alerts() {
		for _, a := range g.Alerts {
			e, err := parse(a.Expr)
			if err != nil {
				t.Fatal(err)
			}
			set, _ := all.labels(e)
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(a.Summary+a.Description, -1) {
				if !set[label[1]] {
					t.Errorf("%s: its text names the label %s, which it has not", a.Name, label[1])
				}
			}
		}
	}
	unused := maps.Clone(unused)
	for _, m := range collector.Metrics() {
		is := used[m.Name] || used[m.Name+"_bucket"]
		switch _, listed := unused[m.Name]; {
		case !is && !listed:
			t.Errorf("%s is in no dashboard and no rule; use it, or say in unused why not", m.Name)
		case is && listed:
			t.Errorf("%s is listed as unused, but is used", m.Name)
		}
		delete(unused, m.Name)
	}
	for name := range unused {
		t.Errorf("%s is listed as unused, but does not exist", name)
	}
}

// TestQueriesInDocuments: there is no time to fix a query at three o'clock, nor in
// a meeting.
func TestQueriesInDocuments(t *testing.T) {
	all := exposed(t)
	for _, name := range []string{"runbook.md", "numbers.md"} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		queries := regexp.MustCompile("(?s)```promql\n(.*?)```|`((?:sum|count)[^`]*)`").FindAllSubmatch(text, -1)
		if len(queries) == 0 {
			t.Errorf("no query found in %s", name)
		}
		for _, q := range queries {
			e, err := parse(string(q[1]) + string(q[2]))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := all.labels(e); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestLabels(t *testing.T) {
	all := exposed(t)
	tests := []struct{ in, want string }{
		{`m365_defender_nonsense`, "m365_defender_nonsense is not exposed"},
		{`m365_defender_up{severity="high"}`, "has no label severity"},
		{`m365_defender_incidents{severity="hihg"}`, `severity is never "hihg"`},
		{`m365_defender_open_incidents_older{threshold="5h"}`, `threshold is never "5h"`},
		{`sum by (severity) (m365_defender_up)`, "has no label severity"},
		{`sum by (severity) (max by (tenant) (m365_defender_incidents))`, "has no label severity"},
		{`histogram_quantile(0.5, sum(rate(m365_defender_api_request_duration_seconds_bucket[5m])))`, "label le false, want true"},
		{`m365_defender_up / m365_defender_api_quota_used`, "without on"},
		{`m365_defender_up / on (tenant) m365_defender_refresh_interval_seconds`, "joins without instance"},
		{`m365_defender_up / on (instance) m365_defender_refresh_interval_seconds`, "joins without tenant"},
		{`m365_defender_up / on (tenant, instance, kind) m365_defender_refreshes_total`, "not both sides have the label kind"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			e, err := parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := all.labels(e); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
