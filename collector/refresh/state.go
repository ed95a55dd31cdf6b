package refresh

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"m365_defender_exporter/internal/incident"
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

// progress is what a loop has to remember besides its mirror.
type progress struct {
	Lookback    time.Duration               `json:"lookback"`
	Coverage    incident.Coverage           `json:"coverage"`
	Watermark   time.Time                   `json:"watermark,omitzero"`
	PublishedAt time.Time                   `json:"published_at,omitzero"`
	NextSweep   time.Time                   `json:"next_sweep,omitzero"`
	Corrections [len(Corrections)]uint64    `json:"corrections"`
	Kinds       [incident.NumPasses]instant `json:"kinds"`
	Up          bool                        `json:"up"`
	LastError   string                      `json:"last_error,omitempty"`
	LastErrorAt time.Time                   `json:"last_error_at,omitzero"`
	LastReason  Reason                      `json:"last_reason,omitempty"`
	Interval    time.Duration               `json:"interval,omitempty"`
	AlertsLost  bool                        `json:"alerts_lost,omitempty"`
	First       *savedReading               `json:"first,omitempty"`
	Sweep       *savedReading               `json:"sweep,omitempty"`
	// Borders of the last delta, and what it found disturbed but has not mended.
	Borders savedBorders   `json:"borders"`
	Mends   []savedMending `json:"mends,omitempty"`
}

type instant struct {
	Success time.Time `json:"success,omitzero"`
	Attempt time.Time `json:"attempt,omitzero"`
}

type savedReading struct {
	Started time.Time                  `json:"started"`
	Since   time.Time                  `json:"since"`
	Queries []incident.Query           `json:"queries,omitempty"`
	Cursor  incident.Cursor            `json:"cursor"`
	Newest  time.Time                  `json:"newest,omitzero"`
	Known   [incident.NumStatuses]bool `json:"known"`
	Borders savedBorders               `json:"borders"`
	Pages   int                        `json:"pages"`
	Deltas  bool                       `json:"deltas"`
	Closing bool                       `json:"closing"`
	Lookups []int64                    `json:"lookups,omitempty"`
}

type savedMending struct {
	Query  incident.Query `json:"query"`
	Border time.Time      `json:"border"`
}

// savedBorders are packed, because a large first sync has thousands: for each
// the number of its query and the time since the one before, as varints.
type savedBorders struct {
	Queries []incident.Query `json:"queries,omitempty"`
	Packed  []byte           `json:"packed,omitempty"`
}

func (b borders) save() (s savedBorders) {
	instants := make([]int64, 0, len(b))
	for at := range b {
		instants = append(instants, at)
	}
	slices.Sort(instants)
	var last int64
	for _, at := range instants {
		for _, q := range b[at] {
			n := slices.Index(s.Queries, q)
			if n < 0 {
				n = len(s.Queries)
				s.Queries = append(s.Queries, q)
			}
			s.Packed = binary.AppendUvarint(s.Packed, uint64(n))
			s.Packed = binary.AppendVarint(s.Packed, at-last)
			last = at
		}
	}
	return s
}

func (s savedBorders) restore() (borders, error) {
	b := make(borders)
	var at int64
	for rest := s.Packed; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n >= uint64(len(s.Queries)) {
			return nil, incident.ErrSaved
		}
		d, more := binary.Varint(rest[size:])
		if more <= 0 {
			return nil, incident.ErrSaved
		}
		at += d
		b[at] = append(b[at], s.Queries[n])
		rest = rest[size+more:]
	}
	return b, nil
}

func (r *reading) save() *savedReading {
	if r == nil {
		return nil
	}
	return &savedReading{
		Started: r.started, Since: r.since, Queries: r.queries, Cursor: r.cursor, Newest: r.newest, Known: r.known,
		Borders: r.borders.save(), Pages: r.pages, Deltas: r.deltas, Closing: r.closing, Lookups: r.lookups,
	}
}

func (s *savedReading) restore(pass incident.Pass) (*reading, error) {
	if s == nil {
		return nil, nil
	}
	b, err := s.Borders.restore()
	return &reading{
		pass: pass, started: s.Started, since: s.Since, queries: s.Queries, cursor: s.Cursor, newest: s.Newest, known: s.Known,
		borders: b, pages: s.Pages, deltas: s.Deltas, closing: s.Closing, lookups: s.Lookups,
	}, err
}

// save keeps what has changed. If it fails the next one brings it along.
func (l *Loop) save() {
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
		Lookback: l.opts.Lookback, Coverage: l.coverage, Watermark: l.watermark, PublishedAt: l.publishedAt,
		NextSweep: l.nextSweep, Corrections: l.state.Corrections,
		Up: l.state.Up, LastError: l.state.LastError, LastErrorAt: l.state.LastErrorAt, LastReason: l.state.LastReason,
		Interval: l.state.Interval, AlertsLost: l.alerts.lost,
		First: l.first.save(), Sweep: l.sweep.save(), Borders: l.deltaBorders.save(),
	}
	for i, k := range l.state.Kinds {
		p.Kinds[i] = instant{k.LastSuccess, k.LastAttempt}
	}
	for _, m := range l.mends {
		p.Mends = append(p.Mends, savedMending{m.query, m.border})
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
	var r *resumable
	err := l.opts.Store.Load(func(s *incident.Saved) (err error) {
		r, err = parseResumable(s, l.mirrorOptions(), now)
		return err
	})
	if err != nil || r == nil {
		return
	}
	l.resume(r, now)
	l.publishStatus()
	logger := l.opts.Logger
	if !l.publishedAt.IsZero() {
		logger = logger.With("as_of", l.publishedAt)
	}
	logger.Info("Going on from the saved state", "incidents", l.mirror.Len(), "first_sync_complete", l.coverage.All)
}

// resumable is what was saved, in a form to go on from.
type resumable struct {
	progress
	mirror       *incident.Mirror
	first, sweep *reading
	borders      borders
}

func parseResumable(s *incident.Saved, opts incident.MirrorOptions, now time.Time) (*resumable, error) {
	r := &resumable{}
	err := json.Unmarshal(s.Progress, &r.progress)
	if err == nil {
		r.first, err = r.First.restore(incident.PassFirst)
	}
	if err == nil {
		r.sweep, err = r.Sweep.restore(incident.PassSweep)
	}
	if err == nil {
		r.borders, err = r.Borders.restore()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: progress: %w", incident.ErrSaved, err)
	}
	r.mirror, err = incident.RestoreMirror(opts, s, now)
	return r, err
}

func (l *Loop) resume(r *resumable, now time.Time) {
	l.mirror, l.coverage, l.first, l.sweep, l.resumed = r.mirror, r.Coverage, r.first, r.sweep, true
	for _, m := range r.Mends {
		l.mends = append(l.mends, mending{m.Query, m.Border})
	}
	l.retireBorders(r.borders)
	// What changed while nobody looked may be more than the overlap shows: the
	// first deltas read all of it.
	l.watermark, l.watermarkAt = r.Watermark, now
	l.alerts.lost = r.AlertsLost
	l.nextSweep = earlier(r.NextSweep, now.Add(l.opts.SweepInterval))
	l.resumeStatus(&r.progress, now)
	if r.Lookback < l.opts.Lookback {
		l.widen(now)
	}
	if l.coverage.Open {
		l.publish(now)
		l.snapshot.Load().At = r.PublishedAt
		l.publishedAt = r.PublishedAt
	}
}

// resumeStatus tells what is still true. That the last refresh succeeded is so
// only as long as the next one would not have been tried without the restart.
func (l *Loop) resumeStatus(p *progress, now time.Time) {
	s := &l.state
	for i, k := range p.Kinds {
		s.Kinds[i].LastSuccess, s.Kinds[i].LastAttempt = k.Success, k.Attempt
	}
	const patience = time.Minute
	fresh := now.Sub(p.Kinds[incident.PassDelta].Success) < 2*max(p.Interval, l.opts.Interval)+patience
	s.Up = p.Up && fresh
	s.LastError, s.LastErrorAt, s.LastReason = p.LastError, p.LastErrorAt, p.LastReason
	s.Corrections = p.Corrections
	if l.first != nil {
		s.FirstPages = l.first.pages
	}
	if l.sweep != nil {
		s.Sweeping, s.SweepPages = true, l.sweep.pages
	}
}

// widen begins a first sync of a look-back that has grown. What is known stays;
// what resolved incidents there are in all is not known any more.
func (l *Loop) widen(now time.Time) {
	l.mirror.EndSweep()
	l.sweep, l.state.Sweeping, l.state.SweepPages = nil, false, 0
	r := l.newReading(incident.PassFirst, now)
	if l.coverage.Open {
		r.queries = r.queries[len(r.queries)-1:]
		r.known = l.coverage.Statuses
		r.newest, r.deltas = l.watermark, !l.watermark.IsZero()
	}
	if l.mirror.CountsFlows() {
		// What is read now and was older than the look-back is history.
		l.mirror.StartFlows(l.watermark)
	}
	l.first, l.state.FirstPages = r, 0
	l.coverage.All = false
	for _, status := range []incident.Status{incident.StatusUnknown, incident.StatusResolved, incident.StatusRedirected} {
		l.coverage.Statuses[status] = false
	}
	l.opts.Logger.Info("The look-back has grown, reading what it adds")
}
