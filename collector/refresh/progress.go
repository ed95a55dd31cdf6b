package refresh

import (
	"encoding/json"
	"errors"
	"fmt"
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
const progressVersion = 3

// progress is what a loop has to remember besides its mirror.
type progress struct {
	Version     int            `json:"version"`
	Lookback    time.Duration  `json:"lookback"`
	Phase       phase          `json:"phase"`
	Server      listing.Server `json:"server"`
	Watermark   time.Time      `json:"watermark,omitzero"`
	PublishedAt time.Time      `json:"published_at,omitzero"`
	NextSweep   time.Time      `json:"next_sweep,omitzero"`
	AlertsLost  bool           `json:"alerts_lost,omitempty"`
	Status      Status         `json:"status"`
	Scan        *reading       `json:"scan,omitempty"`
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
	p := progress{
		Version: progressVersion, Lookback: l.opts.Lookback, Phase: l.phase, Server: *l.server, Watermark: l.marks.at,
		PublishedAt: l.publishing, NextSweep: l.nextSweep, AlertsLost: l.alerts.lost, Status: l.draft, Scan: l.scan,
	}
	if last := l.snapshot.Load(); p.PublishedAt.IsZero() && last != nil {
		p.PublishedAt = last.At
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
	if last := l.snapshot.Load(); last != nil {
		logger = logger.With("as_of", last.At)
	}
	logger.Info("Going on from the saved state", "incidents", l.mirror.Len(), "first_sync_complete", l.draft.Coverage.All)
}

// parse reads a progress, and refuses one that makes no sense.
func (p *progress) parse(data []byte) error {
	if err := json.Unmarshal(data, p); err != nil {
		return err
	}
	switch {
	case p.Version != progressVersion:
		return fmt.Errorf("version %d, not %d", p.Version, progressVersion)
	case p.Phase > steady:
		return fmt.Errorf("unknown phase %d", p.Phase)
	case int(p.Status.LastReason) >= listing.NumReasons:
		return errors.New("unknown reason")
	case p.Scan != nil:
		return p.Scan.Listing.Check()
	case p.Phase == finalDelta:
		return errors.New("no first sync to complete")
	}
	return nil
}

func (l *Loop) resume(p *progress, now time.Time) {
	l.phase, l.scan, l.alerts.lost, l.doubts.aheadUnknown = p.Phase, p.Scan, p.AlertsLost, true
	l.server.Resume(&p.Server)
	l.resumeStatus(p, now)
	l.marks.at = earlier(p.Watermark, now)
	l.nextSweep = earlier(p.NextSweep, now.Add(l.opts.SweepInterval))
	if p.Watermark.After(now.Add(tolerance)) {
		// A clock was wrong, and since when is not known: a sweep finds what the
		// deltas did not look for.
		l.nextSweep = now
	}
	if l.scan != nil {
		for _, in := range l.scan.Listing.Resume(l.server) {
			l.apply(&in, l.passOf(scanPage), now, false)
		}
	}
	if p.Lookback < l.opts.Lookback && l.phase != openScan {
		l.widen(now)
	}
	if l.draft.Coverage.Open {
		l.publishing = now
		l.publish()
		l.snapshot.Load().At = p.PublishedAt
	}
}

// resumeStatus tells what is still true. That the last refresh succeeded is so
// only as long as the next one would not have been tried without the restart.
func (l *Loop) resumeStatus(p *progress, now time.Time) {
	const patience = time.Minute
	s := p.Status
	fresh := now.Sub(s.Kinds[PassDelta].LastSuccess) < 2*max(s.Interval, l.opts.Interval)+patience
	s.Up, s.Interval = s.Up && fresh, l.opts.Interval
	l.draft = s
}

// widen begins a first sync of a look-back that has grown. What is known stays;
// what resolved incidents there are in all is not known any more.
func (l *Loop) widen(now time.Time) {
	l.mirror.EndSweep()
	l.phase, l.draft.Coverage.All = fullScan, false
	for _, status := range []incident.Status{incident.StatusUnknown, incident.StatusResolved, incident.StatusRedirected} {
		l.draft.Coverage.Statuses[status] = false
	}
	l.beginScan(now)
	if l.mirror.CountsFlows() {
		// What is read now and was older than the look-back is history.
		l.mirror.StartFlows(l.marks.at)
	}
	l.opts.Logger.Info("The look-back has grown, reading what it adds")
}
