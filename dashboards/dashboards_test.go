package dashboards

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write the generated files anew")

func TestFilesFresh(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			if *update {
				if err := os.WriteFile(f.Name, f.Content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, f.Content) {
				t.Errorf("%s is not what this package says; write it anew: go test ./dashboards -update", f.Name)
			}
		})
	}
}

// TestDashboards checks what a look at the dashboards would not.
func TestDashboards(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range Dashboards() {
		t.Run(d.name, func(t *testing.T) {
			if d.UID == "" || len(d.UID) > 40 || uids[d.UID] {
				t.Errorf("uid %q is empty, too long or taken", d.UID)
			}
			uids[d.UID] = true
			var names []string
			for _, v := range d.Templating.List {
				names = append(names, v.Name)
				if v.Type == "query" && (!v.Multi || !v.IncludeAll || v.AllValue != ".*") {
					t.Errorf("variable %s does not offer all", v.Name)
				}
			}
			want := []string{"datasource", "tenant", "instance"}
			if d.UID == incidentsUID {
				want = append(want, "severity")
			}
			if !slices.Equal(names, want) {
				t.Errorf("variables: got %v, want %v", names, want)
			}
			// With nothing chosen Grafana takes the first by name, not the default.
			current, _ := json.Marshal(d.Templating.List[0].Current)
			if want := `{"selected":true,"text":"default","value":"default"}`; string(current) != want {
				t.Errorf("data source: got %s, want %s", current, want)
			}
			places := map[GridPos]string{}
			for i, p := range d.Panels {
				if p.ID != i+1 {
					t.Errorf("%s: id %d, want %d", p.Title, p.ID, i+1)
				}
				checkPanel(t, p)
				for place, other := range places {
					if overlap(place, p.GridPos) {
						t.Errorf("%s lies on %s", p.Title, other)
					}
				}
				places[p.GridPos] = p.Title
			}
		})
	}
}

func checkPanel(t *testing.T, p *Panel) {
	t.Helper()
	g := p.GridPos
	if p.Title == "" && p.Type != "row" || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
		t.Errorf("%q: no title, or no place: %+v", p.Title, g)
	}
	if p.Type == "row" {
		return
	}
	if p.Description == "" || len(p.Targets) == 0 && p.Type != "alertlist" {
		t.Errorf("%s: no description, or no query", p.Title)
	}
	if !slices.Contains([]string{"alertlist", "heatmap", "table"}, p.Type) && p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s: no unit", p.Title)
	}
	for _, target := range p.Targets {
		if target.Datasource != datasource {
			t.Errorf("%s: query %s does not ask the chosen data source", p.Title, target.RefID)
		}
		of := `instance=~"$instance"`
		if strings.Contains(target.Expr, ":m365_defender_") { // what is recorded has none
			of = `tenant=~"$tenant"`
		}
		if strings.Contains(target.Expr, "m365_defender_") && !strings.Contains(target.Expr, of) {
			t.Errorf("%s: query %s ignores the variables", p.Title, target.RefID)
		}
	}
	links := p.Links
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if more, ok := property.Value.([]Link); ok {
				links = append(links, more...)
			}
		}
	}
	for _, l := range links {
		if uid, _, ok := strings.Cut(strings.TrimPrefix(l.URL, "/d/"), "?"); ok && strings.HasPrefix(l.URL, "/d/") {
			if !slices.ContainsFunc(Dashboards(), func(d *Dashboard) bool { return d.UID == uid }) {
				t.Errorf("%s links to the dashboard %s, which does not exist", p.Title, uid)
			}
			continue
		}
		if !strings.HasPrefix(l.URL, RunbookURL+"#") || !slices.Contains(alertAnchors(), strings.TrimPrefix(l.URL, RunbookURL+"#")) {
			t.Errorf("%s links to %s, which is no section of the runbook", p.Title, l.URL)
		}
	}
}

func overlap(a, b GridPos) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// TestNoGaugeBelowZero: an age or a remaining time is taken at slightly
// different instants by the exporter and by Prometheus.
func TestNoGaugeBelowZero(t *testing.T) {
	for _, p := range Places() {
		if !strings.HasSuffix(p.File, ".json") {
			continue
		}
		for _, q := range p.Queries {
			// What is compared with the time is no difference.
			if strings.Contains(strings.ReplaceAll(q.Expr, "bool time()", ""), "time()") && !strings.Contains(q.Expr, "clamp_min(") {
				t.Errorf("%s: %s can be negative", p.Name, q.Expr)
			}
		}
	}
}

// TestProblemsOnTop: with hundreds of tenants, one that never worked is at the
// end of a list, and in no sum and no largest value.
func TestProblemsOnTop(t *testing.T) {
	for _, d := range []*Dashboard{Incidents(), Exporter()} {
		without, tables := "", 0
		for _, p := range d.Panels {
			if p.Type == "stat" && p.GridPos.Y < 10 && strings.Contains(p.Targets[0].Expr, "unless") {
				without = p.Title
			}
			if p.Type != "table" {
				continue
			}
			tables++
			sorted, _ := json.Marshal(p.Options["sortBy"])
			if first := `[{"desc":false,"displayName":"Last refresh"},`; !strings.HasPrefix(string(sorted), first) {
				t.Errorf("%s: %s: sorted by %s, want %s first", d.name, p.Title, sorted, first)
			}
			titles := map[string]string{}
			for _, o := range p.FieldConfig.Overrides {
				properties, _ := json.Marshal(o.Properties)
				titles[o.Matcher.Options] = string(properties)
			}
			columns, _ := p.Options["sortBy"].([]any)
			for _, column := range columns {
				if name := column.(map[string]any)["displayName"].(string); titles[name] == "" {
					t.Errorf("%s: %s: sorted by %q, which is no column", d.name, p.Title, name)
				}
			}
			if !strings.Contains(titles["Age of the data"], `{"id":"noValue","value":"never"}`) {
				t.Errorf("%s: %s: the age of what never was read is not %q", d.name, p.Title, "never")
			}
			if strings.Contains(titles["First sync"], `"color":"red"`) {
				t.Errorf("%s: %s: a first sync is red", d.name, p.Title)
			}
		}
		if without == "" || tables != 1 {
			t.Errorf("%s: stat of the tenants without counts: %q; tables: %d", d.name, without, tables)
		}
	}
}

// TestInOrder: Grafana shows the series of one query in the order of their names,
// where 168h comes before 1h, and no verdict among the verdicts.
func TestInOrder(t *testing.T) {
	for title, want := range map[string][]string{
		"Open, by age":        {"1h", "4h", "8h", "24h", "72h", "168h", "720h", "{{threshold}}"},
		"Verdicts, look-back": {"true positive", "expected activity", "false positive", "no verdict"},
	} {
		panels := Incidents().Panels
		var got []string
		for _, target := range panels[slices.IndexFunc(panels, func(p *Panel) bool { return p.Title == title })].Targets {
			got = append(got, target.LegendFormat)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", title, got, want)
		}
	}
}

// TestAlertsOnTop: what fires is in sight without scrolling, on a screen 1,080 pixels
// high, whose rows are 38 each.
func TestAlertsOnTop(t *testing.T) {
	for _, d := range []*Dashboard{Incidents(), Exporter()} {
		if !slices.ContainsFunc(d.Panels, func(p *Panel) bool { return p.Type == "alertlist" && p.GridPos.Y+p.GridPos.H <= 20 }) {
			t.Errorf("%s: no list of alerts at the top", d.name)
		}
	}
}

// TestReadable: what was seen to be unreadable or too slow in a Grafana.
func TestReadable(t *testing.T) {
	for _, d := range Dashboards() {
		for _, p := range d.Panels {
			// 24 columns are 1,570 pixels on a screen 1,600 wide; a letter is
			// about 8, and the panel's margins and icons take 30.
			if width := p.GridPos.W * 1570 / 24; len(p.Title)*8+30 > width {
				t.Errorf("%s: the title %q does not fit in %d pixels", d.name, p.Title, width)
			}
			if p.FieldConfig == nil {
				continue
			}
			if p.Type == "timeseries" && p.FieldConfig.Defaults.Unit == "dtdurations" {
				t.Errorf("%s: %s: an axis in dtdurations has the same tick twice", d.name, p.Title)
			}
			checkSeverityOrder(t, p)
			checkCost(t, p)
			checkBars(t, p)
		}
	}
}

// checkBars: where the window of a query is longer than the distance of the
// bars, each event is drawn in several of them.
func checkBars(t *testing.T, p *Panel) {
	t.Helper()
	if p.FieldConfig.Defaults.Custom["drawStyle"] != "bars" {
		return
	}
	for _, target := range p.Targets {
		for _, window := range regexp.MustCompile(`\[([^\]]+)\]`).FindAllStringSubmatch(target.Expr, -1) {
			if p.Interval == "" || window[1] != "$__interval" && (window[1] != p.Interval || p.MaxDataPoints > 0) {
				t.Errorf("%s: a window of %s for each bar of %q or more", p.Title, window[1], p.Interval)
			}
		}
	}
}

// TestManyTenants: a line for each of two hundred tenants is a block of colour.
func TestManyTenants(t *testing.T) {
	for _, p := range Exporter().Panels {
		if p.Type != "timeseries" && p.Type != "state-timeline" {
			continue
		}
		few, many := 0, 0
		for _, target := range p.Targets {
			switch {
			case strings.HasSuffix(target.Expr, isFew):
				few++
			case strings.HasSuffix(target.Expr, isMany):
				many++
			}
			if named := strings.Contains(target.LegendFormat, "{{tenant}}"); named != strings.HasSuffix(target.Expr, isFew) {
				t.Errorf("%s: %q is drawn for any number of tenants", p.Title, target.LegendFormat)
			}
		}
		if few > 0 != (many > 0) {
			t.Errorf("%s: %d queries for few tenants, %d for many", p.Title, few, many)
		}
	}
}

// checkSeverityOrder: Grafana shows the series of one query in the order of
// their names, and high before informational before low is no order.
func checkSeverityOrder(t *testing.T, p *Panel) {
	t.Helper()
	var want, got []string
	for _, s := range severityColors {
		want = append(want, s.name)
	}
	if !slices.ContainsFunc(p.FieldConfig.Overrides, func(o Override) bool { return o.Matcher.Options == want[0] }) {
		return
	}
	for _, target := range p.Targets {
		got = append(got, target.LegendFormat)
		if !strings.Contains(target.Expr, `severity="`+target.LegendFormat+`"`) {
			t.Errorf("%s: %s asks %s", p.Title, target.LegendFormat, target.Expr)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: severities %v, want %v", p.Title, got, want)
	}
}

// checkCost: at the usual 15 s between samples and two minutes between points,
// a window of a day is 5,760 samples of each series at each of 720 points.
func checkCost(t *testing.T, p *Panel) {
	t.Helper()
	if few := p.MaxDataPoints > 0; p.Type == "timeseries" && !few && !slices.Contains([]string{"1h", "1d"}, p.Interval) {
		t.Errorf("%s: as many points as there are pixels", p.Title)
	}
	for _, target := range p.Targets {
		days := regexp.MustCompile(`\[[0-9]+[dwy]\]`).FindString(target.Expr)
		if days != "" && target.Range && !slices.Contains([]string{"10m", "1h", "1d"}, p.Interval) {
			t.Errorf("%s: a window of %s at every point, interval %q", p.Title, days, p.Interval)
		}
		// At two hundred tenants these are eight to seventeen thousand series.
		raw := regexp.MustCompile(`m365_defender_(incidents|open_incidents_older|open_incidents_by_category|resolved_incidents|alerts)\{`).FindString(target.Expr)
		if raw != "" && target.Range {
			t.Errorf("%s: %s at every point, which is recorded in sums", p.Title, raw)
		}
	}
}

func allAlerts() []Alert {
	var all []Alert
	for _, g := range Alerts() {
		all = append(all, g.Alerts...)
	}
	return all
}

func alertAnchors() []string {
	var anchors []string
	for _, a := range allAlerts() {
		anchors = append(anchors, strings.ToLower(a.Name))
	}
	return anchors
}

func TestAlerts(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range allAlerts() {
		if !regexp.MustCompile(`^Defender([A-Z][a-z]+)+$`).MatchString(a.Name) || seen[a.Name] {
			t.Errorf("%s is no name, or taken", a.Name)
		}
		seen[a.Name] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Severity) || a.For == "" || a.Summary == "" || a.Description == "" {
			t.Errorf("%s: severity, for, summary or description is missing", a.Name)
		}
	}
	for _, r := range Rules() {
		if !regexp.MustCompile(`^[a-z_]+:m365_defender_[a-z_]+:[a-z0-9_]+$`).MatchString(r.Record) {
			t.Errorf("%s is not level:metric:operations", r.Record)
		}
	}
}

// TestRunbook: a person who is paged follows the link and finds a section.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	sections := regexp.MustCompile(`(?m)^## `).Split(string(text), -1)
	for _, section := range sections[1:] {
		name, body, _ := strings.Cut(section, "\n")
		if !strings.HasPrefix(name, "Defender") {
			continue
		}
		got = append(got, name)
		for _, part := range []string{"**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Mitigation.**"} {
			if !strings.Contains(body, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
	}
	var want []string
	for _, a := range allAlerts() {
		want = append(want, a.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("sections of docs/runbook.md:\n got %v\nwant %v", got, want)
	}
}

// TestRuleTests: promtool runs dashboards/rules_test.yaml; this sees to it that
// every alert has a case in which it fires and one in which it does not.
func TestRuleTests(t *testing.T) {
	text, err := os.ReadFile("rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Load(text, &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			fires[a.Name] = fires[a.Name] || len(a.Expected) > 0
			silent[a.Name] = silent[a.Name] || len(a.Expected) == 0
		}
	}
	for _, a := range allAlerts() {
		if !fires[a.Name] || !silent[a.Name] {
			t.Errorf("%s: cases that fire: %t, that stay silent: %t", a.Name, fires[a.Name], silent[a.Name])
		}
	}
}

// TestGrafanaAlerting checks what Grafana would refuse at its start.
func TestGrafanaAlerting(t *testing.T) {
	text, err := os.ReadFile("grafana-alerting.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file grafanaFile
	if err := yaml.Load(text, &file, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	if file.APIVersion != 1 {
		t.Errorf("apiVersion: got %d, want 1", file.APIVersion)
	}
	uids := map[string]bool{}
	for _, g := range file.Groups {
		if g.Name == "" || g.Folder == "" || g.Interval == "" || g.OrgID != 1 {
			t.Errorf("group %q has no name, folder, interval or organisation", g.Name)
		}
		for _, r := range g.Rules {
			if r.UID == "" || len(r.UID) > 40 || uids[r.UID] {
				t.Errorf("%s: uid %q is empty, too long or taken", r.Title, r.UID)
			}
			uids[r.UID] = true
			if !slices.ContainsFunc(r.Data, func(q grafanaQuery) bool { return q.RefID == r.Condition }) {
				t.Errorf("%s: condition %s is no refId", r.Title, r.Condition)
			}
			if r.NoDataState != "OK" || r.ExecErrState != "Error" {
				t.Errorf("%s: noDataState %s, execErrState %s", r.Title, r.NoDataState, r.ExecErrState)
			}
			if q := r.Data[0]; q.Datasource != DatasourceUID || q.Range == nil || q.Range.From <= 0 {
				t.Errorf("%s: query %s has no data source, or no time", r.Title, q.RefID)
			}
		}
	}
	if got, want := len(uids), len(allAlerts()); got != want {
		t.Errorf("%d alerts, want %d", got, want)
	}
	if strings.Contains(string(text), ":m365_defender_") {
		t.Error("a recording rule is not written out")
	}
}

// TestGrafanaAlertingDollars: since Grafana 9.1 the models of queries and the
// annotations are taken as they are (an annotation's ${NAME} excepted), so $$
// stays two dollars: an expression that cannot be parsed, a text that is no
// template. Everything else is interpolated from Grafana's environment, where
// one $ begins a variable.
func TestGrafanaAlertingDollars(t *testing.T) {
	text, err := os.ReadFile("grafana-alerting.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file any
	if err := yaml.Load(text, &file); err != nil {
		t.Fatal(err)
	}
	dollars := map[string]int{}
	walkStrings(file, nil, func(path []string, s string) {
		where := strings.Join(path, ".")
		raw := slices.Contains(path, "model") || slices.Contains(path, "annotations")
		switch {
		case raw && (strings.Contains(s, "$$") || strings.Contains(s, "${")):
			t.Errorf("%s is not read as it is written: %s", where, s)
		case !raw && strings.Contains(strings.ReplaceAll(s, "$$", ""), "$"):
			t.Errorf("%s would be read from the environment: %s", where, s)
		}
		dollars[path[len(path)-1]] += strings.Count(s, "$")
	})
	for _, key := range []string{"summary", "expression"} {
		if dollars[key] == 0 {
			t.Errorf("no %s has a $: the walk does not reach them", key)
		}
	}
}

// walkStrings calls f with every text of a YAML file and its path.
func walkStrings(node any, path []string, f func(path []string, s string)) {
	switch node := node.(type) {
	case string:
		f(path, node)
	case []any:
		for _, item := range node {
			walkStrings(item, path, f)
		}
	case map[string]any:
		for key, item := range node {
			walkStrings(item, append(slices.Clone(path), key), f)
		}
	}
}

// TestJSON: what is committed is what Grafana reads, without HTML escapes.
func TestJSON(t *testing.T) {
	for _, name := range []string{"incidents.json", "review.json", "exporter.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var model map[string]any
		if err := json.Unmarshal(text, &model); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if bytes.Contains(text, []byte(`\u003`)) {
			t.Errorf("%s has escapes that hide its queries", name)
		}
	}
}
