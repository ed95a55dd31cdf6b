package simulator

import (
	"fmt"
	"slices"
	"strings"
)

// The Graph flavour has words of its own. The table is written by hand, word by
// word, from its schema; what is not in it is what the native API says with a
// small first letter.
var graphWords = map[string]string{
	"UnSpecified": "unknown", "NotAvailable": "unknown",
	"CompromisedUser": "compromisedAccount", "ConfirmedUserActivity": "confirmedActivity", "Clean": "notMalicious",
	"InsufficientData": "notEnoughDataToValidate", "NoEnoughDataToValidate": "notEnoughDataToValidate",
	"MicrosoftDefenderATP":           "microsoftDefenderForEndpoint",
	"MicrosoftCloudAppSecurity":      "microsoftDefenderForCloudApps",
	"OfficeATP":                      "microsoftDefenderForOffice365",
	"AADIdentityProtection":          "azureAdIdentityProtection",
	"MicrosoftApplicationProtection": "microsoftAppGovernance",
}

// newWords are the members that enums got after their sentinel: shown only to
// who asks for them.
var newWords = []string{
	"awaitingAction", "microsoftDefenderForCloud", "microsoftSentinel", "microsoftInsiderRiskManagement",
	"microsoftThreatIntelligence", "microsoftSecurityForAI",
}

// graphWord translates a native word.
func graphWord(word string, prefer bool) string {
	g, ok := graphWords[word]
	if !ok && word != "" {
		g = strings.ToLower(word[:1]) + word[1:]
	}
	if !prefer && slices.Contains(newWords, g) {
		return "unknownFutureValue"
	}
	return g
}

// graphFields are the fields that can be filtered, and how the tenant calls
// them.
var graphFields = map[string]string{
	"lastUpdateDateTime": "lastUpdateTime", "createdDateTime": "createdTime", "status": "status", "assignedTo": "assignedTo",
}

// graphStatuses are the statuses in both tongues; another is no member.
var graphStatuses = map[string]string{
	"active": active, "inProgress": inProgress, "awaitingAction": awaitingAction, "resolved": resolved, "redirected": redirected,
}

// parseGraphFilter understands what the native flavour does, in Graph's words.
func parseGraphFilter(text string) ([]condition, error) {
	native := text
	for graph, name := range graphFields {
		native = strings.ReplaceAll(native, graph+" ", name+" ")
	}
	where, err := parseFilter(native)
	if err != nil {
		return nil, err
	}
	for i := range where {
		if where[i].field != "status" {
			continue
		}
		status, ok := graphStatuses[where[i].text]
		if !ok {
			return nil, fmt.Errorf("the string '%s' is not a valid enumeration type constant", where[i].text)
		}
		where[i].text = status
	}
	return where, nil
}
