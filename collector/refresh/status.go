package refresh

import (
	"context"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
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

// The members of Skipped.
const (
	SkippedNoID = iota
	SkippedTooHeavy
)

// Status is an immutable account of a loop.
type Status struct {
	// Up tells that the last refresh succeeded, and that the list is not known to
	// hide incidents; false before any was tried. After a restart it is what it was
	// before, unless that was too long ago.
	Up bool
	// Interval is the live one between deltas.
	Interval time.Duration
	// NextDelta is when the next one is due, zero if none is yet.
	NextDelta time.Time
	Kinds     [NumPasses]Kind
	// Coverage of the first sync.
	Coverage incident.Coverage
	// FirstPages and SweepPages count what the reading in progress has read.
	FirstPages, SweepPages int
	Sweeping               bool
	Corrections            [len(Corrections)]uint64
	Skipped                [len(Skipped)]uint64
	// Unsupported are the options that the server was seen not to take.
	Unsupported [listing.NumOptions]bool
	LastError   string
	LastErrorAt time.Time
	LastReason  listing.Reason
}

// Kind is the account of one kind of refresh.
type Kind struct {
	LastSuccess, LastAttempt time.Time
	LastDuration             time.Duration
	Refreshes                uint64
	Failures                 [listing.NumReasons]uint64
}

func (l *Loop) publishStatus() {
	s := l.draft
	s.NextDelta = l.nextDelta
	if l.phase == openScan {
		s.NextDelta = time.Time{}
	}
	s.Coverage = l.coverage
	l.status.Store(&s)
}

// ended notes how a refresh ended. An end because the process stops is none.
func (l *Loop) ended(ctx context.Context, pass Pass, start time.Time, err *listing.Error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	k := &l.draft.Kinds[pass]
	k.Refreshes++
	k.LastDuration = now.Sub(start)
	if err == nil {
		k.LastSuccess = now
		l.succeeded(pass)
	} else {
		l.failed(pass, now, err)
	}
}

// succeeded notes that the API did as it was asked.
func (l *Loop) succeeded(pass Pass) {
	if !l.draft.Up && !l.hidden && !l.draft.LastErrorAt.IsZero() {
		l.opts.Logger.Info("Refreshing again", "kind", pass)
	}
	if pass == PassDelta {
		l.deltaOK = true
	}
	// A list that hides incidents is no success, however it is answered.
	l.draft.Up = !l.hidden
}

// failed notes that it did not.
func (l *Loop) failed(pass Pass, now time.Time, err *listing.Error) {
	l.draft.Kinds[pass].Failures[err.Reason]++
	if text := err.Error(); l.draft.Up || text != l.draft.LastError {
		l.opts.Logger.Warn("Refresh failed, the last good counts are kept", "kind", pass, "reason", err.Reason, "err", err)
		l.draft.LastError = text
	}
	if pass == PassDelta {
		l.deltaOK = false
	}
	l.draft.Up, l.draft.LastErrorAt, l.draft.LastReason = false, now, err.Reason
}
