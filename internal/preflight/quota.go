package preflight

import (
	"errors"
	"fmt"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
	"math"
	"strings"
	"time"
)

// syncEstimate is what the quota allows, by what one page shows.
type syncEstimate struct {
	CallsPerMinute int `json:"calls_per_minute,omitempty"`
	CallsPerHour   int `json:"calls_per_hour,omitempty"`
	// Incidents within the look-back, if as many were created every day as lately.
	// Exact if there is no other page.
	Incidents int  `json:"incidents"`
	Exact     bool `json:"incidents_exact"`
	// FirstSyncCalls, and the least time that they take.
	FirstSyncCalls   int `json:"first_sync_calls"`
	FirstSyncSeconds int `json:"first_sync_seconds"`
	// RefreshSeconds is the interval between refreshes.
	RefreshSeconds int `json:"refresh_interval_seconds"`
}

// openQueries is what the first sync needs besides its pages: a query for each
// open status.
const openQueries = 3

// checkQuota adds what there is of the quota, a note if there is one, and what
// follows from it. It costs no call.
func (c *Result) checkQuota(t *tenant.Tenant, page *firstPage, note string, now time.Time) {
	cfg := t.Config()
	var share []string
	e := &syncEstimate{}
	for _, u := range t.Ledger().Usage(now) {
		window := u.Window.Rule().String()
		share = append(share, fmt.Sprintf("%d of %d calls a%s %s, %d used", u.Effective, u.Window.Limit, map[string]string{"hour": "n"}[window], window, u.Used))
		if window == "minute" {
			e.CallsPerMinute = u.Effective
		} else {
			e.CallsPerHour = u.Effective
		}
	}
	if note != "" {
		share = append(share, note)
	}
	c.add("quota", OK, strings.Join(share, "; "))
	if page == nil {
		c.add("estimate", Skipped, "no page was read")
		return
	}
	e.estimate(page, cfg.Lookback)
	e.RefreshSeconds = int(max(cfg.Interval, t.Ledger().Pace(now, page.callsWithin(cfg.Overlap))).Seconds())
	c.Estimate = e
	c.add("estimate", OK, fmt.Sprintf("first sync: %s; then a refresh every %ds", e, e.RefreshSeconds))
}

// estimate extrapolates from the page to the look-back.
func (e *syncEstimate) estimate(page *firstPage, lookback time.Duration) {
	rows := len(page.Rows)
	e.Incidents, e.Exact = rows, !page.more
	perPage := max(rows, 1)
	if !page.more {
		perPage = max(rows, page.top)
	}
	// What was created within the time that the page covers is on the page, for
	// it was updated since. The rest of the page tells nothing of how many there
	// are: old incidents that move.
	if span := page.newest.Sub(page.oldest); page.more && span > 0 {
		e.Incidents = max(rows+1, rounded(float64(page.created)*float64(lookback)/float64(span)))
	}
	e.FirstSyncCalls = (e.Incidents+perPage-1)/perPage + openQueries
	e.FirstSyncSeconds = int(e.duration(e.FirstSyncCalls).Seconds())
}

// rounded leaves two digits: more would be a lie.
func rounded(f float64) int {
	unit := math.Pow(10, math.Floor(math.Log10(max(f, 10)))-1)
	return int(math.Round(f/unit) * unit)
}

// duration is how long so many calls take at least.
func (e *syncEstimate) duration(calls int) time.Duration {
	var d time.Duration
	if e.CallsPerHour > 0 {
		hours := max(0, calls-1) / e.CallsPerHour
		d = time.Duration(hours) * time.Hour
		calls -= hours * e.CallsPerHour
	}
	if e.CallsPerMinute > 0 {
		// The first calls of a window need not wait.
		d += time.Duration(max(0, calls-1)/e.CallsPerMinute) * time.Minute
	}
	return d
}

// String reads as in "about 2000 incidents in the look-back, 23 calls, at least
// 1m".
func (e *syncEstimate) String() string {
	about := "about "
	if e.Exact {
		about = ""
	}
	took := "under a minute"
	if e.FirstSyncSeconds >= 60 {
		took = "at least " + roughly(time.Duration(e.FirstSyncSeconds)*time.Second)
	}
	return fmt.Sprintf("%s%d incidents in the look-back, %d calls, %s", about, e.Incidents, e.FirstSyncCalls, took)
}

// callsWithin is how many calls a refresh needs that reaches back so far.
func (f *firstPage) callsWithin(overlap time.Duration) int {
	if !f.more || f.newest.Sub(f.oldest) >= overlap {
		return 1
	}
	span := max(f.newest.Sub(f.oldest), time.Second)
	return int(overlap/span) + 1
}

// ledgerNote says what became of the saved ledger, if that is of interest.
func ledgerNote(err error, share float64) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, state.ErrInUse) && share < 1:
		return fmt.Sprintf("the exporter is running and has the ledger: it is told of this check's calls, for which a share of %v leaves room", share)
	case errors.Is(err, state.ErrInUse):
		return "the exporter is running and has the ledger: it is told of this check's calls, which it has not granted"
	}
	return "without the saved ledger: " + err.Error()
}
