package quota

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// worn is a ledger that has something of everything to remember.
func worn(t testing.TB) *Ledger {
	t.Helper()
	l := newLedger(t, Options{})
	spend(t, l, at(0), pass.Sweep, 3)
	spend(t, l, at(s+300*time.Microsecond), pass.First, 1)
	spend(t, l, at(2*s), pass.Delta, 2)
	l.Take(at(3*s), pass.First)
	l.Refused(at(4*s), Refusal{RetryAfter: "60", Message: perMinuteText})
	l.Refused(at(64*s), Refusal{Message: "900 per hour"})
	return l
}

func TestLog(t *testing.T) {
	got := worn(t).Log(at(70 * s))
	want := Log{
		At:       at(70 * s),
		Settings: Settings{native(), usualShare},
		Grants: []Entry{
			{at(0), pass.Sweep, false}, {at(0), pass.Sweep, false}, {at(0), pass.Sweep, false},
			{at(s + ms), pass.First, false}, // rounded up
			{at(2 * s), pass.Delta, false}, {at(2 * s), pass.Delta, false},
			{at(3 * s), pass.First, true},
		},
		Learned:      []Learned{{time.Minute, 45, at(24*time.Hour + 4*s)}, {time.Hour, 900, at(24*time.Hour + 64*s)}},
		Factor:       0.25,
		RefusedAt:    at(64 * s),
		HalvedAt:     at(64 * s),
		BlockedUntil: at(184 * s),
		Consecutive:  2,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if old := worn(t).Log(at(2 * time.Hour)); len(old.Grants) != 0 {
		t.Errorf("got %d grants after two hours, want none", len(old.Grants))
	}
	if old := worn(t).Log(at(25 * time.Hour)); len(old.Learned) != 0 {
		t.Errorf("got %v after a day, want nothing learned", old.Learned)
	}

	want.Closed, want.Grants[6] = true, Entry{at(70 * s), pass.First, false}
	if got := worn(t).Final(at(70 * s)); !reflect.DeepEqual(got, want) {
		t.Errorf("final: got %+v\nwant %+v", got, want)
	}
}

// TestLogRounding: to the side on which a ledger is not more generous.
func TestLogRounding(t *testing.T) {
	const us = time.Microsecond
	l := newLedger(t, Options{})
	spend(t, l, at(us), pass.Delta, 1)
	l.Take(at(2*us), pass.Delta)
	l.Refused(at(3*us), Refusal{RetryAfter: "60", Message: perMinuteText})
	want := Log{
		At:           at(ms),
		Settings:     Settings{native(), usualShare},
		Grants:       []Entry{{at(ms), pass.Delta, false}, {at(ms), pass.Delta, true}},
		Learned:      []Learned{{time.Minute, 45, at(24*time.Hour + ms)}},
		Factor:       0.5,
		RefusedAt:    at(ms),
		HalvedAt:     at(0), // later would put off the next halving
		BlockedUntil: at(60*s + ms),
		Consecutive:  1,
	}
	if got := l.Log(at(4 * us)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// TestLogMonotonic: in memory instants keep the monotonic reading, in a Log
// they have none.
func TestLogMonotonic(t *testing.T) {
	clock := func(tm time.Time) bool { return tm != tm.Round(0) } // != sees the reading
	now := time.Now()                                             // nothing else has a monotonic reading; its date does not matter
	if !clock(now) {
		t.Skip("no monotonic clock")
	}
	l := newLedger(t, Options{})
	l.Settle(l.Take(now, pass.Delta).Grant, now.Add(s))
	if got := l.Refused(now.Add(s), Refusal{}).Until; !clock(got) {
		t.Errorf("got %v without, want a monotonic reading", got)
	}
	log := l.Log(now.Add(2 * s))
	if clock(log.Grants[0].At) || clock(log.BlockedUntil) {
		t.Errorf("got %v and %v, want no monotonic reading", log.Grants[0].At, log.BlockedUntil)
	}
	restored := newLedger(t, Options{})
	restored.Restore(now.Add(3*s), log)
	if got := restored.history.settled[pass.Delta][0]; !clock(got) {
		t.Errorf("got %v without, want the monotonic reading of now", got)
	}
	if got := restored.BlockedUntil(); !clock(got) {
		t.Errorf("got %v without, want the monotonic reading of now", got)
	}
}

func TestRestore(t *testing.T) {
	ten := Options{Windows: []Window{{time.Minute, 10}, {time.Hour, 20}}, Share: 1}
	const m = time.Minute
	now := at(0)
	grants := func(n int, e Entry) []Entry {
		all := make([]Entry, n)
		for i := range all {
			all[i] = e
		}
		return all
	}
	tests := map[string]struct {
		log  Log
		asks []ask // from 0 on
		used []int // per window at 0
	}{
		"nothing": {Log{}, nil, []int{0, 0}},
		"recent":  {Log{Grants: grants(10, Entry{At: at(-10 * s)})}, []ask{{at: 0, wait: 50*s + ms, rule: Minute}}, []int{10, 10}},
		"older":   {Log{Grants: grants(20, Entry{At: at(-10 * time.Minute)})}, []ask{{at: 0, wait: 50*time.Minute + ms, rule: Hour}}, []int{0, 20}},
		"old":     {Log{Grants: grants(20, Entry{At: at(-2 * time.Hour)})}, nil, []int{0, 0}},
		"in flight": {Log{Grants: grants(10, Entry{At: at(-30 * s), InFlight: true})}, []ask{
			{at: 0, wait: 15*m + 30*s + ms, rule: Minute},
			{at: 15 * m, wait: 15*m + 30*s + ms, rule: Minute},
			{at: 15*m + 30*s + ms},
		}, []int{10, 10}},
		"in flight for long": {Log{Grants: grants(10, Entry{At: at(-15*m - 10*s), InFlight: true})}, []ask{{at: 0, wait: 50*s + ms, rule: Minute}}, []int{10, 10}},
		"lost in flight":     {Log{Grants: grants(20, Entry{At: at(-30 * m), InFlight: true})}, []ask{{at: 0, wait: 45*m + ms, rule: Hour}}, []int{0, 20}},
		"old, in flight":     {Log{Grants: grants(10, Entry{At: at(-2 * time.Hour), InFlight: true})}, []ask{{at: 0}}, []int{0, 0}},
		"future, in flight":  {Log{Grants: grants(10, Entry{At: at(time.Hour), InFlight: true})}, []ask{{at: 0, wait: 16*m + ms, rule: Minute}}, []int{10, 10}},
		"delta in flight does not take what is reserved": {Log{Grants: grants(10, Entry{At: at(-s), InFlight: true})[:1]}, []ask{
			{at: 0, pass: pass.First}, {at: 0, pass: pass.First}, {at: 0, pass: pass.First}, {at: 0, pass: pass.First},
			{at: 0, pass: pass.First, wait: 60*s + ms, rule: Minute},
			{at: 0}, {at: 0}, {at: 0}, {at: 0}, {at: 0}, {at: 0, wait: 60*s + ms, rule: Minute},
		}, []int{1, 1}},
		"future": {Log{Grants: grants(10, Entry{At: at(time.Hour)})}, []ask{{at: 0, wait: 60*s + ms, rule: Minute}}, []int{10, 10}},
		"passes": {Log{Grants: grants(5, Entry{At: at(-s), Pass: pass.Sweep})}, []ask{
			{at: 0, pass: pass.Sweep, wait: 59*s + ms, rule: Minute}, {at: 0, pass: pass.First},
		}, []int{5, 5}},
		"an unknown pass": {Log{Grants: grants(5, Entry{At: at(-s), Pass: 200})}, []ask{
			{at: 0, pass: pass.Sweep, wait: 59*s + ms, rule: Minute},
		}, []int{5, 5}},
		"a block":              {Log{BlockedUntil: at(40 * s)}, []ask{{at: 0, wait: 40 * s, rule: RetryAfter}, {at: 40 * s}}, []int{0, 0}},
		"a block that is over": {Log{BlockedUntil: at(-s)}, []ask{{at: 0}}, []int{0, 0}},
		"an absurd block":      {Log{BlockedUntil: at(1e5 * time.Hour)}, []ask{{at: 0, wait: time.Hour, rule: RetryAfter}}, []int{0, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, ten)
			if strings.Contains(name, "reserved") {
				l.SetReserve([]int{4})
			}
			l.Restore(now, tt.log)
			for i, u := range l.Usage(now) {
				if u.Used != tt.used[i] {
					t.Errorf("%v: got %d, want %d", u.Window, u.Used, tt.used[i])
				}
			}
			run(t, l, tt.asks)
		})
	}
}

func TestRestoreLimits(t *testing.T) {
	settings := Settings{native(), 1}
	tests := map[string]struct {
		options Options
		log     Log
		want    []int // effective limits
	}{
		"factor":           {Options{}, Log{Factor: 0.5, RefusedAt: at(-s)}, []int{20, 600}},
		"regained":         {Options{}, Log{Factor: 0.5, RefusedAt: at(-10 * time.Minute)}, []int{25, 750}},
		"other share":      {Options{Share: 1}, Log{Factor: 0.5, RefusedAt: at(-s)}, []int{25, 750}},
		"too low":          {Options{}, Log{Factor: 0.001, RefusedAt: at(-s)}, []int{5, 150}},
		"too high":         {Options{}, Log{Factor: 7, RefusedAt: at(-s)}, []int{40, 1200}},
		"negative":         {Options{}, Log{Factor: -1, RefusedAt: at(-s)}, []int{40, 1200}},
		"future":           {Options{}, Log{Factor: 0.5, RefusedAt: at(time.Hour)}, []int{20, 600}},
		"learned":          {Options{Share: 1}, Log{Settings: settings, Learned: []Learned{{time.Minute, 45, at(s)}, {time.Hour, 900, at(s)}}}, []int{45, 900}},
		"of another share": {Options{Share: 0.9}, Log{Settings: settings, Learned: []Learned{{time.Minute, 20, at(s)}}}, []int{45, 1350}},
		"of other windows": {Options{Windows: []Window{{time.Minute, 60}, {time.Hour, 1500}}, Share: 1}, Log{Settings: settings, Learned: []Learned{{time.Minute, 20, at(s)}}}, []int{60, 1500}},
		"of one window":    {Options{Windows: native()[:1], Share: 1}, Log{Settings: settings, Learned: []Learned{{time.Minute, 20, at(s)}}}, []int{50}},
		"of no settings":   {Options{Share: 1}, Log{Learned: []Learned{{time.Minute, 20, at(s)}}}, []int{50, 1500}},
		"over":             {Options{Share: 1}, Log{Settings: settings, Learned: []Learned{{time.Minute, 20, at(0)}}}, []int{50, 1500}},
		"no limit": {Options{Share: 1}, Log{Settings: settings, Learned: []Learned{
			{time.Minute, 0, at(s)}, {time.Minute, -1, at(s)}, {0, 5, at(s)}, {-s, 5, at(s)}, {time.Minute, 51, at(s)}, {2 * time.Minute, 5, at(s)},
		}}, []int{50, 1500}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, tt.options)
			l.Restore(at(0), tt.log)
			usage := l.Usage(at(0))
			if len(usage) != len(tt.want) {
				t.Fatalf("got %v, want %v", usage, tt.want)
			}
			for i, u := range usage {
				if u.Effective != tt.want[i] {
					t.Errorf("%v: got %d, want %d", u.Window, u.Effective, tt.want[i])
				}
			}
		})
	}
}

// TestRestoreLearnedClock: a limit does not hold longer than if it had been
// learned now, whatever the clock has done.
func TestRestoreLearnedClock(t *testing.T) {
	l := newLedger(t, Options{Share: 1})
	l.Restore(at(0), Log{Settings: Settings{native(), 1}, Learned: []Learned{{time.Minute, 20, at(1000 * time.Hour)}}})
	if got := l.Usage(at(0))[0]; got.Window.Limit != 20 || !got.LearnedUntil.Equal(at(24*time.Hour)) {
		t.Errorf("got %+v, want 20 for 24 hours", got)
	}
}

// TestLearnedOverRestarts: they do not make it hold longer, and say nothing again.
func TestLearnedOverRestarts(t *testing.T) {
	l := newLedger(t, Options{})
	l.Refused(at(0), Refusal{RetryAfter: "1", Message: "1 per minute"})
	for hour := range 25 {
		now := at(time.Duration(hour) * time.Hour)
		next := newLedger(t, Options{})
		next.Restore(now, l.Log(now))
		want := 1
		if hour == 24 {
			want = 50
		}
		if got := next.Usage(now)[0].Window.Limit; got != want {
			t.Errorf("after %d h: got %d, want %d", hour, got, want)
		}
		l = next
	}
	l.Refused(at(0), Refusal{Message: perMinuteText})
	next := newLedger(t, Options{})
	next.Restore(at(s), l.Log(at(s)))
	if got := next.Refused(at(2*s), Refusal{Message: perMinuteText}).Learned; got != (Learned{}) {
		t.Errorf("got %+v, want nothing new", got)
	}
}

// TestRestoreContinues: after a restart a refusal is judged as before it.
func TestRestoreContinues(t *testing.T) {
	before := worn(t) // blocked until 184s by the second 429
	before.Settle(7, at(70*s))
	after := newLedger(t, Options{})
	after.Restore(at(70*s), before.Final(at(70*s)))
	for _, at := range []time.Time{at(80 * s), at(184 * s)} {
		refusal := Refusal{}
		if got, want := after.Refused(at, refusal).Until, before.Refused(at, refusal).Until; !got.Equal(want) {
			t.Errorf("at %v: got %v, want %v", at.Sub(start), got.Sub(start), want.Sub(start))
		}
		got, want := after.Usage(at), before.Usage(at)
		for i := range want {
			if got[i].Window != want[i].Window || got[i].Effective != want[i].Effective {
				t.Errorf("at %v: got %+v, want %+v", at.Sub(start), got[i], want[i])
			}
		}
	}
}

func TestRestoreMerges(t *testing.T) {
	l := worn(t)
	used := l.Usage(at(70 * s))[1].Used
	l.Restore(at(70*s), Log{Grants: []Entry{{At: at(60 * s)}}, Factor: 0.9, RefusedAt: at(0), BlockedUntil: at(71 * s), Consecutive: 1})
	if got := l.Usage(at(70 * s))[1]; got.Used != used+1 || got.Effective != 180 {
		t.Errorf("got %+v, want %d used of 180", got, used+1)
	}
	if got, want := l.BlockedUntil(), at(184*s); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestInheritedFlights: what a predecessor left in flight stays so over any number
// of restarts, clean ones as well, until its time is over.
func TestInheritedFlights(t *testing.T) {
	const m = time.Minute
	l := perMinute(t, 2)
	l.Take(at(0), pass.Delta)
	for i := range 10 {
		now := at(time.Duration(i) * 10 * s)
		log := l.Log(now)
		if i%2 == 1 {
			log = l.Final(now)
		}
		if want := []Entry{{at(0), pass.First, true}}; i > 0 && !reflect.DeepEqual(log.Grants, want) {
			t.Errorf("%d: got %v, want %v", i, log.Grants, want)
		}
		l = perMinute(t, 2)
		l.Restore(now, log)
	}
	run(t, l, []ask{
		{at: 2 * m},
		{at: 2 * m, wait: 3*m + ms, rule: Minute},
		{at: 15*m + 59*s},
		{at: 15*m + 59*s, wait: 16*m + ms, rule: Minute},
		{at: 16*m + ms},
	})

	t.Run("beside a flight of its own", func(t *testing.T) {
		l := perMinute(t, 2)
		l.Restore(at(0), Log{Grants: []Entry{{at(0), pass.Delta, true}}})
		l.Take(at(s), pass.Delta)
		// The own one may end now.
		run(t, l, []ask{{at: 2 * s, wait: 62*s + ms, rule: Minute}})
	})
}

func TestRestoreLost(t *testing.T) {
	const m = time.Minute
	// The k-th minute before now ends so much before it.
	before := func(k int) time.Duration { return time.Duration(k) * (m + ms) }
	tests := map[string]struct {
		options Options
		used    []int
		asks    []ask
	}{
		"native": {Options{}, []int{40, 1200}, []ask{
			{at: 0, wait: time.Hour + ms - before(29), rule: Hour},
			{at: time.Hour + ms - before(29)},
		}},
		"graph": {Options{Windows: []Window{{m, 150}}}, []int{120}, []ask{
			{at: 0, wait: 16*m + ms, rule: Minute},
			{at: 15 * m, pass: pass.Sweep, wait: 16*m + ms, rule: Minute},
			{at: 16*m + ms, pass: pass.Sweep},
		}},
		"a remainder": {Options{Windows: []Window{{m, 4}, {time.Hour, 6}}, Share: 1}, []int{4, 6}, []ask{
			{at: 0, wait: time.Hour + ms - before(1), rule: Hour},
			{at: time.Hour + ms - before(1)}, {at: time.Hour + ms - before(1)},
			{at: time.Hour + ms - before(1), wait: 75*m + ms, rule: Hour},
		}},
		"the longer window binds": {Options{Windows: []Window{{m, 50}, {time.Hour, 5}}, Share: 1}, []int{5, 5}, []ask{
			{at: 0, wait: 75*m + ms, rule: Hour},
		}},
		"deltas come first": {Options{Windows: []Window{{m, 10}, {time.Hour, 20}}, Share: 1, Reserve: []int{2, 12}}, []int{10, 20}, []ask{
			{at: time.Hour + ms - before(1), pass: pass.First, wait: 75*m + ms, rule: Hour},
			{at: time.Hour + ms - before(1)},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, tt.options)
			l.RestoreLost(at(0))
			for i, u := range l.Usage(at(0)) {
				if u.Used != tt.used[i] || u.Used > u.Effective {
					t.Errorf("got %+v, want %d used", u, tt.used[i])
				}
			}
			run(t, l, tt.asks)
		})
	}
}
