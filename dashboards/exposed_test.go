package dashboards

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// unused are the metrics that no dashboard and no rule uses, and why.
var unused = map[string]string{
	"m365_defender_config_last_reload_success_timestamp_seconds": "for whoever asks when; whether it failed is on the dashboard",
}

// labels is a set of them; nil is that of a scalar.
type labels map[string]bool

func labelsOf(names ...string) labels {
	set := labels{}
	for _, name := range names {
		set[name] = true
	}
	return set
}

// exposed maps what a Prometheus that scrapes the exporter knows to its labels.
func exposed(t *testing.T) map[string]labels {
	t.Helper()
	all := map[string]labels{
		"up":                                labelsOf("job", "instance"),
		"scrape_duration_seconds":           labelsOf("job", "instance"),
		"m365_defender_exporter_build_info": labelsOf("job", "instance", "version", "revision", "branch", "goversion", "goos", "goarch", "tags"),
	}
	for _, m := range collector.Metrics() {
		set := labelsOf(append(slices.Clone(m.Labels), "job", "instance")...)
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
		all[f.GetName()] = labelsOf("job", "instance")
	}
	for _, r := range Rules() {
		e, err := parsePromQL(r.Expr)
		if err != nil {
			t.Fatal(err)
		}
		set, err := (&judge{metrics: all}).labels(e)
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

// judge tells which labels an expression has, or why it cannot be right.
type judge struct{ metrics map[string]labels }

func (j *judge) labels(e *expr) (labels, error) {
	if e.kind == selectorKind {
		return j.selector(e)
	}
	var args []labels
	for _, arg := range e.args {
		set, err := j.labels(arg)
		if err != nil {
			return nil, err
		}
		args = append(args, set)
	}
	switch e.kind {
	case callKind:
		return call(e, args)
	case aggregationKind:
		return aggregation(e, args[len(args)-1])
	case binaryKind:
		return join(e, args[0], args[1])
	}
	return nil, nil // a number or a string
}

func (j *judge) selector(e *expr) (labels, error) {
	set, ok := j.metrics[e.name]
	if !ok {
		return nil, fmt.Errorf("%s is not exposed", e.name)
	}
	for _, m := range e.matchers {
		if !set[m.label] {
			return nil, fmt.Errorf("%s has no label %s", e.name, m.label)
		}
		known := values(m.label)
		for value := range strings.SplitSeq(m.value, "|") {
			if known != nil && !strings.HasPrefix(value, "$") && !slices.Contains(known, value) {
				return nil, fmt.Errorf("%s: %s is never %q", e.name, m.label, value)
			}
		}
	}
	return set, nil
}

// values lists what a label can be; nil: anything.
func values(label string) (known []string) {
	switch label {
	case "severity":
		for s := range incident.NumSeverities {
			known = append(known, incident.Severity(s).String())
		}
	case "status":
		for s := range incident.NumStatuses {
			known = append(known, incident.Status(s).String())
		}
	case "threshold":
		for _, d := range config.Default().AgeThresholds {
			known = append(known, collector.Threshold(d))
		}
	case "le":
		for _, bound := range incident.DurationBuckets {
			known = append(known, fmt.Sprintf(`%v(\\.0)?`, bound))
		}
	case "kind":
		return slices.Concat(refresh.Passes[:], refresh.Corrections[:])
	case "reason":
		for r := range listing.NumReasons {
			known = append(known, listing.Reason(r).String())
		}
	case "assigned":
		return []string{"true", "false"}
	case "stage":
		return []string{"open", "all"}
	case "window":
		return []string{"minute", "hour"}
	}
	return known
}

func call(e *expr, args []labels) (labels, error) {
	if e.name == "time" {
		return nil, nil
	}
	union := labels{}
	for _, set := range args {
		maps.Copy(union, set)
	}
	switch e.name {
	case "absent":
		return labels{}, nil
	case "histogram_quantile":
		classic := false
		e.selectors(func(s *expr) { classic = classic || strings.HasSuffix(s.name, "_bucket") })
		if classic != union["le"] {
			return nil, fmt.Errorf("histogram_quantile of %s: label le %t, want %t", e.args[1], union["le"], classic)
		}
		delete(union, "le")
	}
	return union, nil
}

func aggregation(e *expr, of labels) (labels, error) {
	if of == nil {
		return nil, fmt.Errorf("%s of a scalar", e.name)
	}
	for _, label := range e.labels {
		if !of[label] {
			return nil, fmt.Errorf("%s %s: %s has no label %s", e.name, e.grouping, e.args[len(e.args)-1], label)
		}
	}
	switch {
	case e.name == "topk" || e.name == "bottomk":
		return of, nil
	case e.grouping == "without":
		left := maps.Clone(of)
		maps.DeleteFunc(left, func(label string, _ bool) bool { return slices.Contains(e.labels, label) })
		return left, nil
	}
	return labelsOf(e.labels...), nil
}

// join judges a binary operator. What both sides have of instance and tenant
// must be matched: otherwise two exporters, or two tenants, are one too many.
func join(e *expr, left, right labels) (labels, error) {
	switch {
	case left == nil:
		return right, nil
	case right == nil:
		return left, nil
	case e.name == "or":
		union := maps.Clone(left)
		maps.Copy(union, right)
		return union, nil
	case e.grouping == "":
		if !maps.Equal(left, right) {
			return nil, fmt.Errorf("%s without on: %v and %v", e, left, right)
		}
		return left, nil
	}
	matched := labelsOf(e.labels...)
	if e.grouping == "ignoring" {
		matched = maps.Clone(left)
		maps.DeleteFunc(matched, func(label string, _ bool) bool { return slices.Contains(e.labels, label) })
	}
	for label := range matched {
		if !left[label] || !right[label] {
			return nil, fmt.Errorf("%s: not both sides have the label %s", e, label)
		}
	}
	for _, label := range []string{"instance", "tenant"} {
		if left[label] && right[label] && !matched[label] {
			return nil, fmt.Errorf("%s joins without %s", e, label)
		}
	}
	switch {
	case e.name == "and" || e.name == "unless" || e.side == "group_left":
		return left, nil
	case e.side == "group_right":
		return right, nil
	}
	return matched, nil
}

func TestQueriesNameWhatIsExposed(t *testing.T) {
	j := &judge{exposed(t)}
	used := map[string]bool{}
	for _, p := range Places() {
		for _, q := range p.Queries {
			e, err := parsePromQL(q.Expr)
			if err != nil {
				t.Errorf("%s: %s: %v", p.File, p.Name, err)
				continue
			}
			set, err := j.labels(e)
			if err != nil {
				t.Errorf("%s: %s: %v", p.File, p.Name, err)
			}
			for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(q.Legend, -1) {
				if !set[label[1]] {
					t.Errorf("%s: %s: the legend names %s, which %s has not", p.File, p.Name, label[1], q.Expr)
				}
			}
			e.selectors(func(s *expr) { used[s.name] = true })
		}
	}
	for _, a := range allAlerts() {
		e, err := parsePromQL(a.Expr)
		if err != nil {
			t.Fatal(err)
		}
		set, _ := j.labels(e)
		for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(a.Summary+a.Description, -1) {
			if !set[label[1]] {
				t.Errorf("%s: its text names the label %s, which it has not", a.Name, label[1])
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

// TestRunbookQueries: nobody has the time to mend a query at three o'clock.
func TestRunbookQueries(t *testing.T) {
	text, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?s)```promql\n(.*?)```|`((?:sum|count)[^`]*)`").FindAllSubmatch(text, -1)
	if len(queries) == 0 {
		t.Fatal("no query found")
	}
	j := &judge{exposed(t)}
	for _, q := range queries {
		e, err := parsePromQL(string(q[1]) + string(q[2]))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := j.labels(e); err != nil {
			t.Error(err)
		}
	}
}

func TestJudge(t *testing.T) {
	j := &judge{exposed(t)}
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
			e, err := parsePromQL(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.labels(e); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
