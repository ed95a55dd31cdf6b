package life

import (
	"slices"
	"time"
)

// Record is an incident as the tenant knows it. Its words (status, severity
// and so on) are in the native API's spelling, and no value is forbidden: the
// enums of the real API are open, too.
type Record struct {
	ID int64
	// RedirectID is the incident that this one was merged into, or 0.
	RedirectID       int64
	Name             string
	Created, Updated time.Time
	// AssignedTo is empty if the incident is not assigned.
	AssignedTo                    string
	Status, Severity              string
	Classification, Determination string
	Tags                          []string
	Comments                      int // how many
	Alerts                        []Alert
}

// Alert is what the tenant keeps of an alert. Everything else that its JSON
// shows is made up from Number whenever it is written.
type Alert struct {
	Number                  int64
	Category, ServiceSource string
	Status, Severity        string
	Created, Updated        time.Time
	// Entities and Devices are how many of them the JSON shows.
	Entities, Devices uint8
}

// Spec describes an incident to create. The zero value is an unassigned,
// active incident of medium severity with one alert, created now.
type Spec struct {
	Name                          string
	Status, Severity              string // Active, Medium
	Classification, Determination string // Unknown, NotAvailable
	AssignedTo                    string
	RedirectID                    int64
	// Created and Updated are the server's now if zero. Where only Updated is
	// given and is in the past, Created is the same.
	Created, Updated time.Time
	Tags             []string
	// Alerts, nil: one new alert of the incident's severity. Empty but not nil:
	// none. Numbers and times that are zero are filled in.
	Alerts []Alert
}

// The statuses that the tenant itself uses. AlertNew is one of alerts.
const (
	Active         = "Active"
	InProgress     = "InProgress"
	AwaitingAction = "AwaitingAction"
	Resolved       = "Resolved"
	Redirected     = "Redirected"
	AlertNew       = "New"
)

// IsOpen takes an unknown status for open: it may need an act.
func (r *Record) IsOpen() bool { return r.Status != Resolved && r.Status != Redirected }

// Clone shares nothing with the record.
func (r *Record) Clone() Record {
	c := *r
	c.Tags = slices.Clone(r.Tags)
	c.Alerts = slices.Clone(r.Alerts)
	return c
}

// maxAlerts is the cap that was seen in a captured page: exactly 150.
const maxAlerts = 150
