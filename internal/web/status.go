package web

import (
	"fmt"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/tenant"
)

// tenantStatus is what the status page says of a tenant.
type tenantStatus struct {
	Name       string           `json:"tenant"`
	API        string           `json:"api"`
	Cloud      string           `json:"cloud"`
	Up         bool             `json:"up"`
	State      tenant.Condition `json:"-"`
	StateName  string           `json:"state"`
	StateClass string           `json:"-"`
	FirstSync  string           `json:"first_sync"`
	Synced     bool             `json:"first_sync_complete"`
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

func statusOf(t *tenant.Tenant, now time.Time) tenantStatus {
	cfg, s := t.Config(), t.Status(now)
	out := tenantStatus{
		Name: cfg.Name, API: cfg.API, Cloud: cfg.Cloud,
		Up: s.Refresh.Up, FirstSync: firstSync(&s), Synced: s.Refresh.Coverage.All, Interval: s.Refresh.Interval.String(), Error: s.Refresh.LastError,
		State: s.Condition, StateName: s.Condition.String(), StateClass: classes[s.Condition],
	}
	if s.Snapshot != nil {
		out.Open, out.OpenCounts = openIncidents(s.Snapshot)
	}
	out.LastRefresh, out.LastText = instant(now, s.LastDelta)
	out.NextRefresh, out.NextText = instant(now, s.Refresh.NextDelta)
	out.ErrorAt, out.ErrorText = instant(now, s.Refresh.LastErrorAt)
	out.BlockedUntil, out.BlockedText = instant(now, s.BlockedUntil)
	for _, u := range s.Usage {
		out.Quota = append(out.Quota, quotaStatus{tenant.WindowName(u.Window.Period), u.Used, u.Effective, u.Window.Limit})
	}
	return out
}

func firstSync(s *tenant.Status) string {
	switch {
	case s.Refresh.Coverage.All:
		return "complete"
	case s.Refresh.Coverage.Open:
		return fmt.Sprintf("open incidents known, reading the rest (%d calls)", s.Refresh.FirstPages)
	}
	return fmt.Sprintf("reading open incidents (%d calls)", s.Refresh.FirstPages)
}

// classes are the styles of the conditions.
var classes = [tenant.NumConditions]string{
	tenant.Stuck: "bad", tenant.Down: "bad", tenant.Throttled: "warn", tenant.Starting: "idle", tenant.Serving: "good",
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
