package dashboards

import (
	"slices"
	"strings"
)

// Exporter is the dashboard of who operates the exporter.
func Exporter() *Dashboard {
	d := newDashboard("exporter", exporterUID, "M365 Defender / Exporter",
		"The exporter itself: how fresh its data is, what it spends of the API's quota, what fails.")
	d.exporterHealth()
	d.exporterFreshness()
	d.exporterQuota()
	d.exporterRefreshes()
	d.exporterSync()
	d.exporterAccess()
	d.exporterReplicas()
	d.exporterState()
	return d
}

// taken is how the series of a tenant and exporter are taken once, however many
// replicas of Prometheus have them.
const taken = "max by (tenant, instance"

// each selects one metric, one series for each tenant, exporter and what else
// is named.
func each(metric, matchers, by string) string {
	if matchers != "" {
		matchers = ", " + matchers
	}
	if by != "" {
		by = ", " + by
	}
	return taken + by + ") (m365_defender_" + metric + "{" + selected + matchers + "})"
}

// events is by how much a counter increased in the time of each bar. by are all
// its labels, so that each series is taken once, however many replicas of
// Prometheus have it. Bars must not overlap, or each event is drawn several
// times: see [Panel.perFiveMinutes].
func events(metric, by string) string {
	return "round(" + growth("increase", metric, by, "$__interval") + ")"
}

// eventful is by how much those counters increased that did, which are found before
// each is taken once: one for each kind and reason of two hundred tenants is seven
// thousand series, of which hardly any grows.
func eventful(metric, by, window string) string {
	if by != "" {
		by = ", " + by
	}
	return taken + by + ") (increase(m365_defender_" + metric + "{" + selected + "}[" + window + "]) > 0)"
}

// perMinute is how fast a counter increased around each point.
func perMinute(metric, by string) string {
	return "60 * " + growth("rate", metric, by, "$__rate_interval")
}

func growth(function, metric, by, window string) string {
	if by != "" {
		by = ", " + by
	}
	return taken + by + ") (" + function + "(m365_defender_" + metric + "{" + selected + "}[" + window + "]))"
}

// overall is what is drawn of many tenants.
type overall struct{ name, aggregation, parameter string }

var (
	inAll    = overall{"all tenants", "sum", ""}
	largest  = overall{"largest", "max", ""}
	smallest = overall{"smallest", "min", ""}
	p95      = overall{"95th percentile", "quantile", "0.95, "}
	middle   = overall{"median", "quantile", "0.5, "}
)

// The number of tenants of each exporter up to which each has a line of its own.
// Two hundred lines are a block of colour. It is taken once for all points, at the
// last of them, or at the first if no exporter was there in the end: for each of a
// hundred points it would cost as much as what is drawn. If it is not known then,
// each has its line.
const (
	chosen = "(count(max by (tenant, instance) (m365_defender_up{" + selected + "} @ end())) or count(max by (tenant, instance) (m365_defender_up{" + selected + "} @ start())))"
	isFew  = " unless on () " + chosen + " > 10"
	isMany = " and on () " + chosen + " > 10"
)

// lines draws what an expression has for each tenant and exporter, as long as
// few are chosen, and otherwise what they have in common. by are its other
// labels, legend names them.
func lines(legend, by, expr string, all ...overall) []Query {
	named := func(name string) string {
		if legend == "" {
			return name
		}
		return legend + ", " + name
	}
	queries := []Query{q(named(who), "("+expr+")"+isFew)}
	for _, o := range all {
		aggregation := o.aggregation
		if by != "" {
			aggregation += " by (" + by + ") "
		}
		of := expr
		if o.aggregation != "sum" {
			of = repeated(expr)
		}
		queries = append(queries, q(named(o.name), aggregation+"("+o.parameter+of+")"+isMany).or("the demo is one tenant"))
	}
	return queries
}

// repeated leaves out that each series is taken once, unless two are joined. That is
// half of what they cost, and what all have twice has the same largest, smallest and
// middle value.
func repeated(expr string) string {
	before, after, _ := strings.Cut(expr, taken)
	if strings.Contains(after, taken) {
		return expr
	}
	_, after, _ = strings.Cut(after, ") ")
	return before + strings.TrimSpace(after)
}

// orNone says why lines may have no answer.
func orNone(reason string, queries []Query) []Query {
	for i := range queries {
		queries[i] = queries[i].or(reason)
	}
	return queries
}

// The dashboards' UIDs are stable: bookmarks and links name them.
const (
	incidentsUID = "m365-defender-incidents"
	exporterUID  = "m365-defender-exporter"
	reviewUID    = "m365-defender-review"
)

// refreshWords are those for m365_defender_up.
var refreshWords = []word{{0, "failed", "red"}, {1, "succeeded", "green"}}

const (
	// dataAge is the age of the data of one exporter's tenant.
	dataAge = `time() - ` + taken + `) (m365_defender_refresh_last_success_timestamp_seconds{` + selected + `, kind="delta"})`
	who     = "{{tenant}} ({{instance}})"
	// fewLines and bar end the descriptions of panels over time.
	fewLines = " One line for each tenant; with more than ten chosen, what they have in common."
	bar      = " A bar is five minutes, or more where the time range is long."
)

func (d *Dashboard) exporterHealth() {
	interval := each("refresh_interval_seconds", "", "")
	ages := []Step{{Color: "green"}, from(180, "orange"), from(900, "red")}
	// how counts the tenants of which a comparison holds. With bool it is zero if
	// it holds of none, and no data if there are no tenants.
	how := func(metric, matchers, comparison string) Query {
		if matchers != "" {
			matchers = ", " + matchers
		}
		return q("", "sum(max by (tenant) (m365_defender_"+metric+"{"+selected+matchers+"}) "+comparison+")")
	}
	d.row("Health", 4,
		stat(4, "Tenants up", "none", "Tenants whose last refresh succeeded, by at least one exporter.",
			how("up", "", "== bool 1")).steps("red", from(1, "green")),
		stat(4, "Refresh failing", "none", "Tenants whose last refresh failed. One that two exporters refresh counts for each of them.",
			q("", "sum(min by (tenant, instance) (m365_defender_up{"+selected+"}) == bool 0)")).steps("green", from(1, "red")).runbook("DefenderRefreshFailing"),
		stat(4, "No counts at all", "none", "Tenants without any counts: their first sync has not read the open incidents yet, or fails, or the counts were too old and were withdrawn; and, as long as all tenants are chosen, those of the configuration that no exporter serves.",
			q("", withoutCounts)).steps("green", from(1, "red")).runbook("DefenderRefreshFailing").runbook("DefenderTenantUnowned"),
		stat(4, "Throttled", "none", "Tenants whose API sent an HTTP 429 response; the time to wait is not over.",
			how("api_blocked_until_timestamp_seconds", "", "> bool time()")).steps("green", from(1, "orange")).runbook("DefenderThrottled"),
		stat(4, "First sync running", "none", "Tenants whose incidents have not all been read yet. That is normal for a new tenant.",
			how("first_sync_complete", `stage="all"`, "== bool 0")).steps("green", from(1, "blue")).runbook("DefenderFirstSyncStuck"),
		stat(4, "Exporters", "none", "Exporters that Prometheus reaches, by version.",
			q("{{version}}", `count by (version) (max by (instance, version) (m365_defender_exporter_build_info{instance=~"$instance"}))`)).runbook("DefenderExporterDown"),
	)
	d.alerts()
	d.row("", 8,
		table(24, "Tenants", "One line for each tenant and exporter, those whose last refresh failed first, then the oldest data. The status page of the exporter has the last error in words.",
			[]string{"tenant", "Tenant", "instance", "Exporter"},
			column{title: "Last refresh", unit: "none", query: q("", each("up", "", "")), words: refreshWords},
			column{title: "Age of the data", unit: "dtdurations", query: q("", "clamp_min("+dataAge+", 0)"), steps: ages, none: "never"},
			column{title: "API", unit: "none", query: q("", each("api_active", `api="graph"`, "")), words: []word{{0, "native", "text"}, {1, "Graph", "text"}}},
			column{title: "Interval", unit: "dtdurations", query: q("", interval)},
			column{title: "First sync", unit: "none", query: q("", each("first_sync_complete", `stage="all"`, "")), words: []word{{0, "under way", "blue"}, {1, "complete", "green"}}},
			column{title: "In memory", unit: "none", query: q("", each("incidents_cached", "", ""))},
			column{title: "Alerts", unit: "none", query: q("", each("alerts_available", "", "")), words: []word{{0, "not delivered", "orange"}, {1, "delivered", "green"}}},
			column{title: "Options left out", unit: "none", query: q("", "sum by (tenant, instance) ("+each("api_option_unsupported", "", "option")+")"), steps: []Step{{Color: "text"}, from(1, "orange")}},
		).sortedBy("Last refresh", "-Age of the data").drillDown("Tenant", exporterUID).runbook("DefenderRefreshFailing"),
	)
}

func (d *Dashboard) exporterFreshness() {
	interval := each("refresh_interval_seconds", "", "")
	age := "clamp_min(" + dataAge + ", 0)"
	d.row("Freshness", 8,
		series(8, "Age of the data", "s", "Time since the last successful refresh. It rises by a second a second and falls back at each refresh."+fewLines,
			lines("", "", age, largest, p95, middle)...).runbook("DefenderDataStale"),
		series(8, "Refresh interval", "s", "Time between refreshes as it is now: the setting, or longer if one refresh needs more calls than the quota allows at that pace."+fewLines,
			lines("", "", interval, largest, p95, middle)...).runbook("DefenderRefreshSlow"),
		series(8, "Age of the data in intervals", "none", "Age divided by the live interval. Over 3 for 5 minutes DefenderDataStale fires."+fewLines,
			lines("", "", age+" / on (tenant, instance) "+interval, largest, p95)...).limit(3).runbook("DefenderDataStale"),
	)
}

func (d *Dashboard) exporterQuota() {
	window := func(window, unit string) *Panel {
		m := `window="` + window + `"`
		return series(8, "Calls in the last "+window, "none",
			"Calls of the incidents API in the "+window+" before each point; what this exporter allows itself, its share; and what the API allows. The exporter waits before it would exceed its share."+unit+fewLines,
			slices.Concat(
				lines("used", "", each("api_quota_used", m, ""), largest, p95, middle),
				lines("own limit", "", each("api_quota_effective_limit", m, ""), smallest),
				lines("API limit", "", each("api_quota_limit", m, ""), smallest),
			)...,
		).dashed("/^own limit/", "text").dashed("/^API limit/", "red").runbook("DefenderQuotaNearlyUsed")
	}
	share := func(window string) string {
		m := `window="` + window + `"`
		return each("api_quota_used", m, "") + " / on (tenant, instance) " + each("api_quota_effective_limit", m, "")
	}
	d.row("Quota", 8,
		ranking(8, "Share of the own limit used", "percentunit", "Calls in the last hour, of what this exporter allows itself in it: the ten largest shares. Of the last minute where the API has no limit by the hour.",
			q("{{tenant}}", "sort_desc(topk(10, "+share("hour")+" or on (tenant, instance) "+share("minute")+"))")).
			upToOne().steps("green", from(0.8, "orange"), from(0.95, "red")).runbook("DefenderQuotaNearlyUsed"),
		window("minute", ""),
		window("hour", " An API without a limit by the hour has no such series."),
	)
	d.row("", 7,
		series(6, "HTTP 429 responses per 5 min", "none", "Calls that the API refused because of its quota. More than a few: another tool spends the quota of this app registration."+bar+fewLines,
			lines("", "", events("api_too_many_requests_total", ""), inAll)...).perFiveMinutes().runbook("DefenderThrottled"),
		series(6, "Blocked for", "s", "How long the API has told us to wait, from each point on. Zero is good."+fewLines,
			lines("", "", "clamp_min("+each("api_blocked_until_timestamp_seconds", "", "")+" - time(), 0)", largest)...).softMax().runbook("DefenderThrottled"),
		series(6, "Waits for quota per minute", "none", "How often a call had to wait, by the rule that made it wait. Normal during a first sync and a sweep."+fewLines,
			lines("{{reason}}", "reason", perMinute("api_throttle_waits_total", "reason"), inAll)...).softMax(),
		series(6, "Time waited for quota", "percentunit", "Share of the time that calls spent waiting, by the rule that made them wait. A wait is counted when it ends."+fewLines,
			lines("{{reason}}", "reason", "clamp_max("+growth("rate", "api_throttle_wait_seconds_total", "reason", "$__rate_interval")+", 1)", largest)...).
			every("5m").upToOne(),
	)
}

func (d *Dashboard) exporterRefreshes() {
	d.row("Calls and refreshes", 8,
		series(8, "Refreshes per minute", "none", "Refreshes that ended, successfully or not, by kind: delta is the regular one."+fewLines,
			lines("{{kind}}", "kind", perMinute("refreshes_total", "kind"), inAll)...).softMax(),
		series(8, "Failures per 5 min", "none", "Refreshes that failed, by kind and reason. The next one makes up for it. auth: no access token, or it is not accepted; forbidden: a permission is missing; "+
			"throttled: HTTP 429; timeout, network: no answer, or not all of it; server: HTTP 5xx; decode: the answer makes no sense, or is too large; partial: the API says that rows are missing; "+
			"incomplete: the list cannot be read completely; state: the state cannot be read or saved; panic: a mistake in this program; other: the API refused the request."+bar+" Of all tenants chosen together.",
			q("{{kind}}: {{reason}}", "sum by (kind, reason) (round("+eventful("refresh_failures_total", "kind, reason", "$__interval")+"))").or("no refresh of the demo fails")).
			perFiveMinutes().none("none").runbook("DefenderRefreshFailing"),
		series(8, "Duration of the last refresh", "s", "Waiting for quota included. Without the first sync, which is only once."+fewLines,
			lines("{{kind}}", "kind", each("refresh_last_duration_seconds", `kind!="first"`, "kind"), largest, middle)...),
	)
	d.row("", 8,
		series(8, "Calls by status, per minute", "none", "Calls of the incidents API, by operation and HTTP status; error: no answer."+fewLines,
			lines("{{operation}} {{code}}", "operation, code", perMinute("api_requests_total", "operation, code"), inAll)...).softMax(),
		series(8, "Duration of a call", "s", "Median and 90th percentile, waiting for quota excluded.",
			q("median", quantile("0.5", "api_request_duration_seconds", "", "$__rate_interval")),
			q("p90", quantile("0.9", "api_request_duration_seconds", "", "$__rate_interval"))),
		series(8, "Received", "Bps", "Bodies of the answers, decompressed."+fewLines,
			lines("", "", growth("rate", "api_response_bytes_total", "", "$__rate_interval"), inAll)...),
	)
	unsupported := "max by (tenant, option) (m365_defender_api_option_unsupported{" + selected + "})"
	d.row("", 7,
		ranking(12, "Options the API does not take", "none", "For how many tenants the exporter leaves an option of its requests out, because the API was seen to ignore or to refuse it. The counts stay complete, but reading costs more calls; "+
			"without alerts the series made of them are absent. Each option is tried again after a day at most. The table above says for which tenants.",
			q("{{option}}", "sort_desc(count by (option) ("+unsupported+" > 0))").or("the demo takes all options"),
			q("all options", "(max(m365_defender_api_option_unsupported{"+selected+"}) == 0) - 1")).
			words(word{-1, "all are taken", "green"}).steps("orange").runbook("DefenderListIncomplete"),
		series(12, "Incidents skipped, per hour", "none", "Rows that could not be used, in the hour before each point, each time that one was met. no_id: it has no id that is a number; too_heavy: the API fails to deliver it. The counts lack these incidents."+fewLines,
			orNone("the demo delivers all rows", lines("{{reason}}", "reason", "round("+eventful("api_rows_skipped_total", "reason", "1h")+")", inAll))...).
			bars("1h").softMax().none("none").runbook("DefenderRowsSkipped"),
	)
}

func (d *Dashboard) exporterSync() {
	noSweep := "the first sweep comes six hours after the first sync"
	since := func(legend, what string) []Query {
		return orNone(noSweep, lines(legend, "", "clamp_min(time() - "+each(what, `kind="sweep"`, "")+", 0)", largest))
	}
	d.row("First sync and sweeps", 8,
		timeline(6, "First sync", "Whether a stage is complete: first the open incidents, then all within the look-back. Of many tenants: of all.",
			lines("{{stage}}", "stage", each("first_sync_complete", "", "stage"), overall{"all tenants", "min", ""})...).
			words(word{0, "under way", "blue"}, word{1, "complete", "green"}).runbook("DefenderFirstSyncStuck"),
		series(6, "Incidents in memory", "none", "Merged ones included. Rises while the first sync runs."+fewLines,
			lines("", "", each("incidents_cached", "", ""), largest, middle)...).runbook("DefenderFirstSyncStuck"),
		series(6, "Since the last sweep", "s", "Time since a sweep, which reads everything again, last made a call and was last complete."+fewLines,
			slices.Concat(since("begun", "refresh_last_attempt_timestamp_seconds"), since("complete", "refresh_last_success_timestamp_seconds"))...).
			none("none yet"),
		series(6, "Corrections in a day", "none", "What sweeps had to correct, in the 24 hours before each point. Many missed or changed: deltas do not see everything."+fewLines,
			lines("{{kind}}", "kind", "round("+growth("increase", "sweep_corrections_total", "kind", "1d")+")", inAll)...).every("1h").softMax().decimals(0).runbook("DefenderSweepCorrectionsHigh"),
	)
}

func (d *Dashboard) exporterAccess() {
	until := func(metric string) string { return "clamp_min(" + each(metric, "", "") + " - time(), 0)" }
	d.row("Access", 7,
		series(6, "Access token valid for", "s", "Renewed a few minutes before its end; it lives about an hour. Zero: it has ended and there is no new one."+fewLines,
			lines("", "", until("token_expiry_timestamp_seconds"), smallest, middle)...).runbook("DefenderAuthFailing"),
		ranking(6, "Credential valid for", "dtdurations", "Client certificates, and client secrets whose end was given: it cannot be seen from outside.",
			q(who, until("credential_expiry_timestamp_seconds")).or("the demo has a client secret, whose end is not known"),
			q("all tenants", "0 * count(m365_defender_up{"+selected+"}) - 1 unless count(m365_defender_credential_expiry_timestamp_seconds{"+selected+"})")).
			decimals(1).words(word{-1, "not known", "text"}).steps("red", from(2*86400, "orange"), from(14*86400, "green")).runbook("DefenderCredentialExpiring"),
		series(6, "Token requests per 5 min", "none", "Requests for an access token. One in about 55 minutes is normal. They cost no API quota."+bar+fewLines,
			lines("", "", events("token_requests_total", ""), inAll)...).perFiveMinutes(),
		series(6, "Token failures per 5 min", "none", "Requests for an access token that failed, by reason."+bar+fewLines,
			orNone("no token request of the demo fails", lines("{{reason}}", "reason", events("token_failures_total", "reason"), inAll))...).perFiveMinutes().none("none").runbook("DefenderAuthFailing"),
	)
}

func (d *Dashboard) exporterReplicas() {
	alone := "the demo shares its state with no other exporter"
	counted := func(metric, by string) string {
		reason := ""
		if by != "instance" {
			reason = ", " + by
		}
		return "round(sum by (" + by + ") (max by (instance" + reason + ") (increase(m365_defender_" + metric + `{instance=~"$instance"}[$__interval])))) > 0`
	}
	d.row("Replicas", 7,
		series(6, "Tenants served", "none", "Tenants that each exporter serves, and those of the configuration. Together the exporters have to serve all.",
			q("{{instance}}", `max by (instance) (m365_defender_tenants{state="owned", instance=~"$instance"})`),
			q("configured", `max(m365_defender_tenants{state="configured", instance=~"$instance"})`)).dashed("/^configured/", "text").runbook("DefenderTenantUnowned"),
		series(6, "Replicas", "none", "Exporters that share the state, as each of them sees them. They have to agree.",
			q("{{instance}}", `max by (instance) (m365_defender_replicas{instance=~"$instance"})`).or(alone)).none("one exporter").runbook("DefenderReplicasDisagree"),
		series(6, "Takeovers per 5 min", "none", "Tenants that an exporter has taken. new: nobody had them before; handed_over: their owner let go of them, as in a rollout; silent: their owner fell silent and was struck off."+bar,
			q("{{reason}}", counted("tenant_takeovers_total", "reason")).or(alone)).perFiveMinutes().none("none").runbook("DefenderTakeoversOften"),
		series(6, "Tenants lost, names taken, per 5 min", "none", "Tenants that others had taken from an exporter that still served them, because it was silent; and times that two exporters had the same replica name."+bar,
			q("lost, {{instance}}", counted("tenants_lost_total", "instance")).or(alone),
			q("same name, {{instance}}", counted("replica_name_conflicts_total", "instance")).or(alone)).perFiveMinutes().none("none").runbook("DefenderTakeoversOften"),
	)
	store := func(of string) string {
		m, at := "m365_defender_state_request_duration_seconds", `{instance=~"$instance"}[$__rate_interval]`
		return "histogram_quantile(" + of + ", sum by (operation) (rate(" + m + at + "))) or histogram_quantile(" + of + ", sum by (operation, le) (rate(" + m + "_bucket" + at + ")))"
	}
	memory := "the demo keeps its state in memory"
	d.row("", 7,
		timeline(8, "State in reach", "Whether the last exchange with the store of the state succeeded. While a shared store is out of reach the counts stay and no call is made.",
			q("{{instance}}", `min by (instance) (m365_defender_state_up{instance=~"$instance"})`)).
			words(word{0, "out of reach", "red"}, word{1, "in reach", "green"}).runbook("DefenderStateDown"),
		series(8, "Duration of a request to the store", "s", "90th percentile, by what the store of the state is asked: beat is of the replicas, open takes a tenant or gives it back, grant saves a ledger before a call, save and load are of incidents.",
			q("{{operation}}", store("0.9")).or(memory)).none("in memory only").runbook("DefenderStateDown"),
		series(8, "Calls handed in per 5 min", "none", "Calls of others that a ledger was told of: of a check, or of an exporter that had lost the tenant."+bar+fewLines,
			orNone("nobody else spends the quota of the demo", lines("", "", "round("+eventful("api_calls_handed_in_total", "", "$__interval")+")", inAll))...).perFiveMinutes().none("none"),
	)
}

func (d *Dashboard) exporterState() {
	inMemory := "the demo may keep its state in memory"
	process := func(expr string) string {
		return expr + ` * on (job, instance) group_left () max by (job, instance) (m365_defender_exporter_build_info{instance=~"$instance"})`
	}
	d.row("State and process", 7,
		series(6, "Since the state was saved", "s", "The state holds the counts, the first sync's progress and the quota that is spent."+fewLines,
			orNone(inMemory, lines("", "", "clamp_min(time() - "+each("state_last_save_timestamp_seconds", "", "")+", 0)", largest, middle))...).none("in memory only").runbook("DefenderStateNotSaved"),
		series(6, "State not saved per 5 min", "none", "Times the state could not be saved."+bar+fewLines,
			orNone(inMemory, lines("", "", events("state_save_failures_total", ""), inAll))...).perFiveMinutes().none("none").runbook("DefenderStateNotSaved"),
		series(6, "Size of the state", "bytes", "On disk."+fewLines,
			orNone(inMemory, lines("", "", each("state_size_bytes", "", "")+" > 0", inAll))...).none("in memory only"),
		series(6, "Values not recognised", "none", "New versions of incidents with a value that this version does not know and counts as unknown or other, in the 24 hours before each point, by field. Of all tenants chosen together.",
			q("{{field}}", "sum by (field) (round("+eventful("unrecognized_values_total", "field", "1d")+"))").or("the demo may not have said anything new yet")).
			every("1h").softMax().decimals(0).none("none"),
	)
	d.row("", 7,
		series(6, "Memory", "bytes", "Resident memory of the exporters, and what the Go heap holds of it.",
			q("resident, {{instance}}", process(`process_resident_memory_bytes{instance=~"$instance"}`)),
			q("heap, {{instance}}", process(`go_memstats_heap_alloc_bytes{instance=~"$instance"}`))),
		series(6, "CPU", "percentunit", "Cores used.",
			q("{{instance}}", process(`rate(process_cpu_seconds_total{instance=~"$instance"}[$__rate_interval])`))),
		series(6, "Duration of a scrape", "s", "A scrape reads memory only; one that takes long has too little CPU.",
			q("{{instance}}", process(`scrape_duration_seconds{instance=~"$instance"}`))),
		stat(6, "Configuration", "none", "Whether the last attempt to load the configuration file succeeded.",
			q("{{instance}}", `max by (instance) (m365_defender_config_last_reload_successful{instance=~"$instance"})`,
				`or 0 * max by (instance) (m365_defender_exporter_build_info{instance=~"$instance"}) - 1`)).
			words(word{-1, "no file", "text"}, word{0, "refused", "red"}, word{1, "loaded", "green"}).runbook("DefenderConfigReloadFailed"),
	)
}
