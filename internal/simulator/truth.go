package simulator

import (
	"strconv"
	"time"
)

// Truth is a recount of everything, in the label values that a metric has.
type Truth struct {
	// Incidents by severity, status, assigned; merged ones are not among them.
	Incidents map[[3]string]int
	// Redirected ones, within the look-back.
	Redirected int
	// Resolved by severity, classification, determination.
	Resolved map[[3]string]int
	// OpenBySource and OpenByCategory: an incident counts once for each.
	OpenBySource, OpenByCategory map[[2]string]int
	// Alerts by severity, status, service source.
	Alerts map[[3]string]int
	// OldestOpen by severity, OpenCreated all of them.
	OldestOpen  map[string]time.Time
	OpenCreated map[string][]time.Time
}

// Truth counts the tenant as it is now. Resolved and merged incidents count
// while their last update lies within the look-back.
func (t *Tenant) Truth(lookback time.Duration) Truth {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	from := t.now().Add(-lookback)
	c := Truth{
		Incidents: map[[3]string]int{}, Resolved: map[[3]string]int{}, OpenBySource: map[[2]string]int{},
		OpenByCategory: map[[2]string]int{}, Alerts: map[[3]string]int{}, OldestOpen: map[string]time.Time{},
		OpenCreated: map[string][]time.Time{},
	}
	for _, r := range t.order {
		if !r.isOpen() && r.Updated.Before(from) {
			continue
		}
		if r.Status == "Redirected" {
			c.Redirected++
			continue
		}
		c.add(r)
	}
	return c
}

func (c *Truth) add(r *Record) {
	severity := label(r.Severity)
	c.Incidents[[3]string{severity, label(r.Status), strconv.FormatBool(r.AssignedTo != "")}]++
	sources, categories := map[string]bool{}, map[string]bool{}
	for _, a := range r.Alerts {
		c.Alerts[[3]string{label(a.Severity), label(a.Status), label(a.Source)}]++
		sources[label(a.Source)], categories[label(a.Category)] = true, true
	}
	if !r.isOpen() {
		c.Resolved[[3]string{severity, label(r.Classification), label(r.Determination)}]++
		return
	}
	for s := range sources {
		c.OpenBySource[[2]string{severity, s}]++
	}
	for s := range categories {
		c.OpenByCategory[[2]string{severity, s}]++
	}
	c.OpenCreated[severity] = append(c.OpenCreated[severity], r.Created)
	if oldest, ok := c.OldestOpen[severity]; !ok || r.Created.Before(oldest) {
		c.OldestOpen[severity] = r.Created
	}
}

// label is a table by hand: it must not agree with the exporter by sharing
// its way of making labels.
func label(native string) string {
	if l, ok := labels[native]; ok {
		return l
	}
	panic("simulator: no label for " + native)
}

var labels = map[string]string{
	"Informational": "informational", "Low": "low", "Medium": "medium", "High": "high", "UnSpecified": "unknown",
	"Active": "active", "InProgress": "in_progress", "AwaitingAction": "awaiting_action", "Resolved": "resolved", "New": "new",
	"Unknown": "unknown", "TruePositive": "true_positive", "FalsePositive": "false_positive",
	"InformationalExpectedActivity": "informational_expected_activity",
	"NotAvailable":                  "unknown", "Malware": "malware", "Phishing": "phishing", "MultiStagedAttack": "multi_staged_attack",
	"CompromisedUser": "compromised_account", "Clean": "not_malicious", "InsufficientData": "not_enough_data_to_validate",
	"SecurityTesting": "security_testing", "ConfirmedUserActivity": "confirmed_activity",
	"LineOfBusinessApplication": "line_of_business_application", "Apt": "apt",
	"MicrosoftDefenderATP": "microsoft_defender_for_endpoint", "MicrosoftDefenderForEndpoint": "microsoft_defender_for_endpoint",
	"OfficeATP": "microsoft_defender_for_office365", "MicrosoftCloudAppSecurity": "microsoft_defender_for_cloud_apps",
	"AADIdentityProtection": "azure_ad_identity_protection", "MicrosoftDefenderForCloud": "microsoft_defender_for_cloud",
	"MicrosoftApplicationProtection": "microsoft_application_protection",
	"InitialAccess":                  "initial_access", "SuspiciousActivity": "suspicious_activity", "CredentialAccess": "credential_access",
	"Execution": "execution", "CommandAndControl": "command_and_control", "LateralMovement": "lateral_movement",
	"Exfiltration": "exfiltration", "Persistence": "persistence", "Impact": "impact", "DefenseEvasion": "defense_evasion",
	"UnwantedSoftware": "unwanted_software",
}
