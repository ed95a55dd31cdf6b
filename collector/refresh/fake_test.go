package refresh

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// tenant is the incidents of a tenant, the server that lists them, and the quota
// for it: a Source and a Ledger. Its methods are safe for concurrent use, its
// fields to be set under change.
type tenant struct {
	mu        sync.Mutex
	offer     listing.Offer
	incidents map[int64]incident.Incident
	nextID    int64

	skew     time.Duration // of the server's clock against ours
	dateOff  time.Duration // of the header Date against the server's clock
	noDate   bool
	noAlerts bool
	refuse   map[incident.Status]bool    // in a filter
	hidden   map[int64]bool              // by the list
	old      []incident.Incident         // versions that the list has, too
	past     map[int64]incident.Incident // what the list is of, if it is behind
	blank    bool                        // the list is empty
	deaf     bool                        // a status selects nothing
	heard    int64                       // but this one
	coarse   bool                        // a lower bound leaves its second out
	window   time.Duration               // how far back the list goes where no time is asked for; 0: to the beginning
	mark     string                      // of the dimensions that the rows are kept for
	heavy    int64                       // the list fails at this row
	other    int64                       // what every look-up finds; 0: what it is for
	took     time.Duration               // per call
	// fault is asked before each call of the list or, with an id, of one incident;
	// an error is the answer. It may panic.
	fault func(c call) error
	// token is the answer of Authorize.
	token error

	calls []call
	links map[string]listing.Request // that were sent

	ledger
}

// call is a request of the API.
type call struct {
	n    int // from 1
	at   time.Time
	pass pass.Pass
	req  listing.Request
	id   int64 // of the incident that is looked up; 0: the list
}

// ledger grants calls.
type ledger struct {
	every   [pass.NumPasses]time.Duration // between two grants
	next    [pass.NumPasses]time.Time
	blocked time.Time
	perHour int
	// denied is how many more calls Take grants none, although Ready has said so.
	denied [pass.NumPasses]int
	// unrecorded is why no grant can be saved, and saving how long it takes.
	unrecorded [pass.NumPasses]error
	saving     time.Duration
	canceled   int

	last      uint64
	pass      pass.Pass // of the last grant
	open      map[uint64]bool
	wrong     []string // what must never be
	throttled []string
	waits     [pass.NumPasses]int
	reserved  int
}

// native is a server as the native API is, with pages of so many rows.
func native(pageSize int) *tenant {
	return &tenant{
		offer: listing.Offer{MaxTop: pageSize, Skip: true}, incidents: make(map[int64]incident.Incident),
		links:  make(map[string]listing.Request),
		ledger: ledger{open: make(map[uint64]bool)},
	}
}

// graph is one as Graph is.
func graph(pageSize int) *tenant {
	f := native(pageSize)
	f.offer = listing.Offer{MaxTop: pageSize, Skip: true, Order: true, Count: true, Expand: true}
	return f
}

// change lets a test change the tenant while a loop reads it.
func (f *tenant) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *tenant) Offer() listing.Offer { return f.offer }

func (f *tenant) Authorize(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(ctx.Err(), f.token)
}

// begin notes a call and lets it take its time.
func (f *tenant) begin(ctx context.Context, req listing.Request, id int64) error {
	f.mu.Lock()
	c := call{len(f.calls) + 1, time.Now(), f.pass, req, id}
	f.calls = append(f.calls, c)
	took, fault := f.took, f.fault
	f.mu.Unlock()
	if took > 0 {
		time.Sleep(took)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if fault != nil {
		return fault(c)
	}
	return nil
}

func (f *tenant) List(ctx context.Context, req listing.Request) (listing.Page, error) {
	if err := f.begin(ctx, req, 0); err != nil {
		return listing.Page{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := req
	if req.Link != "" {
		req = f.links[req.Link]
	}
	if f.refuse[req.Status] {
		return listing.Page{}, &listing.Error{Operation: listing.OperationList, Request: req, Status: 400, Reason: reason.Other, Message: "unknown status"}
	}
	page := listing.Page{Count: -1}
	if !f.noDate {
		page.Date = time.Now().Add(f.skew + f.dateOff).Truncate(time.Second)
	}
	if f.blank {
		return page, nil
	}
	rows, all := slices.Clone(f.old), f.incidents
	if f.past != nil {
		all = f.past
	}
	for id, in := range all {
		if !f.hidden[id] {
			rows = append(rows, in)
		}
	}
	for _, in := range rows {
		if f.deaf && in.ID != f.heard && req.Status != incident.StatusUnknown || req.Status != incident.StatusUnknown && in.Status != req.Status ||
			in.Updated.Before(req.Since) || f.coarse && !req.Since.IsZero() && in.Updated.Unix() <= req.Since.Unix() || f.window > 0 && req.Since.IsZero() && in.Updated.Before(time.Now().Add(-f.window)) || !req.Before.IsZero() && !in.Updated.Before(req.Before) {
			continue
		}
		if f.mark != "" {
			in.Kept = &incident.Kept{Mark: f.mark}
		}
		in.AlertsUnknown = f.noAlerts || f.offer.Expand && !req.Alerts
		page.Rows = append(page.Rows, in)
	}
	slices.SortFunc(page.Rows, func(a, b incident.Incident) int {
		order := cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.ID, a.ID))
		if req.Order == listing.Ascending {
			return -order
		}
		return order
	})
	if f.offer.Count && req.Count {
		page.Count = len(page.Rows)
	}
	page.Rows = page.Rows[min(req.Skip, len(page.Rows)):]
	if top := cmp.Or(req.Top, f.offer.MaxTop); len(page.Rows) > top {
		page.Rows = page.Rows[:top]
		req.Skip, req.Count = req.Skip+top, false
		page.Link = fmt.Sprintf("%+v", req)
		f.links[page.Link] = req
	}
	if f.heavy != 0 && slices.ContainsFunc(page.Rows, func(in incident.Incident) bool { return in.ID == f.heavy }) {
		return listing.Page{}, &listing.Error{Operation: listing.OperationList, Request: sent, Status: 500, Reason: reason.Server}
	}
	return page, nil
}

func (f *tenant) Incident(ctx context.Context, id int64) (incident.Incident, error) {
	if err := f.begin(ctx, listing.Request{}, id); err != nil {
		return incident.Incident{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	in, ok := f.incidents[cmp.Or(f.other, id)]
	if !ok {
		return in, &listing.Error{Operation: listing.OperationGet, Status: 404, Reason: reason.Other, Err: listing.ErrNotFound}
	}
	return in, nil
}

func (f *tenant) Ready(now time.Time, p pass.Pass) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready(now, p)
}

func (f *tenant) ready(now time.Time, p pass.Pass) time.Time {
	return later(now, later(f.next[p], f.blocked))
}

func (f *tenant) Waits(_ time.Time, p pass.Pass) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits[p]++
}

func (f *tenant) Take(now time.Time, p pass.Pass) (uint64, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.unrecorded[p]; err != nil {
		f.next[p] = now.Add(time.Second)
		return 0, f.next[p], err
	}
	if f.denied[p] > 0 {
		f.denied[p]--
		return 0, now, nil
	}
	if at := f.ready(now, p); at.After(now) {
		return 0, at, nil
	}
	if len(f.open) > 0 {
		f.wrong = append(f.wrong, "a second grant at a time")
	}
	if int(f.last) != len(f.calls) {
		f.wrong = append(f.wrong, fmt.Sprintf("%d grants for %d calls", f.last, len(f.calls)))
	}
	f.next[p], f.pass = now.Add(f.every[p]), p
	f.last++
	f.open[f.last] = true
	if f.saving > 0 {
		f.mu.Unlock()
		time.Sleep(f.saving)
		f.mu.Lock()
	}
	return f.last, now, nil
}

func (f *tenant) Cancel(grant uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open[grant] {
		f.wrong = append(f.wrong, fmt.Sprintf("grant %d canceled twice, or never taken", grant))
	}
	delete(f.open, grant)
	f.canceled++
	f.last--
}

func (f *tenant) Settle(grant uint64, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open[grant] {
		f.wrong = append(f.wrong, fmt.Sprintf("grant %d settled twice, or never taken", grant))
	}
	delete(f.open, grant)
}

func (f *tenant) Throttled(now time.Time, retryAfter, _ string) {
	wait := max(f.RetryAfter(now, retryAfter).Sub(now), time.Second)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.throttled = append(f.throttled, retryAfter)
	f.blocked = now.Add(wait)
}

func (f *tenant) Succeeded() {}

// RetryAfter believes an hour at most, as the contract has it.
func (f *tenant) RetryAfter(now time.Time, header string) time.Time {
	seconds, err := strconv.Atoi(header)
	if err != nil {
		return time.Time{}
	}
	return now.Add(min(time.Duration(seconds)*time.Second, time.Hour))
}

func (f *tenant) Pace(_ time.Time, calls int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.perHour == 0 {
		return 0
	}
	return time.Duration(calls) * time.Hour / time.Duration(f.perHour)
}

func (f *tenant) Reserve(_ time.Time, calls int, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reserved = calls
}

// set changes an incident, a new one if there is none of this id, and moves its
// last update to the server's now.
func (f *tenant) set(id int64, change func(*incident.Incident)) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now().Add(f.skew).UTC()
	in, ok := f.incidents[id]
	if !ok {
		f.nextID++
		id = f.nextID
		in = incident.Incident{ID: id, Created: now, Status: incident.StatusActive}
	}
	in.Updated = now
	if change != nil {
		change(&in)
	}
	f.incidents[id] = in
	return id
}

// resolve resolves an incident now.
func (f *tenant) resolve(id int64) {
	f.set(id, func(in *incident.Incident) { in.Status = incident.StatusResolved })
}

// fill adds history: n incidents, a minute apart, half of them open.
func (f *tenant) fill(n int) {
	for i := range n {
		f.set(0, func(in *incident.Incident) {
			in.Updated = in.Updated.Add(-time.Duration(i+1) * time.Minute)
			in.Created = in.Updated.Add(-time.Duration(i*37%60) * time.Minute)
			in.Status = []incident.Status{incident.StatusActive, incident.StatusResolved, incident.StatusRedirected,
				incident.StatusInProgress, incident.StatusResolved, incident.StatusAwaitingAction}[i%6]
			in.Severity = incident.Severity(i % incident.NumSeverities)
			in.Assigned = i%4 == 0
		})
	}
}

func (f *tenant) drop(ids ...int64) {
	f.change(func() {
		for _, id := range ids {
			delete(f.incidents, id)
		}
	})
}

// dropClosed drops those that leave the look-back in time.
func (f *tenant) dropClosed() {
	f.change(func() {
		maps.DeleteFunc(f.incidents, func(_ int64, in incident.Incident) bool { return !in.Open() })
	})
}

// pick lists the calls that are asked for.
func (f *tenant) pick(keep func(call) bool) (picked []call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if keep(c) {
			picked = append(picked, c)
		}
	}
	return picked
}

func (f *tenant) made() int { return len(f.pick(func(call) bool { return true })) }

func (f *tenant) of(p pass.Pass) []call { return f.pick(func(c call) bool { return c.pass == p }) }

func (f *tenant) lookups() []call { return f.pick(func(c call) bool { return c.id != 0 }) }

// fails sets what is the answer to every call from now on; nil: the truth.
func (f *tenant) fails(fault func(call) error) { f.change(func() { f.fault = fault }) }

type counts [incident.NumSeverities][incident.NumStatuses][2]int32

func (f *tenant) counts() (c counts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range f.incidents {
		assigned := 0
		if in.Assigned {
			assigned = 1
		}
		c[in.Severity][in.Status][assigned]++
	}
	return c
}

// answered is an error as a client makes it of an answer.
func answered(c call, status int, why reason.Reason, retryAfter string) error {
	operation := listing.OperationList
	if c.id != 0 {
		operation = listing.OperationGet
	}
	return &listing.Error{Operation: operation, Request: c.req, Status: status, Reason: why, RetryAfter: retryAfter}
}

// faults are the ways in which a request fails.
var faults = map[string]func(call) error{
	"hangs": func(c call) error {
		time.Sleep(30 * time.Second)
		return answered(c, 0, reason.Timeout, "")
	},
	"network": func(c call) error { return answered(c, 0, reason.Network, "") },
	"500":     func(c call) error { return answered(c, 500, reason.Server, "") },
	"503, with Retry-After": func(c call) error {
		return answered(c, 503, reason.Server, "100")
	},
	"400":        func(c call) error { return answered(c, 400, reason.Other, "") },
	"429":        func(c call) error { return answered(c, 429, reason.Throttled, "60") },
	"206":        func(c call) error { return answered(c, 206, reason.Partial, "") },
	"401":        func(c call) error { return answered(c, 401, reason.Auth, "") },
	"403":        func(c call) error { return answered(c, 403, reason.Forbidden, "") },
	"no JSON":    func(c call) error { return answered(c, 200, reason.Decode, "") },
	"incomplete": func(c call) error { return answered(c, 0, reason.Incomplete, "") },
	"untyped":    func(call) error { return errors.New("something else") },
	"panics":     func(call) error { panic("a mistake") },
}

// disk is a Store: what was saved, as a later process finds it.
type disk struct {
	mu       sync.Mutex
	rows     map[int64][]byte
	swept    map[int64]bool
	tables   []byte
	progress []byte
	saves    int
	failing  error
	damage   error // that a load finds once all is restored
	// during is called at each save, once it is done. It may panic.
	during func()
}

func newDisk() *disk { return &disk{rows: make(map[int64][]byte), swept: make(map[int64]bool)} }

func (d *disk) Save(export func(full bool) (*incident.Saved, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing != nil {
		return d.failing
	}
	s, err := export(d.saves == 0)
	if err != nil {
		return err
	}
	if s.Full {
		clear(d.rows)
	}
	if s.NewSweep {
		clear(d.swept)
	}
	for id, row := range s.Rows {
		d.rows[id] = bytes.Clone(row)
	}
	for _, id := range s.Removed {
		delete(d.rows, id)
	}
	for _, id := range s.Swept {
		d.swept[id] = true
	}
	d.tables, d.progress = bytes.Clone(s.Tables), bytes.Clone(s.Progress)
	d.saves++
	if d.during != nil {
		d.during()
	}
	return nil
}

func (d *disk) Load(restore func(*incident.Saved) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.saves == 0 {
		return nil
	}
	return cmp.Or(restore(&incident.Saved{
		Full: true, Len: len(d.rows), Swept: slices.Collect(maps.Keys(d.swept)), Tables: d.tables, Progress: d.progress,
		Rows: func(yield func(int64, []byte) bool) {
			for id, row := range d.rows {
				if !yield(id, row) {
					return
				}
			}
		},
	}), d.damage)
}

func (d *disk) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// running is a loop that runs.
type running struct {
	*Loop
	f    *tenant
	stop func()
}

// start runs a loop in the bubble until the test ends or stops it. It reads f, or a
// source around it.
func start(t *testing.T, f *tenant, opts Options) *running {
	t.Helper()
	if opts.Ledger = f; opts.Source == nil {
		opts.Source = f
	}
	loop := New(opts)
	loop.Load(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	r := &running{Loop: loop, f: f}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: got %v, want %v", err, context.Canceled)
		}
		f.change(func() {
			if len(f.open) > 0 {
				f.wrong = append(f.wrong, "a grant was never settled")
			}
			for _, w := range f.wrong {
				t.Error("quota:", w)
			}
			f.wrong = nil
		})
	})
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// sleep lets d pass and everything settle.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// until waits for a condition, at most a day.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(24 * time.Hour); !condition(); sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("never %s", what)
		}
	}
}

// synced waits for the end of the first sync.
func (r *running) synced(t *testing.T) {
	t.Helper()
	until(t, "synced", func() bool { s := r.Snapshot(); return s != nil && s.Coverage.All })
}

// syncs fails the test if all is not known after that time.
func (r *running) syncs(t *testing.T, within time.Duration) {
	t.Helper()
	sleep(within)
	if s := r.Snapshot(); s == nil || !s.Coverage.All {
		t.Fatalf("not synced after %v and %d calls: %s", within, r.f.made(), r.Status().LastError)
	}
}

// equal fails the test if the snapshot is not the truth.
func (r *running) equal(t *testing.T) {
	t.Helper()
	s := r.Snapshot()
	if s == nil {
		t.Fatal("no snapshot")
	}
	if got, want := s.Incidents, r.f.counts(); got != want {
		t.Errorf("counts\ngot  %v\nwant %v", got, want)
	}
}

// bothAPIs runs a test with a server of each kind.
func bothAPIs(t *testing.T, pageSize int, test func(*testing.T, *tenant)) {
	t.Helper()
	for name, server := range map[string]func(int) *tenant{"native": native, "graph": graph} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, server(pageSize)) })
		})
	}
}

// journal is what was logged.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }
