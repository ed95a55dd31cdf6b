package tenant

import (
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// Status is how a tenant is doing at one instant. It is a copy and does not
// change.
type Status struct {
	Condition Condition
	// Refresh is the loop's own account, Snapshot the counts that are served; nil
	// as long as nothing is known.
	Refresh  *refresh.Status
	Snapshot *incident.Snapshot
	// LastDelta is the last delta that succeeded, zero before the first.
	LastDelta time.Time
	// Usage of each window of the quota.
	Usage []quota.Usage
	// Open incidents by severity, the worst first; nil as long as they are not
	// known.
	Open []OpenCount
	// BlockedUntil is when the server lets us go on, zero if it has not told us to
	// wait.
	BlockedUntil time.Time
	// WaitingFor is the rule that holds the next delta, or else the first reading of
	// the open incidents, back until WaitingUntil: minute, hour or retry_after;
	// empty if none does.
	WaitingFor   string
	WaitingUntil time.Time
	// NextToken is when a token is asked for again, as long as refreshes fail for want
	// of one; zero otherwise. Another credential is tried at once.
	NextToken time.Time
	// Heartbeat is when the loop last turned.
	Heartbeat time.Time
	// OwnedSince is since when this process has the tenant, zero before it does.
	OwnedSince time.Time
}

// Empty tells whether it is known that the tenant has no incident.
func (s Status) Empty() bool {
	return s.Snapshot != nil && s.Snapshot.Coverage.All && s.Snapshot.Rows == 0
}

// OpenCount is the open incidents of one severity.
type OpenCount struct {
	Severity          string
	Count, Unassigned int32
	// Oldest is when the oldest was created, zero if there is none.
	Oldest time.Time
}

// Status reads what the loop and the ledger have published. It does not wait.
func (t *Tenant) Status(now time.Time) Status {
	s := Status{
		Refresh:   t.loop.Status(),
		Snapshot:  t.loop.Snapshot(),
		Usage:     t.ledger.Usage(now),
		Heartbeat: t.loop.Heartbeat(),
	}
	if ms := t.ownedSince.Load(); ms != 0 {
		s.OwnedSince = time.UnixMilli(ms)
	}
	s.LastDelta = s.Refresh.Passes[pass.Delta].LastSuccess
	if until := t.ledger.log.BlockedUntil(); until.After(now) {
		s.BlockedUntil = until
	}
	p := pass.Delta
	if !s.Refresh.Coverage.Open {
		p = pass.First // until then there are no deltas
	}
	s.WaitingFor, s.WaitingUntil = t.ledger.binds(now, p)
	if held := t.credential.Held(); !s.Refresh.Up && s.Refresh.LastReason == reason.Auth && held.After(now) {
		s.NextToken = held
	}
	s.Open = openIncidents(s.Snapshot)
	s.Condition = t.condition(now, &s)
	return s
}

func openIncidents(s *incident.Snapshot) (open []OpenCount) {
	if s == nil || !s.Coverage.Open {
		return nil
	}
	for severity := incident.Severity(incident.NumSeverities); severity > 0; {
		severity--
		c := OpenCount{Severity: severity.String(), Oldest: s.OldestOpen[severity]}
		for status := range incident.Status(incident.NumStatuses) {
			if status.Open() {
				c.Unassigned += s.Incidents[severity][status][0]
				c.Count += s.Incidents[severity][status][0] + s.Incidents[severity][status][1]
			}
		}
		open = append(open, c)
	}
	return open
}

// Healthy is false when the loop has not turned for two minutes, or for as long
// as a token and a call may take if that is longer. That the API fails, or the
// quota is used up, does not keep it from turning.
// One that was stopped has nothing to turn for.
func (t *Tenant) Healthy(now time.Time) bool {
	return t.ended.Load() || now.Sub(t.loop.Heartbeat()) <= max(2*time.Minute, 3*t.config.Timeout)
}

// Condition sums a tenant up. The worse come first.
type Condition int

// The conditions.
const (
	// Stuck: the loop does not turn.
	Stuck Condition = iota
	// Down: the last refresh failed.
	Down
	// Throttled: the server has told us to wait, or has refused a call as one too many
	// and our own limits are used up.
	Throttled
	// Starting: the open incidents are not known yet.
	Starting
	// Serving: the counts are as they should be.
	Serving
	// NumConditions is how many there are.
	NumConditions
)

// String is how the condition reads on the status page.
func (c Condition) String() string {
	return [...]string{"stuck", "down", "throttled", "starting", "up"}[c]
}

func (t *Tenant) condition(now time.Time, s *Status) Condition {
	switch {
	case !t.Healthy(now):
		return Stuck
	case !s.Refresh.Up && s.Refresh.LastErrorAt.After(s.LastDelta):
		if s.Refresh.LastReason == reason.Throttled && s.WaitingFor != "" {
			return Throttled
		}
		return Down
	case !s.BlockedUntil.IsZero():
		return Throttled
	case !s.Refresh.Up || !s.Refresh.Coverage.Open:
		return Starting
	}
	return Serving
}
