package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// Corrections lists what a sweep can have to correct, as label values: an
// incident that no delta had shown, one that had changed unseen, and one that
// the server no longer has.
var Corrections = [...]string{"missed", "changed", "vanished"}

const (
	correctionMissed = iota
	correctionChanged
	correctionVanished
)

// Skipped lists why rows could not be used, as label values: they have no id
// that is a number, or the server cannot deliver them.
var Skipped = [...]string{"no_id", "too_heavy"}

const (
	skippedNoID = iota
	skippedTooHeavy
)

// Status is an immutable account of a loop. What is true of a process alone is
// not saved.
type Status struct {
	// Up tells that the last refresh succeeded, and that the list is not known to
	// hide incidents; false before any was tried. After a restart it is what it was
	// before, unless that was too long ago.
	Up bool `json:"up"`
	// Interval is the live one between deltas.
	Interval time.Duration `json:"interval"`
	// NextDelta is when the next one is due, zero if none is yet.
	NextDelta time.Time `json:"-"`
	// NextFirst is when the first reading of the open incidents goes on, zero once it
	// is over.
	NextFirst time.Time                  `json:"-"`
	Passes    [pass.NumPasses]PassStatus `json:"kinds"`
	// Coverage of the first sync.
	Coverage incident.Coverage `json:"coverage"`
	// Start is since when Corrections and Skipped are counted, and what is not
	// recognised; zero: it is not known. ProcessStart is the same of all that is not
	// saved.
	Start        time.Time `json:"start,omitzero"`
	ProcessStart time.Time `json:"-"`
	// ScanPages counts what the first sync or the sweep in progress has read.
	ScanPages   int                      `json:"-"`
	Sweeping    bool                     `json:"-"`
	Corrections [len(Corrections)]uint64 `json:"corrections"`
	Skipped     [len(Skipped)]uint64     `json:"skipped"`
	// Unsupported are the options that the server was seen not to take.
	Unsupported [listing.NumOptions]bool `json:"unsupported"`
	LastError   string                   `json:"last_error,omitempty"`
	LastErrorAt time.Time                `json:"last_error_at,omitzero"`
	LastReason  reason.Reason            `json:"last_reason,omitempty"`
}

// PassStatus is the account of the refreshes of one pass.
type PassStatus struct {
	LastSuccess  time.Time                 `json:"last_success,omitzero"`
	LastAttempt  time.Time                 `json:"last_attempt,omitzero"`
	LastDuration time.Duration             `json:"-"`
	Refreshes    uint64                    `json:"-"`
	Failures     [reason.NumReasons]uint64 `json:"-"`
}

func (l *Loop) publishStatus() {
	s := l.Draft
	s.ProcessStart = l.started
	if l.Phase == openScan {
		s.NextFirst = l.retries[pass.First].due
	} else {
		s.NextDelta = l.retries[pass.Delta].due
	}
	if l.Scan != nil {
		s.ScanPages, s.Sweeping = l.Scan.Calls, l.Phase == steady
	}
	l.status.Store(&s)
}

// ended notes how a refresh ended. An end because the process stops is none.
func (l *Loop) ended(ctx context.Context, p pass.Pass, start time.Time, failure *listing.Error) {
	if ctx.Err() != nil {
		return
	}
	now := l.now()
	k := &l.Draft.Passes[p]
	k.Refreshes++
	k.LastDuration = now.Sub(start)
	if p == pass.Delta {
		l.deltaOK, l.deltaFailed = failure == nil, failure != nil
	}
	if failure == nil {
		k.LastSuccess = now
		l.succeeded(p)
		return
	}
	k.Failures[failure.Reason]++
	if text := failure.Error(); l.Draft.Up || text != l.Draft.LastError {
		l.opts.Logger.Warn("Refresh failed, the last good counts are kept", "pass", p.String(), "reason", failure.Reason.String(), "err", failure)
		l.Draft.LastError = text
	}
	l.Draft.Up, l.Draft.LastErrorAt, l.Draft.LastReason = false, now, failure.Reason
}

// succeeded notes that the API did as it was asked. A list that hides incidents
// is no success, however it is answered.
func (l *Loop) succeeded(p pass.Pass) {
	if l.deltaFailed {
		return // what is published grows old
	}
	up := !l.Hidden && !l.Lags
	if up && !l.Draft.Up && !l.Draft.LastErrorAt.IsZero() {
		l.opts.Logger.Info("Refreshing again", "pass", p.String())
	}
	l.Draft.Up = up
}

// noteOptions logs each option that the server turns out not to take, once.
func (l *Loop) noteOptions() {
	for o := range listing.Option(listing.NumOptions) {
		is := l.Server.Unsupported(o)
		if was := l.Draft.Unsupported[o]; is && !was {
			l.opts.Logger.Warn("The server does not take an option, it is left out and tried again later", "option", o.String())
		} else if was && !is {
			l.opts.Logger.Info("The server takes an option again", "option", o.String())
		}
		l.Draft.Unsupported[o] = is
	}
}

// noteSkipped counts the rows of a page, and those too heavy for one, that
// cannot be used.
func (l *Loop) noteSkipped(p pass.Pass, rows []incident.Incident, skipped int, failure *listing.Error) {
	for i := range rows {
		if rows[i].ID == 0 {
			l.Draft.Skipped[skippedNoID]++
		}
	}
	if skipped > 0 {
		l.Draft.Skipped[skippedTooHeavy] += uint64(skipped)
		l.opts.Logger.Warn("The server cannot deliver an incident, it is left out", "pass", p.String(), "err", failure)
	}
}
