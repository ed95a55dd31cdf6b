package dashboards

import (
	"maps"
	"strconv"
	"strings"
)

// Colours by severity, the same everywhere.
var severityColors = []struct{ name, color string }{
	{"high", "red"}, {"medium", "orange"}, {"low", "yellow"}, {"informational", "blue"}, {"unknown", "text"},
}

// q is a query with the legend of its series.
func q(legend string, expr ...string) Query {
	return Query{Expr: strings.Join(expr, " "), Legend: legend}
}

// or says why a query may have no answer.
func (q Query) or(reason string) Query {
	q.Empty = reason
	return q
}

// panel makes one of any type; width is in columns of 24.
func panel(kind string, width int, title, unit, description string, queries ...Query) *Panel {
	p := &Panel{
		Type: kind, Title: title, Description: description, Datasource: datasource,
		GridPos:     GridPos{W: width},
		FieldConfig: &FieldConfig{Defaults: Defaults{Unit: unit, Mappings: []any{}}, Overrides: []Override{}},
	}
	for i, query := range queries {
		p.Targets = append(p.Targets, &Target{
			query: query, RefID: string(rune('A' + i)), Datasource: datasource, EditorMode: "code",
			Expr: query.Expr, LegendFormat: query.Legend, Format: "time_series", Range: true,
		})
	}
	return p
}

// severities asks once for each severity, the worst first: Grafana shows the
// series of one query in the order of their names.
func severities(expr func(severity string) string) []Query {
	var all []Query
	for _, s := range severityColors {
		all = append(all, q(s.name, expr(`severity="`+s.name+`"`)))
	}
	return all
}

// instant makes the queries ask for now only.
func (p *Panel) instant(format string) *Panel {
	for _, t := range p.Targets {
		t.Instant, t.Range, t.Format = true, false, format
	}
	return p
}

// lastValue is how panels that show one number reduce what they got.
var lastValue = map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}

// stat shows numbers as they are now.
func stat(width int, title, unit, description string, queries ...Query) *Panel {
	p := panel("stat", width, title, unit, description, queries...).instant("time_series")
	p.Options = map[string]any{
		"reduceOptions": lastValue, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
		"orientation": "auto", "textMode": "auto", "wideLayout": true,
	}
	p.missing()
	if len(queries) == 1 && queries[0].Legend == "" {
		p.Options["textMode"] = "value"
	}
	return p.steps("text")
}

// fewPoints is how many a panel over time asks for: of a day one each quarter of an
// hour. What Prometheus has to do grows with them.
const fewPoints = 100

// series shows how values went over time.
func series(width int, title, unit, description string, queries ...Query) *Panel {
	p := panel("timeseries", width, title, unit, description, queries...).atLeast(0)
	p.MaxDataPoints = fewPoints
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "palette-classic"}
	p.FieldConfig.Defaults.Custom = map[string]any{
		"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
		"stacking": map[string]any{"mode": "none", "group": "A"},
	}
	p.Options = map[string]any{
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// stacked puts the series on top of each other.
func (p *Panel) stacked() *Panel {
	maps.Copy(p.FieldConfig.Defaults.Custom, map[string]any{
		"fillOpacity": 70, "lineWidth": 0, "stacking": map[string]any{"mode": "normal", "group": "A"},
	})
	return p
}

// points asks for no more than so many, of what is made of many series.
func (p *Panel) points(n int) *Panel {
	p.MaxDataPoints = n
	return p
}

// every makes the points at least so far apart. The cost of a query grows with
// the number of points times the samples in its window.
func (p *Panel) every(interval string) *Panel {
	p.Interval = interval
	return p
}

// over shows another time than the dashboard's.
func (p *Panel) over(time string) *Panel {
	p.TimeFrom = time
	return p
}

// logarithmic is for values from seconds to weeks.
func (p *Panel) logarithmic() *Panel {
	p.FieldConfig.Defaults.Min = nil // there is no zero on such an axis
	maps.Copy(p.FieldConfig.Defaults.Custom, map[string]any{
		"scaleDistribution": map[string]any{"type": "log", "log": 10}, "fillOpacity": 0, "lineWidth": 2,
		"showPoints": "auto", // or the first point of a new Prometheus is no line yet
	})
	return p
}

// unfilled draws lines only, where they would lie on each other.
func (p *Panel) unfilled() *Panel {
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 0
	return p
}

// decimals of what is shown.
func (p *Panel) decimals(n int) *Panel {
	p.FieldConfig.Defaults.Decimals = &n
	return p
}

// bars draws one bar for each interval, which is at least as long as given. With few
// points it would be longer than the window of the query.
func (p *Panel) bars(interval string) *Panel {
	p.Interval, p.MaxDataPoints = interval, 0
	maps.Copy(p.FieldConfig.Defaults.Custom, map[string]any{"drawStyle": "bars", "fillOpacity": 60})
	return p
}

// perFiveMinutes draws the events in each five minutes, or in $__interval, as one bar,
// on an axis that ends at one as long as there are none.
func (p *Panel) perFiveMinutes() *Panel {
	return p.bars("5m").points(fewPoints).softMax().decimals(0)
}

// softMax is for what is mostly zero: without it the axis ends at 100.
func (p *Panel) softMax() *Panel {
	p.FieldConfig.Defaults.Custom["axisSoftMax"] = 1
	return p
}

// dashed draws the series whose names match as limits: one dashed line, nothing
// beneath it.
func (p *Panel) dashed(names, color string) *Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{Matcher{"byRegexp", names}, []Property{
		{"color", map[string]any{"mode": "fixed", "fixedColor": color}},
		{"custom.fillOpacity", 0},
		{"custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{10, 10}}},
	}})
	return p
}

// timeline shows how long each series was in which state.
func timeline(width int, title, description string, queries ...Query) *Panel {
	p := panel("state-timeline", width, title, "none", description, queries...)
	p.MaxDataPoints = fewPoints
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	p.FieldConfig.Defaults.Custom = map[string]any{"fillOpacity": 70, "lineWidth": 0}
	p.Options = map[string]any{
		"mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.9,
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": false},
		"tooltip": map[string]any{"mode": "single", "sort": "none"},
	}
	return p
}

// ranking compares values as they are now, the largest first.
func ranking(width int, title, unit, description string, queries ...Query) *Panel {
	p := panel("bargauge", width, title, unit, description, queries...).instant("time_series").atLeast(0)
	p.Options = map[string]any{
		"reduceOptions": lastValue, "displayMode": "basic", "orientation": "horizontal", "showUnfilled": true,
		"valueMode": "color", "namePlacement": "auto", "sizing": "auto", "minVizHeight": 16, "minVizWidth": 8,
		"text": map[string]any{"titleSize": 13, "valueSize": 15}, // or each panel has another size, as large as fits
	}
	p.missing()
	if unit == "none" {
		p.decimals(0)
	}
	return p.steps("blue")
}

// heat shows the distribution of a native histogram over time.
func heat(width int, title, description, interval string, query Query) *Panel {
	p := panel("heatmap", width, title, "", description, query)
	p.Targets[0].Format, p.Interval = "heatmap", interval
	p.Options = map[string]any{
		"calculate":    false,
		"yAxis":        map[string]any{"axisPlacement": "left", "unit": "s", "reverse": false},
		"color":        map[string]any{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": false},
		"cellGap":      1,
		"filterValues": map[string]any{"le": 1e-9},
		"legend":       map[string]any{"show": true},
		"tooltip":      map[string]any{"mode": "single", "yHistogram": true, "showColorScale": false},
		"rowsFrame":    map[string]any{"layout": "auto"},
		"exemplars":    map[string]any{"color": "rgba(255,0,255,0.7)"},
		"showValue":    "never",
	}
	return p
}

// from is a step of thresholds.
func from(value float64, color string) Step { return Step{color, &value} }

// steps colours values: a colour to begin with and those from a value on.
func (p *Panel) steps(base string, steps ...Step) *Panel {
	d := &p.FieldConfig.Defaults
	d.Color = map[string]any{"mode": "thresholds"}
	d.Thresholds = &Thresholds{"absolute", append([]Step{{Color: base}}, steps...)}
	return p
}

// limit draws a line at a value that matters to a panel over time.
func (p *Panel) limit(value float64) *Panel {
	p.FieldConfig.Defaults.Thresholds = &Thresholds{"absolute", []Step{{Color: "transparent"}, from(value, "red")}}
	p.FieldConfig.Defaults.Custom["thresholdsStyle"] = map[string]any{"mode": "dashed"}
	return p
}

func (p *Panel) atLeast(value float64) *Panel {
	p.FieldConfig.Defaults.Min = &value
	return p
}

// upToOne is for shares.
func (p *Panel) upToOne() *Panel {
	p.FieldConfig.Defaults.Max = new(1.0)
	return p
}

// none is what a panel over time shows if it has no line. Over time, "nothing
// happened" and "nothing is known" look the same; the text names both.
func (p *Panel) none(text string) *Panel {
	p.FieldConfig.Defaults.NoValue = text + ", or no data"
	return p
}

// missing makes "no data" look like nothing else. Without the mapping, Grafana
// gives it the colour of the lowest values, which is green where few are good,
// and red where few are bad.
func (p *Panel) missing() {
	p.FieldConfig.Defaults.NoValue = noData
	p.FieldConfig.Defaults.Mappings = []any{map[string]any{"type": "special", "options": map[string]any{
		"match": "null", "result": map[string]any{"text": noData, "color": "purple", "index": 0},
	}}}
}

const noData = "no data"

// word is how one value is shown: no age and no count is below zero, so -1 is
// free to stand for what has none.
type word struct {
	value       int
	text, color string
}

// words shows values as words.
func words(words ...word) map[string]any {
	options := map[string]any{}
	for i, w := range words {
		options[strconv.Itoa(w.value)] = map[string]any{"text": w.text, "color": w.color, "index": i + 1}
	}
	return map[string]any{"type": "value", "options": options}
}

func (p *Panel) words(all ...word) *Panel {
	p.FieldConfig.Defaults.Mappings = append(p.FieldConfig.Defaults.Mappings, words(all...))
	return p
}

// bySeverity colours the series by the severity that they are named after.
func (p *Panel) bySeverity() *Panel {
	for _, s := range severityColors {
		p.color(s.name, s.color)
	}
	return p
}

// color gives one series a fixed colour, and other properties.
func (p *Panel) color(name, color string, more ...Property) *Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{
		Matcher{"byName", name}, append([]Property{{"color", map[string]any{"mode": "fixed", "fixedColor": color}}}, more...),
	})
	return p
}

// spaced writes the names of series, which are values of labels, with spaces.
func (p *Panel) spaced() *Panel {
	p.Transformations = append(p.Transformations, map[string]any{"id": "renameByRegex", "options": map[string]any{"regex": "/_/g", "renamePattern": " "}})
	return p
}

// alertList lists what fires and what is about to, whoever evaluates the alerts:
// Grafana itself, or Prometheus where the data source shows its rules. It cannot be
// narrowed down to tenants: alerts of an exporter have none.
func alertList() *Panel {
	return &Panel{
		Type: "alertlist", Title: "Alerts", FieldConfig: &FieldConfig{Defaults: Defaults{Mappings: []any{}}, Overrides: []Override{}},
		Description: "Alerts of this exporter that fire or are pending, of all tenants, the most severe state first. Grafana's own, and those of alerts.yaml where \"Manage alerts via Alerting UI\" is on in the data source; an empty list says nothing where neither is so.",
		Options: map[string]any{
			"viewMode": "list", "groupMode": "default", "groupBy": []string{}, "maxItems": 20, "sortOrder": 3, "dashboardAlerts": false,
			"alertName": "Defender", "alertInstanceLabelFilter": "", "showInactiveAlerts": false,
			"stateFilter": map[string]any{"firing": true, "pending": true, "noData": false, "normal": false, "error": true},
		},
	}
}

// named shows the name of a stat's only value too.
func (p *Panel) named() *Panel {
	p.Options["textMode"] = "value_and_name"
	return p
}

// dashboard links to another dashboard, with tenant, instance and time as they
// are here.
func (p *Panel) dashboard(title, uid string) *Panel {
	p.Links = append(p.Links, Link{Title: title, URL: "/d/" + uid + "?${__all_variables}&${__url_time_range}"})
	return p
}

// runbook links to the section of an alert.
func (p *Panel) runbook(alert string) *Panel {
	p.Links = append(p.Links, Link{Title: "Runbook: " + alert, URL: runbook(alert), TargetBlank: true})
	return p
}

func runbook(alert string) string { return RunbookURL + "#" + strings.ToLower(alert) }
