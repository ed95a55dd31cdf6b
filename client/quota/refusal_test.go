package quota

import (
	"math"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

const perMinuteText = "API calls quota exceeded! maximum allowed 45 per 00:01:00"

// answer is what the server says to a call, and until when that blocks.
type answer struct {
	at      time.Duration
	refusal *Refusal // nil: a success
	until   time.Duration
}

func TestRefused(t *testing.T) {
	tooMany := &Refusal{}
	after := func(header string) *Refusal { return &Refusal{RetryAfter: header} }
	tests := map[string]struct {
		jitter  float64
		answers []answer
	}{
		"seconds":        {0, []answer{{0, after("30"), 30 * s}}},
		"a date":         {0, []answer{{0, after("Sun, 01 Mar 2026 12:02:00 GMT"), 120 * s}}},
		"no jitter here": {0.9, []answer{{0, after("30"), 30 * s}}},
		"zero":           {0, []answer{{0, after("0"), s}}},
		"a past date":    {0, []answer{{0, after("Sun, 01 Mar 2026 11:00:00 GMT"), s}}},
		"absent":         {0, []answer{{0, tooMany, 60 * s}}},
		"negative":       {0, []answer{{0, after("-5"), 60 * s}}},
		"jitter":         {0.5, []answer{{0, tooMany, 63 * s}}},
		"doubling": {0, []answer{
			{0, tooMany, 60 * s}, {60 * s, tooMany, 180 * s}, {180 * s, tooMany, 420 * s},
			{420 * s, tooMany, 900 * s}, {900 * s, tooMany, 1800 * s}, {1800 * s, tooMany, 2700 * s},
		}},
		"a success between": {0, []answer{
			{0, tooMany, 60 * s}, {60 * s, tooMany, 180 * s}, {180 * s, nil, 180 * s}, {181 * s, tooMany, 241 * s},
		}},
		"a header counts as well": {0, []answer{
			{0, after("10"), 10 * s}, {10 * s, tooMany, 130 * s},
		}},
		"calls in flight count once": {0, []answer{
			{0, tooMany, 60 * s}, {1 * s, tooMany, 60 * s}, {2 * s, tooMany, 60 * s}, {60 * s, tooMany, 180 * s},
		}},
		"never shortened": {0, []answer{
			{0, after("60"), 60 * s}, {s, after("5"), 60 * s}, {2 * s, after("90"), 92 * s},
			{3 * s, after("1"), 92 * s},
		}},
		"longer than an hour": {0, []answer{{0, after("86400"), time.Hour}, {s, after("7200"), time.Hour + s}}},
		"a date next year":    {0, []answer{{0, after("Mon, 01 Mar 2027 12:00:00 GMT"), time.Hour}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, Options{Jitter: func() float64 { return tt.jitter }})
			if !l.BlockedUntil().IsZero() {
				t.Errorf("got a block until %v, want none", l.BlockedUntil())
			}
			for i, a := range tt.answers {
				if a.refusal == nil {
					l.Succeeded()
				} else if got := l.Refused(at(a.at), *a.refusal).Until; !got.Equal(at(a.until)) {
					t.Errorf("%d: got %v, want %v", i, got.Sub(start), a.until)
				}
				if got := l.BlockedUntil(); !got.Equal(at(a.until)) {
					t.Errorf("%d: blocked until %v, want %v", i, got.Sub(start), a.until)
				}
			}
			end := tt.answers[len(tt.answers)-1].until
			for p := range pass.Sweep + 1 {
				run(t, l, []ask{{at: end - ms, pass: p, wait: end, rule: RetryAfter}})
			}
			for p := range pass.Sweep + 1 {
				run(t, l, []ask{{at: end, pass: p}})
			}
		})
	}
}

// TestBlockAndWindow: what waits longer binds.
func TestBlockAndWindow(t *testing.T) {
	l := perMinute(t, 1)
	spend(t, l, at(0), pass.Delta, 1)
	l.Refused(at(s), Refusal{RetryAfter: "30"})
	run(t, l, []ask{{at: 2 * s, wait: 60*s + ms, rule: Minute}})
	l.Refused(at(3*s), Refusal{RetryAfter: "90"})
	run(t, l, []ask{{at: 4 * s, wait: 93 * s, rule: RetryAfter}})
}

func TestShare(t *testing.T) {
	type step struct {
		at     time.Duration
		spend  int // before
		refuse bool
		want   float64
	}
	const m = time.Minute
	tests := map[string]struct {
		share float64
		steps []step
	}{
		"halved when not full": {0.8, []step{{0, 1, true, 0.4}}},
		"not when full":        {0.8, []step{{0, 80, true, 0.8}}},
		"once per 30s":         {0.8, []step{{0, 1, true, 0.4}, {29 * s, 0, true, 0.4}, {30 * s, 0, true, 0.2}}},
		"never under 0.1":      {0.8, []step{{0, 1, true, 0.4}, {m, 0, true, 0.2}, {2 * m, 0, true, 0.1}, {3 * m, 0, true, 0.1}}},
		"unless share is":      {0.06, []step{{0, 1, true, 0.06}, {10 * m, 0, false, 0.06}}},
		"regained": {0.8, []step{
			{0, 1, true, 0.4}, {5*m - 1, 0, false, 0.4}, {5 * m, 0, false, 0.45}, {9 * m, 0, false, 0.45},
			{10 * m, 0, false, 0.5}, {35 * m, 0, false, 0.75}, {40 * m, 0, false, 0.8}, {24 * 60 * m, 0, false, 0.8},
		}},
		"a 429 restarts the wait": {0.8, []step{
			{0, 1, true, 0.4}, {7 * m, 45, true, 0.45}, {11 * m, 0, false, 0.45}, {12 * m, 0, false, 0.5},
		}},
		"time that goes back": {0.8, []step{{0, 1, true, 0.4}, {-m, 0, false, 0.4}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// The limit is a round one, to read the share off it. Its period is
			// long, to be full until the end.
			l := newLedger(t, Options{Windows: []Window{{24 * time.Hour, 100}}, Share: tt.share})
			for i, step := range tt.steps {
				for range step.spend {
					l.Settle(l.take(at(step.at)), at(step.at))
				}
				if step.refuse {
					l.Refused(at(step.at), Refusal{RetryAfter: "1"})
				}
				if got, want := l.Usage(at(step.at))[0].Effective, int(math.Round(step.want*100)); got != want {
					t.Errorf("%d: at %v: got %d of 100, want %d", i, step.at, got, want)
				}
			}
		})
	}
}

// take records a grant whatever the rules say.
func (l *Ledger) take(now time.Time) uint64 {
	l.last++
	l.history.flights = append(l.history.flights, flight{l.last, now, pass.Delta})
	return l.last
}

// TestShareGrowsBeforeGrantsLeave: the instant to ask again is the next one at
// which anything changes.
func TestShareGrowsBeforeGrantsLeave(t *testing.T) {
	l := newLedger(t, Options{Windows: []Window{{time.Hour, 20}}, Share: 1})
	spend(t, l, at(0), pass.Delta, 10)
	l.Refused(at(s), Refusal{RetryAfter: "1"})
	run(t, l, []ask{
		{at: 2 * s, wait: 301 * s, rule: Hour},
		{at: 301 * s}, // 11 of 20
		{at: 302 * s, wait: 601 * s, rule: Hour},
	})
}

// TestLongWaitIsSaidOnce: until a call succeeds.
func TestLongWaitIsSaidOnce(t *testing.T) {
	l := newLedger(t, Options{})
	for i, tt := range []struct {
		refusal *Refusal // nil: a success
		want    time.Duration
	}{
		{&Refusal{RetryAfter: "3600"}, 0},
		{&Refusal{RetryAfter: "86400"}, 24 * time.Hour},
		{&Refusal{RetryAfter: "86400"}, 0},
		{nil, 0},
		{&Refusal{RetryAfter: "7200"}, 2 * time.Hour},
		{&Refusal{RetryAfter: "99999999999999999999"}, 0},
	} {
		if tt.refusal == nil {
			l.Succeeded()
		} else if got := l.Refused(at(0), *tt.refusal).Asked; got != tt.want {
			t.Errorf("%d: got %v, want %v", i, got, tt.want)
		}
	}
}

func TestLearn(t *testing.T) {
	minute, hour := Window{time.Minute, 50}, Window{time.Hour, 1500}
	tests := map[string]struct {
		messages []string
		want     []Window
		warnings int
	}{
		"lower":                 {[]string{perMinuteText}, []Window{{time.Minute, 45}, hour}, 1},
		"said again":            {[]string{perMinuteText, perMinuteText, perMinuteText}, []Window{{time.Minute, 45}, hour}, 1},
		"the hour":              {[]string{"maximum allowed 1200 per 01:00:00"}, []Window{minute, {time.Hour, 1200}}, 1},
		"both":                  {[]string{perMinuteText, "1200 per hour"}, []Window{{time.Minute, 45}, {time.Hour, 1200}}, 2},
		"never higher":          {[]string{"maximum allowed 100 per 00:01:00"}, []Window{minute, hour}, 0},
		"the same":              {[]string{"maximum allowed 50 per 00:01:00"}, []Window{minute, hour}, 0},
		"lowest counts":         {[]string{perMinuteText, "20 per 00:01:00", "30 per 00:01:00"}, []Window{{time.Minute, 20}, hour}, 2},
		"a shorter period":      {[]string{"10 per 00:00:10"}, []Window{{time.Minute, 10}, hour}, 1},
		"between":               {[]string{"40 per 00:05:00"}, []Window{{time.Minute, 40}, hour}, 1},
		"between, and no lower": {[]string{"60 per 00:05:00"}, []Window{minute, hour}, 0},
		"nearer to the hour":    {[]string{"700 per 00:45:00"}, []Window{minute, {time.Hour, 700}}, 1},
		"in the middle":         {[]string{"700 per 00:30:30"}, []Window{minute, {time.Hour, 700}}, 1},
		"a day":                 {[]string{"1000 per day"}, []Window{minute, {time.Hour, 1000}}, 1},
		"a looser day":          {[]string{"9000 per day"}, []Window{minute, hour}, 0},
		"words":                 {[]string{"maximum allowed 45 per minute", "1000 requests per hour"}, []Window{{time.Minute, 45}, {time.Hour, 1000}}, 2},
		"an unknown word":       {[]string{"maximum allowed 45 per moon"}, []Window{{time.Minute, 45}, hour}, 1},
		"no limit":              {[]string{"Too many requests."}, []Window{minute, hour}, 0},
		"no end of periods": {
			[]string{"9 per 00:00:01", "9 per 00:00:02", "9 per 00:00:03", "9 per 00:07:00", "9 per 00:00:05", "8 per 00:00:04"},
			[]Window{{time.Minute, 8}, hour}, 2,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, Options{Share: 1})
			warnings := 0
			for _, m := range tt.messages {
				if got := l.Refused(at(0), Refusal{RetryAfter: "1", Message: m}).Learned; got != (Learned{}) {
					if warnings++; got.Until != at(24*time.Hour) {
						t.Errorf("got %+v, want it for 24 hours", got)
					}
				}
			}
			if warnings != tt.warnings {
				t.Errorf("got %d warnings, want %d", warnings, tt.warnings)
			}
			usage := l.Usage(at(0))
			if len(usage) != len(tt.want) {
				t.Fatalf("got %v, want %v", usage, tt.want)
			}
			for i, u := range usage {
				configured := []Window{minute, hour}[i]
				if u.Window != tt.want[i] || u.Configured != configured.Limit || u.LearnedUntil.IsZero() != (u.Window == configured) {
					t.Errorf("got %+v, want %v", u, tt.want[i])
				}
			}
			// A day later all is as configured.
			for i, u := range l.Usage(at(24 * time.Hour)) {
				if u.Window != []Window{minute, hour}[i] || !u.LearnedUntil.IsZero() {
					t.Errorf("after 24 hours: got %+v", u)
				}
			}
		})
	}

	t.Run("the last time counts", func(t *testing.T) {
		l := newLedger(t, Options{Share: 1})
		const h = time.Hour
		for _, when := range []time.Duration{0, 23 * h} {
			l.Refused(at(when), Refusal{RetryAfter: "1", Message: perMinuteText})
		}
		for _, tt := range []struct {
			at   time.Duration
			want int
		}{{24 * h, 45}, {47*h - 1, 45}, {47 * h, 50}} {
			if got := l.Usage(at(tt.at))[0].Window.Limit; got != tt.want {
				t.Errorf("at %v: got %d, want %d", tt.at, got, tt.want)
			}
		}
		if got := l.Refused(at(48*h), Refusal{Message: perMinuteText}).Learned; got != (Learned{time.Minute, 45, at(72 * h)}) {
			t.Errorf("got %+v, want it learned anew", got)
		}
	})
	t.Run("its end is worth asking at", func(t *testing.T) {
		l := newLedger(t, Options{Windows: []Window{{time.Hour, 20}}, Share: 1})
		end := 24 * time.Hour
		l.Refused(at(0), Refusal{RetryAfter: "1", Message: "10 per hour"})
		spend(t, l, at(end-time.Minute), pass.Delta, 10)
		run(t, l, []ask{{at: end - 59*s, wait: end, rule: Hour}, {at: end}})
	})
	t.Run("binds at once", func(t *testing.T) {
		l := newLedger(t, Options{Windows: []Window{minute}, Share: 1})
		spend(t, l, at(0), pass.Delta, 30)
		spend(t, l, at(10*s), pass.Delta, 16)
		l.Refused(at(11*s), Refusal{RetryAfter: "1", Message: perMinuteText})
		// 46 are full by the limit just learned: we did it, nothing is halved.
		if got := l.Usage(at(11 * s))[0]; got.Effective != 45 || got.Used != 46 {
			t.Errorf("got %+v, want 46 of 45", got)
		}
		run(t, l, []ask{{at: 12 * s, wait: 60*s + ms, rule: Minute}, {at: 60*s + ms}})
	})
}
