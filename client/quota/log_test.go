package quota

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// worn is a ledger that has something of everything to remember.
func worn(t *testing.T) *Ledger {
	t.Helper()
	l := newLedger(t, Options{})
	spend(t, l, at(0), Sweep, 3)
	spend(t, l, at(s+300*time.Microsecond), First, 1)
	spend(t, l, at(2*s), Delta, 2)
	l.Take(at(3*s), First)
	l.Refused(at(4*s), Refusal{Status: 429, RetryAfter: "60", Message: perMinuteText})
	l.Refused(at(64*s), Refusal{Status: 429, Message: "9 per 00:00:10"})
	return l
}

func TestLog(t *testing.T) {
	got := worn(t).Log(at(70 * s))
	want := Log{
		Grants: []Entry{
			{at(0), Sweep, false}, {at(0), Sweep, false}, {at(0), Sweep, false},
			{at(s + ms), First, false}, // rounded up
			{at(2 * s), Delta, false}, {at(2 * s), Delta, false},
			{at(3 * s), First, true},
		},
		Learned:      []Learned{{60, 45}, {10, 9}},
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
}

func TestLogJSON(t *testing.T) {
	for name, want := range map[string]Log{
		"worn":  worn(t).Log(at(70 * s)),
		"fresh": newLedger(t, Options{}).Log(at(0)),
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var got Log
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v\nfrom %s", got, want, text)
			}
		})
	}
}

// TestLogMonotonic: in memory instants keep the monotonic reading, in a Log
// they have none.
func TestLogMonotonic(t *testing.T) {
	clock := func(tm time.Time) bool { return tm != tm.Round(0) } // != sees the reading
	now := time.Now()                                             // nothing else has a monotonic reading
	if !clock(now) {
		t.Skip("no monotonic clock")
	}
	l := newLedger(t, Options{})
	l.Settle(l.Take(now, Delta).Grant, now.Add(s))
	if got := l.Refused(now.Add(s), Refusal{Status: 429}); !clock(got) {
		t.Errorf("got %v without, want a monotonic reading", got)
	}
	log := l.Log(now.Add(2 * s))
	if clock(log.Grants[0].At) || clock(log.BlockedUntil) {
		t.Errorf("got %v and %v, want no monotonic reading", log.Grants[0].At, log.BlockedUntil)
	}
	restored := newLedger(t, Options{})
	restored.Restore(now.Add(3*s), log)
	if got := restored.history.settled[Delta][0]; !clock(got) {
		t.Errorf("got %v without, want the monotonic reading of now", got)
	}
	if got := restored.BlockedUntil(); !clock(got) {
		t.Errorf("got %v without, want the monotonic reading of now", got)
	}
}

func TestRestore(t *testing.T) {
	ten := Options{Windows: []Window{{time.Minute, 10}, {time.Hour, 20}}, Share: 1}
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
		"nothing":        {Log{}, nil, []int{0, 0}},
		"recent":         {Log{Grants: grants(10, Entry{At: at(-10 * s)})}, []ask{{at: 0, wait: 50*s + ms, reason: Minute}}, []int{10, 10}},
		"older":          {Log{Grants: grants(20, Entry{At: at(-10 * time.Minute)})}, []ask{{at: 0, wait: 50*time.Minute + ms, reason: Hour}}, []int{0, 20}},
		"old":            {Log{Grants: grants(20, Entry{At: at(-2 * time.Hour)})}, nil, []int{0, 0}},
		"in flight":      {Log{Grants: grants(10, Entry{At: at(-30 * s), InFlight: true})}, []ask{{at: 0, wait: 60*s + ms, reason: Minute}}, []int{10, 10}},
		"old, in flight": {Log{Grants: grants(10, Entry{At: at(-2 * time.Hour), InFlight: true})}, []ask{{at: 0, wait: 60*s + ms, reason: Minute}}, []int{10, 10}},
		"future":         {Log{Grants: grants(10, Entry{At: at(time.Hour)})}, []ask{{at: 0, wait: 60*s + ms, reason: Minute}}, []int{10, 10}},
		"priorities": {Log{Grants: grants(5, Entry{At: at(-s), Priority: Sweep})}, []ask{
			{at: 0, rank: Sweep, wait: 59*s + ms, reason: Minute}, {at: 0, rank: First},
		}, []int{5, 5}},
		"an unknown priority": {Log{Grants: grants(5, Entry{At: at(-s), Priority: 200})}, []ask{
			{at: 0, rank: Sweep, wait: 59*s + ms, reason: Minute},
		}, []int{5, 5}},
		"a block":              {Log{BlockedUntil: at(40 * s)}, []ask{{at: 0, wait: 40 * s, reason: RetryAfter}, {at: 40 * s}}, []int{0, 0}},
		"a block that is over": {Log{BlockedUntil: at(-s)}, []ask{{at: 0}}, []int{0, 0}},
		"an absurd block":      {Log{BlockedUntil: at(1e5 * time.Hour)}, []ask{{at: 0, wait: 24 * time.Hour, reason: RetryAfter}}, []int{0, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, ten)
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
	tests := map[string]struct {
		options Options
		log     Log
		want    []int // effective limits
	}{
		"factor":       {Options{}, Log{Factor: 0.5, RefusedAt: at(-s)}, []int{20, 600}},
		"regained":     {Options{}, Log{Factor: 0.5, RefusedAt: at(-10 * time.Minute)}, []int{25, 750}},
		"other share":  {Options{Share: 1}, Log{Factor: 0.5, RefusedAt: at(-s)}, []int{25, 750}},
		"too low":      {Options{}, Log{Factor: 0.001, RefusedAt: at(-s)}, []int{5, 150}},
		"too high":     {Options{}, Log{Factor: 7, RefusedAt: at(-s)}, []int{40, 1200}},
		"negative":     {Options{}, Log{Factor: -1, RefusedAt: at(-s)}, []int{40, 1200}},
		"future":       {Options{}, Log{Factor: 0.5, RefusedAt: at(time.Hour)}, []int{20, 600}},
		"learned":      {Options{Share: 1}, Log{Learned: []Learned{{60, 45}, {10, 9}}}, []int{45, 1500, 9}},
		"set lower":    {Options{Windows: []Window{{time.Minute, 20}}, Share: 1}, Log{Learned: []Learned{{60, 45}}}, []int{20}},
		"not a window": {Options{Share: 1}, Log{Learned: []Learned{{60, 0}, {60, -1}, {0, 5}, {-1, 5}, {1 << 40, 5}}}, []int{50, 1500}},
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

// TestRestoreContinues: after a restart a refusal is judged as before it.
func TestRestoreContinues(t *testing.T) {
	before := worn(t) // blocked until 184s by the second 429
	before.Settle(7, at(70*s))
	after := newLedger(t, Options{})
	after.Restore(at(70*s), before.Log(at(70*s)))
	for _, at := range []time.Time{at(80 * s), at(184 * s)} {
		refusal := Refusal{Status: 429}
		if got, want := after.Refused(at, refusal), before.Refused(at, refusal); !got.Equal(want) {
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
	if got := l.Usage(at(70 * s))[1]; got.Used != used+1 || got.Effective != 300 {
		t.Errorf("got %+v, want %d used of 300", got, used+1)
	}
	if got, want := l.BlockedUntil(), at(184*s); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestCrashLoop: a process that dies at random moments, or with every call,
// and knows only what was saved before its last call was sent, stays within
// the limits. Whether a call that was in flight arrived nobody knows: it did.
func TestCrashLoop(t *testing.T) {
	windows := []Window{{time.Minute, 20}, {time.Hour, 200}}
	for name, every := range map[string]int{"each call": 1, "often": 5, "rarely": 300} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(every), 3))
			options := Options{Windows: windows, Share: 1}
			l := newLedger(t, options)
			var now time.Duration
			var receipts []time.Duration
			restarts := 0
			for now < 24*time.Hour {
				d := l.Take(at(now), Priority(random.IntN(2)))
				if d.Grant == 0 {
					now = max(now+1, d.At.Sub(start))
					continue
				}
				saved := l.Log(at(now))
				latency := time.Duration(random.Int64N(int64(5 * s)))
				receipts = append(receipts, now+time.Duration(random.Int64N(int64(latency)+1)))
				now += latency
				l.Settle(d.Grant, at(now))
				if random.IntN(every) == 0 {
					now += time.Duration(random.Int64N(int64(2 * s)))
					l = newLedger(t, options)
					l.Restore(at(now), saved)
					restarts++
				}
			}
			checkMeter(t, merged(receipts), windows)
			if len(receipts) < 24*200*9/10 || restarts < 10 {
				t.Errorf("got %d calls and %d restarts, want a busy day", len(receipts), restarts)
			}
		})
	}
}
