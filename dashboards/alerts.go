package dashboards

// Group is a group of alerts that are evaluated together.
type Group struct {
	Name   string
	Alerts []Alert
}

// Alert is an alerting rule. Its texts are templates with $labels and $value.
type Alert struct {
	// Name is also the headline of its section in docs/runbook.md.
	Name     string
	Expr     string
	For      string
	Severity string // critical: get up; warning: today; info: when there is time
	Summary  string
	// Description says what to think of it, in a sentence or two.
	Description string
	// Silent is why the alert does not fire on a healthy demo; empty if it does.
	Silent string
}

const healthy = "nothing is wrong with the demo"

// Alerts lists the alerts. Those about incidents are one for each tenant,
// however many exporters there are; those about an exporter keep its labels.
func Alerts() []Group {
	return []Group{
		{"m365_defender_incidents", incidentAlerts()},
		{"m365_defender_exporter", append(exporterAlerts(), accessAlerts()...)},
	}
}

func incidentAlerts() []Alert {
	created, resolved, reopened := increasePerDay("created"), increasePerDay("resolved"), increasePerDay("reopened")
	burn := func(short, long, share string) string {
		return late(long).Record + " > " + share + "\nand on (tenant)\n" + late(short).Record + " > " + share +
			"\nand on (tenant)\n" + assigned(long).Record + " > 2"
	}
	return []Alert{
		{
			Name: "DefenderHighIncidentUnassigned", For: "5m", Severity: "critical", Silent: "the demo may give each an owner in time",
			Expr:        waiting(),
			Summary:     "{{ $labels.tenant }}: high-severity incidents without an owner: {{ $value }}",
			Description: "At least one of them has waited for a quarter of an hour: more open incidents of high severity have no owner than were created in the last 10 minutes, or one of them is over an hour old.",
		},
		{
			Name: "DefenderHighIncidentOverdue", For: "1m", Severity: "warning",
			Expr: "time() - " + newest("tenant", `m365_defender_oldest_open_incident_created_timestamp_seconds{severity="high"}`) +
				"\n> on (tenant)\n" + newest("tenant", `m365_defender_incident_objective_seconds{severity="high", objective="resolve"}`),
			Summary:     "{{ $labels.tenant }}: a high-severity incident has been open for {{ $value | humanizeDuration }}",
			Description: "That is longer than the exporter's --incidents.objective says: the objective for resolving incidents of high severity is missed.",
		},
		{
			Name: "DefenderBacklogGrowing", For: "6h", Severity: "warning", Silent: "the demo resolves about as many as it creates",
			Expr: "(\n  " + created + " + on (tenant) " + reopened + "\n-\n  on (tenant) " + resolved + "\n) > 10\nand on (tenant)\n" +
				created + " > on (tenant) 1.25 * " + resolved,
			Summary:     "The backlog of {{ $labels.tenant }} grew by {{ $value | printf \"%.0f\" }} incidents in a day",
			Description: "For 6 hours, a quarter more incidents were created than resolved in the day before, and over ten more.",
		},
		{
			Name: "DefenderAssignObjectiveFastBurn", For: "5m", Severity: "critical", Silent: "whether the demo is late depends on what it happens to assign",
			Expr:        burn("1h", "6h", "6 * "+assignBudget),
			Summary:     "{{ $value | humanizePercentage }} of the high-severity incidents of {{ $labels.tenant }} were assigned too late",
			Description: "Over 60 % of those assigned in the last hour, and in the last 6 hours, had waited for longer than the exporter's --incidents.objective says. Under 10 % may: that budget burns six times too fast.",
		},
		{
			Name: "DefenderAssignObjectiveSlowBurn", For: "1h", Severity: "warning", Silent: "whether the demo is late depends on what it happens to assign",
			Expr:        burn("6h", "3d", "2 * "+assignBudget),
			Summary:     "{{ $value | humanizePercentage }} of the high-severity incidents of {{ $labels.tenant }} were assigned too late",
			Description: "Over 20 % of those assigned in the last 6 hours, and in the last 3 days, had waited for longer than the exporter's --incidents.objective says. Under 10 % may: that budget burns twice too fast.",
		},
		{
			Name: "DefenderInvestigationAwaitsApproval", For: "4h", Severity: "warning",
			Expr:        newest("tenant", `m365_defender_alerts_by_investigation_state{investigation_state="pending_approval"}`) + " > 0",
			Summary:     "{{ $labels.tenant }}: automated investigations that wait for an approval: {{ $value }}",
			Description: "For 4 hours there have been alerts of open incidents whose remediation is prepared, and is carried out only when a person approves it.",
		},
		{
			Name: "DefenderUnclassifiedShareHigh", For: "1d", Severity: "info",
			Expr:        verdicts(`classification="unknown"`) + "\n/ on (tenant)\n(" + verdicts("") + " > 20)\n> 0.5",
			Summary:     "{{ $value | humanizePercentage }} of the resolved incidents of {{ $labels.tenant }} have no classification",
			Description: "More than half of the incidents that were resolved within the look-back were closed without a verdict, of more than 20. Rates of false positives say little then.",
		},
	}
}

// waiting counts the open incidents of high severity without an owner, where one of
// them must have been there for ten minutes: they are more than were created since, or
// one is over an hour old. That there is one at any moment says nothing where each is
// taken within minutes. What was created is a difference of values, since increase
// would extrapolate it; the smallest of ten minutes is the oldest one, or the first
// after a counter began anew. Where nothing is known of it, as before the end of the
// first sync, none was created.
func waiting() string {
	const created = `m365_defender_incidents_created_total{severity="high"}`
	return "sum by (tenant) (" + newest("tenant, status", `m365_defender_incidents{severity="high", assigned="false", status!="resolved"}`) + ")\n" +
		"> on (tenant)\n(\n" +
		"  max by (tenant) (last_over_time(" + created + gap + "))\n" +
		"  - on (tenant) min_over_time((max by (tenant) (" + created + "))[10m:1m])\n" +
		"  unless on (tenant)\n  " + newest("tenant", `m365_defender_open_incidents_older{severity="high", assigned="false", threshold="1h"}`) + " > 0\n" +
		"  or on (tenant)\n  0 * max by (tenant) (" + owner().Record + ")\n)"
}

// verdicts counts resolved incidents.
func verdicts(matchers string) string {
	return "sum by (tenant) (" + newest("tenant, severity, classification, determination", "m365_defender_resolved_incidents{"+matchers+"}") + ")"
}

func exporterAlerts() []Alert {
	return []Alert{
		{
			Name: "DefenderExporterDown", For: "5m", Severity: "critical", Silent: healthy,
			Expr:        "up == 0\nand on (job, instance)\npresent_over_time(m365_defender_exporter_build_info[7d])",
			Summary:     "Prometheus does not reach the exporter {{ $labels.instance }}",
			Description: "A target that was an m365_defender_exporter within the last week does not answer. Nothing is known of its tenants.",
		},
		{
			Name: "DefenderExporterAbsent", For: "15m", Severity: "critical", Silent: healthy,
			Expr:        "absent(m365_defender_exporter_build_info)",
			Summary:     "There is no m365_defender_exporter",
			Description: "Prometheus has no exporter at all: it is down, or it is no longer among the targets. Nothing is known of any tenant.",
		},
		{
			// A tenant that has not been tried yet waits for its quota: its ledger counts
			// as lost at the first start on a shared state.
			Name: "DefenderRefreshFailing", For: "15m", Severity: "warning", Silent: healthy,
			Expr:        "m365_defender_up == 0\nand on (instance, tenant)\nm365_defender_refresh_last_attempt_timestamp_seconds",
			Summary:     "{{ $labels.tenant }} is not refreshed",
			Description: "The exporter {{ $labels.instance }} runs, but for 15 minutes no refresh has succeeded. It shows the last good counts until they are too old.",
		},
		{
			Name: "DefenderDataStale", For: "5m", Severity: "critical", Silent: healthy,
			Expr: "time() - m365_defender_refresh_last_success_timestamp_seconds{kind=\"delta\"}\n> on (instance, tenant) group_left ()\n" +
				"3 * m365_defender_refresh_interval_seconds",
			Summary:     "The counts of {{ $labels.tenant }} are {{ $value | humanizeDuration }} old",
			Description: "The exporter {{ $labels.instance }} has missed at least three refreshes. What dashboards and other alerts say of this tenant is out of date.",
		},
		{
			Name: "DefenderRefreshSlow", For: "1h", Severity: "warning", Silent: healthy,
			Expr:        "m365_defender_refresh_interval_seconds > 600",
			Summary:     "{{ $labels.tenant }} is refreshed only every {{ $value | humanizeDuration }}",
			Description: "A refresh of the exporter {{ $labels.instance }} needs so many calls that the quota allows it only rarely.",
		},
		{
			Name: "DefenderFirstSyncStuck", For: "1h", Severity: "warning", Silent: healthy,
			Expr: "m365_defender_first_sync_complete{stage=\"all\"} == 0\nunless on (instance, tenant)\n" +
				"delta(m365_defender_incidents_cached[30m]) > 0",
			Summary:     "The first sync of {{ $labels.tenant }} makes no progress",
			Description: "For an hour the exporter {{ $labels.instance }} has not finished its first sync, nor read any incident that it did not have.",
		},
		{
			// A sweep that cannot be completed is begun again half an hour later. A
			// success of the same kind in between begins the wait anew.
			Name: "DefenderListIncomplete", For: "4h", Severity: "warning", Silent: healthy,
			Expr: "sum by (job, instance, tenant, kind) (increase(m365_defender_refresh_failures_total{reason=~\"incomplete|partial\"}[3h])) > 0\n" +
				"unless on (instance, tenant, kind)\ntime() - m365_defender_refresh_last_success_timestamp_seconds < 1800",
			Summary:     "The incidents list of {{ $labels.tenant }} cannot be read completely ({{ $labels.kind }})",
			Description: "For 4 hours the API has answered the exporter {{ $labels.instance }} with parts of the list, or has offered no way to read all of it. Nothing is counted that is not known: the last complete counts are shown.",
		},
		{
			Name: "DefenderRowsSkipped", For: "5m", Severity: "warning", Silent: healthy,
			Expr:        "sum by (job, instance, tenant, reason) (increase(m365_defender_api_rows_skipped_total[1d])) > 0",
			Summary:     "The counts of {{ $labels.tenant }} lack incidents that cannot be read ({{ $labels.reason }})",
			Description: "Within a day the exporter {{ $labels.instance }} met rows of the incidents list that it could not use: without an id (no_id), or such that the API fails to deliver (too_heavy).",
		},
		{
			Name: "DefenderSweepCorrectionsHigh", For: "1h", Severity: "info", Silent: healthy,
			Expr: "sum by (job, instance, tenant) (increase(m365_defender_sweep_corrections_total{kind=~\"missed|changed\"}[1d]))\n" +
				"> on (instance, tenant) group_left ()\n0.01 * (m365_defender_incidents_cached > 1000)",
			Summary:     "Sweeps corrected {{ $value | printf \"%.0f\" }} incidents of {{ $labels.tenant }} in a day",
			Description: "More than one in a hundred incidents in memory was wrong until a sweep read it again: the regular refreshes do not see everything.",
		},
		{
			Name: "DefenderStateNotSaved", For: "15m", Severity: "warning", Silent: healthy,
			Expr:        "increase(m365_defender_state_save_failures_total[15m]) > 0",
			Summary:     "The exporter {{ $labels.instance }} cannot save its state",
			Description: "It goes on from memory, but a restart would begin with an older state, or with a first sync, and could spend quota again.",
		},
		{
			Name: "DefenderStateDown", For: "2m", Severity: "critical", Silent: healthy,
			Expr:        "m365_defender_state_up == 0",
			Summary:     "The exporter {{ $labels.instance }} does not reach the state",
			Description: "For 2 minutes the last exchange with the store of its state has failed. From a shared store no call is made and no tenant is taken over until it answers: the last counts are shown. With a state of its own the exporter goes on from memory.",
		},
		{
			Name: "DefenderTenantUnowned", For: "2m", Severity: "critical", Silent: healthy,
			Expr:        "max by (job) (m365_defender_tenants{state=\"configured\"}) - on (job) sum by (job) (m365_defender_tenants{state=\"owned\"}) > 0",
			Summary:     "{{ $value }} tenants of the configuration are served by no exporter",
			Description: "Their states cannot be opened, or another process has them. Nothing is known of them; it is tried again every half minute.",
		},
		{
			Name: "DefenderTenantOwnedTwice", For: "5m", Severity: "warning", Silent: healthy,
			Expr:        "count by (tenant) (m365_defender_tenant_owned_since_timestamp_seconds) > 1",
			Summary:     "{{ $value }} exporters serve {{ $labels.tenant }}",
			Description: "For 5 minutes several exporters have shown its counts: one is cut off from the shared state, or they share none. Recorded rules and dashboards follow the newest owner; queries of your own may count twice.",
		},
		{
			Name: "DefenderReplicasDisagree", For: "5m", Severity: "warning", Silent: healthy,
			Expr: "max by (job) (m365_defender_replicas) != on (job) count by (job) (m365_defender_replicas)\n" +
				"or\nmax by (job) (m365_defender_replicas) != on (job) min by (job) (m365_defender_replicas)",
			Summary:     "Exporters that share a state see {{ $value }} replicas, and Prometheus another number",
			Description: "For 5 minutes they have not agreed on who there is, or Prometheus does not scrape all of them, or some that it scrapes have not joined. Tenants may be served twice, or be missing here.",
		},
		{
			// An hour is six times ten minutes. One takeover is seen in two of them at most.
			Name: "DefenderTakeoversOften", For: "5m", Severity: "warning", Silent: healthy,
			Expr:        "count_over_time((sum by (job) (increase(m365_defender_tenant_takeovers_total{reason=\"silent\"}[10m])) > 0)[1h:10m]) >= 3",
			Summary:     "Exporters fall silent again and again",
			Description: "In {{ $value }} of the last six times ten minutes, tenants of an exporter that had fallen silent were taken over by others. It crashes, is starved of CPU or memory, or does not reach the shared state.",
		},
		{
			Name: "DefenderConfigReloadFailed", For: "5m", Severity: "warning", Silent: healthy,
			Expr:        "m365_defender_config_last_reload_successful == 0",
			Summary:     "The exporter {{ $labels.instance }} refused its configuration",
			Description: "The last attempt to load the configuration failed. The exporter goes on with the one before.",
		},
	}
}

func accessAlerts() []Alert {
	failing := func(reason string) string {
		return "sum by (job, instance, tenant) (increase(m365_defender_refresh_failures_total{reason=\"" + reason + "\"}[15m])) > 0"
	}
	return []Alert{
		{
			Name: "DefenderAuthFailing", For: "10m", Severity: "critical", Silent: healthy,
			Expr:        failing("auth"),
			Summary:     "The exporter cannot authenticate at {{ $labels.tenant }}",
			Description: "The exporter {{ $labels.instance }} gets no access token, or the API does not accept it. The secret or certificate may have expired.",
		},
		{
			Name: "DefenderForbidden", For: "10m", Severity: "critical", Silent: healthy,
			Expr:        failing("forbidden"),
			Summary:     "The exporter may not read the incidents of {{ $labels.tenant }}",
			Description: "The API answers the exporter {{ $labels.instance }} with 403: the permission or the admin consent is missing, or was withdrawn.",
		},
		{
			// Over a restart, or a move to another replica, it is one alert.
			Name: "DefenderApiFallback", For: "5m", Severity: "warning", Silent: "the demo has a native API",
			Expr:        "max by (job, tenant) (max_over_time(m365_defender_api_fallback{reason=\"gone\"}[15m])) == 1",
			Summary:     "{{ $labels.tenant }} is read by Microsoft Graph: the native API is gone",
			Description: "The native API has answered with nothing but 404 or 410 for ten minutes, or its host has no address any more. With --api=auto the exporter reads this tenant by Graph since then: its counts began with a first sync, its counters anew.",
		},
		{
			Name: "DefenderCredentialExpiring", For: "1h", Severity: "warning", Silent: "the demo has a client secret, whose end is not known",
			Expr:        "m365_defender_credential_expiry_timestamp_seconds - time() < 14 * 86400",
			Summary:     "The credential for {{ $labels.tenant }} expires in {{ $value | humanizeDuration }}",
			Description: "When the client certificate or secret of the exporter {{ $labels.instance }} has expired, it gets no access token any more.",
		},
		{
			Name: "DefenderThrottled", For: "10m", Severity: "warning", Silent: healthy,
			Expr:        "increase(m365_defender_api_too_many_requests_total[30m]) > 3",
			Summary:     "The API refused {{ $value | printf \"%.0f\" }} calls for {{ $labels.tenant }} in half an hour",
			Description: "The exporter {{ $labels.instance }} stays within its share of the quota; something else spends the quota of the same app registration.",
		},
		{
			Name: "DefenderQuotaNearlyUsed", For: "30m", Severity: "warning", Silent: healthy,
			Expr: "m365_defender_api_quota_used{window=\"hour\"}\n/ on (instance, tenant, window) group_left ()\nm365_defender_api_quota_effective_limit > 0.9\n" +
				"and on (instance, tenant)\nm365_defender_first_sync_complete{stage=\"all\"} == 1",
			Summary:     "{{ $value | humanizePercentage }} of the hourly calls for {{ $labels.tenant }} are used",
			Description: "The exporter {{ $labels.instance }} needs nearly all calls that it allows itself, although its first sync is complete. Refreshes will become slower.",
		},
	}
}
