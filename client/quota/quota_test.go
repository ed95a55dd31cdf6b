package quota

import (
	"math"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

// native are the limits of the Defender incident API.
func native() []Window { return []Window{{time.Minute, 50}, {time.Hour, 1500}} }

// usual are options with what the exporter has by default where they have nothing.
func usual(o Options) Options {
	if o.Windows == nil {
		o.Windows = native()
	}
	if o.Share == 0 {
		o.Share = usualShare
	}
	return o
}

const usualShare = 0.8

func newLedger(t testing.TB, o Options) *Ledger {
	t.Helper()
	o = usual(o)
	if o.Jitter == nil {
		o.Jitter = func() float64 { return 0 }
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// perMinute is a ledger with a single window.
func perMinute(t testing.TB, limit int) *Ledger {
	t.Helper()
	return newLedger(t, Options{Windows: []Window{{time.Minute, limit}}, Share: 1})
}

// spend takes n grants at the instant and settles them at once.
func spend(t testing.TB, l *Ledger, now time.Time, p pass.Pass, n int) {
	t.Helper()
	for i := range n {
		d := l.Take(now, p)
		if d.Grant == 0 {
			t.Fatalf("grant %d of %d: got %+v, want a grant", i+1, n, d)
		}
		l.Settle(d.Grant, now)
	}
}

const (
	s  = time.Second
	ms = time.Millisecond
)

// ask is one call of Take. A grant is settled after latency; wait and rule
// describe a refusal, wait as the instant to ask again.
type ask struct {
	at      time.Duration
	pass    pass.Pass
	latency time.Duration
	wait    time.Duration
	rule    Rule
}

func run(t *testing.T, l *Ledger, asks []ask) {
	t.Helper()
	for i, a := range asks {
		now, want := at(a.at), at(a.at)
		if a.rule != None {
			want = at(a.wait)
		}
		if got := l.Peek(now, a.pass); got.Grant != 0 || !got.At.Equal(want) || got.Rule != a.rule {
			t.Errorf("%d: peek at %v: got %v %q, want %v %q", i, a.at, got.At.Sub(start), got.Rule, want.Sub(start), a.rule)
		}
		got := l.Take(now, a.pass)
		if (got.Grant != 0) != (a.rule == None) || !got.At.Equal(want) || got.Rule != a.rule {
			t.Errorf("%d: take at %v: got %v %q, want %v %q", i, a.at, got.At.Sub(start), got.Rule, want.Sub(start), a.rule)
		}
		l.Settle(got.Grant, now.Add(a.latency))
	}
}

func TestTake(t *testing.T) {
	two := []Window{{time.Minute, 2}, {time.Hour, 3}}
	tests := map[string]struct {
		options Options
		asks    []ask
	}{
		"one window": {Options{Windows: two[:1], Share: 1}, []ask{
			{at: 0}, {at: 10 * s},
			{at: 10 * s, wait: 60*s + ms, rule: Minute},
			{at: 60 * s, wait: 60*s + ms, rule: Minute}, // exactly a period is too early
			{at: 60*s + ms},
			{at: 60*s + ms, wait: 70*s + ms, rule: Minute},
		}},
		"the longer wait binds": {Options{Windows: two, Share: 1}, []ask{
			{at: 0}, {at: 1 * s},
			{at: 2 * s, wait: 60*s + ms, rule: Minute},
			{at: 90 * s},
			{at: 91 * s, wait: 3600*s + ms, rule: Hour},
			{at: 3600*s + ms},
			{at: 3600*s + ms, wait: 3601*s + ms, rule: Hour},
		}},
		"a share": {Options{Windows: []Window{{time.Minute, 5}}, Share: 0.4}, []ask{
			{at: 0}, {at: 0}, {at: 0, wait: 60*s + ms, rule: Minute},
		}},
		"never less than one": {Options{Windows: two[:1], Share: 0.01}, []ask{
			{at: 0}, {at: 0, wait: 60*s + ms, rule: Minute},
		}},
		"the end of the attempt counts": {Options{Windows: two[:1], Share: 1}, []ask{
			{at: 0, latency: 20 * s}, {at: 21 * s},
			{at: 60*s + ms, wait: 80*s + ms, rule: Minute},
			{at: 80*s + ms},
		}},
		"a clock a little behind": {Options{Windows: two[:1], Share: 1}, []ask{
			{at: 10 * s}, {at: 9 * s},
			{at: 8 * s, wait: 69*s + ms, rule: Minute},
		}},
		"a short window is a minute": {Options{Windows: []Window{{10 * s, 1}}, Share: 1}, []ask{
			{at: 0}, {at: 0, wait: 10*s + ms, rule: Minute},
		}},
		"any other is an hour": {Options{Windows: []Window{{61 * s, 1}}, Share: 1}, []ask{
			{at: 0}, {at: 0, wait: 61*s + ms, rule: Hour},
		}},
		"an unknown pass is the last": {Options{Windows: []Window{{time.Minute, 4}}, Share: 1}, []ask{
			{at: 0, pass: 9}, {at: 0, pass: 9}, {at: 0, pass: 9, wait: 60*s + ms, rule: Minute}, {at: 0},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { run(t, newLedger(t, tt.options), tt.asks) })
	}
}

// TestFlight: a call in flight counts until it is settled, however long.
func TestFlight(t *testing.T) {
	l := perMinute(t, 1)
	slow := l.Take(at(0), pass.Delta).Grant
	run(t, l, []ask{
		{at: s, wait: 61*s + ms, rule: Minute}, // if it ended this very moment
		{at: 10 * time.Minute, wait: 11*time.Minute + ms, rule: Minute},
	})
	l.Settle(slow, at(12*time.Minute))
	run(t, l, []ask{
		{at: 12 * time.Minute, wait: 13*time.Minute + ms, rule: Minute},
		{at: 13*time.Minute + ms},
	})

	t.Run("settled twice", func(t *testing.T) {
		l := perMinute(t, 1)
		g := l.Take(at(0), pass.Delta).Grant
		l.Settle(g, at(s))
		l.Settle(g, at(30*s))
		l.Settle(0, at(30*s))
		l.Settle(99, at(30*s))
		run(t, l, []ask{{at: 61*s + ms}})
	})
	t.Run("settled before it was taken", func(t *testing.T) {
		l := perMinute(t, 1)
		l.Settle(l.Take(at(10*s), pass.Delta).Grant, at(0))
		run(t, l, []ask{{at: 61 * s, wait: 70*s + ms, rule: Minute}})
	})
	t.Run("settled out of order", func(t *testing.T) {
		l := perMinute(t, 2)
		first, second := l.Take(at(0), pass.Delta).Grant, l.Take(at(s), pass.Delta).Grant
		l.Settle(second, at(2*s))
		l.Settle(first, at(10*s))
		run(t, l, []ask{
			{at: 11 * s, wait: 62*s + ms, rule: Minute},
			{at: 62*s + ms},
			{at: 63 * s, wait: 70*s + ms, rule: Minute},
		})
	})
	t.Run("never settled", func(t *testing.T) {
		l := perMinute(t, 1)
		lost := l.Take(at(0), pass.Delta).Grant
		run(t, l, []ask{
			{at: 15*time.Minute + s, wait: 16*time.Minute + ms, rule: Minute},
			{at: 16*time.Minute + ms},
		})
		l.Settle(lost, at(17*time.Minute)) // too late to count again
		run(t, l, []ask{{at: 17*time.Minute + 2*ms}})
	})
}

func TestUsage(t *testing.T) {
	tests := map[string]struct {
		options Options
		want    []int
	}{
		"usual":     {Options{}, []int{40, 1200}},
		"all of it": {Options{Windows: []Window{{time.Minute, 45}}, Share: 1}, []int{45}},
		"graph":     {Options{Windows: []Window{{time.Minute, 150}}, Share: 0.7}, []int{105}},
		"least":     {Options{Windows: []Window{{time.Minute, 3}}, Share: 0.1}, []int{1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for i, u := range newLedger(t, tt.options).Usage(start) {
				if u.Effective != tt.want[i] || u.Used != 0 {
					t.Errorf("%v: got %d used of %d, want 0 of %d", u.Window, u.Used, u.Effective, tt.want[i])
				}
			}
		})
	}

	l := newLedger(t, Options{})
	spend(t, l, at(0), pass.Delta, 10)
	spend(t, l, at(30*s), pass.Sweep, 5)
	l.Take(at(31*s), pass.First)
	for _, tt := range []struct {
		at           time.Duration
		minute, hour int
	}{{31 * s, 16, 16}, {60 * s, 16, 16}, {60*s + ms, 6, 16}, {91 * s, 1, 16}, {time.Hour + ms + 31*s, 0, 1}} {
		got := l.Usage(at(tt.at))
		if got[0].Used != tt.minute || got[1].Used != tt.hour {
			t.Errorf("at %v: got %d and %d, want %d and %d", tt.at, got[0].Used, got[1].Used, tt.minute, tt.hour)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	minute := []Window{{time.Minute, 50}}
	tests := map[string]struct {
		options Options
		want    string
	}{
		"no windows":       {Options{Windows: []Window{}}, "quota: no windows: at least one is needed"},
		"period":           {Options{Windows: []Window{{0, 50}}}, "quota: window 0: period 0s must be positive"},
		"limit":            {Options{Windows: []Window{{time.Minute, -1}}}, "quota: window 0: limit -1 must be positive"},
		"large limit":      {Options{Windows: []Window{{time.Minute, 1_000_001}}}, "quota: window 0: limit 1000001 must be at most 1000000"},
		"twice":            {Options{Windows: append(minute, minute...)}, "quota: window 1: period 1m0s is given twice"},
		"negative share":   {Options{Share: -0.1}, "quota: share -0.1 must be above 0 and at most 1"},
		"large share":      {Options{Share: 1.1}, "quota: share 1.1 must be above 0 and at most 1"},
		"no number":        {Options{Share: math.NaN()}, "quota: share NaN must be above 0 and at most 1"},
		"reserves":         {Options{Windows: minute, Reserve: []int{1, 2}}, "quota: 2 reserves for 1 windows"},
		"negative reserve": {Options{Reserve: []int{1, -2}}, "quota: reserve 1: -2 must not be negative"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := New(usual(tt.options)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for i, want := range []string{"", "minute", "hour", "retry_after", ""} {
		if got := Rule(i).String(); got != want {
			t.Errorf("rule %d: got %q, want %q", i, got, want)
		}
	}
}

// TestConcurrent is for the race detector, and counts.
func TestConcurrent(t *testing.T) {
	l := newLedger(t, Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := map[uint64]bool{}
	for p := range pass.Sweep + 1 {
		wg.Go(func() {
			for i := range 50 {
				now := at(time.Duration(i) * ms)
				d := l.Take(now, p)
				if d.Grant != 0 {
					mu.Lock()
					granted[d.Grant] = true
					mu.Unlock()
				}
				l.Settle(d.Grant, now)
				l.Peek(now, p)
				l.Usage(now)
				l.SetReserve([]int{1, 60})
				l.Restore(now, Log{})
				l.Log(now)
				l.Final(now)
				l.Succeeded()
				l.BlockedUntil()
				l.Refused(now.Add(-2*time.Hour), Refusal{}) // forgiven by now
			}
		})
	}
	wg.Wait()
	if len(granted) != 40 {
		t.Errorf("got %d different grants, want 40", len(granted))
	}
}
