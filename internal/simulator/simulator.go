// Package simulator is a Microsoft 365 Defender tenant in memory, with the
// native incidents API and the token endpoint in front of it. It lives: its
// incidents are created, assigned, changed, merged and resolved from a seed. It
// is metered and throttled like the real one, and misbehaves on command.
//
// It shares no code with the exporter, on purpose: a mistake that both made
// would pass every test.
package simulator

import (
	"math/rand/v2"
	"sync"
	"time"
)

// The credentials that a tenant accepts.
const (
	DefaultTenantID     = "5a7e0f3c-0d5e-4c57-9d0b-2f6f4d1a9c10"
	DefaultClientID     = "c0ffee00-1d1d-4a4a-8b8b-0123456789ab"
	DefaultClientSecret = "simulated~secret"
)

// Options are the settings of a [Tenant].
type Options struct {
	Seed uint64
	// Incidents there are at the start, their history spread over History.
	Incidents int
	History   time.Duration // 0: 180 days
	// Open and Redirected are fractions of the initial incidents. Both 0: a tenth
	// is open and six tenths are merged, as in a captured page of a real tenant.
	Open, Redirected float64
	// Light leaves out most of what makes a page as heavy as a real one.
	Light bool
	Rates Rates
	// Limits of the list call. nil: 50 a minute and 1,500 an hour.
	Limits []Limit
	// Now is the clock, nil: time.Now. The server's is ahead by Skew.
	Now           func() time.Time
	Skew          time.Duration
	TokenLifetime time.Duration // 0: an hour
	NextLink      NextLink
}

// Rates are events per hour.
type Rates struct{ Create, Assign, Change, Merge, Resolve, Reopen float64 }

// Limit is a throttling rule: so many calls in a period.
type Limit struct {
	Period time.Duration
	Calls  int
}

// NextLink is how a page refers to the next one.
type NextLink uint8

// The ways.
const (
	// LinkObserved has a slash before the question mark, a raw $, and no filter.
	LinkObserved NextLink = iota
	LinkFull
	LinkAbsent
	// LinkAlways is on every page, the last one too.
	LinkAlways
	// LinkForeign leads to another host.
	LinkForeign
)

// Demo is a tenant in which something changes while one watches.
func Demo(seed uint64) Options {
	return Options{
		Seed: seed, Incidents: 5000, Open: 0.06, Redirected: 0.6,
		Rates: Rates{Create: 240, Assign: 200, Change: 300, Merge: 50, Resolve: 190, Reopen: 10},
	}
}

// Tenant is a simulated tenant. It is safe for concurrent use.
type Tenant struct {
	opts Options

	mu       sync.Mutex
	rand     *rand.Rand
	byID     map[int64]*Record
	order    []*Record // newest last update first
	open     []*Record // to pick from
	resolved []*Record
	nextID   int64
	nextAt   time.Time // of the next event of its life, zero when it rests
	rates    Rates
	normal   int // open incidents that it tends towards
	late     []lateChange
	faults   Faults
	meter    Meter
	tokens   map[string]time.Time
	tokenSeq int
}

// New returns a tenant with its history.
func New(o Options) *Tenant {
	if o.History == 0 {
		o.History = 180 * 24 * time.Hour
	}
	if o.Open == 0 && o.Redirected == 0 {
		o.Open, o.Redirected = 0.1, 0.6
	}
	if o.Limits == nil {
		o.Limits = []Limit{{time.Minute, 50}, {time.Hour, 1500}}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = time.Hour
	}
	t := &Tenant{
		opts: o, rand: rand.New(rand.NewPCG(o.Seed, 0x5ee)), faults: Faults{Calls: -1},
		byID: make(map[int64]*Record), tokens: make(map[string]time.Time), nextID: 1000,
	}
	t.history()
	t.normal = max(10, len(t.open))
	t.live(o.Rates)
	return t
}

// now is the server's clock, which ticks in 100 ns.
func (t *Tenant) now() time.Time {
	return t.opts.Now().Add(t.opts.Skew).UTC().Truncate(100 * time.Nanosecond)
}

// Advance lets the tenant's life go on up to now. Every request does.
func (t *Tenant) Advance() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
}

// Live changes the rates from now on.
func (t *Tenant) Live(r Rates) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	t.live(r)
}

// Rest stops the tenant's life.
func (t *Tenant) Rest() { t.Live(Rates{}) }
