package refresh

import (
	"context"
	"errors"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Reason is why a refresh failed.
type Reason uint8

// The reasons, as label values in Reasons.
const (
	ReasonAuth Reason = iota
	ReasonForbidden
	ReasonThrottled
	ReasonTimeout
	ReasonNetwork
	ReasonServer
	ReasonDecode
	ReasonState
	ReasonOther
	NumReasons = int(iota)
)

// Reasons lists the label values of the reasons.
var Reasons = [NumReasons]string{
	"auth", "forbidden", "throttled", "timeout", "network", "server", "decode", "state", "other",
}

// Corrections lists what a sweep can have to correct, as label values: an
// incident that no delta had shown, one that had changed unseen, and one that
// the server no longer has.
var Corrections = [...]string{"missed", "changed", "vanished"}

const (
	correctionMissed = iota
	correctionChanged
	correctionVanished
)

// Kinds lists the label values of the kinds of refresh in the order of
// incident.Pass.
var Kinds = [incident.NumPasses]string{"delta", "first", "sweep"}

// Status is an immutable account of a loop.
type Status struct {
	// Up tells that the last thing that was tried succeeded; false before
	// anything was. After a restart it is what it was before, unless that was
	// too long ago.
	Up bool
	// Interval is the live one between deltas.
	Interval time.Duration
	// NextDelta is when the next one is due, zero if none is yet.
	NextDelta time.Time
	Kinds     [incident.NumPasses]Kind
	// Coverage of the first sync.
	Coverage incident.Coverage
	// FirstPages and SweepPages count what the reading in progress has read.
	FirstPages, SweepPages int
	Sweeping               bool
	Corrections            [len(Corrections)]uint64
	LastError              string
	LastErrorAt            time.Time
	LastReason             Reason
}

// Kind is the account of one kind of refresh.
type Kind struct {
	LastSuccess, LastAttempt time.Time
	LastDuration             time.Duration
	Refreshes                uint64
	Failures                 [NumReasons]uint64
}

func (l *Loop) publishStatus() {
	s := l.state
	s.NextDelta = l.nextDelta
	s.Coverage = l.coverage
	l.status.Store(&s)
}

// ended notes how a refresh ended. An end because the process stops is none.
func (l *Loop) ended(ctx context.Context, pass incident.Pass, start time.Time, err error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	k := &l.state.Kinds[pass]
	k.Refreshes++
	k.LastDuration = now.Sub(start)
	l.tried(pass, now, err)
	if err == nil {
		k.LastSuccess = now
	}
	l.publishStatus()
}

// tried notes whether the API did as it was asked.
func (l *Loop) tried(pass incident.Pass, now time.Time, err error) {
	if err == nil {
		if !l.state.Up && !l.state.LastErrorAt.IsZero() {
			l.opts.Logger.Info("Refreshing again", "kind", pass)
		}
		l.state.Up = true
		return
	}
	reason := reasonOf(err)
	l.state.Kinds[pass].Failures[reason]++
	if text := err.Error(); l.state.Up || text != l.state.LastError {
		l.opts.Logger.Warn("Refresh failed, the last good counts are kept", "kind", pass, "reason", Reasons[reason], "err", err)
		l.state.LastError = text
	}
	l.state.Up, l.state.LastErrorAt, l.state.LastReason = false, now, reason
}

func reasonOf(err error) Reason {
	var classified interface{ FailureReason() string }
	if errors.As(err, &classified) {
		for r, name := range Reasons {
			if name == classified.FailureReason() {
				return Reason(r)
			}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ReasonTimeout
	}
	return ReasonOther
}
