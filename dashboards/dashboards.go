// Package dashboards is what people look at and are paged by: three Grafana
// dashboards, recording rules and alerts. They are written down once, here, and
// rendered into the files beside this one, which are what users install. A test
// says when those are not fresh; go test ./dashboards -update writes them.
package dashboards

import (
	"bytes"
	"encoding/json"
)

// RunbookURL is where docs/runbook.md is published: a placeholder, to be
// replaced with the address at which your on-call can read it. A section's
// anchor is appended.
const RunbookURL = "https://runbooks.example.com/m365-defender-exporter/runbook.md"

// DatasourceUID is the UID of the Prometheus data source that the Grafana
// alerts ask: a placeholder, to be replaced with the UID of yours.
const DatasourceUID = "prometheus"

// Query is one question to Prometheus.
type Query struct {
	Expr string
	// Legend names its series, in Grafana's or Prometheus's way.
	Legend string
	// Empty is why the answer may have no data although nothing is wrong with
	// the query, when a healthy demo is asked. Usually it is empty itself: data
	// is expected.
	Empty string
	// Range is set if a panel asks for values over time.
	Range bool
}

// File is one generated file.
type File struct {
	Name    string
	Content []byte
}

// Dashboards lists them.
func Dashboards() []*Dashboard { return []*Dashboard{Incidents(), Review(), Exporter()} }

// Files renders everything that is generated.
func Files() ([]File, error) {
	var files []File
	for _, d := range Dashboards() {
		content, err := encode(d)
		if err != nil {
			return nil, err
		}
		files = append(files, File{d.name + ".json", content})
	}
	rules := []struct {
		name   string
		render func() ([]byte, error)
	}{
		{"rules.yaml", renderRules},
		{"alerts.yaml", renderAlerts},
		{"grafana-alerting.yaml", renderGrafana},
		{"azure-rules.bicep", renderAzure},
	}
	for _, r := range rules {
		content, err := r.render()
		if err != nil {
			return nil, err
		}
		files = append(files, File{r.name, content})
	}
	return files, nil
}

// Place is where queries are asked: a panel, a rule or an alert.
type Place struct {
	File, Name string
	Queries    []Query
}

// Places lists everything that asks Prometheus.
func Places() []Place {
	var all []Place
	for _, d := range Dashboards() {
		for _, p := range d.Panels {
			place := Place{File: d.name + ".json", Name: p.Title}
			for _, t := range p.Targets {
				query := t.query
				query.Range = t.Range
				place.Queries = append(place.Queries, query)
			}
			all = append(all, place)
		}
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				all = append(all, Place{d.name + ".json", a.Name, []Query{{Expr: a.Expr, Empty: "nothing of this may have happened", Range: true}}})
			}
		}
	}
	for _, g := range RuleGroups() {
		for _, r := range g.Rules {
			all = append(all, Place{"rules.yaml", r.Record, []Query{{Expr: r.Expr, Empty: g.empty}}})
		}
	}
	for _, g := range Alerts() {
		for _, a := range g.Alerts {
			all = append(all,
				Place{"alerts.yaml", a.Name, []Query{{Expr: a.Expr, Empty: a.Silent}}},
				Place{"grafana-alerting.yaml", a.Name, []Query{{Expr: inline(a.Expr), Empty: a.Silent}}})
		}
	}
	return all
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
