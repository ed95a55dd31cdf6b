package incident

import (
	"strings"
	"unicode"
)

// sourceSynonyms folds the native API's names of Microsoft's products into
// the Graph API's; keys are as foldKey makes them.
var sourceSynonyms = map[string]string{
	"microsoftdefenderatp":          "microsoft_defender_for_endpoint",
	"microsoftcloudappsecurity":     "microsoft_defender_for_cloud_apps",
	"officeatp":                     "microsoft_defender_for_office365",
	"microsoftdefenderforoffice365": "microsoft_defender_for_office365",
	"aadidentityprotection":         "azure_ad_identity_protection",
	"azureadidentityprotection":     "azure_ad_identity_protection",
	"azureatp":                      "microsoft_defender_for_identity",
	"microsoftthreatprotection":     "microsoft365_defender",
	// Its former name was Microsoft Application Protection and Governance.
	"microsoftapplicationprotection": "microsoft_app_governance",
	"appgovernance":                  "microsoft_app_governance",
	"microsoftdatalossprevention":    "data_loss_prevention",
}

// ServiceSource makes the label value of a service source: snake case, the
// two APIs' names of one product folded into one, unknown if empty.
func ServiceSource(s string) string {
	var buf [48]byte
	if folded, ok := sourceSynonyms[string(foldKey(buf[:0], s))]; ok {
		return folded
	}
	return Label(s)
}

// detectionSynonyms folds the native API's names of what detected something into
// the Graph API's; keys are as foldKey makes them. The native ones are those of
// MicrosoftDocs/defender-docs, defender-xdr/api-list-incidents.md, and those that
// clients report.
var detectionSynonyms = map[string]string{
	"windowsdefenderatp":         "microsoft_defender_for_endpoint",
	"microsoftdefenderatp":       "microsoft_defender_for_endpoint",
	"windowsdefenderav":          "antivirus",
	"windowsdefendersmartscreen": "smart_screen",
	"customerti":                 "custom_ti",
	"customti":                   "custom_ti",
	"officeatp":                  "microsoft_defender_for_office365",
	"threatexperts":              "microsoft_threat_experts",
	"azureatp":                   "microsoft_defender_for_identity",
	"mcas":                       "cloud_app_security",
	"microsoftcloudappsecurity":  "cloud_app_security",
	"mtp":                        "microsoft365_defender",
	"microsoftthreatprotection":  "microsoft365_defender",
	"aadidentityprotection":      "azure_ad_identity_protection",
	"azureadidentityprotection":  "azure_ad_identity_protection",
	"microsoftdefenderforiot":    "microsoft_defender_for_iot",
	"builtinml":                  "built_in_ml",
}

// DetectionSource makes the label value of a detection source, as [ServiceSource]
// does of a service source.
func DetectionSource(s string) string {
	var buf [48]byte
	key := foldKey(buf[:0], s)
	if folded, ok := detectionSynonyms[string(key)]; ok {
		return folded
	}
	// DefenderForDatabases is what Graph calls microsoftDefenderForDatabases.
	if rest, ok := strings.CutPrefix(s, "DefenderFor"); ok {
		return DetectionSource("MicrosoftDefenderFor" + rest)
	}
	return Label(s)
}

// known are the label values of both.
var known = func() map[string]bool {
	all := make(map[string]bool)
	for _, synonyms := range []map[string]string{sourceSynonyms, detectionSynonyms} {
		for _, value := range synonyms {
			all[value] = true
		}
	}
	return all
}()

// KnownSource tells whether the text is a service source or a detection source that
// the APIs are known to send.
func KnownSource(s string) bool { return known[ServiceSource(s)] || known[DetectionSource(s)] }

// maxLabel bounds one label value, in bytes.
const maxLabel = 64

// Label makes a lower snake case label value of a camel case or free text
// one: InitialAccess and "initial access" both read initial_access. Characters that
// are neither letters nor digits separate words; an empty text reads unknown.
func Label(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			continue
		}
		if b.Len() > 0 && wordStart(runes, i) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		if b.Len() >= maxLabel {
			break
		}
	}
	if b.Len() == 0 {
		return "unknown"
	}
	return b.String()
}

// wordStart tells whether a new word starts at rune i: after a separator,
// at a capital after a small letter or digit, and at the last capital of a
// run that a small letter follows (AADIdentity: aad, identity).
func wordStart(runes []rune, i int) bool {
	prev, r := runes[i-1], runes[i]
	switch {
	case !unicode.IsLetter(prev) && !unicode.IsDigit(prev):
		return true
	case !unicode.IsUpper(r):
		return false
	case !unicode.IsUpper(prev):
		return true
	}
	return i+1 < len(runes) && unicode.IsLower(runes[i+1])
}
