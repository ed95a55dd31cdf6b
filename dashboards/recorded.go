package dashboards

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// How often is recorded what panels ask.
const (
	// reviewEvery is for the counters that panels look back on for days and weeks. At
	// the usual 15 s between scrapes a week is 40,320 samples of each, recorded 672.
	reviewEvery = 15 * time.Minute
	// timesEvery is for the histograms, which have many more series: a week is 168
	// samples of each bucket, or a table of two hundred tenants would take seconds.
	timesEvery = time.Hour
	// panelsEvery is for the counts that panels draw over hours.
	panelsEvery = time.Minute
)

// every writes an interval as Prometheus does.
func every(d time.Duration) string { return model.Duration(d).String() }

// The histograms and the counters of what becomes of incidents, what is recorded of
// them and by which labels: no more than panels ask for, since a week of each series
// is read at once.
var (
	histograms = []recorded{
		{metric: "incident_time_to_detect_seconds", by: "severity"},
		{metric: "incident_time_to_first_touch_seconds", by: "severity"},
		{metric: "incident_time_to_assign_seconds", by: "severity"},
		{metric: "incident_time_in_work_seconds", by: "severity"},
		{metric: "incident_time_to_resolve_seconds", by: "severity", dropped: "classification"},
		{metric: truePositives, by: "severity", dropped: "classification", of: "incident_time_to_resolve_seconds", only: []Match{{"classification", "true_positive", false}}},
		{metric: "incident_alerts", by: "severity"},
	}
	flows = []recorded{
		{metric: "incidents_created", dropped: "severity"},
		{metric: "incidents_resolved", by: "handled", dropped: "severity, classification"},
		{metric: "incidents_reopened", dropped: "severity"},
		{metric: "incidents_merged", dropped: "severity"},
		{metric: "incidents_reassigned", dropped: "severity"},
		{metric: "incidents_objective", by: "severity, objective, met"},
	}
)

// truePositives is what the time to resolve those is recorded as.
const truePositives = "incident_time_to_resolve_true_positives_seconds"

// recorded is what is recorded of a metric: the values of the newest owner, without
// the exporter's own labels, so that the series of a tenant go on when another
// exporter takes it.
type recorded struct {
	metric      string
	by, dropped string // labels that stay, and that are added up
	of          string // the metric that it is made of, if that has another name
	only        []Match
}

// as is what it is recorded as: a counter, or a native histogram.
func (r recorded) as() string {
	return strings.ReplaceAll(join("tenant", r.by), ", ", "_") + ":m365_defender_" + r.metric + ":newest"
}

// join lists labels.
func join(labels ...string) string {
	return strings.Join(slices.DeleteFunc(labels, func(label string) bool { return label == "" }), ", ")
}

// bucket is a histogram's classic buckets.
func (r recorded) bucket() recorded {
	r.of = cmp.Or(r.of, r.metric) + "_bucket"
	r.metric, r.by = r.metric+"_bucket", join(r.by, "le")
	return r
}

// recordOf finds what is recorded of a metric.
func recordOf(metric string) recorded {
	all := slices.Concat(histograms, flows)
	return all[slices.IndexFunc(all, func(r recorded) bool { return r.metric == metric })]
}

// timesRules record the histograms.
func timesRules() (rules []Rule) {
	for _, h := range histograms {
		// Native histograms know no max. There is one newest owner.
		rules = append(rules, Rule{h.as(), "sum by (tenant, " + h.by + ") (last_over_time(m365_defender_" + cmp.Or(h.of, h.metric) + selector(h.only) + gap + ") and on (tenant, instance) " + owner().Record + ")"})
	}
	for _, h := range histograms {
		rules = append(rules, h.classic().rule())
	}
	return rules
}

func (r recorded) classic() Recording {
	b := r.bucket()
	return recording(b.as(), b.of, b.only, b.by, b.dropped, timesEvery)
}

// reviewRules record the counters.
func reviewRules() (rules []Rule) {
	for _, f := range flows {
		rules = append(rules, f.flow().rule())
	}
	return rules
}

func (r recorded) flow() Recording {
	return recording(r.as(), r.metric+"_total", nil, r.by, r.dropped, reviewEvery)
}

// What panels draw over hours: with all labels, a line of two hundred tenants would
// be made of ten thousand series.
var (
	unresolved = []Match{{"status", "resolved", true}}
	unassigned = []Match{{"assigned", "false", false}, {"status", "resolved", true}}

	openIncidents       = eachMinute("tenant_severity:m365_defender_open_incidents:sum", "incidents", unresolved, "severity", "status, assigned")
	unassignedIncidents = eachMinute("tenant_severity:m365_defender_unassigned_incidents:sum", "incidents", unassigned, "severity", "status, assigned")
	openOlder           = eachMinute("tenant_severity_threshold:m365_defender_open_incidents_older:sum", "open_incidents_older", nil, "severity, threshold", "assigned")
	openByCategory      = eachMinute("tenant_category:m365_defender_open_incidents_by_category:sum", "open_incidents_by_category", nil, "category", "severity")
	resolvedIncidents   = eachMinute("tenant_classification:m365_defender_resolved_incidents:sum", "resolved_incidents", nil, "classification", "severity, determination")
	createdIncidents    = eachMinute("tenant_severity:m365_defender_incidents_created:newest", "incidents_created_total", nil, "severity", "")
	unresolvedAlerts    = eachMinute("tenant_service_source:m365_defender_unresolved_alerts:sum", "alerts", unresolved, "service_source", "severity, status")
)

func eachMinute(record, sample string, only []Match, by, dropped string) Recording {
	return recording(record, sample, only, by, dropped, panelsEvery)
}

// panelsRules record what no alert is built on; those of open incidents are among
// recordingRules.
func panelsRules() []Rule {
	return []Rule{openOlder.rule(), openByCategory.rule(), resolvedIncidents.rule(), createdIncidents.rule(), unresolvedAlerts.rule()}
}

// Recording is what a rule makes of the samples of the newest owner of a tenant: those
// that differ in other labels than By are added up.
type Recording struct {
	Record, Sample string
	Only           []Match
	By             []string
	Every          time.Duration

	dropped string
}

// Match is what a label has to be, or not to be.
type Match struct {
	Label, Value string
	Not          bool
}

func recording(record, sample string, only []Match, by, dropped string, every time.Duration) Recording {
	return Recording{record, "m365_defender_" + sample, only, strings.Split(join("tenant", by), ", "), every, dropped}
}

// selector writes what labels have to be.
func selector(only []Match) string {
	if len(only) == 0 {
		return ""
	}
	var all []string
	for _, m := range only {
		operator := "="
		if m.Not {
			operator = "!="
		}
		all = append(all, m.Label+operator+`"`+m.Value+`"`)
	}
	return "{" + strings.Join(all, ", ") + "}"
}

func (r Recording) rule() Rule {
	by, sample := strings.Join(r.By, ", "), r.Sample+selector(r.Only)
	if r.dropped == "" {
		return Rule{r.Record, newest(by, sample)}
	}
	return Rule{r.Record, "sum by (" + by + ") (" + newest(by+", "+r.dropped, sample) + ")"}
}

// of asks what is recorded of the chosen tenants.
func (r Recording) of(matchers string) string { return r.Record + ofTenants(matchers) }

// sum adds that up by some labels, of two Prometheus servers that recorded the same
// once.
func (r Recording) sum(by, matchers string) string {
	if by != "" {
		by = " by (" + by + ") "
	}
	return "sum" + by + "(max by (" + strings.Join(r.By, ", ") + ") (" + r.of(matchers) + "))"
}

// Recordings are those of classic histograms, counters and counts; for whoever
// writes a past that no rule has seen, too.
func Recordings() []Recording {
	all := []Recording{openIncidents, unassignedIncidents, openOlder, openByCategory, resolvedIncidents, createdIncidents, unresolvedAlerts}
	for _, h := range histograms {
		all = append(all, h.classic())
	}
	for _, f := range flows {
		all = append(all, f.flow())
	}
	return all
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
	return "increase(" + recordOf(metric).as() + ofTenants(matchers) + within + ")"
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
	return each(recordOf(metric).as(), native) + " or " + each(recordOf(metric).bucket().as(), classic)
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
	return "round(histogram_count(" + sum(recordOf(metric).as(), matchers) + ") or " + sum(recordOf(metric).bucket().as(), all) + ")"
}
