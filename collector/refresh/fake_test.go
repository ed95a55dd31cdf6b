package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

// tenant is a source and its truth: incidents in order of last update, newest
// first unless ascending, paged from border to border as the client does it.
type tenant struct {
	ascending bool
	// noAlerts answers as a server does that cannot deliver them.
	noAlerts  bool
	incidents map[int64]incident.Incident
	nextID    int64
	pageSize  int
	// hidden versions become visible later, with the update they already have.
	calls   []incident.Query
	callAt  []time.Time
	lookups []int64
	// before is called at every call; an error is the answer.
	before func(incident.Query) error
	// refuse these statuses in a filter.
	refuse map[incident.Status]bool
	took   time.Duration
}

func newTenant(pageSize int) *tenant {
	return &tenant{incidents: map[int64]incident.Incident{}, pageSize: pageSize}
}

func (f *tenant) Page(ctx context.Context, q incident.Query, c incident.Cursor) (incident.Page, error) {
	turn.Lock()
	turn.Unlock() //nolint:staticcheck // see turn
	f.calls, f.callAt = append(f.calls, q), append(f.callAt, time.Now())
	if f.took > 0 {
		time.Sleep(f.took)
	}
	turn.Lock()
	turn.Unlock() //nolint:staticcheck // see turn
	if err := ctx.Err(); err != nil {
		return incident.Page{}, err
	}
	if f.before != nil {
		if err := f.before(q); err != nil {
			return incident.Page{}, err
		}
	}
	if f.refuse[q.Status] {
		return incident.Page{}, fmt.Errorf("list: %w", incident.ErrFilterRefused)
	}
	if f.ascending {
		return f.ascend(q, c), nil
	}
	var rows []incident.Incident
	for _, in := range f.incidents {
		if (q.Status == incident.StatusUnknown || in.Status == q.Status) && !in.Updated.Before(q.Since) &&
			(c.Border.IsZero() || !in.Updated.After(c.Border)) {
			rows = append(rows, in)
		}
	}
	slices.SortFunc(rows, func(a, b incident.Incident) int {
		return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.ID, a.ID))
	})
	rows = rows[min(c.Skip, len(rows)):]
	page := incident.Page{Last: len(rows) < f.pageSize}
	page.Incidents = slices.Clone(rows[:min(len(rows), f.pageSize)])
	if !page.Last {
		page.Next.Border = page.Incidents[f.pageSize-1].Updated
		for _, in := range page.Incidents {
			if in.Updated.Equal(page.Next.Border) {
				page.Next.Skip++
			}
		}
		if page.Next.Border.Equal(c.Border) {
			page.Next.Skip += c.Skip
		}
	}
	return page, nil
}

// ascend is a page of a source that begins with the oldest update.
func (f *tenant) ascend(q incident.Query, c incident.Cursor) incident.Page {
	var rows []incident.Incident
	for _, in := range f.incidents {
		if (q.Status == incident.StatusUnknown || in.Status == q.Status) && !in.Updated.Before(q.Since) && !in.Updated.Before(c.Border) {
			in.AlertsUnknown = f.noAlerts
			rows = append(rows, in)
		}
	}
	slices.SortFunc(rows, func(a, b incident.Incident) int {
		return cmp.Or(a.Updated.Compare(b.Updated), cmp.Compare(a.ID, b.ID))
	})
	rows = rows[min(c.Skip, len(rows)):]
	page := incident.Page{Last: len(rows) < f.pageSize, AlertsUnknown: f.noAlerts}
	page.Incidents = rows[:min(len(rows), f.pageSize)]
	if !page.Last {
		page.Next.Border = page.Incidents[f.pageSize-1].Updated
		if page.Next.Border.Equal(c.Border) {
			page.Next.Skip = c.Skip + f.pageSize
		}
	}
	return page
}

func (f *tenant) Incident(_ context.Context, id int64, _ incident.Pass) (incident.Incident, error) {
	f.lookups = append(f.lookups, id)
	in, ok := f.incidents[id]
	if !ok {
		return in, fmt.Errorf("lookup: %w", incident.ErrNotFound)
	}
	return in, nil
}

// set changes an incident, a new one if id is 0, and moves its last update to
// now.
func (f *tenant) set(id int64, change func(*incident.Incident)) int64 {
	in, ok := f.incidents[id]
	if !ok {
		f.nextID++
		id = f.nextID
		in = incident.Incident{ID: id, Created: time.Now(), Status: incident.StatusActive}
	}
	in.Updated = time.Now()
	if change != nil {
		change(&in)
	}
	f.incidents[id] = in
	return id
}

// fill adds history: n incidents, a minute apart, every third of them open.
func (f *tenant) fill(n int) {
	for i := range n {
		f.set(0, func(in *incident.Incident) {
			in.Created = time.Now().Add(-time.Duration(i+1) * time.Minute)
			in.Updated = in.Created
			in.Status = []incident.Status{incident.StatusActive, incident.StatusResolved, incident.StatusRedirected,
				incident.StatusInProgress, incident.StatusResolved, incident.StatusRedirected}[i%6]
			in.Severity = incident.Severity(i % incident.NumSeverities)
			in.Assigned = i%4 == 0
		})
	}
}

// bothWays runs a test with a source that begins with the newest update, and
// with one that begins with the oldest.
func bothWays(t *testing.T, pageSize int, test func(*testing.T, *tenant)) {
	t.Helper()
	for _, ascending := range []bool{false, true} {
		t.Run(fmt.Sprintf("ascending %v", ascending), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newTenant(pageSize)
				f.ascending = ascending
				test(t, f)
			})
		})
	}
}

type counts [incident.NumSeverities][incident.NumStatuses][2]int32

func (f *tenant) counts(keep func(incident.Status) bool) (c counts) {
	for _, in := range f.incidents {
		if keep(in.Status) {
			c[in.Severity][in.Status][boolIndex(in.Assigned)]++
		}
	}
	return c
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

func all(incident.Status) bool { return true }

func (f *tenant) callsOf(pass incident.Pass) (n int) {
	for _, q := range f.calls {
		if q.Pass == pass {
			n++
		}
	}
	return n
}

// budget grants a call every so often to each pass.
type budget struct {
	every   [incident.NumPasses]time.Duration
	next    [incident.NumPasses]time.Time
	perHour int
	reserve []int
}

func (b *budget) Ready(now time.Time, pass incident.Pass) time.Time {
	if b.next[pass].After(now) {
		return b.next[pass]
	}
	b.next[pass] = now.Add(b.every[pass])
	return now
}

func (b *budget) Pace(_ time.Time, calls int) time.Duration {
	if b.perHour == 0 {
		return 0
	}
	return time.Duration(calls) * time.Hour / time.Duration(b.perHour)
}

func (b *budget) Reserve(calls int, _ time.Duration) { b.reserve = append(b.reserve, calls) }

// failure is an error as a source would type it.
type failure string

func (f failure) Error() string         { return "list incidents: " + string(f) }
func (f failure) FailureReason() string { return string(f) }

// start runs a loop in the bubble until the test ends.
func start(t *testing.T, opts Options) *Loop {
	t.Helper()
	if f, ok := opts.Source.(*tenant); ok {
		opts.Ascending = f.ascending
	}
	if opts.Budget == nil {
		opts.Budget = &budget{}
	}
	loop := New(opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: got %v, want %v", err, context.Canceled)
		}
	})
	synctest.Wait()
	return loop
}

// turn orders what a test did before it waits and what its source does then,
// for the race detector.
var turn sync.Mutex

// wait lets d pass and everything settle.
func wait(d time.Duration) {
	turn.Lock()
	turn.Unlock() //nolint:staticcheck // the order is all that is wanted
	time.Sleep(d)
	synctest.Wait()
}

// equal fails the test if the snapshot is not the truth.
func equal(t *testing.T, l *Loop, f *tenant) {
	t.Helper()
	s := l.Snapshot()
	if s == nil {
		t.Fatal("no snapshot")
	}
	if got, want := s.Incidents, f.counts(all); got != want {
		t.Errorf("counts\ngot  %v\nwant %v", got, want)
	}
}
