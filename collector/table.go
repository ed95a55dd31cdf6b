package collector

// fromFirst is told of histograms of which empty ones are not shown: twenty lines
// for each that say nothing, of each tenant.
const fromFirst = " Absent until the first observation."

// onRequest is told of what tells of persons or makes many series.
const onRequest = " Absent by default."

// Everything that depends on the incidents is cached: a scrape shows the last
// good refresh.
var (
	incidents = cached("incidents", Gauge,
		"Incidents: open ones of any age, resolved ones within the look-back. Redirected (merged) ones are not among them.",
		"severity", "status", "assigned")
	incidentsRedirected = cached("incidents_redirected", Gauge,
		"Incidents that were merged into another one, within the look-back.")
	incidentsCached = cached("incidents_cached", Gauge,
		"Incidents held in memory, redirected ones included.")
	resolvedIncidents = cached("resolved_incidents", Gauge,
		"Resolved incidents within the look-back by verdict.",
		"severity", "classification", "determination")
	openBySource = cached("open_incidents_by_service_source", Gauge,
		"Open incidents by the service that raised their alerts. An incident counts once for each of its services.",
		"severity", "service_source")
	openByCategory = cached("open_incidents_by_category", Gauge,
		"Open incidents by the category of their alerts. An incident counts once for each of its categories.",
		"severity", "category")
	openOlder = cached("open_incidents_older", Gauge,
		"Open incidents created at least so long ago.",
		"severity", "assigned", "threshold")
	openIdle = cached("open_incidents_idle", Gauge,
		"Open incidents that have not been updated for at least so long.",
		"severity", "threshold")
	openByPriority = cached("open_incidents_by_priority", Gauge,
		"Open incidents by the band of Microsoft's priority score: top above 85, medium from 15 on, low below, unknown without one. Absent on the native API, which does not tell it.",
		"severity", "priority")
	oldestOpen = cached("oldest_open_incident_created_timestamp_seconds", Gauge,
		"Unix time at which the oldest open incident was created; absent if none is open.",
		"severity")
	alerts = cached("alerts", Gauge,
		"Alerts of the incidents that are counted. The severity and the status are the alert's.",
		"severity", "status", "service_source")
	resolvedByDetection = cached("resolved_incidents_by_detection_source", Gauge,
		"Resolved incidents within the look-back by what detected their alerts and by verdict. An incident counts once for each of its detection sources.",
		"detection_source", "classification")
	alertsByInvestigation = cached("alerts_by_investigation_state", Gauge,
		"Alerts of open incidents by the state of their automated investigation.",
		"investigation_state")
	openByTag = cached("open_incidents_by_tag", Gauge,
		"Open incidents by tag, of those tags that --incidents.tags lists. An incident counts once for each of them."+onRequest,
		"severity", "tag")
	openByDeviceGroup = cached("open_incidents_by_device_group", Gauge,
		"Open incidents by the device group of the devices of their alerts, of those groups that --incidents.device-groups lists. An incident counts once for each of them."+onRequest,
		"severity", "device_group")
	openByTechnique = cached("open_incidents_by_technique", Gauge,
		"Open incidents by MITRE ATT&CK technique of their alerts, without sub-techniques, with --incidents.techniques. An incident counts once for each of them."+onRequest,
		"severity", "technique")
	resolvedByDetector = cached("resolved_incidents_by_detector", Gauge,
		"Resolved incidents within the look-back by the detector of their alerts and by verdict: the detectors with the most incidents, as many as --incidents.detectors says, the others as other. An incident counts once for each of its detectors, the others included."+onRequest,
		"detector", "classification")
	openAssignees = cached("open_assignees", Gauge,
		"Persons to whom open incidents are assigned, with --incidents.assignees."+onRequest)
	busiestAssignee = cached("busiest_assignee_open_incidents", Gauge,
		"Open incidents of the person who has the most, with --incidents.assignees."+onRequest)
	openByAssignee = cached("open_incidents_by_assignee", Gauge,
		"Open incidents by the person to whom they are assigned: a keyed hash with --incidents.assignees=hashed, the name with names. Absent of persons without any."+onRequest,
		"assignee")
	alertsAvailable = cached("alerts_available", Gauge,
		"Whether the API delivers alerts (1). If not (0), the series that are made of alerts are absent.")

	created = cached("incidents_created_total", Counter,
		"Incidents that appeared after the first sync.",
		"severity")
	resolved = cached("incidents_resolved_total", Counter,
		"Times an incident was resolved, seen after the first sync, by its classification at that moment; handled: assigned if it had an owner then, else unassigned.",
		"severity", "classification", "handled")
	reopened = cached("incidents_reopened_total", Counter,
		"Times a resolved incident was opened again, seen after the first sync.",
		"severity")
	merged = cached("incidents_merged_total", Counter,
		"Times an incident was merged into another one, seen after the first sync. One that appears merged is counted here and not as created.",
		"severity")
	reassigned = cached("incidents_reassigned_total", Counter,
		"Times an open incident went from one person to another between two refreshes, seen after the first sync, with --incidents.assignees."+onRequest,
		"severity")
	timeToDetect = cached("incident_time_to_detect_seconds", Histogram,
		"Seconds from the first activity of an incident's alerts to its creation, of incidents that appeared after the first sync."+fromFirst,
		"severity")
	timeToFirstTouch = cached("incident_time_to_first_touch_seconds", Histogram,
		"Seconds from an incident's creation until it was first dealt with: its status left active, or it got an owner, a comment, a tag or a classification. Seen after the first sync."+fromFirst,
		"severity")
	timeToAssign = cached("incident_time_to_assign_seconds", Histogram,
		"Seconds from an incident's creation to its first owner, seen after the first sync.",
		"severity")
	timeInWork = cached("incident_time_in_work_seconds", Histogram,
		"Seconds from an incident's first owner to its resolution, where both were seen after the first sync."+fromFirst,
		"severity")
	timeToResolve = cached("incident_time_to_resolve_seconds", Histogram,
		"Seconds from an incident's creation to its resolution, seen after the first sync, by its classification at that moment."+
			" Other classifications than unknown are absent until the first observation.",
		"severity", "classification")
	alertsOfIncident = cached("incident_alerts", Histogram,
		"Alerts of an incident when it was resolved, seen after the first sync."+fromFirst,
		"severity")
	objectiveSeconds = define("incident_objective_seconds", Gauge,
		"Seconds from an incident's creation within which it is to be assigned, first touched or resolved: the setting. Absent where there is none, and until the open incidents are known.",
		"severity", "objective")
	objectives = cached("incidents_objective_total", Counter,
		"Times of the histograms for which there is an objective, by whether it was met: exact at any bound. What the setting was at that moment holds.",
		"severity", "objective", "met")
	unrecognized = cached("unrecognized_values_total", Counter,
		"New versions of incidents with a value that is not known here and was counted as unknown or other.",
		"field")
)

// How refreshing goes is not cached: it is true at the scrape.
var (
	up = define("up", Gauge,
		"Whether the last refresh succeeded, and refreshing does not hang (1). On 0 the last good counts are still shown.")
	firstSyncComplete = define("first_sync_complete", Gauge,
		"Whether a stage of the first sync is complete (1): first open incidents, then all within the look-back.",
		"stage")
	refreshInterval = define("refresh_interval_seconds", Gauge,
		"Seconds between refreshes at present: the setting, or slower if the quota demands it.")
	lastSuccess = define("refresh_last_success_timestamp_seconds", Gauge,
		"Unix time at which a refresh last succeeded: the age of everything cached.",
		"kind")
	lastAttempt = define("refresh_last_attempt_timestamp_seconds", Gauge,
		"Unix time at which a refresh was last begun.",
		"kind")
	lastDuration = define("refresh_last_duration_seconds", Gauge,
		"Seconds that the last refresh took, waiting for quota included.",
		"kind")
	refreshes = define("refreshes_total", Counter,
		"Refreshes that ended, successfully or not.",
		"kind")
	refreshFailures = define("refresh_failures_total", Counter,
		"Refreshes that failed. The next one makes up for it.",
		"kind", "reason")
	sweepCorrections = define("sweep_corrections_total", Counter,
		"What sweeps had to correct: incidents that deltas missed, changes that they missed, incidents that vanished.",
		"kind")
)

// What the API's answers were seen to lack.
var (
	rowsSkipped = define("api_rows_skipped_total", Counter,
		"Rows of answers that could not be used: without an id that is a number, or such that the API fails to deliver. Each time that one is met.",
		"reason")
	optionUnsupported = define("api_option_unsupported", Gauge,
		"Whether the API was seen not to take an option of a request (1), which is then left out and tried again after a day at most.",
		"option")
)

// What the API is asked, and what it costs. These are filled where the calls
// are made.
var (
	apiRequests = define("api_requests_total", Counter,
		"Calls of the incidents API by HTTP status, or error if there was no answer.",
		"operation", "code")
	apiDuration = define("api_request_duration_seconds", Histogram,
		"Seconds that a call of the incidents API took, waiting for quota excluded.",
		"operation")
	apiTooMany = define("api_too_many_requests_total", Counter,
		"HTTP 429 responses received from the incidents API.")
	apiWaits = define("api_throttle_waits_total", Counter,
		"Times a call had to wait for quota, by the rule that made it wait.",
		"reason")
	apiWaitSeconds = define("api_throttle_wait_seconds_total", Counter,
		"Seconds that calls waited for quota.",
		"reason")
	apiBytes = define("api_response_bytes_total", Counter,
		"Bytes of the bodies of answers of the incidents API, decompressed.")
	tokenRequests = define("token_requests_total", Counter,
		"Requests for an access token. They cost no API quota.")
	tokenFailures = define("token_failures_total", Counter,
		"Requests for an access token that failed.",
		"reason")
	apiHandedIn = define("api_calls_handed_in_total", Counter,
		"Calls of others that spend the same quota, a check or another replica, that the ledger was told of.")

	// QuotaLimit and those that follow are read at scrape time with [NewFunc].
	QuotaLimit = define("api_quota_limit", Gauge,
		"Calls that the API allows in a window, as configured or as learned from its answers.",
		"window")
	QuotaEffectiveLimit = define("api_quota_effective_limit", Gauge,
		"Calls that this exporter allows itself in a window: its share, halved when others spend the quota.",
		"window")
	QuotaUsed = define("api_quota_used", Gauge,
		"Calls made in the window that ends now.",
		"window")
	BlockedUntil = define("api_blocked_until_timestamp_seconds", Gauge,
		"Unix time until which the API's answers with HTTP 429 have all calls wait; 0 if they do not. What another error asks for holds up its kind of call alone.")
	APIActive = define("api_active", Gauge,
		"Whether the tenant is read by this API (1), native (defender) or Microsoft Graph's.",
		"api")
	// APIFallback is there where the operator leaves the choice open.
	APIFallback = define("api_fallback", Gauge,
		"Why a tenant with --api=auto is read by Graph (1): the native API is gone, or refuses the application (role). Absent of other tenants.",
		"reason")
	TokenExpiry = define("token_expiry_timestamp_seconds", Gauge,
		"Unix time at which the present access token expires; absent before the first one.")
	// CredentialExpiry is known of certificates; of a secret the operator may know it.
	CredentialExpiry = define("credential_expiry_timestamp_seconds", Gauge,
		"Unix time at which the credential itself expires, where that is known: that of the client certificate, or the one given for the client secret.")
)

// Whose a tenant is, what survives a restart, and the configuration.
var (
	// OwnedSince tells which of several exporters of a tenant has the newest counts:
	// the one that has owned it for the shortest time.
	OwnedSince = define("tenant_owned_since_timestamp_seconds", Gauge,
		"Unix time since which this exporter owns the tenant. If several expose it, the counts of the newest owner hold.")
	// Tenants and TenantOpenFailures belong to no tenant.
	Tenants = define("tenants", Gauge,
		"Tenants of the configuration, and those of them that this exporter serves. Without the label tenant.",
		"state")
	TenantOpenFailures = define("tenant_open_failures_total", Counter,
		"Times the state of a tenant could not be opened; it is not served, and tried again. Without the label tenant.")
	// Replicas and those that follow exist where replicas share the state. They
	// belong to no tenant.
	Replicas = define("replicas", Gauge,
		"Exporters that share the state, as this one sees them; 0 before it has joined them. Without the label tenant.")
	TenantTakeovers = define("tenant_takeovers_total", Counter,
		"Tenants that this exporter has taken: new ones, handed over by another exporter, or of one that fell silent. Without the label tenant.",
		"reason")
	TenantsLost = define("tenants_lost_total", Counter,
		"Tenants that this exporter was serving when others had taken them, because it was silent. Without the label tenant.")
	ReplicaNameConflicts = define("replica_name_conflicts_total", Counter,
		"Times another exporter was found to have the replica name of this one. Without the label tenant.")
	StateSaveFailures = define("state_save_failures_total", Counter,
		"Times the state could not be saved. The counts go on from memory.")
	StateLastSave = define("state_last_save_timestamp_seconds", Gauge,
		"Unix time at which the state was last saved; absent before the first time.")
	StateSize = define("state_size_bytes", Gauge,
		"Size of the saved state on disk.")
	// stateUp and stateDuration belong to no tenant.
	stateUp = define("state_up", Gauge,
		"Whether the last exchange with the store of the state succeeded (1). Without the label tenant.")
	stateDuration = define("state_request_duration_seconds", Histogram,
		"Seconds that an exchange with the store of the state took: beat is of the replicas, open takes and gives back a tenant, grant saves its ledger, save and load are of its incidents. Without the label tenant.",
		"operation")
	// ReloadSuccessful and ReloadTimestamp belong to no tenant.
	ReloadSuccessful = define("config_last_reload_successful", Gauge,
		"Whether the last attempt to load the configuration succeeded (1). Without the label tenant.")
	ReloadTimestamp = define("config_last_reload_success_timestamp_seconds", Gauge,
		"Unix time at which the configuration was last loaded successfully. Without the label tenant.")
)
