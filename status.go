package main

import (
	"fmt"
	"time"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
)

// tenantStatus is what the status page says of a tenant.
type tenantStatus struct {
	Name      string    `json:"tenant"`
	API       string    `json:"api"`
	Cloud     string    `json:"cloud"`
	Up        bool      `json:"up"`
	State     condition `json:"-"`
	StateName string    `json:"state"`
	FirstSync string    `json:"first_sync"`
	Synced    bool      `json:"first_sync_complete"`
	// Open incidents by severity; nil as long as they are not known.
	Open         map[string]int32 `json:"open_incidents,omitempty"`
	OpenCounts   []openCount      `json:"-"` // worst first
	LastRefresh  *time.Time       `json:"last_refresh,omitempty"`
	LastText     string           `json:"-"`
	NextRefresh  *time.Time       `json:"next_refresh,omitempty"`
	NextText     string           `json:"-"`
	Interval     string           `json:"refresh_interval"`
	Quota        []quotaStatus    `json:"quota"`
	BlockedUntil *time.Time       `json:"blocked_until,omitempty"`
	BlockedText  string           `json:"-"`
	Error        string           `json:"last_error,omitempty"`
	ErrorAt      *time.Time       `json:"last_error_at,omitempty"`
	ErrorText    string           `json:"-"`
}

type quotaStatus struct {
	Window    string `json:"window"`
	Used      int    `json:"used"`
	Effective int    `json:"effective_limit"`
	Limit     int    `json:"limit"`
}

func (t *tenant) status(now time.Time) tenantStatus {
	s := t.loop.Status()
	out := tenantStatus{
		Name: t.config.Name, API: t.config.API, Cloud: t.config.Cloud,
		Up: s.Up, FirstSync: firstSync(s), Synced: s.Coverage.All, Interval: s.Interval.String(), Error: s.LastError,
	}
	if snapshot := t.loop.Snapshot(); snapshot != nil {
		out.Open, out.OpenCounts = openIncidents(snapshot)
	}
	out.LastRefresh, out.LastText = instant(now, s.Kinds[refresh.PassDelta].LastSuccess)
	out.NextRefresh, out.NextText = instant(now, s.NextDelta)
	out.ErrorAt, out.ErrorText = instant(now, s.LastErrorAt)
	if until := t.ledger.BlockedUntil(); until.After(now) {
		out.BlockedUntil, out.BlockedText = instant(now, until)
	}
	out.State = t.condition(now, s, out.BlockedUntil != nil)
	out.StateName = out.State.String()
	for _, u := range t.ledger.Usage(now) {
		out.Quota = append(out.Quota, quotaStatus{windowName(u.Window.Period), u.Used, u.Effective, u.Window.Limit})
	}
	return out
}

func firstSync(s *refresh.Status) string {
	switch {
	case s.Coverage.All:
		return "complete"
	case s.Coverage.Open:
		return fmt.Sprintf("open incidents known, reading the rest (%d calls)", s.FirstPages)
	}
	return fmt.Sprintf("reading open incidents (%d calls)", s.FirstPages)
}

// condition sums a tenant up. The worse come first.
type condition int

const (
	stuck condition = iota
	down
	waiting
	starting
	serving
)

func (c condition) String() string {
	return [...]string{"stuck", "down", "told to wait", "starting", "up"}[c]
}

// Class is the name of the state's style.
func (c condition) Class() string {
	return [...]string{"bad", "bad", "warn", "idle", "good"}[c]
}

func (t *tenant) condition(now time.Time, s *refresh.Status, blocked bool) condition {
	switch {
	case !t.healthy(now):
		return stuck
	case !s.Up && s.LastErrorAt.After(s.Kinds[refresh.PassDelta].LastSuccess):
		return down
	case blocked:
		return waiting
	case !s.Up || !s.Coverage.Open:
		return starting
	}
	return serving
}

type openCount struct {
	Severity string
	Count    int32
}

// openIncidents counts by severity, twice: by name, and worst first.
func openIncidents(s *incident.Snapshot) (map[string]int32, []openCount) {
	if !s.Coverage.Open {
		return nil, nil
	}
	open, ordered := make(map[string]int32), []openCount(nil)
	for i := incident.NumSeverities - 1; i >= 0; i-- {
		var n int32
		for status := range incident.Status(incident.NumStatuses) {
			if status.Open() {
				n += s.Incidents[i][status][0] + s.Incidents[i][status][1]
			}
		}
		name := incident.Severity(i).String()
		open[name] = n
		ordered = append(ordered, openCount{name, n})
	}
	return open, ordered
}

// instant returns nothing for the zero time.
func instant(now, at time.Time) (*time.Time, string) {
	if at.IsZero() {
		return nil, ""
	}
	utc := at.UTC().Round(time.Second)
	d := now.Sub(at).Round(time.Second)
	if d < 0 {
		return &utc, fmt.Sprintf("in %v", -d)
	}
	return &utc, fmt.Sprintf("%v ago", d)
}
