package refresh

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
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
	Version  int            `json:"version"`
	Lookback time.Duration  `json:"lookback"`
	Phase    phase          `json:"phase"`
	Server   listing.Server `json:"server"`
	// Draft is of the next published status.
	Draft     Status    `json:"status"`
	Watermark watermark `json:"watermark"`
	// PublishedAt is the instant of the counts that are published, or will be once
	// this is saved.
	PublishedAt time.Time `json:"published_at,omitzero"`
	NextSweep   time.Time `json:"next_sweep,omitzero"`
	Scan        *reading  `json:"scan,omitempty"` // the first sync's or a sweep's; nil between sweeps
	// Windowed: a list without a lower bound leaves out what is old.
	Windowed bool `json:"windowed,omitempty"`
	// Hidden: the last sweep has shown that the list hides incidents.
	Hidden bool `json:"hidden,omitempty"`
	// BlindAt is since when deltas do not show most of what they have to, Lags that this
	// has lasted for long.
	BlindAt time.Time  `json:"blind_at,omitzero"`
	Lags    bool       `json:"lags,omitempty"`
	Doubts  []doubt    `json:"doubts,omitempty"`
	Alerts  alertWatch `json:"alerts"`
}

// Save keeps what has changed. If it fails, or panics, the next one brings it
// along. Run calls it; before Run it may be called to keep what takes the place
// of what Load was not given.
func (l *Loop) Save() {
	l.unsaved = false
	defer func() {
		if cause := recover(); cause != nil {
			err := l.mistake(pass.Delta, cause)
			l.Draft.Passes[pass.Delta].Failures[err.Reason]++
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
	if s.Progress, err = json.Marshal(&l.progress); err != nil {
		return nil, fmt.Errorf("encode the progress: %w", err)
	}
	return s, nil
}

// Load goes on from what was saved, if that is of use; it has to come before
// Run. The counts are there before the first call; their age is that of the last
// one before the restart. It waits for the store and makes no call. What cannot
// be loaded is told by the [Store], and the loop begins anew.
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
		// No time passes in a restart: whether our clock is right the first answer tells.
		mirror, err = incident.RestoreMirror(l.opts.mirror(), s, later(p.past(p.PublishedAt, now), time.Unix(0, 0)))
		return err
	})
	if err != nil || mirror == nil {
		return
	}
	l.mirror = mirror
	l.resume(&p, now)
	l.publishStatus()
	logger := l.opts.Logger
	if l.Draft.Coverage.Open {
		logger = logger.With("as_of", l.PublishedAt)
	}
	logger.Info("Going on from the saved state", "incidents", l.mirror.Len(), "first_sync_complete", l.Draft.Coverage.All)
}

// parse reads a progress, and refuses one that makes no sense.
func (p *progress) parse(data []byte) error {
	if err := json.Unmarshal(data, p); err != nil {
		return err
	}
	switch {
	case p.Version != progressVersion:
		return fmt.Errorf("version %d, not %d", p.Version, progressVersion)
	case p.Phase > steady || int(p.Draft.LastReason) >= reason.NumReasons:
		return fmt.Errorf("unknown phase %d or reason %d", p.Phase, p.Draft.LastReason)
	case p.Scan != nil:
		return p.Scan.Listing.Check()
	case p.Phase == finalDelta:
		return errors.New("no first sync to complete")
	}
	return nil
}

func (l *Loop) resume(p *progress, now time.Time) {
	server := l.Server
	server.Resume(&p.Server, now)
	l.progress = *p
	l.Server, l.Lookback = server, l.opts.Lookback
	// That the last refresh succeeded is still true only as long as the next one
	// would not have been tried without the restart.
	const patience = time.Minute
	s := &l.Draft
	for i := range s.Passes {
		k := &s.Passes[i]
		k.LastSuccess, k.LastAttempt = p.past(k.LastSuccess, now), p.past(k.LastAttempt, now)
	}
	s.Up = s.Up && now.Sub(s.Passes[pass.Delta].LastSuccess) < 2*max(s.Interval, l.opts.Interval)+patience
	s.Interval = l.opts.Interval
	if s.Start.After(now) {
		s.Start = time.Time{} // a clock was wrong: what was counted may be older
	}
	l.BlindAt = earlier(p.BlindAt, now)
	l.NextSweep = earlier(p.NextSweep, now.Add(l.opts.SweepInterval))
	if l.Watermark.At = earlier(p.Watermark.At, now); p.Watermark.At.After(now.Add(tolerance)) {
		// A clock was wrong, and since when is not known: a sweep finds what the
		// deltas did not look for.
		l.NextSweep = now
	}
	if n := l.mirror.DimensionsMissing(); n > 0 {
		// What is asked for now of the incidents comes with a sweep.
		l.NextSweep = now
		l.opts.Logger.Info("What is counted of incidents by choice has changed; it is shown again once a sweep has read all of them", "incidents", n)
	}
	l.remember(now)
	if l.Scan != nil {
		for _, in := range l.Scan.Listing.Resume(&l.Server) {
			l.apply(&in, l.passOf(scanPage), now, false)
		}
	}
	if p.Lookback < l.Lookback && l.Phase != openScan {
		l.widen(now)
	}
	for i := range l.Doubts {
		l.Doubts[i].At = earlier(l.Doubts[i].At, now.Add(rereadEvery))
	}
	if s.Coverage.Open {
		l.PublishedAt, l.publishing = p.past(p.PublishedAt, now), true
		l.publish()
	}
}

// past is an instant that was saved, by our clock. One that is still to come was told by
// a clock that was wrong: what was known then is as old as the watermark at least, which
// is by the server's.
func (p *progress) past(at, now time.Time) time.Time {
	if at.After(now) {
		return earlier(p.Watermark.At, now)
	}
	return at
}

// widen begins a first sync of a look-back that has grown. What is known stays;
// what resolved incidents there are in all is not known any more.
func (l *Loop) widen(now time.Time) {
	l.mirror.EndSweep()
	l.Phase, l.Draft.Coverage.All = fullScan, false
	for _, status := range []incident.Status{incident.StatusUnknown, incident.StatusResolved, incident.StatusRedirected} {
		l.Draft.Coverage.Statuses[status] = false
	}
	l.beginScan(now)
	if l.mirror.CountsFlows() {
		// What is read now and was older than the look-back is history.
		l.mirror.StartFlows(l.Watermark.At, now)
	}
	l.opts.Logger.Info("The look-back has grown, reading what it adds")
}
