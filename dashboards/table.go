package dashboards

import "strings"

// column is one query of a table and how its values are shown.
type column struct {
	title, unit string
	query       Query
	steps       []Step
	words       []word
	none        string // what an empty cell says
	decimals    int    // of dtdurations: 1 adds the next smaller unit
	width       int    // in pixels; 0: a share of what is left
}

// table has a line for each combination of values of the keys, which are
// labels and their titles in turn, and a column for each query. Every query
// must be aggregated by just these labels.
func table(width int, title, description string, keys []string, columns ...column) *Panel {
	queries := make([]Query, len(columns))
	rename, order := map[string]any{}, map[string]any{}
	for i := 0; i < len(keys); i += 2 {
		rename[keys[i]], order[keys[i]] = keys[i+1], i/2
	}
	for i, c := range columns {
		queries[i] = c.query
		name := "Value #" + string(rune('A'+i))
		rename[name], order[name] = c.title, len(keys)+i
	}
	p := panel("table", width, title, "", description, queries...).instant("table")
	p.Options = map[string]any{"showHeader": true, "cellHeight": "sm", "footer": map[string]any{"show": false, "reducer": []string{"sum"}, "countRows": false, "fields": ""}}
	p.FieldConfig.Defaults.Custom = map[string]any{"align": "auto", "cellOptions": map[string]any{"type": "auto"}, "filterable": false, "minWidth": 80}
	p.Transformations = []any{
		map[string]any{"id": "merge", "options": map[string]any{}},
		map[string]any{"id": "organize", "options": map[string]any{
			"excludeByName": map[string]any{"Time": true}, "indexByName": order, "renameByName": rename,
		}},
	}
	for _, c := range columns {
		properties := []Property{{"unit", c.unit}}
		if len(c.steps) > 0 {
			properties = append(properties, Property{"thresholds", Thresholds{"absolute", c.steps}})
		}
		if len(c.words) > 0 {
			properties = append(properties, Property{"mappings", []any{words(c.words...)}})
		}
		if len(c.steps)+len(c.words) > 0 {
			properties = append(properties, Property{"custom.cellOptions", map[string]any{"type": "color-text"}})
		}
		if c.decimals > 0 {
			properties = append(properties, Property{"decimals", c.decimals})
		}
		if c.width > 0 {
			properties = append(properties, Property{"custom.width", c.width})
		}
		if c.none != "" {
			properties = append(properties, Property{"noValue", c.none})
		}
		p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{Matcher{"byName", c.title}, properties})
	}
	return p
}

// sortedBy sorts a table by columns, the most important first; a column's name
// that begins with - has the largest value on top.
func (p *Panel) sortedBy(columns ...string) *Panel {
	var all []any
	for _, c := range columns {
		name, desc := strings.CutPrefix(c, "-")
		all = append(all, map[string]any{"displayName": name, "desc": desc})
	}
	p.Options["sortBy"] = all
	return p
}

// drillDown makes the names in a column links to a dashboard of that tenant alone.
func (p *Panel) drillDown(column, uid string) *Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{Matcher{"byName", column}, []Property{{"links", []Link{{
		Title: "Only this tenant", URL: "/d/" + uid + "?var-datasource=${datasource}&var-tenant=${__value.text}&${__url_time_range}",
	}}}}})
	return p
}
