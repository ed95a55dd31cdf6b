// Package incident is the domain that every other package shares: an
// incident as Microsoft 365 Defender describes it, the mirror of a tenant's
// incidents, and the immutable snapshot of its counts. It is pure: no I/O and
// no clock, time is always an argument.
package incident

import "time"

// Incident is one version of an incident, as one API answer described it.
// Both API flavours are folded into this one shape.
type Incident struct {
	// ID is the incident's number. It is the only field without which an
	// answer's row is unusable.
	ID int64
	// RedirectID is the incident that this one was merged into, or 0.
	RedirectID int64
	// Created and Updated are UTC. Zero means that the answer did not say, or
	// said something that is not a time.
	Created, Updated time.Time

	Severity       Severity
	Status         Status
	Classification Classification
	Determination  Determination
	// Assigned tells whether the incident is assigned. To whom is personal data and
	// is not kept, unless Dimensions say so.
	Assigned bool
	// Noted tells whether the incident has a tag or a comment. What they say is not
	// kept.
	Noted    bool
	Priority Priority

	// Kept is what [Dimensions] ask for; nil: nothing was asked for.
	Kept *Kept `json:",omitempty"`

	Alerts []Alert
	// AlertsUnknown is set when the answer was asked for without alerts; a
	// mirror then keeps the alerts it knew.
	AlertsUnknown bool

	// Unrecognized names the fields whose value this version of the program
	// does not know. They read as unknown.
	Unrecognized Fields
}

// Alert is what is counted of an alert.
type Alert struct {
	Severity      Severity
	Status        AlertStatus
	Investigation Investigation
	// Source, Category and Detection are label values as made by [ServiceSource],
	// [Label] and [DetectionSource]: open-ended, the mirror bounds them.
	Source, Category, Detection string
	// FirstActivity is when what the alert tells of began, UTC; zero if the answer
	// did not say.
	FirstActivity time.Time
	// ID tells whether it is the same as another one of its incident, 0 if it has none. It
	// means something within a process.
	ID uint64 `json:"-"`
	// Kept is what [Dimensions] ask for; nil: nothing, or there is nothing of it.
	Kept *KeptOfAlert `json:",omitempty"`
}

// Kept is what is kept of an incident on request.
type Kept struct {
	// Mark is that of the dimensions, see [Dimensions.Mark].
	Mark string
	// Owner is a name or what stands for it, empty if there is none or if it was not
	// asked for.
	Owner string `json:",omitempty"`
	// Tags are those of the incident's that are shown.
	Tags []string `json:",omitempty"`
}

// KeptOfAlert is what is kept of an alert on request.
type KeptOfAlert struct {
	// Techniques are those of MITRE ATT&CK, without sub-techniques; what is none
	// reads other.
	Techniques   []string `json:",omitempty"`
	DeviceGroups []string `json:",omitempty"`
	Detector     string   `json:",omitempty"`
}

// kept is never nil.
func (i *Incident) kept() *Kept {
	if i.Kept == nil {
		return &Kept{}
	}
	return i.Kept
}

func (a *Alert) kept() *KeptOfAlert {
	if a.Kept == nil {
		return &KeptOfAlert{}
	}
	return a.Kept
}

// Touched tells whether somebody has dealt with the incident: its status has left
// active, or it has an owner, a tag, a comment or a classification. Its last
// update tells nothing of the kind: alerts that join update it, too.
func (i *Incident) Touched() bool {
	switch i.Status {
	case StatusInProgress, StatusAwaitingAction, StatusResolved:
		return true
	}
	return i.Assigned || i.Noted || i.Classification != ClassificationUnknown
}

// firstActivity is the earliest of the alerts', noTime if none is known.
func (i *Incident) firstActivity() int64 {
	first := int64(noTime)
	for k := range i.Alerts {
		if at := unixNano(i.Alerts[k].FirstActivity); at != noTime && (first == noTime || at < first) {
			first = at
		}
	}
	return first
}

// Open tells whether there is work left: every status but resolved and
// redirected. An unknown status counts as open, because the opposite mistake
// would hide work.
func (i *Incident) Open() bool { return i.Status.Open() }

// Fields is a set of fields whose value was not recognised.
type Fields uint32

// The members of Fields.
const (
	FieldStatus Fields = 1 << iota
	FieldSeverity
	FieldClassification
	FieldDetermination
	FieldAlertStatus
	FieldAlertSeverity
	// FieldServiceSource and FieldCategory are set by the mirror, when a value
	// no longer fits its bounded label.
	FieldServiceSource
	FieldCategory
	FieldInvestigation
	// FieldDetection is set by the mirror, too.
	FieldDetection
	// These are set only while they are kept.
	FieldDeviceGroup
	FieldTechnique
	FieldDetector
	FieldAssignee
)

// FieldNames lists the label values of the members of Fields, in bit order.
var FieldNames = [...]string{
	"status", "severity", "classification", "determination",
	"alert_status", "alert_severity", "service_source", "category",
	"investigation_state", "detection_source",
	"device_group", "technique", "detector", "assignee",
}
