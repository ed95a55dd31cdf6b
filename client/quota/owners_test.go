package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
)

// record is what a shared store keeps of one account. It knows whose the account
// is, and refuses the log of everyone else. Its clock is the true one.
type record struct {
	owner *replica
	log   []byte
	at    time.Duration // when the log came
	spent []parcel      // handed in by others
	// past is what the store may fall back to: everything since a memory that went
	// with its replica.
	past []record
}

// parcel is a log with the store's instant at which it came.
type parcel struct {
	id  int
	log []byte
	at  time.Duration
}

// step is how far a replica has come with a call.
type step int

const (
	idle      step = iota
	recording      // its log is on the way to the store
	answered       // the store's word is on the way back
)

// replica is one of several processes that serve an account. It owns a ledger as
// long as it believes that the account is its own.
type replica struct {
	skew   time.Duration // its clock less the true one
	ledger *Ledger       // nil: none
	step   step
	next   time.Duration // when its step is over

	grant  uint64
	taken  time.Duration
	sent   []byte // the log that is on its way
	told   bool   // the store said yes
	learns []parcel
	merged []int // the parcels in the store that its next log contains

	flights []sent
}

func (r *replica) clock(now time.Duration) time.Time { return at(now + r.skew) }

// owners are replicas that take an account from each other at any moment, whether
// its owner is alive, paused, cut off or dead.
type owners struct {
	t        *testing.T
	random   *rand.Rand
	windows  []Window
	latency  time.Duration // of a call, at most
	pause    time.Duration // of a process, at most
	fallback bool          // the store loses what it has acknowledged
	calm     int           // a disturbance in so many steps

	record   record
	parcels  int
	replicas []*replica
	now      time.Duration
	receipts []time.Duration
	did      map[string]int
}

func (o *owners) upTo(d time.Duration) time.Duration {
	return time.Duration(o.random.Int64N(int64(d) + 1))
}

func (o *owners) oneIn(n int) bool { return o.random.IntN(n) == 0 }

func (o *owners) run(length time.Duration) {
	o.did = map[string]int{}
	for range 3 {
		o.replicas = append(o.replicas, &replica{skew: o.upTo(2*time.Hour) - time.Hour})
	}
	for o.now < length {
		r := o.replicas[0]
		for _, other := range o.replicas {
			if other.due() < r.due() {
				r = other
			}
		}
		o.now = max(o.now, r.due())
		if o.oneIn(o.calm) {
			o.disturb(r)
		}
		o.turn(r)
	}
	slices.Sort(o.receipts)
}

// due is when the replica acts.
func (r *replica) due() time.Duration {
	due := r.next
	for _, f := range r.flights {
		due = min(due, f.end)
	}
	return due
}

// turn lets the replica do what it is to do now.
func (o *owners) turn(r *replica) {
	for i, f := range r.flights {
		if f.end <= o.now {
			r.flights = slices.Delete(r.flights, i, i+1)
			if r.ledger != nil {
				r.ledger.Settle(f.grant, r.clock(o.now))
			}
			return
		}
	}
	if r.next > o.now {
		return
	}
	switch {
	case r.ledger == nil:
		o.open(r)
	case r.step == recording:
		o.arrives(r)
	case r.step == answered:
		o.answer(r)
	default:
		o.take(r)
	}
}

// open makes the account the replica's, whoever has it.
func (o *owners) open(r *replica) {
	r.ledger = newLedger(o.t, Options{Windows: o.windows, Share: 1, Reserve: []int{2}})
	if o.record.log != nil {
		r.ledger.Restore(r.clock(o.now), o.read(r, parcel{log: o.record.log, at: o.record.at}))
	}
	o.record.owner = r
	o.remember()
	o.did["opened"]++
	r.step, r.next, r.merged = idle, o.now+o.upTo(s), nil
}

// read is a log in the time of a replica.
func (o *owners) read(r *replica, p parcel) (log Log) {
	if err := log.UnmarshalBinary(p.log); err != nil {
		o.t.Fatal(err)
	}
	return log.Later(r.clock(p.at).Sub(log.At))
}

func (o *owners) take(r *replica) {
	d := r.ledger.Take(r.clock(o.now), pass.Pass(o.random.IntN(3)))
	if d.Grant == 0 {
		r.next = max(o.now+1, min(d.At.Sub(start)-r.skew, o.now+10*time.Minute))
		return
	}
	r.grant, r.taken, r.sent = d.Grant, o.now, pack(o.t, r.ledger.Log(r.clock(o.now)))
	r.step, r.next = recording, o.now+o.upTo(50*ms)
}

// arrives is the log at the store, unless it is lost on the way.
func (o *owners) arrives(r *replica) {
	r.step, r.next, r.told, r.learns = answered, o.now+o.upTo(50*ms), false, nil
	if o.oneIn(50) {
		o.did["not recorded"]++
		return
	}
	if o.record.owner != r {
		return
	}
	// What the log contains is kept for no one any more.
	o.record.log, o.record.at = r.sent, o.now
	o.record.spent = slices.DeleteFunc(slices.Clone(o.record.spent), func(p parcel) bool { return slices.Contains(r.merged, p.id) })
	r.merged = nil
	o.remember()
	if o.oneIn(50) {
		o.did["answer lost"]++
		return
	}
	r.told, r.learns = true, o.record.spent
}

// answer is the store's word at the replica: no yes, no call.
func (o *owners) answer(r *replica) {
	r.step, r.next = idle, o.now+o.upTo(200*ms)
	for _, p := range r.learns {
		o.did["learned"] += r.ledger.Merge(r.clock(o.now), o.read(r, p))
		r.merged = append(r.merged, p.id)
	}
	if !r.told || len(r.learns) > 0 {
		r.ledger.Cancel(r.grant)
		if o.did["canceled"]++; o.record.owner != r && !r.told {
			o.lose(r)
		}
		return
	}
	latency := o.upTo(o.latency)
	if o.oneIn(2) {
		latency = o.upTo(s)
	}
	if most := maxFlight - time.Minute - (o.now - r.taken); latency > most {
		latency = max(0, most)
	}
	o.receipts = append(o.receipts, o.now+o.upTo(latency))
	r.flights = append(r.flights, sent{grant: r.grant, end: o.now + latency})
}

// lose gives the account up, and hands in what was spent, perhaps twice. Calls in
// flight go on.
func (o *owners) lose(r *replica) {
	for range 1 + o.random.IntN(2) {
		o.handIn(r.ledger.Log(r.clock(o.now)))
	}
	o.did["handed in"]++
	o.drop(r)
}

func (o *owners) handIn(log Log) {
	o.parcels++
	o.record.spent = append(o.record.spent, parcel{o.parcels, pack(o.t, log), o.now})
}

func (o *owners) drop(r *replica) { r.ledger, r.step, r.next = nil, idle, o.now+o.upTo(10*time.Minute) }

// remember keeps what there is now for a store that falls back.
func (o *owners) remember() {
	r := o.record
	r.past = nil
	o.record.past = append(o.record.past, r)
}

// disturb does to the replica what can happen to a process, or to the store what
// can happen to a database.
func (o *owners) disturb(r *replica) {
	switch o.random.IntN(5) {
	case 0: // killed, with calls in flight that no one settles
		if r.ledger != nil {
			o.did["killed"]++
			r.flights = nil
			o.drop(r)
			o.record.past = nil
		}
	case 1: // paused, perhaps between the store's word and the call
		o.did["paused"]++
		pause := o.upTo(o.pause)
		if r.next = max(r.next, o.now) + pause; r.ledger != nil && r.step == idle && o.oneIn(2) {
			r.next = o.now
		}
		for i := range r.flights {
			r.flights[i].end += pause
		}
	case 2: // stopped: its calls are over when it closes
		if r.ledger == nil || r.step != idle || len(r.flights) > 0 {
			return
		}
		o.did["closed"]++
		if o.record.owner == r {
			o.record.owner, o.record.log, o.record.at = nil, pack(o.t, r.ledger.Final(r.clock(o.now))), o.now
		} else {
			o.handIn(r.ledger.Final(r.clock(o.now)))
		}
		o.drop(r)
		o.record.past = nil
	case 3: // taken by someone who believes that the owner is dead
		if other := o.replicas[o.random.IntN(len(o.replicas))]; other.ledger == nil {
			o.did["taken"]++
			other.next = o.now
		}
	case 4:
		if o.fallback && len(o.record.past) > 1 {
			o.fallBack()
		}
	}
}

// fallBack is a failover to a copy that lacks the last writes. Its owner of record
// saves its whole ledger again, and who learns that the account is not its own
// hands in what it has spent, before anyone gets another grant: until then the
// store knows less than what was spent.
func (o *owners) fallBack() {
	o.did["fell back"]++
	past := o.record.past[o.random.IntN(len(o.record.past))]
	o.record.owner, o.record.log, o.record.at = past.owner, past.log, past.at
	for _, r := range o.replicas {
		if r.ledger != nil && r == o.record.owner {
			o.record.log, o.record.at = pack(o.t, r.ledger.Log(r.clock(o.now))), o.now
		} else if r.ledger != nil {
			o.lose(r)
		}
	}
}

// TestOwners: whichever replica takes the account at whatever moment, whatever is
// lost on the way to the store and back, no window is exceeded by all of them
// together; and what is handed in costs no calls that were known.
func TestOwners(t *testing.T) {
	const m, h, day = time.Minute, time.Hour, 24 * time.Hour
	windows := []Window{{m, 12}, {h, 150}}
	for name, tt := range map[string]struct {
		windows  []Window
		latency  time.Duration
		pause    time.Duration
		calm     int
		fallback bool
		least    int // calls a day
	}{
		"calm":                  {windows, 5 * s, m, 1000, false, 1400},
		"disturbed":             {windows, 5 * s, m, 30, false, 800},
		"long pauses":           {windows, 5 * s, 10 * m, 30, false, 700},
		"hanging calls":         {windows, 5 * m, 5 * m, 100, false, 800},
		"without rest":          {windows, 5 * s, m, 3, false, 200},
		"one window":            {windows[:1], 5 * s, 10 * m, 30, false, 1000},
		"the store falls back":  {windows, 5 * s, m, 30, true, 700},
		"it does so constantly": {windows, 30 * s, m, 5, true, 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				const days = 1
				o := &owners{
					t: t, random: rand.New(rand.NewPCG(seed, 11)), windows: tt.windows, latency: tt.latency, pause: tt.pause,
					calm: tt.calm, fallback: tt.fallback,
				}
				o.run(days * day)
				checkMeter(t, o.receipts, tt.windows)
				if got := len(o.receipts); got < days*tt.least {
					t.Errorf("seed %d: got %d calls a day, want %d at least; %v", seed, got/days, tt.least, o.did)
				} else {
					t.Logf("seed %d: %d calls a day, %v", seed, got/days, o.did)
				}
			}
		})
	}
}
