package incident

import "testing"

func TestParseFoldsSpellings(t *testing.T) {
	tests := []struct {
		parse func(string) (string, bool)
		in    string
		want  string
		known bool
	}{
		{status, "Active", "active", true},
		{status, "InProgress", "in_progress", true},
		{status, "inProgress", "in_progress", true},
		{status, "in_progress", "in_progress", true},
		{status, "awaitingAction", "awaiting_action", true},
		{status, "REDIRECTED", "redirected", true},
		{status, "New", "active", true},
		{status, "", "unknown", true},
		{status, "unknownFutureValue", "unknown", false},
		{status, "Act\u200bive", "unknown", false},
		{severity, "UnSpecified", "unknown", true},
		{severity, "unknown", "unknown", true},
		{severity, "Informational", "informational", true},
		{severity, "Critical", "unknown", false},
		{alertStatus, "New", "new", true},
		{alertStatus, "inProgress", "in_progress", true},
		{classification, "FalsePositive", "false_positive", true},
		{classification, "InformationalExpectedActivity", "informational_expected_activity", true},
		{investigation, "UnsupportedAlertType", "unsupported_alert_type", true},
		{investigation, "pendingApproval", "pending_approval", true},
		{investigation, "", "unknown", true},
		{investigation, "Dreaming", "unknown", false},
		{detection, "WindowsDefenderAv", "antivirus", true},
		{detection, "MTP", "microsoft365_defender", true},
		{detection, "microsoft365Defender", "microsoft365_defender", true},
		{detection, "MCAS", "cloud_app_security", true},
		{detection, "OfficeATP", "microsoft_defender_for_office365", true},
		{detection, "microsoftDefenderForOffice365", "microsoft_defender_for_office365", true},
		{detection, "DefenderForDatabases", "microsoft_defender_for_databases", true},
		{detection, "microsoftDefenderForDatabases", "microsoft_defender_for_databases", true},
		{detection, "DefenderForIoT", "microsoft_defender_for_iot", true},
		{detection, "microsoftDefenderForIoT", "microsoft_defender_for_iot", true},
		{detection, "CustomerTI", "custom_ti", true},
		{detection, "CustomDetection", "custom_detection", true},
		{detection, "", "unknown", true},
		{determination, "NotAvailable", "unknown", true},
		{determination, "CompromisedUser", "compromised_account", true},
		{determination, "CompromisedAccount", "compromised_account", true},
		{determination, "Clean", "not_malicious", true},
		{determination, "NotMalicious", "not_malicious", true},
		{determination, "InsufficientData", "not_enough_data_to_validate", true},
		{determination, "NoEnoughDataToValidate", "not_enough_data_to_validate", true},
		{determination, "NotEnoughDataToValidate", "not_enough_data_to_validate", true},
		{determination, "ConfirmedUserActivity", "confirmed_activity", true},
		{determination, "multiStagedAttack", "multi_staged_attack", true},
		{determination, "a value far longer than any that Microsoft has thought of until today", "unknown", false},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			if got, known := test.parse(test.in); got != test.want || known != test.known {
				t.Errorf("got %q, %v, want %q, %v", got, known, test.want, test.known)
			}
		})
	}
}

func severity(s string) (string, bool) { v, ok := ParseSeverity(s); return v.String(), ok }
func status(s string) (string, bool)   { v, ok := ParseStatus(s); return v.String(), ok }
func alertStatus(s string) (string, bool) {
	v, ok := ParseAlertStatus(s)
	return v.String(), ok
}
func investigation(s string) (string, bool) {
	v, ok := ParseInvestigation(s)
	return v.String(), ok
}
func detection(s string) (string, bool) { return DetectionSource(s), true }
func classification(s string) (string, bool) {
	v, ok := ParseClassification(s)
	return v.String(), ok
}
func determination(s string) (string, bool) {
	v, ok := ParseDetermination(s)
	return v.String(), ok
}

func TestLabels(t *testing.T) {
	tests := []struct{ in, want string }{
		{"InitialAccess", "initial_access"},
		{"initialAccess", "initial_access"},
		{"Initial access", "initial_access"},
		{"CommandAndControl", "command_and_control"},
		{"MicrosoftDefenderATP", "microsoft_defender_for_endpoint"},
		{"microsoftDefenderForEndpoint", "microsoft_defender_for_endpoint"},
		{"MicrosoftCloudAppSecurity", "microsoft_defender_for_cloud_apps"},
		{"microsoftDefenderForCloudApps", "microsoft_defender_for_cloud_apps"},
		{"OfficeATP", "microsoft_defender_for_office365"},
		{"microsoftDefenderForOffice365", "microsoft_defender_for_office365"},
		{"AADIdentityProtection", "azure_ad_identity_protection"},
		{"azureAdIdentityProtection", "azure_ad_identity_protection"},
		{"microsoft365Defender", "microsoft365_defender"},
		{"MicrosoftApplicationProtection", "microsoft_app_governance"},
		{"microsoftAppGovernance", "microsoft_app_governance"},
		{"microsoftSentinel", "microsoft_sentinel"},
		{"SomeAPIThing", "some_api_thing"},
		{"", "unknown"},
		{" \u200b ", "unknown"},
		{"ÜberWachung", "über_wachung"},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			if got := ServiceSource(test.in); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
