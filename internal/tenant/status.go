package tenant

import (
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
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
	// BlockedUntil is when the server lets us go on, zero if it has not told us to
	// wait; NextGrant is when the ledger has a grant for a delta, now if it has.
	BlockedUntil, NextGrant time.Time
	// Heartbeat is when the loop last turned.
	Heartbeat time.Time
}

// Status reads what the loop and the ledger have published. It does not wait.
func (t *Tenant) Status(now time.Time) Status {
	s := Status{
		Refresh:   t.loop.Status(),
		Snapshot:  t.loop.Snapshot(),
		Usage:     t.ledger.Usage(now),
		NextGrant: t.ledger.Ready(now, refresh.PassDelta),
		Heartbeat: t.loop.Heartbeat(),
	}
	s.LastDelta = s.Refresh.Kinds[refresh.PassDelta].LastSuccess
	if until := t.ledger.log.BlockedUntil(); until.After(now) {
		s.BlockedUntil = until
	}
	s.Condition = t.condition(now, &s)
	return s
}

// Healthy is false when the loop has not turned for two minutes, or for as long
// as a token and a call may take if that is longer. That the API fails, or the
// quota is used up, does not keep it from turning.
func (t *Tenant) Healthy(now time.Time) bool {
	return now.Sub(t.loop.Heartbeat()) <= max(2*time.Minute, 3*t.config.Timeout)
}

// Condition sums a tenant up. The worse come first.
type Condition int

// The conditions.
const (
	// Stuck: the loop does not turn.
	Stuck Condition = iota
	// Down: the last refresh failed.
	Down
	// Throttled: the server has told us to wait.
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
		return Down
	case !s.BlockedUntil.IsZero():
		return Throttled
	case !s.Refresh.Up || !s.Refresh.Coverage.Open:
		return Starting
	}
	return Serving
}
