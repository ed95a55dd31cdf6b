package dashboards

import "strings"

// selected is the part of every selector that the variables fill.
const selected = `tenant=~"$tenant", instance=~"$instance"`

// ofSeverity is filled by a variable that only the incidents' dashboard has.
const ofSeverity = `severity=~"$severity"`

// once tells how double counting is avoided; it ends the descriptions of
// panels that add up.
const once = " Two exporters of one tenant, or two Prometheus replicas, count once: the largest value of each tenant is taken before anything is added up."

// Age thresholds that the dashboards show; they are among the defaults of
// --incidents.age-threshold.
const thresholdHint = " Needs that age among the exporter's --incidents.age-threshold, as it is by default."

// count selects one metric and removes duplicates: by are its labels.
func count(metric, matchers, by string) string {
	if matchers != "" {
		matchers = ", " + matchers
	}
	return "max by (tenant, " + by + ") (m365_defender_" + metric + "{" + selected + matchers + "})"
}

// noneOpen is -1 if no incident is open, and no data if that is not known; the
// word for it is nothingOpen.
var (
	noneOpen    = "(sum(" + count("incidents", ofSeverity+", "+isOpen, byAll) + ") == 0) - 1"
	nothingOpen = word{-1, "nothing open", "green"}
)

// openBySeverity counts open incidents.
func openBySeverity() []Query {
	return severities(func(severity string) string {
		return "sum(" + count("incidents", severity+", "+isOpen, byAll) + ")"
	})
}

// bySeverity asks for what is recorded of each.
func bySeverity(recorded Recording) []Query {
	return severities(func(severity string) string { return recorded.sum("", severity) })
}

// quantile of a histogram over a time, from native buckets if there are any,
// else from the classic ones.
func quantile(of, metric, matchers, within string) string {
	name := "m365_defender_" + metric
	at := "{" + selected + matchers + "}[" + within + "]"
	return "histogram_quantile(" + of + ", sum(rate(" + name + at + ")))" +
		" or histogram_quantile(" + of + ", sum by (le) (rate(" + name + "_bucket" + at + ")))"
}

const (
	isOpen = `status!="resolved"`
	byAll  = "severity, status, assigned"

	// age of the data of a tenant, as its freshest exporter has it.
	// It is absent for a tenant that never had any.
	age = `clamp_min(time() - max by (tenant) (m365_defender_refresh_last_success_timestamp_seconds{` + selected + `, kind="delta"}), 0)`

	// withoutCounts is how many tenants have none: never yet, or they were too
	// old and were withdrawn, or no exporter serves them. No sum and no largest value
	// would show that. The names of those that are not served are in no metric, so
	// they count as long as all that are served are chosen.
	withoutCounts = `sum((group by (tenant) (m365_defender_up{` + selected + `}) unless group by (tenant) (m365_defender_incidents_cached{` + selected + `}))` +
		` or (` + unserved + ` unless on () count(group by (tenant) (m365_defender_up{` + selected + `})) < count(group by (tenant) (m365_defender_up)))` +
		` or 0 * count(m365_defender_up{` + selected + `}))`

	// unserved is how many tenants of a configuration no exporter serves; of replicas
	// each serves some. It is below zero where one is served twice, for a moment.
	unserved = `clamp_min(max by (job) (m365_defender_tenants{state="configured"}) - on (job) sum by (job) (max by (job, instance) (m365_defender_tenants{state="owned"})), 0)`
)

// Incidents is the dashboard of who leads a security operations centre.
func Incidents() *Dashboard {
	d := newDashboard("incidents", incidentsUID, "M365 Defender / Incidents",
		"Incidents of Microsoft 365 Defender: what is open, what waits for an owner, whether work keeps pace.")
	d.Templating.List = append(d.Templating.List, severityVariable())
	d.incidentsNow()
	d.incidentsOverTime()
	d.incidentsFlow()
	d.incidentsKinds()
	d.incidentsTenants()
	return d
}

func (d *Dashboard) incidentsNow() {
	unassigned := func(severity string) Query {
		return q("", "sum("+count("incidents", `severity="`+severity+`", assigned="false", `+isOpen, byAll)+")")
	}
	older := func(threshold string) Query {
		return q("", "sum("+count("open_incidents_older", ofSeverity+`, threshold="`+threshold+`"`, "severity, threshold, assigned")+")")
	}
	d.row("Now", 4,
		stat(9, "Open by severity", "none", "Incidents that are not resolved, of any age. Merged ones are not among them."+once,
			openBySeverity()...).bySeverity(),
		stat(5, "Unassigned, high", "none", "Open incidents of high severity without an owner. The goal is none."+once,
			unassigned("high")).steps("green", from(1, "red")).runbook("DefenderHighIncidentUnassigned"),
		stat(4, "Unassigned, medium", "none", "Open incidents of medium severity without an owner."+once,
			unassigned("medium")).steps("green", from(1, "orange")),
		stat(3, "> 4 h", "none", "Open incidents of the severities chosen above that were created at least 4 hours ago."+thresholdHint+once,
			older("4h")).steps("green", from(1, "yellow")),
		stat(3, "> 24 h", "none", "Open incidents of the severities chosen above that were created at least 24 hours ago."+thresholdHint+once,
			older("24h")).steps("green", from(1, "orange")).runbook("DefenderHighIncidentOverdue"),
	)
	d.row("", 3,
		stat(8, "Oldest open", "dtdurations", "Time since the oldest incident of the severities chosen above that is still open was created.",
			q("", "clamp_min(time() - min(m365_defender_oldest_open_incident_created_timestamp_seconds{"+selected+", "+ofSeverity+"}), 0)",
				"or", noneOpen)).
			decimals(1).words(nothingOpen).steps("green", from(86400, "yellow"), from(7*86400, "orange")),
		stat(8, "Age of the data", "dtdurations", "Time since the counts were last brought up to date, of the tenant where that is longest. Usually under a minute. A tenant that never had counts is not among them: it is one of Tenants without counts.",
			q("worst tenant: {{tenant}}", "topk(1, "+age+")")).named().steps("green", from(180, "yellow"), from(900, "red")).
			dashboard("Exporter", exporterUID).runbook("DefenderDataStale"),
		stat(8, "Tenants without counts", "none", "Tenants of which nothing is known: their first sync has not read the open incidents yet, or fails, or the counts were too old and were withdrawn; and, as long as all tenants are chosen, those of the configuration that no exporter serves. Every number on this page is without them.",
			q("", withoutCounts)).steps("green", from(1, "red")).dashboard("Exporter", exporterUID).runbook("DefenderRefreshFailing").runbook("DefenderTenantUnowned"),
	)
	d.alerts()
}

// alerts adds the list of alerts, beneath what is most important.
func (d *Dashboard) alerts() {
	list := alertList()
	list.GridPos.W = 24
	d.row("", 5, list)
}

func (d *Dashboard) incidentsOverTime() {
	d.row("Backlog", 8,
		series(8, "Open", "none", "Incidents that are not resolved, by severity."+minuteHint,
			bySeverity(openIncidents)...).stacked().bySeverity().none(noRules),
		series(8, "Unassigned", "none", "Open incidents without an owner, by severity."+minuteHint,
			bySeverity(unassignedIncidents)...).
			stacked().bySeverity().none(noRules).runbook("DefenderHighIncidentUnassigned"),
		series(8, "Open, by age", "none", "Open incidents created at least so long ago. An incident of 30 h counts in 1h, 4h, 8h and 24h. Of the severities chosen above."+minuteHint,
			byAge()...).points(50).unfilled().none(noRules).
			color("1h", "#f2cc0c").color("4h", "#ff9830").color("8h", "#ff780a").color("24h", "#fa6400").
			color("72h", "#e02f44").color("168h", "#c4162a").color("720h", "#8f1d1d").
			runbook("DefenderHighIncidentOverdue"),
	)
	d.row("", 7,
		series(8, "Open, idle", "none", "Open incidents that nothing has been done to for at least so long: neither a person nor the service changed them. Of the severities chosen above."+once,
			q("24 h", "sum("+count("open_incidents_idle", ofSeverity+`, threshold="24h"`, "severity, threshold")+")"),
			q("3 days", "sum("+count("open_incidents_idle", ofSeverity+`, threshold="72h"`, "severity, threshold")+")"),
			q("7 days", "sum("+count("open_incidents_idle", ofSeverity+`, threshold="168h"`, "severity, threshold")+")")).unfilled().
			color("24 h", "yellow").color("3 days", "orange").color("7 days", "red"),
		series(8, "Alerts, by automated investigation", "none", "Alerts of open incidents by the state of their automated investigation. pending_approval and pending_resource wait for a person."+once,
			q("{{investigation_state}}", "sum by (investigation_state) ("+count("alerts_by_investigation_state", "", "investigation_state")+") > 0").or("the demo's alerts may have no investigation")).
			unfilled().none("no investigation").runbook("DefenderInvestigationAwaitsApproval"),
		ranking(8, "Open, by priority", "none", "Open incidents by the band of Microsoft's priority score: top above 85, medium from 15 on, low below. Only the Graph API tells it. Of the severities chosen above."+once,
			priority("top"), priority("medium"), priority("low"), priority("unknown"),
			q("all", "0 * count(m365_defender_up{"+selected+"}) - 1 unless count(m365_defender_open_incidents_by_priority{"+selected+"})").or("with the Graph API there are priorities")).
			color("top", "red").color("medium", "orange").color("low", "yellow").color("unknown", "text").words(word{-1, "not told by this API", "text"}),
	)
}

// byAge asks once for each of the default ages, the youngest first: Grafana shows the
// series of one query in the order of their names, 168h before 1h. Ages that a setting
// has besides come last.
func byAge() []Query {
	ages := []string{"1h", "4h", "8h", "24h", "72h", "168h", "720h"}
	var all []Query
	for _, age := range ages {
		all = append(all, q(age, openOlder.sum("", ofSeverity+`, threshold="`+age+`"`)))
	}
	return append(all, q("{{threshold}}", openOlder.sum("threshold", ofSeverity+`, threshold!~"`+strings.Join(ages, "|")+`"`)).or("the demo has the default ages"))
}

func priority(name string) Query {
	return q(name, "sum("+count("open_incidents_by_priority", ofSeverity+`, priority="`+name+`"`, "severity, priority")+")").or("the native API tells no priority")
}

func (d *Dashboard) incidentsFlow() {
	d.row("Flow", 9,
		createdAndResolved(12, "14d"),
		series(12, "Created per hour, by severity", "none", "Incidents that appeared in the hour that begins at each bar. Counted since the exporter's first sync, over its restarts."+minuteHint,
			severities(func(severity string) string {
				return "round(sum(increase(" + createdIncidents.of(severity) + "[1h] offset -1h)))"
			})...).bars("1h").stacked().decimals(0).bySeverity().none(noRules),
	)
	times := func(what, metric string) *Panel {
		const few = "the demo may have recorded nothing yet"
		return series(12, "Time to "+what, "s",
			"Median and 90th percentile of the 24 hours before each point, of the incidents of high and of medium severity. A quantile of few says little: the SOC review has their numbers."+timesHint,
			q("p90, high", quantileOf("0.9", metric, `severity="high"`, "", "[1d]")).or(few),
			q("median, high", quantileOf("0.5", metric, `severity="high"`, "", "[1d]")).or(few),
			q("p90, medium", quantileOf("0.9", metric, `severity="medium"`, "", "[1d]")).or(few),
		).every("1h").logarithmic().color("p90, high", "red").color("median, high", "green").color("p90, medium", "orange").none("none in 24 hours").dashboard("SOC review", reviewUID)
	}
	d.row("", 8,
		times("assign", "incident_time_to_assign_seconds").limit(3600).runbook("DefenderAssignObjectiveFastBurn"),
		times("resolve", "incident_time_to_resolve_seconds"),
	)
	heats := func(what, metric string) *Panel {
		return heat(12, "Time to "+what+", distribution",
			"How many incidents took how long, in each quarter of an hour, or longer where the time range is long. Two exporters of one tenant count once: the newest owner's, as rules.yaml records it; where one takes a tenant over, what was counted between its first scrape and the last one of the other is left out. Needs native histograms: scrape_native_histograms in the scrape configuration of Prometheus 3.8 and later, the feature flag native-histograms before.", "15m",
			q("", "sum(increase(m365_defender_"+metric+"{"+selected+"}[$__rate_interval]) and on (tenant, instance) "+owner().Record+")").or("without native histograms there is nothing to draw"))
	}
	d.row("", 8,
		heats("assign", "incident_time_to_assign_seconds"),
		heats("resolve", "incident_time_to_resolve_seconds"),
	)
}

func (d *Dashboard) incidentsKinds() {
	withAlerts := " Made of the incidents' alerts: absent while the API does not deliver them."
	alerts := severities(func(severity string) string {
		return "sum(" + count("alerts", severity+`, status!="resolved"`, "severity, status, service_source") + ")"
	})
	for i := range alerts {
		alerts[i] = alerts[i].or("the demo may have no alert of this severity")
	}
	nothing := q("all", noneOpen).or("the demo always has open incidents")
	d.row("Kinds", 10,
		ranking(8, "Open, by service source", "none", "Open incidents of the severities chosen above by the service that raised their alerts. An incident counts once for each of its services, so the bars add up to more than the incidents."+withAlerts+once,
			q("{{service_source}}", "sort_desc(sum by (service_source) ("+count("open_incidents_by_service_source", ofSeverity, "severity, service_source")+"))"), nothing).
			spaced().words(nothingOpen),
		ranking(8, "Open, by category", "none", "Open incidents of the severities chosen above by the category of their alerts, the twelve most frequent. An incident counts once for each of its categories."+withAlerts+once,
			q("{{category}}", "sort_desc(topk(12, sum by (category) ("+count("open_incidents_by_category", ofSeverity, "severity, category")+")))"), nothing).
			spaced().words(nothingOpen),
		ranking(8, "Alerts not resolved, by severity", "none", "Alerts of the incidents that are counted, as long as they are not resolved themselves. Severity and status are the alert's."+withAlerts+once,
			alerts...).bySeverity(),
	)
	verdict := func(name, classification string) Query {
		return q(name, "sum("+count("resolved_incidents", `classification="`+classification+`"`, "severity, classification, determination")+")").or("the demo may have resolved none of these yet")
	}
	d.row("", 9,
		ranking(8, "Verdicts, look-back", "none", "Resolved incidents within the exporter's look-back (180 days by default), by classification as it is now. The SOC review has their shares by detection source."+once,
			verdict("true positive", "true_positive"), verdict("expected activity", "informational_expected_activity"), verdict("false positive", "false_positive"), verdict("no verdict", "unknown")).
			byVerdict().dashboard("SOC review", reviewUID),
		ranking(8, "Determinations, look-back", "none", "Resolved incidents within the exporter's look-back (180 days by default), by determination, the ten most frequent."+once,
			q("{{determination}} ({{classification}})", "topk(10, sum by (classification, determination) ("+count("resolved_incidents", "", "severity, classification, determination")+") > 0)")).spaced(),
		series(8, "Alerts, by service source", "none", "Alerts of the incidents that are counted and not resolved themselves, by the service that raised them."+withAlerts+minuteHint,
			q("{{service_source}}", unresolvedAlerts.sum("service_source", ""))).spaced().stacked().none(noRules),
	)
}

func (d *Dashboard) incidentsTenants() {
	open := func(matchers string) Query {
		return q("", "sum by (tenant) ("+count("incidents", matchers+isOpen, byAll)+")")
	}
	older := func(severity, threshold string) Query {
		return q("", "sum by (tenant) ("+count("open_incidents_older", severity+`threshold="`+threshold+`"`, "severity, threshold, assigned")+")")
	}
	red, orange := []Step{{Color: "text"}, from(1, "red")}, []Step{{Color: "text"}, from(1, "orange")}
	d.row("Tenants", 10,
		table(24, "Tenants", "One line for each tenant. Those whose last refresh failed come first, then those with the most unassigned incidents of high severity; sort by another column."+once, []string{"tenant", "Tenant"},
			column{title: "Open", unit: "none", width: 80, query: open("")},
			column{title: "High", unit: "none", width: 80, query: open(`severity="high", `)},
			column{title: "Medium", unit: "none", width: 90, query: open(`severity="medium", `)},
			column{title: "Unassigned, high", unit: "none", query: open(`severity="high", assigned="false", `), steps: red},
			column{title: "Unassigned, medium", unit: "none", query: open(`severity="medium", assigned="false", `), steps: orange},
			column{title: "Unassigned high, over 1 h", unit: "none", query: older(`severity="high", assigned="false", `, "1h"), steps: red},
			column{title: "High, over 4 h", unit: "none", query: older(`severity="high", `, "4h"), steps: orange},
			column{title: "Over 24 h", unit: "none", query: older("", "24h"), steps: orange},
			column{title: "Oldest open", unit: "dtdurations", decimals: 1, query: q("", "clamp_min(time() - min by (tenant) (m365_defender_oldest_open_incident_created_timestamp_seconds{"+selected+"}), 0)")},
			column{title: "Merged", unit: "none", width: 90, query: q("", "max by (tenant) (m365_defender_incidents_redirected{"+selected+"})")},
			column{title: "Last refresh", unit: "none", query: q("", "max by (tenant) (m365_defender_up{"+selected+"})"), words: refreshWords},
			column{title: "Age of the data", unit: "dtdurations", query: q("", age), steps: []Step{{Color: "text"}, from(180, "orange"), from(900, "red")}, none: "never"},
		).sortedBy("Last refresh", "-Unassigned, high").drillDown("Tenant", incidentsUID),
	)
}
