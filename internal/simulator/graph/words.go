package graph

import (
	"fmt"
	"slices"
	"strings"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

// Graph has words of its own. The table is written by hand, word by
// word, from its schema; what is not in it is what the native API says with a
// small first letter.
var words = map[string]string{
	"UnSpecified": "unknown", "NotAvailable": "unknown",
	"CompromisedUser": "compromisedAccount", "ConfirmedUserActivity": "confirmedActivity", "Clean": "notMalicious",
	"InsufficientData": "notEnoughDataToValidate", "NoEnoughDataToValidate": "notEnoughDataToValidate",
	"MicrosoftDefenderATP":           "microsoftDefenderForEndpoint",
	"MicrosoftCloudAppSecurity":      "microsoftDefenderForCloudApps",
	"OfficeATP":                      "microsoftDefenderForOffice365",
	"AADIdentityProtection":          "azureAdIdentityProtection",
	"MicrosoftApplicationProtection": "microsoftAppGovernance",
	"WindowsDefenderAtp":             "microsoftDefenderForEndpoint",
	"WindowsDefenderAv":              "antivirus",
	"MTP":                            "microsoft365Defender",
	"MCAS":                           "cloudAppSecurity",
	"AzureATP":                       "microsoftDefenderForIdentity",
	"CustomerTI":                     "customTi",
	"DefenderForDatabases":           "microsoftDefenderForDatabases",
}

// newWords are the members that enums got after their sentinel: shown only where
// the request prefers them.
var newWords = []string{
	"awaitingAction", "microsoftDefenderForCloud", "microsoftDefenderForDatabases", "microsoftSentinel", "microsoftInsiderRiskManagement",
	"microsoftThreatIntelligence", "microsoftSecurityForAI",
}

// translate says a native word as Graph does.
func translate(word string, prefer bool) string {
	g, ok := words[word]
	if !ok && word != "" {
		g = strings.ToLower(word[:1]) + word[1:]
	}
	if !prefer && slices.Contains(newWords, g) {
		return "unknownFutureValue"
	}
	return g
}

// status: an incident has no status New there.
func status(native string, prefer bool) string {
	if native == life.AlertNew {
		native = life.Active
	}
	return translate(native, prefer)
}

// fields are the fields that can be filtered, and how the tenant calls
// them.
var fields = map[string]string{
	"lastUpdateDateTime": "lastUpdateTime", "createdDateTime": "createdTime", "status": "status", "assignedTo": "assignedTo",
}

// statuses are the statuses in both tongues; another is no member.
var statuses = map[string]string{
	"active": life.Active, "inProgress": life.InProgress, "awaitingAction": life.AwaitingAction, "resolved": life.Resolved, "redirected": life.Redirected,
}

// parseFilter understands what the native API does, in Graph's words.
func parseFilter(text string) ([]odata.Condition, error) {
	native := text
	for graph, name := range fields {
		native = strings.ReplaceAll(native, graph+" ", name+" ")
	}
	where, err := odata.ParseFilter(native)
	if err != nil {
		return nil, err
	}
	for i := range where {
		if where[i].Field != "status" {
			continue
		}
		status, ok := statuses[where[i].Text]
		if !ok {
			return nil, fmt.Errorf("the string '%s' is not a valid enumeration type constant", where[i].Text)
		}
		where[i].Text = status
	}
	return where, nil
}
