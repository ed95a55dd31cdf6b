package refresh

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// Store keeps a loop's mirror and progress over restarts. It counts and tells
// what fails; the loop goes on from memory.
type Store interface {
	// Load calls restore with what was saved, if anything was. After an error
	// what restore has made of it must not be used.
	Load(restore func(*incident.Saved) error) error
	// Save keeps what export returns, all of it or nothing.
	Save(export func(full bool) (*incident.Saved, error)) error
}

// progressVersion changes when an older program's progress means something
// else.
const progressVersion = 2

// progress is what a loop has to remember besides its mirror.
type progress struct {
	Version     int                      `json:"version"`
	Lookback    time.Duration            `json:"lookback"`
	Phase       string                   `json:"phase"`
	Coverage    incident.Coverage        `json:"coverage"`
	Server      listing.Server           `json:"server"`
	Watermark   time.Time                `json:"watermark,omitzero"`
	PublishedAt time.Time                `json:"published_at,omitzero"`
	NextSweep   time.Time                `json:"next_sweep,omitzero"`
	Corrections [len(Corrections)]uint64 `json:"corrections"`
	Skipped     [len(Skipped)]uint64     `json:"skipped"`
	Kinds       [NumPasses]instants      `json:"kinds"`
	Up          bool                     `json:"up"`
	LastError   string                   `json:"last_error,omitempty"`
	LastErrorAt time.Time                `json:"last_error_at,omitzero"`
	LastReason  listing.Reason           `json:"last_reason,omitempty"`
	Interval    time.Duration            `json:"interval,omitempty"`
	AlertsLost  bool                     `json:"alerts_lost,omitempty"`
	Scan        *savedScan               `json:"scan,omitempty"`
}

type instants struct {
	Success time.Time `json:"success,omitzero"`
	Attempt time.Time `json:"attempt,omitzero"`
}

type savedScan struct {
	Started time.Time        `json:"started"`
	Since   time.Time        `json:"since"`
	Listing *listing.Listing `json:"listing"`
	Calls   int              `json:"calls"`
	Missing missing          `json:"missing"`
}

// save keeps what has changed. If it fails, or panics, the next one brings it
// along.
func (l *Loop) save() {
	l.unsaved = false
	defer func() {
		if cause := recover(); cause != nil {
			err := l.mistake(PassDelta, cause)
			l.draft.Kinds[PassDelta].Failures[err.Reason]++
		}
	}()
	if l.opts.Store != nil && l.opts.Store.Save(l.export) != nil {
		return
	}
	l.mirror.Kept()
}

func (l *Loop) export(full bool) (*incident.Saved, error) {
	s, err := l.mirror.Export(full)
	if err != nil {
		return nil, err
	}
	published := l.publishedAt
	if !l.publishing.IsZero() {
		published = l.publishing
	}
	p := progress{
		Version: progressVersion, Lookback: l.opts.Lookback, Phase: l.phase.String(), Coverage: l.coverage, Server: *l.server,
		Watermark: l.marks.at, PublishedAt: published, NextSweep: l.nextSweep,
		Corrections: l.draft.Corrections, Skipped: l.draft.Skipped,
		Up: l.draft.Up, LastError: l.draft.LastError, LastErrorAt: l.draft.LastErrorAt, LastReason: l.draft.LastReason,
		Interval: l.draft.Interval, AlertsLost: l.alerts.lost,
	}
	for i, k := range l.draft.Kinds {
		p.Kinds[i] = instants{k.LastSuccess, k.LastAttempt}
	}
	if c := l.scan; c != nil {
		p.Scan = &savedScan{Started: c.started, Since: c.since, Listing: c.listing, Calls: c.calls, Missing: c.missing}
	}
	if s.Progress, err = json.Marshal(p); err != nil {
		return nil, fmt.Errorf("encode the progress: %w", err)
	}
	return s, nil
}

// Load goes on from what was saved, if that is of use; it has to come before
// Run. The counts are there before the first call; their age is that of the last
// one before the restart.
func (l *Loop) Load(now time.Time) {
	if l.opts.Store == nil {
		return
	}
	var p progress
	var mirror *incident.Mirror
	err := l.opts.Store.Load(func(s *incident.Saved) (err error) {
		if err = p.parse(s.Progress); err != nil {
			return fmt.Errorf("%w: progress: %w", incident.ErrSaved, err)
		}
		mirror, err = incident.RestoreMirror(l.mirrorOptions(), s, now)
		return err
	})
	if err != nil || mirror == nil {
		return
	}
	l.mirror = mirror
	l.resume(&p, now)
	l.publishStatus()
	logger := l.opts.Logger
	if !l.publishedAt.IsZero() {
		logger = logger.With("as_of", l.publishedAt)
	}
	logger.Info("Going on from the saved state", "incidents", l.mirror.Len(), "first_sync_complete", l.coverage.All)
}

// parse reads a progress, and refuses one that makes no sense.
func (p *progress) parse(data []byte) error {
	if err := json.Unmarshal(data, p); err != nil {
		return err
	}
	switch {
	case p.Version != progressVersion:
		return fmt.Errorf("version %d, not %d", p.Version, progressVersion)
	case !slices.Contains(phaseNames[:], p.Phase):
		return fmt.Errorf("unknown phase %q", p.Phase)
	case int(p.LastReason) >= listing.NumReasons:
		return errors.New("unknown reason")
	case p.Phase == finalDelta.String() && p.Scan == nil:
		return errors.New("no first sync to complete")
	}
	if p.Scan != nil {
		return p.Scan.Listing.Check()
	}
	return nil
}

func (l *Loop) resume(p *progress, now time.Time) {
	l.phase, l.coverage = Phase(slices.Index(phaseNames[:], p.Phase)), p.Coverage
	l.server.Resume(&p.Server)
	l.marks = watermark{at: earlier(p.Watermark, now)}
	l.aheadUnknown = true
	l.alerts.lost, l.alerts.refused = p.AlertsLost, l.server.Unsupported(listing.OptionAlerts)
	l.nextSweep = earlier(p.NextSweep, now.Add(l.opts.SweepInterval))
	if p.Watermark.After(now.Add(tolerance)) {
		// A clock was wrong, and since when is not known: a sweep finds what the
		// deltas did not look for.
		l.nextSweep = now
	}
	if c := p.Scan; c != nil {
		l.scan = &scan{pass: PassFirst, started: c.Started, since: c.Since, listing: c.Listing, calls: c.Calls, allOpen: true, missing: c.Missing}
		if l.phase == steady {
			l.scan.pass = PassSweep
		}
	}
	l.resumeStatus(p, now)
	if l.scan != nil {
		for _, in := range l.scan.listing.Resume(l.server) {
			l.applyOne(&in, l.scan.pass, now, false)
		}
	}
	switch grown := p.Lookback < l.opts.Lookback; {
	case grown && l.phase != openScan:
		l.widen(now)
	case grown && l.scan != nil:
		l.scan.since = lookbackFrom(l.scan.started, l.opts.Lookback)
	}
	if l.coverage.Open {
		l.publishing = now
		l.publish()
		l.snapshot.Load().At, l.publishedAt = p.PublishedAt, p.PublishedAt
	}
}

// resumeStatus tells what is still true. That the last refresh succeeded is so
// only as long as the next one would not have been tried without the restart.
func (l *Loop) resumeStatus(p *progress, now time.Time) {
	s := &l.draft
	for i, k := range p.Kinds {
		s.Kinds[i].LastSuccess, s.Kinds[i].LastAttempt = k.Success, k.Attempt
	}
	const patience = time.Minute
	fresh := now.Sub(p.Kinds[PassDelta].Success) < 2*max(p.Interval, l.opts.Interval)+patience
	s.Up = p.Up && fresh
	s.LastError, s.LastErrorAt, s.LastReason = p.LastError, p.LastErrorAt, p.LastReason
	s.Corrections, s.Skipped = p.Corrections, p.Skipped
	for o := range listing.Option(listing.NumOptions) {
		s.Unsupported[o] = l.server.Unsupported(o)
	}
	if l.scan == nil {
		return
	}
	if l.phase == steady {
		s.Sweeping, s.SweepPages = true, l.scan.calls
	} else {
		s.FirstPages = l.scan.calls
	}
}

// widen begins a first sync of a look-back that has grown. What is known stays;
// what resolved incidents there are in all is not known any more.
func (l *Loop) widen(now time.Time) {
	l.mirror.EndSweep()
	l.draft.Sweeping, l.draft.SweepPages, l.draft.FirstPages = false, 0, 0
	l.phase, l.coverage.All = fullScan, false
	for _, status := range []incident.Status{incident.StatusUnknown, incident.StatusResolved, incident.StatusRedirected} {
		l.coverage.Statuses[status] = false
	}
	l.scan = l.newScan(now)
	if l.mirror.CountsFlows() {
		// What is read now and was older than the look-back is history.
		l.mirror.StartFlows(l.marks.at)
	}
	l.opts.Logger.Info("The look-back has grown, reading what it adds")
}
