package dashboards

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAzureRules: Azure Monitor is given every rule and alert, each once, with
// its expression as Prometheus has it, in groups that it takes.
func TestAzureRules(t *testing.T) {
	text, err := renderAzure()
	if err != nil {
		t.Fatal(err)
	}
	resources := strings.Split(string(text), "\nresource ")[1:]
	resource := regexp.MustCompile(`^([a-z0-9_]+) 'Microsoft\.AlertsManagement/prometheusRuleGroups@2023-03-01' = \{\n  name: '([a-z0-9_]+)'\n`)
	rule := regexp.MustCompile(`(?ms)^      \{\n        (record|alert): '([^']+)'\n(.*?)        expression: '''\n(.*?)\n'''\n        enabled: true\n      \}$`)
	got := map[string]string{} // name → expression
	details := map[string]string{}
	names := map[string]bool{}
	for _, r := range resources {
		head := resource.FindStringSubmatch(r)
		if head == nil || head[1] != head[2] || names[head[2]] {
			t.Fatalf("no group, or one that is there already: %.80s", r)
		}
		names[head[2]] = true
		if !regexp.MustCompile(`\n    interval: 'PT(1|15)M'\n`).MatchString(r) { // one to fifteen minutes are taken
			t.Errorf("%s has no interval, or one that Azure Monitor refuses", head[2])
		}
		rules := rule.FindAllStringSubmatch(r, -1)
		if len(rules) == 0 || len(rules) > azureGroupRules {
			t.Errorf("%s has %d rules", head[2], len(rules))
		}
		for _, m := range rules {
			if got[m[2]] != "" {
				t.Errorf("%s is there twice", m[2])
			}
			details[m[2]], got[m[2]] = m[3], m[4]
		}
	}
	want := map[string]string{}
	for _, r := range Rules() {
		want[r.Record] = r.Expr
	}
	for _, a := range allAlerts() {
		want[a.Name] = a.Expr
		for _, part := range []string{
			"        severity: " + strconv.Itoa(azureSeverity[a.Severity]) + "\n", "          severity: '" + a.Severity + "'\n",
			"#" + strings.ToLower(a.Name) + "'\n", "        actions: actions\n",
		} {
			if !strings.Contains(details[a.Name], part) {
				t.Errorf("%s has no %q", a.Name, strings.TrimSpace(part))
			}
		}
	}
	for name, expr := range want {
		if got[name] != expr {
			t.Errorf("%s: got %q, want %q", name, got[name], expr)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rules, want %d", len(got), len(want))
	}
}

// TestAzureGroups: as many rules as may come, no group has more than it may.
func TestAzureGroups(t *testing.T) {
	group := promGroup{Name: "many"}
	for i := range 45 {
		group.Rules = append(group.Rules, promRule{Record: "r" + strconv.Itoa(i), Expr: "1"})
	}
	var b strings.Builder
	if err := azureGroups(&b, group); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^resource ([a-z0-9_]+) `).FindAllStringSubmatch(b.String(), -1) {
		got = append(got, m[1])
	}
	if want := []string{"many", "many_2", "many_3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBicepText(t *testing.T) {
	const text = "it's a \\ and ${a}, {{ $value }}\nnext"
	if got, want := bicepText(text), `'it\'s a \\ and \${a}, {{ $value }}\nnext'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestISODuration(t *testing.T) {
	for in, want := range map[string]string{"30s": "PT30S", "15m": "PT15M", "6h": "PT6H", "2d": "P2D", "": "", "1w": "", "15": ""} {
		got, err := isoDuration(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestAzureRefuses: what cannot be said in Azure Monitor is an error, not left out.
func TestAzureRefuses(t *testing.T) {
	texts := &annotations{"s", "d", RunbookURL + "#a"}
	for name, r := range map[string]promRule{
		"severity": {Alert: "A", Expr: "1", For: "5m", Labels: map[string]string{"severity": "page"}, Annotations: texts},
		"for":      {Alert: "A", Expr: "1", For: "soon", Labels: map[string]string{"severity": "info"}, Annotations: texts},
		"quotes":   {Record: "r", Expr: "vector(1) # '''"},
	} {
		var b strings.Builder
		if err := azureGroups(&b, promGroup{Name: "g", Rules: []promRule{r}}); err == nil {
			t.Errorf("%s: got\n%s", name, b.String())
		}
	}
	var b strings.Builder
	if err := azureGroups(&b, promGroup{Name: "g", Interval: "soon", Rules: []promRule{{Record: "r", Expr: "1"}}}); err == nil {
		t.Errorf("interval: got\n%s", b.String())
	}
}
