package simulator

import (
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/service"
)

// TestDeterminism: the same seed and instants give the same tenant, no matter
// what was asked in between.
func TestDeterminism(t *testing.T) {
	opts := fraction(5, 10)
	clock := newClock()
	opts.Now = clock.now
	watched, left, other := New(opts), New(opts), opts
	other.Seed = 6
	different := New(other)
	c := inProcess(t, watched)
	for range 20 {
		clock.add(13 * time.Minute)
		c.page("$top=3")
	}
	got, want := c.all(""), inProcess(t, left).all("")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("watched and unwatched differ: %d and %d rows", len(got), len(want))
	}
	if reflect.DeepEqual(got, inProcess(t, different).all("")) {
		t.Error("another seed gave the same tenant")
	}
}

// busy is a tenant in which something changes within every half minute.
func busy(seed uint64) Options {
	return Options{
		Seed:      seed,
		Incidents: 5000,
		Rates:     Rates{Create: 240, Assign: 200, Change: 300, Merge: 60, Resolve: 200, Reopen: 10},
	}
}

// fraction is a smaller one, for time is dear under the race detector.
func fraction(seed uint64, n int) Options {
	opts := busy(seed)
	opts.Incidents /= n
	r, f := &opts.Rates, float64(n)
	*r = Rates{Create: r.Create / f, Assign: r.Assign / f, Change: r.Change / f, Merge: r.Merge / f, Resolve: r.Resolve / f, Reopen: r.Reopen / f}
	opts.Light, opts.Limits = true, unlimited
	return opts
}

// TestBusyStaysSane lets a busy tenant run for a month of its own time.
func TestBusyStaysSane(t *testing.T) {
	clock := newClock()
	opts := fraction(1, 4)
	opts.Now = clock.now
	tenant := New(opts)
	open := func() []int64 { return tenant.IDs(life.Active, life.InProgress, life.AwaitingAction) }
	started := len(open())
	for range 30 {
		clock.add(day)
		tenant.Advance()
		if got := len(open()); got < started/2 || got > 2*started {
			t.Errorf("got %d open incidents after %v, started with %d", got, clock.now().Sub(start), started)
		}
	}
	if created := len(tenant.IDs()) - opts.Incidents; created < 29*24*60 || created > 31*24*60 {
		t.Errorf("got %d incidents created, want about %d", created, 30*24*60)
	}
	truth := tenant.Truth(clock.now(), 0)
	statuses := map[string]int{}
	for key, n := range truth.Incidents {
		statuses[key[1]] += n
	}
	if statuses["active"] == 0 || statuses["in_progress"] == 0 || statuses["unknown"] != 0 || truth.Redirected < 750 {
		t.Errorf("got %v, %d redirected", statuses, truth.Redirected)
	}
}

func TestBusyIsLively(t *testing.T) {
	clock := newClock()
	opts := busy(2)
	opts.Now, opts.Light = clock.now, true
	tenant := New(opts)
	before := clock.now()
	for range 20 {
		clock.add(30 * time.Second)
		tenant.Advance()
		tenant.Do(func(now time.Time) {
			if order := tenant.Index.Sorted(); order[len(order)-1].Updated.Before(before) {
				t.Errorf("nothing happened before %v", now)
			}
		})
		before = clock.now()
	}
}

// TestDemoIsLively: a person who looks at it by day sees something happen within
// minutes, and it starts at once.
func TestDemoIsLively(t *testing.T) {
	clock := newClock()
	opts := service.Demo(0)
	opts.Now = clock.now
	tenant := New(opts)
	if truth := tenant.Truth(clock.now(), service.DemoHistory); truth.Redirected < 500 || len(tenant.IDs()) < 4000 || len(tenant.IDs()) > 9000 {
		t.Errorf("got %d incidents, %d redirected", len(tenant.IDs()), truth.Redirected)
	}
	quiet := 0
	for range 6 * 12 {
		before := clock.now()
		clock.add(5 * time.Minute)
		tenant.Do(func(time.Time) {
			if order := tenant.Index.Sorted(); order[len(order)-1].Updated.Before(before) {
				quiet++
			}
		})
	}
	if quiet > 7 {
		t.Errorf("nothing happened in %d of 72 times five minutes", quiet)
	}
}

func TestRestAndLive(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now})
	clock.add(day)
	if got := len(tenant.IDs()); got != 0 {
		t.Errorf("at rest: got %d incidents", got)
	}
	tenant.Live(Rates{Create: 100})
	clock.add(time.Hour)
	n := len(tenant.IDs(life.Active))
	if n < 60 || n > 140 {
		t.Errorf("got %d incidents, want about 100", n)
	}
	tenant.Rest()
	clock.add(day)
	if got := len(tenant.IDs()); got != n {
		t.Errorf("at rest again: got %d incidents, want %d", got, n)
	}
}

func TestActs(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now, Skew: time.Minute})
	a, b := tenant.Create(Spec{Severity: "Low"}), tenant.Create(Spec{Alerts: []Alert{{Status: "New"}, {}}})
	step := func(what string, returned, id int64, want func(life.Record) bool) {
		t.Helper()
		r, ok := tenant.Record(id)
		if returned == 0 || !ok || !want(r) || !r.Updated.Equal(clock.now().Add(time.Minute)) {
			t.Errorf("%s: got %d, %+v", what, returned, r)
		}
		clock.add(time.Second)
	}
	step("create", a, a, func(r life.Record) bool { return r.Status == life.Active && r.Severity == "Low" && len(r.Alerts) == 1 })
	step("assign", tenant.Assign(a, "me"), a, func(r life.Record) bool { return r.AssignedTo == "me" && r.Status == life.InProgress })
	step("resolve", tenant.Resolve(a, "TruePositive", "Malware"), a, func(r life.Record) bool {
		return r.Status == life.Resolved && r.Classification == "TruePositive" && r.Determination == "Malware" && r.Alerts[0].Status == life.Resolved
	})
	step("reopen", tenant.Reopen(a), a, func(r life.Record) bool { return r.Status == life.Active && r.Classification == "Unknown" })
	step("update", tenant.Update(a, func(r *life.Record) { r.Severity = "High" }), a, func(r life.Record) bool { return r.Severity == "High" })
	step("touch", tenant.Touch(a), a, func(r life.Record) bool { return r.Severity == "High" })
	step("merge", tenant.Merge(a, b), b, func(r life.Record) bool { return len(r.Alerts) == 3 })
	r, _ := tenant.Record(a)
	if r.Status != life.Redirected || r.RedirectID != b || len(r.Alerts) != 0 {
		t.Errorf("merged: got %+v", r)
	}
	past := start.Add(-time.Hour)
	tenant.Update(b, func(r *life.Record) { r.Updated = past })
	if r, _ := tenant.Record(b); !r.Updated.Equal(past) {
		t.Errorf("got update time %v, want the given one", r.Updated)
	}
	if tenant.Delete(a) != a || tenant.Delete(a) != 0 || tenant.Touch(a) != 0 || tenant.Merge(a, b) != 0 {
		t.Error("an incident that is gone can be acted on")
	}
}

func TestLateUpdate(t *testing.T) {
	clock := newClock()
	tenant := New(Options{Now: clock.now, Limits: unlimited})
	id := tenant.Create(Spec{})
	other := tenant.Create(Spec{})
	clock.add(time.Minute)
	made := clock.now()
	tenant.LateUpdate(id, 5*time.Minute, func(r *life.Record) { r.Status = life.Resolved })
	c := inProcess(t, tenant)
	clock.add(4 * time.Minute)
	tenant.Touch(other)
	if rows := c.page("").Value; ids(rows)[0] != other || rows[1]["status"] != life.Active || !parseTime(t, rows[1]["lastUpdateTime"]).Equal(start) {
		t.Errorf("before: got %v", rows)
	}
	clock.add(time.Minute)
	if rows := c.page("").Value; ids(rows)[0] != other || rows[1]["status"] != life.Resolved || !parseTime(t, rows[1]["lastUpdateTime"]).Equal(made) {
		t.Errorf("after: got %v", rows)
	}
}

func TestConcurrency(t *testing.T) {
	opts := fraction(3, 25)
	opts.TokenLifetime = day
	clock := newClock()
	opts.Now = clock.now
	tenant := New(opts)
	c := inProcess(t, tenant)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				clock.add(time.Minute)
				a := c.get("/api/incidents")
				if a.status != http.StatusOK || !json.Valid([]byte(a.body)) {
					t.Errorf("got %d", a.status)
				}
				tenant.Touch(tenant.Create(Spec{}))
				tenant.Truth(clock.now(), 0)
				tenant.Fault(Faults{OddRows: true})
				tenant.Meter()
			}
		})
	}
	wg.Wait()
}
