package dashboards

import "strings"

// reviewEvery is how often is recorded what panels look back on for days and
// weeks. At the usual 15 s between scrapes a week is 40,320 samples of each
// bucket, recorded 672: a panel of two hundred tenants answers within a second.
const reviewEvery = "15m"

// The histograms of what becomes of incidents, and by what they are split beside
// severity.
var histograms = []struct{ metric, by string }{
	{"incident_time_to_detect_seconds", ""},
	{"incident_time_to_first_touch_seconds", ""},
	{"incident_time_to_assign_seconds", ""},
	{"incident_time_in_work_seconds", ""},
	{"incident_time_to_resolve_seconds", ", classification"},
	{"incident_alerts", ""},
}

// The counters of what happens to incidents, and their labels.
var flows = []struct{ metric, by string }{
	{"incidents_created", "severity"},
	{"incidents_resolved", "severity, classification, handled"},
	{"incidents_reopened", "severity"},
	{"incidents_merged", "severity"},
	{"incidents_objective", "severity, objective, met"},
}

// reviewRules record the newest owner's histograms and counters, without the
// exporter's own labels: the series of a tenant go on when another exporter takes
// it.
func reviewRules() (rules []Rule) {
	for _, h := range histograms {
		const by = "tenant, severity"
		metric := "m365_defender_" + h.metric
		rules = append(rules,
			// Native histograms know no max. There is one newest owner.
			Rule{nativeRecord(h.metric), "sum by (" + by + ") (last_over_time(" + metric + gap + ") and on (tenant, instance) " + owner().Record + ")"},
			Rule{classicRecord(h.metric), "sum by (" + by + ", le) (" + newest(by+h.by+", le", metric+"_bucket") + ")"})
	}
	for _, f := range flows {
		rules = append(rules, Rule{flowRecord(f.metric), newest("tenant, "+f.by, "m365_defender_"+f.metric+"_total")})
	}
	return rules
}

// Recording is what a rule of the review makes of the samples of one exporter.
type Recording struct {
	// Record is the sum of Sample by the labels By.
	Record, Sample string
	By             []string
}

// Recordings are those that classic histograms and counters are recorded as, for
// whoever writes a past that no rule has seen.
func Recordings() (all []Recording) {
	for _, h := range histograms {
		all = append(all, Recording{classicRecord(h.metric), "m365_defender_" + h.metric + "_bucket", []string{"tenant", "severity", "le"}})
	}
	for _, f := range flows {
		all = append(all, Recording{flowRecord(f.metric), "m365_defender_" + f.metric + "_total", strings.Split("tenant, "+f.by, ", ")})
	}
	return all
}

func nativeRecord(metric string) string { return "tenant_severity:m365_defender_" + metric + ":newest" }
func classicRecord(metric string) string {
	return "tenant_severity_le:m365_defender_" + metric + "_bucket:newest"
}

func flowRecord(metric string) string {
	for _, f := range flows {
		if f.metric == metric {
			return "tenant_" + strings.ReplaceAll(f.by, ", ", "_") + ":m365_defender_" + metric + ":newest"
		}
	}
	panic("dashboards: " + metric + " is not recorded")
}

// ofTenants selects what is recorded: it has no instance.
func ofTenants(matchers string) string {
	if matchers != "" {
		matchers = ", " + matchers
	}
	return `{tenant=~"$tenant"` + matchers + "}"
}

// grown is what a recorded counter increased by within a time, which is a window
// in brackets and an offset if need be.
func grown(metric, matchers, within string) string {
	return "increase(" + flowRecord(metric) + ofTenants(matchers) + within + ")"
}

// quantileOf is a quantile of a recorded histogram by some labels, from native
// buckets if there are any, else from the classic ones. Of nothing there is none.
func quantileOf(of, metric, matchers, by, within string) string {
	each := func(record, by string) string {
		return "histogram_quantile(" + of + ", sum" + by + "(increase(" + record + ofTenants(matchers) + within + "))) >= 0"
	}
	native, classic := "", " by (le) "
	if by != "" {
		native, classic = " by ("+by+") ", " by ("+by+", le) "
	}
	return each(nativeRecord(metric), native) + " or " + each(classicRecord(metric), classic)
}

// countOf is how many times a recorded histogram got, by some labels.
func countOf(metric, matchers, by, within string) string {
	sum := func(record, matchers string) string {
		return "sum by (" + by + ") (increase(" + record + ofTenants(matchers) + within + "))"
	}
	all := `le="+Inf"`
	if matchers != "" {
		all += ", " + matchers
	}
	return "round(histogram_count(" + sum(nativeRecord(metric), matchers) + ") or " + sum(classicRecord(metric), all) + ")"
}
