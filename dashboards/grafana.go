package dashboards

import "slices"

// The types are ours: github.com/grafana/grafana-foundation-sdk/go has one tagged
// version, v0.0.22, of schema 42 alone. With it this package had 96 lines less of
// 709, and the two dashboards 423 other values of 4,390: annotations.list and
// empty mappings cannot be written, fields that Grafana 9.4 and 11.0 do not have
// cannot be left out.

// schemaVersion of the dashboards: Grafana 11.0. Newer ones migrate it on load.
const schemaVersion = 39

// The parts of Grafana's dashboard model that are used here.
type (
	// Dashboard is one dashboard.
	Dashboard struct {
		name string

		Inputs   []any         `json:"__inputs"`
		Requires []requirement `json:"__requires"`

		UID           string           `json:"uid"`
		Title         string           `json:"title"`
		Description   string           `json:"description"`
		Tags          []string         `json:"tags"`
		Timezone      string           `json:"timezone"`
		Editable      bool             `json:"editable"`
		GraphTooltip  int              `json:"graphTooltip"`
		Refresh       string           `json:"refresh"`
		Time          TimeRange        `json:"time"`
		SchemaVersion int              `json:"schemaVersion"`
		Version       int              `json:"version"`
		Annotations   List[Annotation] `json:"annotations"`
		Links         []Link           `json:"links"`
		Templating    List[Var]        `json:"templating"`
		Panels        []*Panel         `json:"panels"`
		ID            *int             `json:"id"`
		FiscalYear    int              `json:"fiscalYearStartMonth"`
		Timepicker    struct{}         `json:"timepicker"`
		WeekStart     string           `json:"weekStart"`
	}
	// requirement is what an import asks for first.
	requirement struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	// Annotation marks instants, or times, in all panels.
	Annotation struct {
		BuiltIn     int         `json:"builtIn,omitempty"`
		Datasource  *Datasource `json:"datasource"`
		Enable      bool        `json:"enable"`
		Hide        bool        `json:"hide"`
		Expr        string      `json:"expr,omitempty"`
		IconColor   string      `json:"iconColor"`
		Name        string      `json:"name"`
		Step        string      `json:"step,omitempty"`
		TitleFormat string      `json:"titleFormat,omitempty"`
		TextFormat  string      `json:"textFormat,omitempty"`
		Type        string      `json:"type,omitempty"`
	}
	// List is Grafana's wrapping of a list.
	List[T any] struct {
		List []T `json:"list"`
	}
	// TimeRange is what is shown at first.
	TimeRange struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	// Link leads out of a dashboard or a panel.
	Link struct {
		Title       string   `json:"title"`
		URL         string   `json:"url,omitempty"`
		Type        string   `json:"type,omitempty"`
		Icon        string   `json:"icon,omitempty"`
		Tags        []string `json:"tags,omitempty"`
		AsDropdown  bool     `json:"asDropdown,omitempty"`
		IncludeVars bool     `json:"includeVars,omitempty"`
		KeepTime    bool     `json:"keepTime,omitempty"`
		TargetBlank bool     `json:"targetBlank"`
	}
	// Var is a variable at the top of a dashboard.
	Var struct {
		Name       string      `json:"name"`
		Label      string      `json:"label"`
		Type       string      `json:"type"`
		Query      any         `json:"query"`
		Datasource *Datasource `json:"datasource,omitempty"`
		Definition string      `json:"definition,omitempty"`
		Multi      bool        `json:"multi"`
		IncludeAll bool        `json:"includeAll"`
		AllValue   string      `json:"allValue,omitempty"`
		Current    any         `json:"current"`
		Refresh    int         `json:"refresh"`
		Sort       int         `json:"sort,omitempty"`
		Regex      string      `json:"regex"`
		Hide       int         `json:"hide"`
		Options    []any       `json:"options"`
	}
	// Datasource is what a query is sent to.
	Datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	// Panel is one picture.
	Panel struct {
		ID              int            `json:"id"`
		Type            string         `json:"type"`
		Title           string         `json:"title"`
		Description     string         `json:"description,omitempty"`
		GridPos         GridPos        `json:"gridPos"`
		Datasource      *Datasource    `json:"datasource,omitempty"`
		Interval        string         `json:"interval,omitempty"`
		MaxDataPoints   int            `json:"maxDataPoints,omitempty"`
		TimeFrom        string         `json:"timeFrom,omitempty"`
		Targets         []*Target      `json:"targets,omitempty"`
		FieldConfig     *FieldConfig   `json:"fieldConfig,omitempty"`
		Options         map[string]any `json:"options,omitempty"`
		Transformations []any          `json:"transformations,omitempty"`
		Links           []Link         `json:"links,omitempty"`
		Collapsed       *bool          `json:"collapsed,omitempty"`
		Panels          []*Panel       `json:"panels,omitempty"`
	}
	// GridPos is a place on a grid 24 columns wide.
	GridPos struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	// Target is one query of a panel.
	Target struct {
		query Query

		RefID        string      `json:"refId"`
		Datasource   *Datasource `json:"datasource"`
		EditorMode   string      `json:"editorMode"`
		Expr         string      `json:"expr"`
		LegendFormat string      `json:"legendFormat"`
		Format       string      `json:"format"`
		Instant      bool        `json:"instant"`
		Range        bool        `json:"range"`
	}
	// FieldConfig is how values are drawn.
	FieldConfig struct {
		Defaults  Defaults   `json:"defaults"`
		Overrides []Override `json:"overrides"`
	}
	// Defaults apply to every value.
	Defaults struct {
		Unit       string         `json:"unit,omitempty"`
		Decimals   *int           `json:"decimals,omitempty"`
		Min        *float64       `json:"min,omitempty"`
		Max        *float64       `json:"max,omitempty"`
		NoValue    string         `json:"noValue,omitempty"`
		Color      map[string]any `json:"color,omitempty"`
		Thresholds *Thresholds    `json:"thresholds,omitempty"`
		Mappings   []any          `json:"mappings"`
		Custom     map[string]any `json:"custom,omitempty"`
	}
	// Thresholds colour a value.
	Thresholds struct {
		Mode  string `json:"mode"`
		Steps []Step `json:"steps"`
	}
	// Step is a colour from a value on; the first has none.
	Step struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"`
	}
	// Override applies to the values whose name matches.
	Override struct {
		Matcher    Matcher    `json:"matcher"`
		Properties []Property `json:"properties"`
	}
	// Matcher selects values.
	Matcher struct {
		ID      string `json:"id"`
		Options string `json:"options"`
	}
	// Property is a setting of the values selected.
	Property struct {
		ID    string `json:"id"`
		Value any    `json:"value"`
	}
)

var datasource = &Datasource{Type: "prometheus", UID: "${datasource}"}

// panelNames are what Grafana calls the types of panels that are used.
var panelNames = map[string]string{
	"alertlist": "Alert list", "bargauge": "Bar gauge", "heatmap": "Heatmap", "stat": "Stat", "state-timeline": "State timeline", "table": "Table", "timeseries": "Time series",
}

// labelValues is a variable of which all values are chosen at first.
func labelValues(name, label, query string) Var {
	return Var{
		Name: name, Label: label, Type: "query", Datasource: datasource, Definition: query,
		Query: map[string]any{"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1},
		Multi: true, IncludeAll: true, AllValue: ".*", Refresh: 2, Sort: 1, Options: []any{},
		Current: map[string]any{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
	}
}

func severityVariable() Var {
	return labelValues("severity", "Severity", `label_values(m365_defender_incidents{tenant=~"$tenant"}, severity)`)
}

// newDashboard returns a dashboard with the variables that all have.
func newDashboard(name, uid, title, description string) *Dashboard {
	preset := map[string]any{"selected": true, "text": "default", "value": "default"}
	return &Dashboard{
		name: name, UID: uid, Title: title, Description: description,
		Tags: []string{"m365-defender", "security"}, Timezone: "browser", Editable: true, GraphTooltip: 1,
		Refresh: "1m", Time: TimeRange{"now-24h", "now"}, SchemaVersion: schemaVersion, Version: 1,
		Inputs: []any{}, Requires: []requirement{
			{"grafana", "grafana", "Grafana", "9.4.0"},
			{"datasource", "prometheus", "Prometheus", "1.0.0"},
		},
		Annotations: List[Annotation]{marks()},
		Links: []Link{
			{Title: "Incidents in the portal", Type: "link", Icon: "external link", URL: "https://security.microsoft.com/incidents", TargetBlank: true},
			{Title: "M365 Defender", Type: "dashboards", Tags: []string{"m365-defender"}, IncludeVars: true, KeepTime: true},
			{Title: "Runbook", Type: "link", Icon: "doc", URL: RunbookURL, TargetBlank: true},
		},
		Templating: List[Var]{[]Var{
			{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Refresh: 1, Current: preset, Options: []any{}},
			labelValues("tenant", "Tenant", "label_values(m365_defender_up, tenant)"),
			labelValues("instance", "Instance", `label_values(m365_defender_up{tenant=~"$tenant"}, instance)`),
		}},
	}
}

// marks are what explains a step in any panel.
func marks() []Annotation {
	mark := func(name, color, expr, title, text string) Annotation {
		return Annotation{Datasource: datasource, Enable: true, Name: name, IconColor: color, Step: "60s", Expr: expr, TitleFormat: title, TextFormat: text}
	}
	firing := mark("Alerts firing", "red", `ALERTS{alertname=~"Defender.+", alertstate="firing", tenant=~"$tenant|"}`, "{{alertname}}", "{{tenant}} {{instance}}")
	firing.Enable = false // where much is wrong it hides what is drawn; see alertList
	return []Annotation{
		{BuiltIn: 1, Datasource: &Datasource{"grafana", "-- Grafana --"}, Enable: true, Hide: true, IconColor: "rgba(0, 211, 255, 1)", Name: "Annotations & Alerts", Type: "dashboard"},
		mark("Exporter started", "blue", `m365_defender_exporter_build_info{instance=~"$instance"} and on (job, instance) clamp_min(time() - process_start_time_seconds, 0) < 60`,
			"Exporter started", "{{instance}} {{version}}"),
		mark("First sync complete", "green", `changes(m365_defender_first_sync_complete{`+selected+`, stage="all"}[2m]) > 0 and m365_defender_first_sync_complete{`+selected+`, stage="all"} == 1`,
			"First sync complete", "{{tenant}}"),
		mark("Configuration loaded", "purple", `changes(m365_defender_config_last_reload_success_timestamp_seconds{instance=~"$instance"}[2m]) > 0`, "Configuration loaded", "{{instance}}"),
		firing,
	}
}

// row adds a headline and a line of panels of one height beneath it; panels
// that do not fit go on in the next line.
func (d *Dashboard) row(title string, height int, panels ...*Panel) {
	y := 0
	if n := len(d.Panels); n > 0 {
		y = d.Panels[n-1].GridPos.Y + d.Panels[n-1].GridPos.H
	}
	open := false
	if title != "" {
		d.add(&Panel{Type: "row", Title: title, GridPos: GridPos{H: 1, W: 24, Y: y}, Collapsed: &open})
		y++
	}
	x := 0
	for _, p := range panels {
		if x+p.GridPos.W > 24 {
			x, y = 0, y+height
		}
		p.GridPos.X, p.GridPos.Y, p.GridPos.H = x, y, height
		x += p.GridPos.W
		d.add(p)
	}
}

func (d *Dashboard) add(p *Panel) {
	p.ID = len(d.Panels) + 1
	if r := (requirement{"panel", p.Type, panelNames[p.Type], ""}); p.Type != "row" && !slices.Contains(d.Requires, r) {
		d.Requires = append(d.Requires, r)
	}
	d.Panels = append(d.Panels, p)
}
