package dashboards

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// RecordedEvery is how often is recorded what panels look back on for days and
// weeks. At the usual 15 s between scrapes a week is 40,320 samples of each
// bucket, recorded 672: a panel of two hundred tenants answers within a second.
const RecordedEvery = 15 * time.Minute

// reviewEvery is the same as Prometheus writes it.
var reviewEvery = model.Duration(RecordedEvery).String()

// The histograms and the counters of what becomes of incidents, and their labels.
var (
	histograms = []recorded{
		{"incident_time_to_detect_seconds", "severity"},
		{"incident_time_to_first_touch_seconds", "severity"},
		{"incident_time_to_assign_seconds", "severity"},
		{"incident_time_in_work_seconds", "severity"},
		{"incident_time_to_resolve_seconds", "severity, classification"},
		{"incident_alerts", "severity"},
	}
	flows = []recorded{
		{"incidents_created", "severity"},
		{"incidents_resolved", "severity, classification, handled"},
		{"incidents_reopened", "severity"},
		{"incidents_merged", "severity"},
		{"incidents_objective", "severity, objective, met"},
	}
)

type recorded struct{ metric, by string }

// as is what it is recorded as: a counter, or a native histogram.
func (r recorded) as() string {
	return "tenant_" + strings.ReplaceAll(r.by, ", ", "_") + ":m365_defender_" + r.metric + ":newest"
}

// bucket is a histogram's classic buckets.
func (r recorded) bucket() recorded { return recorded{r.metric + "_bucket", r.by + ", le"} }

// recordOf finds what is recorded of a metric.
func recordOf(metric string) recorded {
	all := slices.Concat(histograms, flows)
	return all[slices.IndexFunc(all, func(r recorded) bool { return r.metric == metric })]
}

// reviewRules record the newest owner's histograms and counters, without the
// exporter's own labels: the series of a tenant go on when another exporter takes
// it.
func reviewRules() (rules []Rule) {
	for _, h := range histograms {
		// Native histograms know no max. There is one newest owner.
		rules = append(rules, Rule{h.as(), "sum by (tenant, " + h.by + ") (last_over_time(m365_defender_" + h.metric + gap + ") and on (tenant, instance) " + owner().Record + ")"})
	}
	for _, r := range Recordings() {
		rules = append(rules, Rule{r.Record, newest(strings.Join(r.By, ", "), r.Sample)})
	}
	return rules
}

// Recording is what a rule of the review makes of the samples of one exporter: by
// these labels they are the same.
type Recording struct {
	Record, Sample string
	By             []string
}

// Recordings are those that classic histograms and counters are recorded as; for
// whoever writes a past that no rule has seen, too.
func Recordings() (all []Recording) {
	add := func(r recorded, sample string) {
		all = append(all, Recording{r.as(), "m365_defender_" + sample, strings.Split("tenant, "+r.by, ", ")})
	}
	for _, h := range histograms {
		add(h.bucket(), h.metric+"_bucket")
	}
	for _, f := range flows {
		add(f, f.metric+"_total")
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
