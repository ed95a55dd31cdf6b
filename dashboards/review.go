package dashboards

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// What panels over recorded series need, by how often those are recorded.
var (
	recordedHint = asked(reviewEvery, "for half an hour")
	timesHint    = asked(timesEvery, "for two hours")
	minuteHint   = asked(panelsEvery, "for a minute")
)

func asked(interval time.Duration, nothing string) string {
	return " Asked of rules.yaml, which records every " + every(interval) + ": a new Prometheus has nothing to show " + nothing + ". Two exporters of one tenant count once: the newest owner's."
}

// noRules is why a panel of what is recorded every minute may have no line.
const noRules = "rules.yaml is not loaded"

// Review is the dashboard for the weekly review of a security operations centre.
func Review() *Dashboard {
	d := newDashboard("review", reviewUID, "M365 Defender / SOC review",
		"How fast incidents are seen to, how many of the objectives are met, what the verdicts say of the detections, and whether work keeps pace: the last week against the one before. docs/numbers.md says what each number means, and why Sentinel and the portal show another.")
	d.Time = TimeRange{"now-14d", "now"}
	d.Refresh = "15m"
	d.reviewTimes()
	d.reviewObjectives()
	d.reviewQuality()
	d.reviewFlow()
	d.reviewRequested()
	d.reviewLoad()
	return d
}

const (
	week       = "[7d]"
	weekBefore = "[7d] offset 7d"
)

// rank is the column that sorts severities: by name high would come before
// informational, and that before low. It has a line for each, whatever the others
// have.
func rank() column {
	var ranks []string
	for i, s := range severityColors {
		ranks = append(ranks, strconv.Itoa(i+1)+" + 0 * max by (severity) ("+openIncidents.of(`severity="`+s.name+`"`)+")")
	}
	return column{title: "#", unit: "none", width: 40, query: q("", strings.Join(ranks, " or "))}
}

func (d *Dashboard) reviewTimes() {
	median := func(title, metric, what string) *Panel {
		return stat(6, title, "s", "Half of the incidents of high severity "+what+" within this time: in the last 7 days, and in the 7 days before."+timesHint,
			q("last 7 days", quantileOf("0.5", metric, `severity="high"`, "", week)).or("the demo may have done nothing of this yet"),
			q("7 days before", quantileOf("0.5", metric, `severity="high"`, "", weekBefore)).or("the demo is younger than a week"),
		).color("7 days before", "text")
	}
	d.row("Median times, high severity", 4,
		median("To first touch", "incident_time_to_first_touch_seconds", "were dealt with for the first time, by a person or a rule,"),
		median("To assign", "incident_time_to_assign_seconds", "got an owner"),
		median("In work", "incident_time_in_work_seconds", "were resolved, from their first owner on,"),
		median("To resolve", "incident_time_to_resolve_seconds", "were resolved, from their creation on,"),
	)
	const few, young = "the demo may have done nothing of this yet", "the demo is younger than a week"
	p := func(title, of, metric, within, reason string) column {
		return column{title: title, unit: "s", query: q("", quantileOf(of, metric, "", "severity", within)).or(reason), none: "-"}
	}
	// One table of all would be asked for seconds: each column reads a week.
	times := func(width int, title, metric, description string, more ...column) *Panel {
		n := column{title: "n", unit: "none", width: 70, query: q("", countOf(metric, "", "severity", week)).or("the demo may have recorded nothing yet"), none: "-"}
		columns := []column{rank(), n, p("p50", "0.5", metric, week, few), p("p90", "0.9", metric, week, few)}
		return table(width, title, description+" By severity: how many (n), the median (p50) and the 90th percentile (p90) of the last 7 days, and the median of the 7 days before. A quantile of few says little: docs/numbers.md."+timesHint,
			[]string{"severity", "Severity"}, slices.Concat(columns, more)...).sortedBy("#")
	}
	before := func(metric string) column { return p("p50 before", "0.5", metric, weekBefore, young) }
	d.row("Times by severity, last 7 days", 7,
		times(8, "Time to detect", "incident_time_to_detect_seconds", "From the first activity of the alerts to the incident."),
		times(8, "Time to first touch", "incident_time_to_first_touch_seconds", "From creation until it left the status active, or got an owner, a comment, a tag or a classification.",
			before("incident_time_to_first_touch_seconds")),
		times(8, "Time to assign", "incident_time_to_assign_seconds", "From creation until its first owner.", before("incident_time_to_assign_seconds")),
		times(10, "Time in work", "incident_time_in_work_seconds", "From the first owner to resolved. A merged incident is not resolved.", before("incident_time_in_work_seconds")),
		times(14, "Time to resolve", "incident_time_to_resolve_seconds", "From creation to resolved, of true positives alone too, because false positives are often closed in bulk. A merged incident is not resolved.",
			p("p50, true positives", "0.5", truePositives, week, few), before("incident_time_to_resolve_seconds")),
	)
}

// attained is the share of the objectives that was met within a time.
func attained(matchers, by, within string) string {
	met := `met="true"`
	if matchers != "" {
		met += ", " + matchers
	}
	return "sum by (" + by + ") (" + grown("incidents_objective", met, within) + ") / sum by (" + by + ") (" + grown("incidents_objective", matchers, within) + ") >= 0"
}

func (d *Dashboard) reviewObjectives() {
	const none = "nothing with an objective may have happened yet"
	by := "severity, objective"
	steps := []Step{{Color: "red"}, from(0.8, "orange"), from(0.9, "green")}
	d.row("Objectives", 8,
		table(14, "Objectives last 7 days", "For each objective (--incidents.objective): its bound, how many were due (n), the share that met it, and the share of the 7 days before. Counted exactly, when an incident is assigned or touched for the first time, and each time it is resolved; one that is still waiting is not counted yet. See docs/numbers.md."+recordedHint,
			[]string{"severity", "Severity", "objective", "Objective"},
			column{title: "Bound", unit: "dtdurations", query: q("", "max by ("+by+") (m365_defender_incident_objective_seconds{"+selected+"})")},
			column{title: "n", unit: "none", width: 80, query: q("", "round(sum by ("+by+") ("+grown("incidents_objective", "", week)+"))").or(none), none: "-"},
			column{title: "Met", unit: "percentunit", decimals: 1, query: q("", attained("", by, week)).or(none), steps: steps, none: "none due"},
			column{title: "Met, week before", unit: "percentunit", decimals: 1, query: q("", attained("", by, weekBefore)).or("the demo is younger than a week"), none: "none due"},
		).sortedBy("Severity", "Objective"),
		series(10, "Objectives met, high severity", "percentunit", "Share of the objectives for incidents of high severity that was met in the 7 days before each point. The line is at nine of ten."+recordedHint,
			q("{{objective}}", attained(`severity="high"`, "objective", week)).or(none)).
			every("1h").unfilled().upToOne().limit(0.9).none("none due").runbook("DefenderAssignObjectiveSlowBurn"),
	)
}

func (d *Dashboard) reviewQuality() {
	closed := count("resolved_incidents_by_detection_source", "", "detection_source, classification")
	share := func(classification string) string {
		return "sum by (detection_source) (" + count("resolved_incidents_by_detection_source", `classification="`+classification+`"`, "detection_source, classification") +
			") / (sum by (detection_source) (" + closed + ") > 0)"
	}
	verdict := func(name, classification string) Query {
		return q(name, resolvedIncidents.sum("", `classification="`+classification+`"`)+" / ("+resolvedIncidents.sum("", "")+" > 0)")
	}
	d.row("Verdicts", 9,
		table(14, "False positives, by detection source", "Resolved incidents within the exporter's look-back (180 days by default) by what detected them, the most frequent first. An incident counts once for each of its sources. "+
			"The share of false positives says little where many have no verdict: compare it with the share without one. Verdicts are often set after resolving; these are as they are now. See docs/numbers.md."+once,
			[]string{"detection_source", "Detection source"},
			column{title: "Resolved", unit: "none", width: 100, query: q("", "sum by (detection_source) ("+closed+") > 0")},
			column{title: "False positive", unit: "percentunit", decimals: 1, query: q("", share("false_positive")), steps: []Step{{Color: "text"}, from(0.5, "orange")}},
			column{title: "Expected activity", unit: "percentunit", decimals: 1, query: q("", share("informational_expected_activity"))},
			column{title: "True positive", unit: "percentunit", decimals: 1, query: q("", share("true_positive"))},
			column{title: "No verdict", unit: "percentunit", decimals: 1, query: q("", share("unknown")), steps: []Step{{Color: "text"}, from(0.25, "orange")}},
		).sortedBy("-Resolved").runbook("DefenderUnclassifiedShareHigh"),
		series(10, "Verdicts of all that is resolved", "percentunit", "Resolved incidents within the exporter's look-back, by classification, as shares."+minuteHint,
			verdict("true positive", "true_positive"), verdict("expected activity", "informational_expected_activity"),
			verdict("false positive", "false_positive"), verdict("no verdict", "unknown"),
		).stacked().every("1h").points(50).upToOne().none(noRules).byVerdict(),
	)
}

// byVerdict colours the series by the verdict that they are named after; none is no
// verdict.
func (p *Panel) byVerdict() *Panel {
	return p.color("true positive", "red").color("expected activity", "blue").color("false positive", "orange").color("no verdict", "text")
}

// createdAndResolved shows whether work keeps pace, over so long a time whatever
// the dashboard's is. A bar stands at the beginning of its day: it looks ahead, so
// that today's is there and none is drawn a day late.
func createdAndResolved(width int, over string) *Panel {
	perDay := func(metric string) string { return "sum(" + grown(metric, "", "[1d] offset -1d") + ")" }
	p := series(width, "Created and resolved per day", "none", "Incidents that appeared, were resolved (downwards) and were opened again, by day (UTC), and net: created and opened again, less resolved. Net above zero for days: the backlog grows, unless much is merged, which net does not see."+recordedHint,
		q("created", "round("+perDay("incidents_created")+")"), q("resolved", "round("+perDay("incidents_resolved")+")"), q("reopened", "round("+perDay("incidents_reopened")+")"),
		q("net", "round("+perDay("incidents_created")+" + "+perDay("incidents_reopened")+" - "+perDay("incidents_resolved")+")"),
	).bars("1d").over(over).decimals(0).
		color("created", "orange").color("resolved", "green", Property{"custom.transform", "negative-Y"}).color("reopened", "purple").
		color("net", "text", Property{"custom.drawStyle", "line"}, Property{"custom.lineWidth", 2}, Property{"custom.fillOpacity", 0}).
		runbook("DefenderBacklogGrowing")
	p.FieldConfig.Defaults.Min = nil // resolved ones point down
	for _, t := range p.Targets {
		t.query.Empty = "the demo may have recorded nothing yet"
	}
	return p
}

func (d *Dashboard) reviewFlow() {
	// A difference of two recorded values is exact; increase would extrapolate.
	created := recordOf("incidents_created").as() + ofTenants("") + "[20m]"
	anHour := "sum(clamp_min(last_over_time(" + created + " offset -1h) - last_over_time(" + created + "), 0))"
	when := func(width int, title, unit, label, of string) *Panel {
		p := ranking(width, title, "none", "Incidents created in the last 4 weeks, by the "+unit+" (UTC) in which they appeared: whether the shifts fit."+recordedHint,
			q("{{"+label+"}}", `count_values("`+label+`", `+of+`) * on () group_left () `+anHour).or("the demo may have created nothing yet"))
		t := p.Targets[0]
		t.Instant, t.Range = false, true
		p.Options["reduceOptions"] = map[string]any{"calcs": []string{"sum"}, "fields": "", "values": false}
		p.MaxDataPoints = 1000
		return p.every("1h").over("28d")
	}
	handled := func(handled, within string) string {
		return "sum(" + grown("incidents_resolved", `handled="`+handled+`"`, within) + ") / sum(" + grown("incidents_resolved", "", within) + ") >= 0"
	}
	ofResolved := func(title, metric, what string) *Panel {
		share := func(within string) string {
			return "sum(" + grown(metric, "", within) + ") / sum(" + grown("incidents_resolved", "", within) + ") >= 0"
		}
		return stat(6, title, "percentunit", "Incidents "+what+" in the last 7 days, as a share of those that were resolved, and in the 7 days before."+recordedHint,
			q("last 7 days", share(week)).or("the demo may have resolved nothing yet"),
			q("7 days before", share(weekBefore)).or("the demo is younger than a week")).
			color("7 days before", "text").decimals(1)
	}
	older := func(threshold string) string {
		return openOlder.sum("", `threshold="`+threshold+`"`)
	}
	d.row("Flow", 9,
		createdAndResolved(14, "28d"),
		series(10, "Age of the backlog", "none", "Open incidents by the time since they were created."+thresholdHint+minuteHint,
			q("under 24 h", openIncidents.sum("", "")+" - "+older("24h")),
			q("1 to 3 days", older("24h")+" - "+older("72h")),
			q("3 to 7 days", older("72h")+" - "+older("168h")),
			q("7 to 30 days", older("168h")+" - "+older("720h")),
			q("over 30 days", older("720h")),
		).stacked().every("1h").points(50).none(noRules).color("under 24 h", "green").color("1 to 3 days", "yellow").color("3 to 7 days", "orange").color("7 to 30 days", "red").color("over 30 days", "#8f1d1d"),
	)
	d.row("", 11,
		when(6, "Created, by hour of the day", "hour", "hour", "hour()"),
		when(6, "Created, by day of the week", "day of the week, 0 is Sunday,", "weekday", "day_of_week()"),
		series(12, "Open, by category", "none", "Open incidents by the category (tactic) of their alerts, the ten most frequent at each point. An incident counts once for each of its categories."+minuteHint,
			q("{{category}}", "topk(10, "+openByCategory.sum("category", "")+" > 0)").or("alerts may not be delivered")).
			spaced().stacked().every("6h").none("none, or rules.yaml is not loaded"),
	)
	d.row("", 4,
		stat(6, "Resolved while assigned", "percentunit", "Share of the incidents resolved in the last 7 days that had an owner when they were resolved, and of the 7 days before. The others were closed by a rule, by automation, or by a person who did not take them: the API does not tell which."+recordedHint,
			q("last 7 days", handled("assigned", week)).or("the demo may have resolved nothing yet"),
			q("7 days before", handled("assigned", weekBefore)).or("the demo is younger than a week")).
			color("7 days before", "text").decimals(0),
		ofResolved("Opened again", "incidents_reopened", "that were opened again"),
		ofResolved("Merged", "incidents_merged", "that were merged into another, which is no resolution,"),
		stat(6, "Alerts per incident", "none", "Alerts of the incidents resolved in the last 7 days: of half of them at most so many, and of nine of ten. Few alerts each: the service finds little that belongs together."+timesHint,
			q("median", quantileOf("0.5", "incident_alerts", "", "", week)).or("alerts may not be delivered"),
			q("p90", quantileOf("0.9", "incident_alerts", "", "", week)).or("alerts may not be delivered")).decimals(0),
	)
}

// isOff is -1 where there are counts, but none of a metric that is off unless the
// operator asks for it, or none that a comparison holds of.
func isOff(metric, comparison string) string {
	return "0 * count(m365_defender_incidents_cached{" + selected + "}) - 1 unless count(m365_defender_" + metric + "{" + selected + "}" + comparison + ")"
}

// reviewRequested shows what is off unless the operator asks for it.
func (d *Dashboard) reviewRequested() {
	by := func(width int, title, flag, label, description string) *Panel {
		metric := "open_incidents_by_" + label
		return ranking(width, title, "none", description+" An incident counts once for each. The ten most frequent. Needs --incidents."+flag+"; see docs/privacy.md."+once,
			q("{{"+label+"}}", "topk(10, sum by ("+label+") ("+count(metric, "", "severity, "+label)+") > 0)").or("off unless the operator asks for it"),
			q("all", isOff(metric, " > 0"))).
			words(word{-1, "none, or off: --incidents." + flag, "text"})
	}
	closed := count("resolved_incidents_by_detector", "", "detector, classification")
	share := func(classification string) string {
		return "sum by (detector) (" + count("resolved_incidents_by_detector", `classification="`+classification+`"`, "detector, classification") +
			") / (sum by (detector) (" + closed + ") > 0)"
	}
	const off = "off unless the operator asks for it"
	d.row("Tags, device groups, techniques and detectors, where they are asked for", 8,
		by(5, "Open, by tag", "tags", "tag", "Open incidents by the tags that the setting lists."),
		by(5, "Open, by device group", "device-groups", "device_group", "Open incidents by the groups of the devices of their alerts."),
		by(5, "Open, by technique", "techniques", "technique", "Open incidents by the MITRE ATT&CK techniques of their alerts."),
		table(9, "False positives, by detector", "Resolved incidents within the look-back by the detector of their alerts, the most frequent first, and the share of false positives and of those without a verdict: what to tune next. Needs --incidents.detectors; see docs/privacy.md."+once,
			[]string{"detector", "Detector"},
			column{title: "Resolved", unit: "none", width: 90, query: q("", "sum by (detector) ("+closed+") > 0").or(off)},
			column{title: "False positive", unit: "percentunit", decimals: 0, width: 110, query: q("", share("false_positive")).or(off), steps: []Step{{Color: "text"}, from(0.5, "orange")}},
			column{title: "No verdict", unit: "percentunit", decimals: 0, width: 100, query: q("", share("unknown")).or(off)},
		).sortedBy("-Resolved").none("off: --incidents.detectors"),
	)
}

func (d *Dashboard) reviewLoad() {
	const flag = "--incidents.assignees"
	orOff := func(expr, metric string) Query { return q("", "("+expr+") or ("+isOff(metric, "")+")") }
	load := func(title, description, expr, metric string) *Panel {
		return stat(6, title, "none", description, orOff(expr, metric)).words(word{-1, "off: " + flag, "text"})
	}
	persons := "max by (tenant) (m365_defender_open_assignees{" + selected + "})"
	d.row("Load, where --incidents.assignees is set", 4,
		load("Persons with open incidents", "How many persons have open incidents. Needs --incidents.assignees=count; see docs/privacy.md."+once,
			"sum("+persons+")", "open_assignees"),
		load("Most open incidents of one person", "The largest number of open incidents that one person has. Far above the average: the load is uneven."+once,
			"max(m365_defender_busiest_assignee_open_incidents{"+selected+"})", "busiest_assignee_open_incidents"),
		load("Open incidents per person", "Assigned open incidents per person who has any."+once,
			"sum("+count("incidents", `assigned="true", `+isOpen, byAll)+") / sum("+persons+")", "open_assignees").decimals(1),
		load("Hand-overs", "Times an open incident went from one person to another, in the last 7 days. Many: work waits for others, or is escalated."+recordedHint,
			"round(sum("+grown("incidents_reassigned", "", week)+"))", "incidents_reassigned_total"),
	)
	d.row("", 7, ranking(24, "Open, by person", "none", "Open incidents by the person to whom they are assigned: a name, or what stands for one. Needs --incidents.assignees=hashed or names; see docs/privacy.md."+once,
		q("{{assignee}}", "topk(20, sum by (assignee) (max by (tenant, assignee) (m365_defender_open_incidents_by_assignee{"+selected+"})))").or("off unless the operator asks for it"),
		q("all", isOff("open_incidents_by_assignee", ""))).
		words(word{-1, "none, or off: " + flag + "=hashed or names", "text"}))
}
