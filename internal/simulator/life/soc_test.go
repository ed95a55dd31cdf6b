package life

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
)

// monday is the first day of the four weeks that are looked at.
var monday = time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)

func socOptions(seed uint64) Options {
	return Options{
		Seed: seed, Daily: 400, History: 14 * day, Light: true,
		Mix: Mix{UnSpecified: 0.01, Informational: 0.33, Low: 0.32, Medium: 0.26, High: 0.08, Classified: 0.7},
	}
}

// flows is what an observer of every change sees in four weeks.
type flows struct {
	assign, resolve map[string][]time.Duration // by severity
	assignAt        map[bool][]time.Duration   // high ones, by whether the whole team was there
	created         map[time.Time]int          // by hour
	severities      map[string]int
	merged, reopened, classifiedLate,
	falsePositive, verdicts, unassigned, resolved int
	open []int // at each midnight
}

func observe(t *testing.T, seed uint64) flows {
	t.Helper()
	f := flows{
		assign: map[string][]time.Duration{}, resolve: map[string][]time.Duration{}, assignAt: map[bool][]time.Duration{},
		created: map[time.Time]int{}, severities: map[string]int{},
	}
	now := monday
	opts := socOptions(seed)
	opts.Now = func() time.Time { return now }
	tenant := New(opts)
	show := tenant.Hooks.Publish
	tenant.Hooks.Publish = func(at time.Time, id int64, old, e *Entry) {
		show(at, id, old, e)
		if old == nil {
			f.created[e.Created.Truncate(time.Hour)]++
			f.severities[e.Severity]++
			return
		}
		if old.AssignedTo == "" && e.AssignedTo != "" {
			took := at.Sub(e.Created)
			f.assign[e.Severity] = append(f.assign[e.Severity], took)
			if e.Severity == "High" {
				atWork, _ := shift(e.Created)
				f.assignAt[atWork] = append(f.assignAt[atWork], took)
			}
		}
		switch {
		case e.Status == Redirected:
			f.merged++
		case old.Status == Resolved && e.Status == Active:
			f.reopened++
		case old.Status == Resolved && old.Classification == "Unknown" && e.Classification != "Unknown":
			f.classifiedLate++
		case old.Status != Resolved && e.Status == Resolved:
			f.resolved++
			f.resolve[e.Severity] = append(f.resolve[e.Severity], at.Sub(e.Created))
			if e.AssignedTo == "" {
				f.unassigned++
			}
			if e.Classification != "Unknown" {
				f.verdicts++
			}
			if e.Classification == "FalsePositive" {
				f.falsePositive++
			}
		}
	}
	for range 28 {
		now = now.Add(day)
		tenant.Advance()
		f.open = append(f.open, len(tenant.open.ids))
	}
	return f
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// TestSOC: the tenant is handled as one whose severities matter. Each figure
// holds for any seed.
func TestSOC(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := observe(t, seed)
			between := func(what string, got, low, high float64) {
				t.Helper()
				if got < low || got > high {
					t.Errorf("%s: got %.3g, want %.3g to %.3g", what, got, low, high)
				}
			}
			total := 0
			for _, n := range f.created {
				total += n
			}
			between("created a day", float64(total)/28, 320, 520)
			between("share of high", float64(f.severities["High"])/float64(total), 0.06, 0.10)
			between("share merged", float64(f.merged)/float64(total), 0.15, 0.25)
			between("reopened of those resolved", float64(f.reopened)/float64(f.resolved), 0.005, 0.03)
			between("verdict after the resolution", float64(f.classifiedLate)/float64(f.resolved), 0.02, 0.2)
			between("false positives among verdicts", float64(f.falsePositive)/float64(f.verdicts), 0.2, 0.4)
			between("resolved without an owner", float64(f.unassigned)/float64(f.resolved), 0.3, 0.6)

			minutes := func(of []time.Duration) float64 { return median(of).Minutes() }
			between("minutes to assign high", minutes(f.assign["High"]), 4, 20)
			between("minutes to assign medium", minutes(f.assign["Medium"]), 30, 180)
			between("hours to assign low", minutes(f.assign["Low"])/60, 3, 24)
			between("hours to resolve high", minutes(f.resolve["High"])/60, 1.5, 6)
			between("hours to resolve medium", minutes(f.resolve["Medium"])/60, 5, 30)
			between("hours to resolve informational", minutes(f.resolve["Informational"])/60, 0.05, 2)
			between("slower on call", float64(median(f.assignAt[false]))/float64(median(f.assignAt[true])), 1.5, 5)

			var work, night, weekendDay, weekday float64
			for hour, n := range f.created {
				atWork, _ := shift(hour)
				switch {
				case weekend(hour):
					weekendDay += float64(n) / 8 / 24
				default:
					weekday += float64(n) / 20 / 24
				}
				if atWork {
					work += float64(n) / 20 / 12
				} else if h := hour.Hour(); !weekend(hour) && (h < 5 || h >= 22) {
					night += float64(n) / 20 / 7
				}
			}
			between("created by day to by night", work/night, 2, 8)
			between("created on weekdays to on weekends", weekday/weekendDay, 1.4, 4)
			busiest := slices.Max(slices.Collect(maps.Values(f.created)))
			between("the busiest hour to an average one", float64(busiest)/(float64(total)/28/24), 4, 20)

			lowest, highest := slices.Min(f.open), slices.Max(f.open)
			between("open incidents", float64(lowest), 200, 700)
			between("most open to fewest", float64(highest)/float64(lowest), 1, 2.2)
		})
	}
}

// TestSOCTail: a few open incidents are old, and at any time one of high severity
// has been open for longer than a day.
func TestSOCTail(t *testing.T) {
	for seed := range uint64(5) {
		now := monday
		opts := socOptions(seed)
		opts.Now = func() time.Time { return now }
		tenant := New(opts)
		for range 3 {
			now = now.Add(5 * day)
			truth := tenant.Truth(now, 0)
			all, old := 0, 0
			for _, n := range truth.OpenOlder(0) {
				all += n
			}
			for _, n := range truth.OpenOlder(14 * day) {
				old += n
			}
			high := truth.OpenOlder(day)[[2]string{"high", "true"}]
			if share := float64(old) / float64(all); share < 0.03 || share > 0.3 {
				t.Errorf("seed %d: %d of %d open incidents are older than two weeks", seed, old, all)
			}
			if high == 0 || high > 40 {
				t.Errorf("seed %d: %d of high severity are older than a day", seed, high)
			}
			if oldest := truth.OldestOpen; oldest["informational"].Before(now.Add(-longestLife)) {
				t.Errorf("seed %d: the oldest are of %v", seed, oldest)
			}
		}
	}
}

// TestSOCJoins: what a tenant has from the start is what its life would have
// left, and no step of it depends on when the tenant was made or was looked at.
func TestSOCJoins(t *testing.T) {
	for seed := range uint64(3) {
		now := monday
		opts := socOptions(seed)
		opts.Light = false
		opts.Now = func() time.Time { return now }
		before := New(opts)
		for range 100 {
			now = now.Add(7 * time.Hour / 3)
			before.Advance()
		}
		after := New(opts)
		check := func() {
			t.Helper()
			want := map[int64]Record{}
			for id, e := range before.records {
				if e.IsOpen() || e.Updated.After(now.Add(-13*day)) {
					want[id] = e.Record
				}
			}
			got := map[int64]Record{}
			for id, e := range after.records {
				if _, ok := want[id]; ok || e.IsOpen() {
					got[id] = e.Record
				}
			}
			if len(want) < 1000 || !reflect.DeepEqual(got, want) {
				t.Errorf("seed %d at %v: %d incidents of a tenant that lived, %d of a new one, or not the same", seed, now, len(want), len(got))
			}
		}
		check()
		now = now.Add(30 * time.Hour)
		before.Advance()
		after.Advance()
		check()
	}
}

// TestWorked: work goes on at its pace by day, and slowly at night.
func TestWorked(t *testing.T) {
	at := func(days int, hour float64) time.Time {
		return monday.AddDate(0, 0, days).Add(time.Duration(hour * float64(time.Hour)))
	}
	for _, test := range []struct {
		from time.Time
		work time.Duration
		want time.Time
	}{
		{at(0, 9), time.Hour, at(0, 10)},
		{at(0, 18), 2 * time.Hour, at(0, 23)},                    // an hour, and another at a quarter
		{at(0, 18), 5 * time.Hour, at(1, 8)},                     // three by 7 h
		{at(4, 19), 14 * time.Hour, at(7, 3)},                    // over a weekend
		{at(5, 12), time.Hour, at(5, 16)},                        // on a Saturday
		{at(4, 18.5), time.Minute, at(4, 18.5).Add(time.Minute)}, // on a Friday
	} {
		if got := worked(test.from, test.work, 0.25); !got.Equal(test.want) {
			t.Errorf("%v from %v: got %v, want %v", test.work, test.from, got, test.want)
		}
	}
}

// TestBare: entities and devices are left out, and nothing else.
func TestBare(t *testing.T) {
	opts := socOptions(1)
	opts.Now, opts.Light = func() time.Time { return monday }, false
	full := New(opts)
	opts.Bare = true
	bare := New(opts)
	if len(full.records) != len(bare.records) {
		t.Fatalf("got %d incidents, want %d", len(bare.records), len(full.records))
	}
	for id, e := range full.records {
		want := e.Clone()
		for i := range want.Alerts {
			want.Alerts[i].Entities, want.Alerts[i].Devices = 0, 0
		}
		if got := bare.records[id].Record; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}
