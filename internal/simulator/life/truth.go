package life

import (
	"strings"
	"time"
	"unicode"
)

// Truth is what a perfect observer counts, in the words of Prometheus labels.
// Combinations that do not occur are absent.
type Truth struct {
	// Incidents by severity, status and assigned ("true", "false"): open ones of
	// any age, resolved ones within the look-back, redirected ones never.
	Incidents map[[3]string]int
	// Redirected incidents within the look-back.
	Redirected int
	// Resolved incidents within the look-back by severity, classification and
	// determination.
	Resolved map[[3]string]int
	// OpenBySource and OpenByCategory count an open incident once for each
	// distinct value among its alerts, by the incident's severity.
	OpenBySource, OpenByCategory map[[2]string]int
	// Alerts of the counted incidents by the alert's own severity and status,
	// and service source.
	Alerts map[[3]string]int
	// Detections are the resolved incidents by the sources that detected them, once
	// for each, and classification.
	Detections map[[2]string]int
	// Investigations are the alerts of open incidents by state.
	Investigations map[string]int
	// Priorities are the open incidents by severity and band of priority, as Graph
	// shows it.
	Priorities map[[2]string]int
	// Tags, DeviceGroups and Techniques count an open incident once for each, by
	// severity; Detectors a resolved one, by classification. Owners are those of open
	// ones.
	Tags, DeviceGroups, Techniques, Detectors map[[2]string]int
	Owners                                    map[string]int
	// OldestOpen is when the oldest open incident of a severity was created.
	OldestOpen map[string]time.Time

	now  time.Time
	open []openSince
}

type openSince struct {
	severity, assigned string
	created, updated   time.Time
}

// OpenOlder counts by severity and assigned the open incidents that had reached
// the given age at the time of the truth.
func (tr Truth) OpenOlder(threshold time.Duration) map[[2]string]int {
	older := make(map[[2]string]int)
	for _, o := range tr.open {
		if !o.created.Add(threshold).After(tr.now) {
			older[[2]string{o.severity, o.assigned}]++
		}
	}
	return older
}

// OpenIdle counts by severity the open incidents that had not been updated for so
// long.
func (tr Truth) OpenIdle(threshold time.Duration) map[string]int {
	idle := make(map[string]int)
	for _, o := range tr.open {
		if !o.updated.Add(threshold).After(tr.now) {
			idle[o.severity]++
		}
	}
	return idle
}

// Truth counts from scratch what can be seen of the tenant. The look-back ends
// at now, and an incident leaves it at the very instant at which its last
// update is that old; lookback 0 has no end.
func (t *Tenant) Truth(now time.Time, lookback time.Duration) Truth {
	tr := Truth{
		Incidents: make(map[[3]string]int), Resolved: make(map[[3]string]int),
		OpenBySource: make(map[[2]string]int), OpenByCategory: make(map[[2]string]int),
		Alerts: make(map[[3]string]int), OldestOpen: make(map[string]time.Time), now: now,
		Detections: make(map[[2]string]int), Investigations: make(map[string]int), Priorities: make(map[[2]string]int),
		Tags: make(map[[2]string]int), DeviceGroups: make(map[[2]string]int), Techniques: make(map[[2]string]int), Detectors: make(map[[2]string]int),
		Owners: make(map[string]int),
	}
	t.Do(func(time.Time) {
		for _, e := range t.records {
			tr.add(&e.Record, lookback == 0 || e.Updated.Add(lookback).After(now))
		}
	})
	return tr
}

func (tr *Truth) add(r *Record, recent bool) {
	status := label(statusLabels, r.Status)
	severity := label(severityLabels, r.Severity)
	assigned := "false"
	if r.AssignedTo != "" {
		assigned = "true"
	}
	switch {
	case status == "redirected":
		if recent {
			tr.Redirected++
		}
		return
	case status == "resolved" && !recent:
		return
	case status == "resolved":
		tr.Resolved[[3]string{severity, label(classificationLabels, r.Classification), label(determinationLabels, r.Determination)}]++
		tr.addDetections(r)
	default:
		tr.addOpen(r, severity, assigned)
	}
	tr.Incidents[[3]string{severity, status, assigned}]++
	for i := range r.Alerts {
		a := &r.Alerts[i]
		tr.Alerts[[3]string{label(severityLabels, a.Severity), label(alertStatusLabels, a.Status), sourceLabel(a.ServiceSource)}]++
	}
}

func (tr *Truth) addDetections(r *Record) {
	detections := map[string]bool{}
	for i := range r.Alerts {
		detections[label(detectionLabels, r.Alerts[i].DetectionSource())] = true
	}
	detectors := map[string]bool{}
	for i := range r.Alerts {
		id := r.Alerts[i].DetectorID()
		if id == "" {
			id = "unknown"
		}
		detectors[id] = true
	}
	for id := range detectors {
		tr.Detectors[[2]string{id, label(classificationLabels, r.Classification)}]++
	}
	for detection := range detections {
		tr.Detections[[2]string{detection, label(classificationLabels, r.Classification)}]++
	}
}

func (tr *Truth) addOpen(r *Record, severity, assigned string) {
	tr.open = append(tr.open, openSince{severity, assigned, r.Created, r.Updated})
	tr.Priorities[[2]string{severity, band(r)}]++
	for i := range r.Alerts {
		tr.Investigations[snake(r.Alerts[i].InvestigationState())]++
	}
	if oldest, ok := tr.OldestOpen[severity]; !ok || r.Created.Before(oldest) {
		tr.OldestOpen[severity] = r.Created
	}
	tr.addDimensions(r, severity)
	bySource, byCategory := map[string]bool{}, map[string]bool{}
	for i := range r.Alerts {
		bySource[sourceLabel(r.Alerts[i].ServiceSource)] = true
		byCategory[snake(r.Alerts[i].Category)] = true
	}
	for source := range bySource {
		tr.OpenBySource[[2]string{severity, source}]++
	}
	for category := range byCategory {
		tr.OpenByCategory[[2]string{severity, category}]++
	}
}

func (tr *Truth) addDimensions(r *Record, severity string) {
	if r.AssignedTo != "" {
		tr.Owners[r.AssignedTo]++
	}
	tags, groups, techniques := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, tag := range r.Tags {
		tags[tag] = true
	}
	for i := range r.Alerts {
		a := &r.Alerts[i]
		for device := range int(a.Devices) {
			groups[a.DeviceGroup(device)] = true
		}
		for _, technique := range a.Techniques() {
			techniques[technique[:len("T1234")]] = true
		}
	}
	for _, of := range []struct {
		values map[string]bool
		counts map[[2]string]int
	}{{tags, tr.Tags}, {groups, tr.DeviceGroups}, {techniques, tr.Techniques}} {
		for value := range of.values {
			of.counts[[2]string{severity, value}]++
		}
	}
}

// The tables are written by hand, value by value, so that they share neither
// code nor a clever idea with what they check. Incidents were seen with the
// alert status New, which is as good as active.
var (
	severityLabels = map[string]string{
		"Informational": "informational", "Low": "low", "Medium": "medium", "High": "high",
	}
	statusLabels = map[string]string{
		"Active": "active", "New": "active", "InProgress": "in_progress", "AwaitingAction": "awaiting_action",
		"Resolved": "resolved", "Redirected": "redirected",
	}
	alertStatusLabels    = map[string]string{"New": "new", "InProgress": "in_progress", "Resolved": "resolved"}
	classificationLabels = map[string]string{
		"FalsePositive": "false_positive", "TruePositive": "true_positive",
		"InformationalExpectedActivity": "informational_expected_activity",
	}
	determinationLabels = map[string]string{
		"Apt": "apt", "Malware": "malware", "SecurityPersonnel": "security_personnel", "SecurityTesting": "security_testing",
		"UnwantedSoftware": "unwanted_software", "Other": "other", "MultiStagedAttack": "multi_staged_attack",
		"MaliciousUserActivity": "malicious_user_activity", "Phishing": "phishing",
		"LineOfBusinessApplication": "line_of_business_application",
		"CompromisedUser":           "compromised_account", "CompromisedAccount": "compromised_account",
		"ConfirmedUserActivity": "confirmed_activity", "ConfirmedActivity": "confirmed_activity",
		"Clean": "not_malicious", "NotMalicious": "not_malicious",
		"InsufficientData":        "not_enough_data_to_validate",
		"NoEnoughDataToValidate":  "not_enough_data_to_validate",
		"NotEnoughDataToValidate": "not_enough_data_to_validate",
	}
	sourceLabels = map[string]string{
		"MicrosoftDefenderATP":           "microsoft_defender_for_endpoint",
		"MicrosoftDefenderForEndpoint":   "microsoft_defender_for_endpoint",
		"MicrosoftCloudAppSecurity":      "microsoft_defender_for_cloud_apps",
		"OfficeATP":                      "microsoft_defender_for_office365",
		"AADIdentityProtection":          "azure_ad_identity_protection",
		"MicrosoftApplicationProtection": "microsoft_app_governance",
		"MicrosoftDefenderForCloud":      "microsoft_defender_for_cloud",
	}
	detectionLabels = map[string]string{
		"WindowsDefenderAtp": "microsoft_defender_for_endpoint", "WindowsDefenderAv": "antivirus", "MTP": "microsoft365_defender",
		"MCAS": "cloud_app_security", "OfficeATP": "microsoft_defender_for_office365", "AzureATP": "microsoft_defender_for_identity",
		"CustomDetection": "custom_detection", "CustomerTI": "custom_ti", "AutomatedInvestigation": "automated_investigation",
		"DefenderForDatabases": "microsoft_defender_for_databases",
	}
)

// band is top from 86 on, low to 14.
func band(r *Record) string {
	score, ok := r.Priority()
	switch {
	case !ok:
		return "unknown"
	case score > 85:
		return "top"
	case score >= 15:
		return "medium"
	}
	return "low"
}

func label(table map[string]string, value string) string {
	if l, ok := table[value]; ok {
		return l
	}
	return "unknown"
}

func sourceLabel(source string) string {
	if l, ok := sourceLabels[source]; ok {
		return l
	}
	return snake(source)
}

// snake is enough for plain camel case, which is all that the tenant makes;
// acts that use other values must not rely on it.
func snake(s string) string {
	if s == "" {
		return "unknown"
	}
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
