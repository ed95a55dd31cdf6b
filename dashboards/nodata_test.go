package dashboards

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestNoDataIsNoGoodNews: when the exporter or Prometheus is gone, a panel must
// not look as if all were well, nor as if something were wrong. Grafana gives a
// missing value the colour of the lowest threshold unless a mapping says
// otherwise.
func TestNoDataIsNoGoodNews(t *testing.T) {
	const want = `{"options":{"match":"null","result":{"color":"purple","index":0,"text":"no data"}},"type":"special"}`
	for _, name := range []string{"incidents.json", "review.json", "exporter.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Type, Title string
				FieldConfig struct {
					Defaults struct {
						NoValue  string
						Mappings []any
					}
				}
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatal(err)
		}
		mapped := 0
		for _, p := range dashboard.Panels {
			defaults := p.FieldConfig.Defaults
			switch p.Type {
			case "stat", "gauge", "bargauge":
				mapped++
				if defaults.NoValue != "no data" {
					t.Errorf("%s: %s: noValue is %q", name, p.Title, defaults.NoValue)
				}
				if len(defaults.Mappings) == 0 {
					t.Errorf("%s: %s: a missing value has the colour of the lowest", name, p.Title)
					continue
				}
				if got, _ := json.Marshal(defaults.Mappings[0]); string(got) != want {
					t.Errorf("%s: %s: the first mapping is %s, want %s", name, p.Title, got, want)
				}
			default:
				if defaults.NoValue != "" && !strings.HasSuffix(defaults.NoValue, "no data") {
					t.Errorf("%s: %s: without data it says %q", name, p.Title, defaults.NoValue)
				}
			}
		}
		if mapped == 0 {
			t.Errorf("%s: no stat found", name)
		}
	}
}

// TestPanelTests: promtool runs dashboards/panels_test.yaml; this sees to it
// that what is tested there is what the panels ask.
func TestPanelTests(t *testing.T) {
	text, err := os.ReadFile("panels_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Name  string
			Exprs []struct{ Expr string } `yaml:"promql_expr_test"`
		}
	}
	if err := yaml.Load(text, &file); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, p := range Places() {
		for _, q := range p.Queries {
			all := strings.NewReplacer("$tenant", ".*", "$instance", ".*", "$severity", ".*").Replace(q.Expr)
			asked[p.File+": "+p.Name+": "+all] = true
		}
	}
	for _, test := range file.Tests {
		panel := test.Name[:max(0, strings.LastIndex(test.Name, ", "))] // titles have commas, too
		if len(test.Exprs) == 0 {
			t.Errorf("%s tests nothing", test.Name)
		}
		for _, e := range test.Exprs {
			if !asked[panel+": "+strings.TrimSpace(e.Expr)] {
				t.Errorf("%s does not ask %s", panel, e.Expr)
			}
		}
	}
}
