package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// ending is how a life of the process ends, and what the next one knows.
type ending int

const (
	silent ending = iota // killed: what was saved before the last call was sent
	closed               // stopped: the final log
	lost                 // killed, and nothing is left
	numEndings
)

func (e ending) String() string { return [...]string{"silent", "closed", "lost"}[e] }

// mortal is a process that makes calls from several workers and dies at random
// moments, with calls in flight. The server receives each call at a random instant
// between its grant and its end, also if the process has died meanwhile.
type mortal struct {
	t       testing.TB
	random  *rand.Rand
	options Options
	workers int
	latency time.Duration // at most
	life    time.Duration // at most
	pause   time.Duration // between lives, at most
	endings []ending

	ledger   *Ledger
	saved    []byte
	receipts []time.Duration
	lives    [numEndings]int
}

// sent is a call in flight.
type sent struct {
	grant         uint64
	received, end time.Duration
}

func (m *mortal) upTo(d time.Duration) time.Duration {
	return time.Duration(m.random.Int64N(int64(d) + 1))
}

func (m *mortal) run(length time.Duration) {
	m.ledger = newLedger(m.t, m.options)
	for now := time.Duration(0); now < length; {
		end := now + m.upTo(m.life)
		how := m.endings[m.random.IntN(len(m.endings))]
		m.die(end, how, m.live(now, end, how))
		now = end + m.upTo(m.pause)
		m.begin(now, how)
	}
	slices.Sort(m.receipts)
}

// live makes calls until the end and returns those in flight then. It saves if
// that matters for the way it ends.
func (m *mortal) live(now, end time.Duration, how ending) (flights []sent) {
	for {
		// The next event is the end of a call, or a grant.
		next := -1
		for i, f := range flights {
			if next < 0 || f.end < flights[next].end {
				next = i
			}
		}
		wake := end
		if len(flights) < m.workers {
			d := m.ledger.Take(at(now), pass.Pass(m.random.IntN(3)))
			if d.Grant != 0 {
				if how == silent {
					m.save(m.ledger.Log(at(now)))
				}
				latency := m.upTo(m.latency)
				if m.random.IntN(4) > 0 {
					latency = m.upTo(time.Second)
				}
				flights = append(flights, sent{d.Grant, now + m.upTo(latency), now + latency})
				now += m.upTo(20 * ms)
				continue
			}
			wake = max(now+1, d.At.Sub(start))
		}
		if next >= 0 && flights[next].end < wake {
			wake = flights[next].end
		}
		if wake >= end {
			return flights
		}
		now = max(now, wake)
		if next >= 0 && flights[next].end <= now {
			f := flights[next]
			m.ledger.Settle(f.grant, at(f.end))
			m.receipts = append(m.receipts, f.received)
			flights = slices.Delete(flights, next, next+1)
		}
	}
}

func (m *mortal) save(log Log) { m.saved = pack(m.t, log) }

func (m *mortal) die(now time.Duration, how ending, flights []sent) {
	for _, f := range flights {
		if how == closed { // it is cancelled, and waited for
			f.received = min(f.received, now)
			m.ledger.Settle(f.grant, at(now))
		}
		m.receipts = append(m.receipts, f.received)
	}
	if how == closed {
		m.save(m.ledger.Final(at(now)))
	}
}

func (m *mortal) begin(now time.Duration, how ending) {
	m.lives[how]++
	m.ledger = newLedger(m.t, m.options)
	if how == lost {
		m.ledger.RestoreLost(at(now))
		m.save(m.ledger.Log(at(now)))
		return
	}
	var log Log
	if m.saved != nil {
		if err := log.UnmarshalBinary(m.saved); err != nil {
			m.t.Fatal(err)
		}
	}
	m.ledger.Restore(at(now), log)
}

// TestCrashLoop: whenever a process dies, however, and with whatever in flight,
// no window is exceeded, as a meter at the server counts.
func TestCrashLoop(t *testing.T) {
	const m, h, day = time.Minute, time.Hour, 24 * time.Hour
	windows := []Window{{m, 12}, {h, 150}}
	all := []ending{silent, closed, lost}
	for name, tt := range map[string]struct {
		endings []ending
		life    time.Duration
		latency time.Duration
		windows []Window
		share   float64
		least   int // calls a day
	}{
		"silent, each call":     {all[:1], 20 * s, 5 * s, windows, 1, 500},
		"silent, often":         {all[:1], 10 * m, 10 * s, windows, 1, 1500},
		"silent, hanging calls": {all[:1], 30 * m, 14 * m, windows, 1, 500},
		"closed, each call":     {all[1:2], 20 * s, 5 * s, windows, 1, 3000},
		"closed, hanging calls": {all[1:2], 30 * m, 14 * m, windows, 1, 500},
		"lost, often":           {all[2:], 2 * h, 10 * s, windows, 1, 500},
		"lost, hanging calls":   {all[2:], 3 * h, 14 * m, windows, 1, 300},
		"lost, one window":      {all[2:], h, 14 * m, windows[:1], 1, 1500},
		"any":                   {all, h, 30 * s, windows, 1, 500},
		"any, hanging calls":    {all, h, 14 * m, windows, 1, 300},
		"any, one window":       {all, h, 14 * m, windows[:1], 1, 500},
		"any, three windows":    {all, 2 * h, m, []Window{{10 * s, 5}, {m, 12}, {h, 150}}, 1, 300},
		"any, a share":          {all, h, m, native(), 0.2, 1000},
		"short, hanging calls":  {all[:2], 4 * m, 14 * m, windows[:1], 1, 500},
		"mostly closed":         {[]ending{silent, closed, closed, closed, closed}, 20 * m, m, native(), 0.3, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				const days = 2
				p := &mortal{
					t: t, random: rand.New(rand.NewPCG(seed, 3)), options: Options{Windows: tt.windows, Share: tt.share, Reserve: []int{2}},
					workers: 5, latency: tt.latency, life: tt.life, pause: 5 * s, endings: tt.endings,
				}
				p.run(days * day)
				var effective []Window
				for _, w := range tt.windows {
					effective = append(effective, Window{w.Period, portion(w.Limit, tt.share)})
				}
				checkMeter(t, p.receipts, effective)
				if got := len(p.receipts); got < days*tt.least {
					t.Errorf("seed %d: got %d calls in %d lives, want %d at least", seed, got, p.lives, days*tt.least)
				} else {
					t.Logf("seed %d: %d calls a day, lives: %v", seed, got/days, p.lives)
				}
			}
		})
	}
}
