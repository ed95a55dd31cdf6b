package web

import (
	"fmt"
	"time"

	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/tenant"
)

// tenantStatus is what the status page says of a tenant. The names of its fields
// in JSON are documented and do not change.
type tenantStatus struct {
	Name string `json:"tenant"`
	API  string `json:"api"`
	// Fallback is why it is read by Graph: gone or role.
	Fallback  string `json:"api_fallback,omitempty"`
	Cloud     string `json:"cloud"`
	Up        bool   `json:"up"`
	State     string `json:"state"`
	FirstSync string `json:"first_sync"`
	Synced    bool   `json:"first_sync_complete"`
	// Open incidents by severity; nil as long as they are not known.
	Open       map[string]int32 `json:"open_incidents,omitempty"`
	Unassigned *int32           `json:"open_incidents_unassigned,omitempty"`
	Oldest     *time.Time       `json:"oldest_open_incident,omitempty"`

	LastRefresh *time.Time `json:"last_refresh,omitempty"`
	NextRefresh *time.Time `json:"next_refresh,omitempty"`
	Interval    string     `json:"refresh_interval"`
	// WaitingFor is the rule that holds the next refresh back: minute, hour or
	// retry_after.
	WaitingFor   string        `json:"waiting_for,omitempty"`
	WaitingUntil *time.Time    `json:"waiting_until,omitempty"`
	BlockedUntil *time.Time    `json:"blocked_until,omitempty"`
	NextToken    *time.Time    `json:"next_token_request,omitempty"` // while there is none
	Quota        []quotaStatus `json:"quota"`
	OwnedSince   *time.Time    `json:"owned_since,omitempty"`
	Error        string        `json:"last_error,omitempty"`
	ErrorAt      *time.Time    `json:"last_error_at,omitempty"`

	// For the eye only.
	Condition                           tenant.Condition   `json:"-"`
	Class                               string             `json:"-"`
	Counts                              []tenant.OpenCount `json:"-"` // worst first, but those that are not known to be any
	Others                              int32              `json:"-"` // of unknown severity
	Old                                 bool               `json:"-"` // the counts are
	OldestText, OldestAt, OwnedText     string             `json:"-"`
	LastText, NextText, ErrorText, Link string             `json:"-"`
}

type quotaStatus struct {
	Window    string `json:"window"`
	Used      int    `json:"used"`
	Effective int    `json:"effective_limit"`
	Limit     int    `json:"limit"`
}

// High is from where on a bar is amber.
func (q quotaStatus) High() float64 { return 0.8 * float64(q.Effective) }

// Spent tells that nothing is left of our own limit.
func (q quotaStatus) Spent() bool { return q.Used >= q.Effective }

// High is the open incidents of the worst severity.
func (s *tenantStatus) High() int32 {
	if len(s.Counts) == 0 {
		return -1
	}
	return s.Counts[0].Count
}

func statusOf(t *tenant.Tenant, now time.Time) tenantStatus {
	cfg, s := t.Config(), t.Status(now)
	out := tenantStatus{
		Name: cfg.Name, API: cfg.API, Fallback: string(t.Fallback()), Cloud: cfg.Cloud,
		Up: s.Refresh.Up && s.Condition != tenant.Stuck, FirstSync: firstSync(&s), Synced: s.Refresh.Coverage.All, Interval: s.Refresh.Interval.String(), Error: s.Refresh.LastError,
		State: s.Condition.String(), Condition: s.Condition, Class: classes[s.Condition],
		Old:        !s.LastDelta.IsZero() && now.Sub(s.LastDelta) > max(5*time.Minute, 3*s.Refresh.Interval),
		WaitingFor: s.WaitingFor, WaitingUntil: instant(s.WaitingUntil), BlockedUntil: instant(s.BlockedUntil),
		LastRefresh: instant(s.LastDelta), LastText: ago(now, s.LastDelta),
		NextRefresh: instant(nextRefresh(&s)), NextText: nextText(now, &s), NextToken: instant(s.NextToken),
		OwnedSince: instant(s.OwnedSince), OwnedText: ago(now, s.OwnedSince),
		ErrorAt: instant(s.Refresh.LastErrorAt), ErrorText: ago(now, s.Refresh.LastErrorAt),
	}
	out.count(now, s.Open)
	for _, u := range s.Usage {
		out.Quota = append(out.Quota, quotaStatus{u.Window.Rule().String(), u.Used, u.Effective, u.Window.Limit})
	}
	return out
}

// elsewhereStatus is what the page says of a tenant that is not served here. The
// names of its fields in JSON are documented and do not change.
type elsewhereStatus struct {
	Name  string `json:"tenant"`
	API   string `json:"api"`
	Cloud string `json:"cloud"`
	// Owner is the name of the replica that serves it, empty if none does or if that
	// is not known.
	Owner string `json:"owner,omitempty"`
	Error string `json:"last_error,omitempty"`
}

// Problem tells that the tenant may be served by none.
func (s *elsewhereStatus) Problem() bool { return s.Owner == "" }

func elsewhereOf(u *fleet.Unserved) elsewhereStatus {
	s := elsewhereStatus{Name: u.Config.Name, API: u.Config.API, Cloud: u.Config.Cloud, Owner: u.Owner}
	if u.Err != nil {
		s.Error = u.Err.Error()
	}
	return s
}

// count sums up the open incidents.
func (s *tenantStatus) count(now time.Time, open []tenant.OpenCount) {
	if open == nil {
		return
	}
	s.Open, s.Unassigned = make(map[string]int32, len(open)), new(int32)
	var oldest time.Time
	for _, c := range open {
		s.Open[c.Severity] = c.Count
		*s.Unassigned += c.Unassigned
		if !c.Oldest.IsZero() && (oldest.IsZero() || c.Oldest.Before(oldest)) {
			oldest = c.Oldest
		}
		if c.Severity == "unknown" {
			s.Others = c.Count
		} else {
			s.Counts = append(s.Counts, c)
		}
	}
	if s.Oldest = instant(oldest); s.Oldest != nil {
		s.OldestText, s.OldestAt = roughly(now.Sub(oldest)), s.Oldest.Format(time.RFC3339)
	}
}

func firstSync(s *tenant.Status) string {
	switch {
	case s.Refresh.Coverage.All:
		return "complete"
	case s.Refresh.Coverage.Open:
		return fmt.Sprintf("open incidents known, reading the rest (%d calls)", s.Refresh.ScanPages)
	}
	return fmt.Sprintf("reading open incidents (%d calls)", s.Refresh.ScanPages)
}

// nextRefresh is when the next refresh is due, be it the first.
func nextRefresh(s *tenant.Status) time.Time {
	if s.Refresh.NextDelta.IsZero() {
		return s.Refresh.NextFirst
	}
	return s.Refresh.NextDelta
}

// nextText says what the next refresh waits for.
func nextText(now time.Time, s *tenant.Status) string {
	next := nextRefresh(s)
	if s.NextToken.After(next) {
		// Refreshes before that fail without a request.
		return fmt.Sprintf("next token request in %v, or with a new credential", s.NextToken.Sub(now).Round(time.Second))
	}
	if s.WaitingUntil.After(next) {
		next = s.WaitingUntil
	}
	in := next.Sub(now).Round(time.Second)
	switch {
	case s.WaitingFor == "retry_after":
		return fmt.Sprintf("the API says wait: goes on in %v", in)
	case s.WaitingFor != "":
		return fmt.Sprintf("waiting for its limit per %s: goes on in %v", s.WaitingFor, in)
	case in > 0:
		return fmt.Sprintf("next in %v", in)
	case s.Condition <= tenant.Down:
		return "trying again"
	case !s.Refresh.Coverage.Open:
		return "reading"
	}
	return "due now"
}

// classes are the styles of the conditions.
var classes = [tenant.NumConditions]string{
	tenant.Stuck: "bad", tenant.Down: "bad", tenant.Throttled: "warn", tenant.Starting: "idle", tenant.Serving: "good",
}

// instant is nothing for the zero time.
func instant(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	utc := at.UTC().Round(time.Second)
	return &utc
}

// ago is empty for the zero time.
func ago(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf("%v ago", max(0, now.Sub(at).Round(time.Second)))
}

// roughly is an age as far as a person wants to know it.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}
