package dashboards

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
	d.exporterState()
	return d
}

// each selects one metric, one series for each tenant, exporter and what else
// is named.
func each(metric, matchers, by string) string {
	if matchers != "" {
		matchers = ", " + matchers
	}
	if by != "" {
		by = ", " + by
	}
	return "max by (tenant, instance" + by + ") (m365_defender_" + metric + "{" + selected + matchers + "})"
}

// grown is like each, of what a counter increased by before each point. by are
// all its labels, so that each series is taken once, however many replicas of
// Prometheus have it.
func grown(metric, by string) string {
	if by != "" {
		by = ", " + by
	}
	return "max by (tenant, instance" + by + ") (increase(m365_defender_" + metric + "{" + selected + "}[$__rate_interval]))"
}

// The dashboards' UIDs are stable: bookmarks and links name them.
const (
	incidentsUID = "m365-defender-incidents"
	exporterUID  = "m365-defender-exporter"
)

// refreshWords are those for m365_defender_up.
var refreshWords = []word{{0, "failed", "red"}, {1, "succeeded", "green"}}

const (
	// dataAge is the age of the data of one exporter's tenant.
	dataAge = `time() - max by (tenant, instance) (m365_defender_refresh_last_success_timestamp_seconds{` + selected + `, kind="delta"})`
	who     = "{{tenant}} ({{instance}})"
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
		stat(4, "No counts at all", "none", "Tenants without any counts: their first sync has not read the open incidents yet, or fails, or the counts were too old and were withdrawn.",
			q("", withoutCounts)).steps("green", from(1, "red")).runbook("DefenderRefreshFailing"),
		stat(4, "Throttled", "none", "Tenants whose API answered 429 and said how long to wait; that time is not over.",
			how("api_blocked_until_timestamp_seconds", "", "> bool time()")).steps("green", from(1, "orange")).runbook("DefenderThrottled"),
		stat(4, "First sync running", "none", "Tenants whose incidents have not all been read yet. That is normal for a new tenant.",
			how("first_sync_complete", `stage="all"`, "== bool 0")).steps("green", from(1, "blue")).runbook("DefenderFirstSyncStuck"),
		stat(4, "Exporters", "none", "Exporters that Prometheus reaches, by version.",
			q("{{version}}", `count by (version) (max by (instance, version) (m365_defender_exporter_build_info{instance=~"$instance"}))`)).runbook("DefenderExporterDown"),
	)
	d.row("", 8,
		table(24, "Tenants", "One line for each tenant and exporter, those whose last refresh failed first, then the oldest data. The status page of the exporter has the last error in words.",
			[]string{"tenant", "Tenant", "instance", "Exporter"},
			column{title: "Last refresh", unit: "none", query: q("", each("up", "", "")), words: refreshWords},
			column{title: "Age of the data", unit: "dtdurations", query: q("", "clamp_min("+dataAge+", 0)"), steps: ages, none: "never"},
			column{title: "Interval", unit: "dtdurations", query: q("", interval)},
			column{title: "First sync", unit: "none", query: q("", each("first_sync_complete", `stage="all"`, "")), words: []word{{0, "under way", "blue"}, {1, "complete", "green"}}},
			column{title: "In memory", unit: "none", query: q("", each("incidents_cached", "", ""))},
			column{title: "Alerts", unit: "none", query: q("", each("alerts_available", "", "")), words: []word{{0, "not delivered", "orange"}, {1, "delivered", "green"}}},
		).sortedBy("Last refresh", "-Age of the data").runbook("DefenderRefreshFailing"),
	)
}

func (d *Dashboard) exporterFreshness() {
	interval := each("refresh_interval_seconds", "", "")
	d.row("Freshness", 8,
		series(8, "Age of the data", "s", "Time since the last successful refresh. It rises by a second a second and falls back at each refresh.",
			q(who, "clamp_min("+dataAge+", 0)")).runbook("DefenderDataStale"),
		series(8, "Refresh interval", "s", "Time between refreshes as it is now: the setting, or longer if one refresh needs more calls than the quota allows at that pace.",
			q(who, interval)).runbook("DefenderRefreshSlow"),
		series(8, "Age of the data in intervals", "none", "Age divided by the live interval. Over 3 for 5 minutes DefenderDataStale fires.",
			q(who, "clamp_min("+dataAge+", 0) / on (tenant, instance) "+interval)).limit(3).runbook("DefenderDataStale"),
	)
}

func (d *Dashboard) exporterQuota() {
	window := func(window, unit string) *Panel {
		m := `window="` + window + `"`
		return series(8, "Calls in the last "+window, "none",
			"Calls of the incidents API in the "+window+" before each point; what this exporter allows itself, its share; and what the API allows. The exporter waits before it would exceed its share."+unit,
			q("used, "+who, each("api_quota_used", m, "")),
			q("own limit, "+who, each("api_quota_effective_limit", m, "")),
			q("API limit, "+who, each("api_quota_limit", m, "")),
		).runbook("DefenderQuotaNearlyUsed")
	}
	d.row("Quota", 8,
		ranking(8, "Share of the own limit used", "percentunit", "Calls in the window that ends now, of what this exporter allows itself in it. The minute may be full while a first sync runs.",
			q("{{tenant}} ({{instance}}), {{window}}", each("api_quota_used", "", "window")+" / on (tenant, instance, window) "+each("api_quota_effective_limit", "", "window"))).
			atMost(1).steps("green", from(0.8, "orange"), from(0.95, "red")).runbook("DefenderQuotaNearlyUsed"),
		window("minute", ""),
		window("hour", " An API without a limit by the hour has no such series."),
	)
	d.row("", 7,
		series(6, "Answers 429", "none", "Calls that the API refused because of its quota, in the interval before each point. More than a few: somebody else spends the quota of this app registration.",
			q(who, grown("api_too_many_requests_total", ""))).bars("").runbook("DefenderThrottled"),
		series(6, "Blocked for", "s", "How long the API has told us to wait, from each point on. Zero is good.",
			q(who, "clamp_min("+each("api_blocked_until_timestamp_seconds", "", "")+" - time(), 0)")).runbook("DefenderThrottled"),
		series(6, "Waits for quota", "none", "Times a call had to wait, in the interval before each point, by the rule that made it wait. Normal during a first sync and a sweep.",
			q("{{reason}}, "+who, grown("api_throttle_waits_total", "reason"))),
		series(6, "Time waited for quota", "percentunit", "Share of the time that calls spent waiting, by the rule that made them wait.",
			q("{{reason}}, "+who, "max by (tenant, instance, reason) (rate(m365_defender_api_throttle_wait_seconds_total{"+selected+"}[$__rate_interval]))")),
	)
}

func (d *Dashboard) exporterRefreshes() {
	d.row("Calls and refreshes", 8,
		series(8, "Refreshes", "none", "Refreshes that ended, successfully or not, in the interval before each point, by kind: delta is the regular one.",
			q("{{kind}}, "+who, grown("refreshes_total", "kind"))),
		series(8, "Failures", "none", "Refreshes that failed, in the interval before each point, by reason. The next one makes up for it.",
			q("{{kind}}: {{reason}}, "+who, grown("refresh_failures_total", "kind, reason")+" > 0").or("no refresh of the demo fails")).
			bars("").none("none").runbook("DefenderRefreshFailing"),
		series(8, "Duration of the last refresh", "s", "Waiting for quota included.",
			q("{{kind}}, "+who, each("refresh_last_duration_seconds", "", "kind"))),
	)
	d.row("", 8,
		series(8, "Calls by status", "none", "Calls of the incidents API, in the interval before each point, by operation and HTTP status; error: no answer.",
			q("{{operation}} {{code}}, "+who, grown("api_requests_total", "operation, code"))),
		series(8, "Duration of a call", "s", "Median and 90th percentile, waiting for quota excluded.",
			q("median", quantile("0.5", "api_request_duration_seconds", "", "$__rate_interval")),
			q("p90", quantile("0.9", "api_request_duration_seconds", "", "$__rate_interval"))),
		series(8, "Received", "Bps", "Bodies of the answers, decompressed.",
			q(who, "max by (tenant, instance) (rate(m365_defender_api_response_bytes_total{"+selected+"}[$__rate_interval]))")),
	)
}

func (d *Dashboard) exporterSync() {
	d.row("First sync and sweeps", 8,
		series(6, "First sync", "none", "Stages that are complete (1): first the open incidents, then all within the look-back.",
			q("{{stage}}, "+who, each("first_sync_complete", "", "stage"))).atMost(1).runbook("DefenderFirstSyncStuck"),
		series(6, "Incidents in memory", "none", "Merged ones included. Rises while the first sync runs.",
			q(who, each("incidents_cached", "", ""))).runbook("DefenderFirstSyncStuck"),
		series(6, "Since the last sweep", "s", "Time since a sweep, which reads everything again, was last begun and last complete.",
			q("begun, "+who, "clamp_min(time() - "+each("refresh_last_attempt_timestamp_seconds", `kind="sweep"`, "")+", 0)").or("the first sweep comes six hours after the first sync"),
			q("complete, "+who, "clamp_min(time() - "+each("refresh_last_success_timestamp_seconds", `kind="sweep"`, "")+", 0)").or("the first sweep comes six hours after the first sync")).
			none("none yet"),
		series(6, "Corrections", "none", "What sweeps had to correct, in the 24 hours before each point. Many missed or changed: deltas do not see everything.",
			q("{{kind}}, "+who, "max by (tenant, instance, kind) (increase(m365_defender_sweep_corrections_total{"+selected+"}[1d]))")).every("10m").runbook("DefenderSweepCorrectionsHigh"),
	)
}

func (d *Dashboard) exporterAccess() {
	until := func(metric string) string { return each(metric, "", "") + " - time()" }
	d.row("Access", 7,
		series(6, "Access token valid for", "s", "Renewed a few minutes before its end; it lives about an hour. Zero: it has ended and there is no new one.",
			q(who, "clamp_min("+until("token_expiry_timestamp_seconds")+", 0)")).runbook("DefenderAuthFailing"),
		ranking(6, "Certificate valid for", "dtdurations", "Client certificates only: nobody can see the end of a client secret from outside.",
			q(who, "clamp_min("+until("credential_expiry_timestamp_seconds")+", 0)").or("the demo has a client secret, whose end is not known"),
			q("all tenants", "0 * count(m365_defender_up{"+selected+"}) - 1 unless count(m365_defender_credential_expiry_timestamp_seconds{"+selected+"})")).
			decimals(1).words(word{-1, "no certificate", "text"}).steps("red", from(2*86400, "orange"), from(14*86400, "green")).runbook("DefenderCredentialExpiring"),
		series(6, "Token requests", "none", "Requests for an access token, in the interval before each point. One in about 55 minutes is normal. They cost no API quota.",
			q(who, grown("token_requests_total", ""))).bars(""),
		series(6, "Token failures", "none", "Requests for an access token that failed, in the interval before each point, by reason.",
			q("{{reason}}, "+who, grown("token_failures_total", "reason")).or("no token request of the demo fails")).bars("").none("none").runbook("DefenderAuthFailing"),
	)
}

func (d *Dashboard) exporterState() {
	inMemory := "the demo may keep its state in memory"
	process := func(expr string) string {
		return expr + ` * on (job, instance) group_left () max by (job, instance) (m365_defender_exporter_build_info{instance=~"$instance"})`
	}
	d.row("State and process", 7,
		series(6, "Since the state was saved", "s", "The state holds the counts, the first sync's progress and the quota that is spent.",
			q(who, "clamp_min(time() - "+each("state_last_save_timestamp_seconds", "", "")+", 0)").or(inMemory)).none("in memory only").runbook("DefenderStateNotSaved"),
		series(6, "State not saved", "none", "Times the state could not be saved, in the interval before each point.",
			q(who, grown("state_save_failures_total", "")).or(inMemory)).bars("").none("none").runbook("DefenderStateNotSaved"),
		series(6, "Size of the state", "bytes", "On disk.",
			q(who, each("state_size_bytes", "", "")).or(inMemory)).none("in memory only"),
		series(6, "Values not recognised", "none", "New versions of incidents with a value that this version does not know and counts as unknown or other, in the 24 hours before each point, by field.",
			q("{{field}}, "+who, "max by (tenant, instance, field) (increase(m365_defender_unrecognized_values_total{"+selected+"}[1d])) > 0").or("the demo may not have said anything new yet")).every("10m").none("none"),
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
