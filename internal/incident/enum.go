package incident

import "strings"

// Severity of an incident or an alert.
type Severity uint8

// The severities, mildest first.
const (
	SeverityUnknown Severity = iota
	SeverityInformational
	SeverityLow
	SeverityMedium
	SeverityHigh
	NumSeverities = int(iota)
)

// Status of an incident.
type Status uint8

// The statuses. Redirected incidents were merged into another one and are not
// incidents any more.
const (
	StatusUnknown Status = iota
	StatusActive
	StatusInProgress
	StatusAwaitingAction
	StatusResolved
	StatusRedirected
	NumStatuses = int(iota)
)

// Open is false for resolved and redirected.
func (s Status) Open() bool { return s != StatusResolved && s != StatusRedirected }

// AlertStatus is the status of one alert.
type AlertStatus uint8

// The alert statuses.
const (
	AlertUnknown AlertStatus = iota
	AlertNew
	AlertInProgress
	AlertResolved
	NumAlertStatuses = int(iota)
)

// Classification is the verdict on an incident.
type Classification uint8

// The classifications.
const (
	ClassificationUnknown Classification = iota
	ClassificationFalsePositive
	ClassificationTruePositive
	ClassificationInformational
	NumClassifications = int(iota)
)

// Investigation is how far the automated investigation of an alert has come.
type Investigation uint8

// NumInvestigations is the number of states of an investigation; 0 is unknown,
// which is also that of an alert without one.
const NumInvestigations = len(investigationNames)

// Priority is the band of the priority score that Microsoft gives to an incident
// (0 to 100: learn.microsoft.com/graph/whats-new-overview). Only Graph tells it.
type Priority uint8

// The priorities, with unknown for an incident without a score.
const (
	PriorityUnknown Priority = iota
	PriorityLow
	PriorityMedium
	PriorityTop
	NumPriorities = int(iota)
)

// PriorityOf is the band of a score: below 15 low, above 85 top.
func PriorityOf(score int64) Priority {
	switch {
	case score < 0 || score > 100:
		return PriorityUnknown
	case score < 15:
		return PriorityLow
	case score <= 85:
		return PriorityMedium
	}
	return PriorityTop
}

// Determination refines a classification. Its members are the Graph API's,
// into which the native API's spellings fold.
type Determination uint8

// NumDeterminations is the number of determinations; 0 is unknown.
const NumDeterminations = len(determinationNames)

var (
	severityNames       = [...]string{"unknown", "informational", "low", "medium", "high"}
	statusNames         = [...]string{"unknown", "active", "in_progress", "awaiting_action", "resolved", "redirected"}
	alertStatusNames    = [...]string{"unknown", "new", "in_progress", "resolved"}
	classificationNames = [...]string{"unknown", "false_positive", "true_positive", "informational_expected_activity"}
	determinationNames  = [...]string{
		"unknown", "apt", "malware", "security_personnel", "security_testing", "unwanted_software", "other",
		"multi_staged_attack", "compromised_account", "phishing", "malicious_user_activity", "not_malicious",
		"not_enough_data_to_validate", "confirmed_activity", "line_of_business_application",
	}
	// Of microsoftgraph/msgraph-metadata; the native API has the same.
	investigationNames = [...]string{
		"unknown", "terminated", "successfully_remediated", "benign", "failed", "partially_remediated", "running",
		"pending_approval", "pending_resource", "queued", "inner_failure", "preexisting_alert", "unsupported_os",
		"unsupported_alert_type", "suppressed_alert", "partially_investigated", "terminated_by_user", "terminated_by_system",
	}
	priorityNames = [...]string{"unknown", "low", "medium", "top"}
)

// Synonyms that Microsoft's two APIs, or two of its pages, use for one thing.
var (
	severityTable = table(severityNames[:], map[string]string{"unspecified": "unknown"})
	// New is an alert's status; it was observed once on an incident.
	statusTable         = table(statusNames[:], map[string]string{"new": "active"})
	alertStatusTable    = table(alertStatusNames[:], nil)
	classificationTable = table(classificationNames[:], nil)
	investigationTable  = table(investigationNames[:], nil)
	determinationTable  = table(determinationNames[:], map[string]string{
		"notavailable":           "unknown",
		"compromiseduser":        "compromised_account",
		"confirmeduseractivity":  "confirmed_activity",
		"clean":                  "not_malicious",
		"insufficientdata":       "not_enough_data_to_validate",
		"noenoughdatatovalidate": "not_enough_data_to_validate",
	})
)

// String is the label value.
func (s Severity) String() string { return severityNames[s] }

// String is the label value.
func (s Status) String() string { return statusNames[s] }

// String is the label value.
func (s AlertStatus) String() string { return alertStatusNames[s] }

// String is the label value.
func (c Classification) String() string { return classificationNames[c] }

// String is the label value.
func (d Determination) String() string { return determinationNames[d] }

// String is the label value.
func (i Investigation) String() string { return investigationNames[i] }

// String is the label value.
func (p Priority) String() string { return priorityNames[p] }

// ParseSeverity folds case, separators and synonyms; false means that the
// value is not known, and reads as unknown. An empty value is known: unknown.
func ParseSeverity(s string) (Severity, bool) { return parse[Severity](severityTable, s) }

// ParseStatus is like [ParseSeverity].
func ParseStatus(s string) (Status, bool) { return parse[Status](statusTable, s) }

// ParseAlertStatus is like [ParseSeverity].
func ParseAlertStatus(s string) (AlertStatus, bool) { return parse[AlertStatus](alertStatusTable, s) }

// ParseClassification is like [ParseSeverity].
func ParseClassification(s string) (Classification, bool) {
	return parse[Classification](classificationTable, s)
}

// ParseInvestigation is like [ParseSeverity].
func ParseInvestigation(s string) (Investigation, bool) {
	return parse[Investigation](investigationTable, s)
}

// ParseDetermination is like [ParseSeverity].
func ParseDetermination(s string) (Determination, bool) {
	return parse[Determination](determinationTable, s)
}

func table(names []string, synonyms map[string]string) map[string]uint8 {
	t := make(map[string]uint8, len(names)+len(synonyms)+1)
	for i, name := range names {
		t[strings.ReplaceAll(name, "_", "")] = uint8(i)
	}
	for from, to := range synonyms {
		t[from] = t[strings.ReplaceAll(to, "_", "")]
	}
	t[""] = 0
	return t
}

// parse looks the value up without allocating: it is called for every field
// of every row.
func parse[T ~uint8](table map[string]uint8, s string) (T, bool) {
	var buf [48]byte
	v, ok := table[string(foldKey(buf[:0], s))]
	return T(v), ok
}

// foldKey appends the ASCII letters and digits of s in lower case.
func foldKey(dst []byte, s string) []byte {
	for i := 0; i < len(s) && len(dst) < 48; i++ {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			dst = append(dst, c)
		case c >= 0x80:
			dst = append(dst, c)
		}
	}
	return dst
}
