// Package life is a tenant's incidents and the life that they lead: they are
// created, assigned, change, merge, resolve and reopen by themselves (life.go)
// or deliberately (acts.go), and can be counted (truth.go). It knows nothing of
// the wire.
package life

import (
	"math/rand/v2"
	"sync"
	"time"
)

// day is for reading: histories are told in days.
const day = 24 * time.Hour

// Resolution of all timestamps of the API.
const Resolution = 100 * time.Nanosecond

// Options describe a tenant. The zero value is an empty, resting tenant on the
// wall clock.
type Options struct {
	// Seed makes the tenant: equal options and equal instants of the clock give
	// equal tenants.
	Seed uint64
	// Incidents is the size of the backlog that exists from the start, created
	// and updated within History (0: 180 days).
	Incidents int
	History   time.Duration
	// Now is the clock; nil: time.Now, which inside a synctest bubble is the
	// bubble's. Skew is how far the server's clock is ahead of it.
	Now  func() time.Time
	Skew time.Duration

	Mix Mix
	// Alerts is the number of alerts of an incident that was not merged away:
	// 0 means a skewed distribution with a mean of about six and a cap of 150,
	// n > 0 exactly n, n < 0 none.
	Alerts int
	// Light leaves alerts without entities and devices, and makes few of them
	// where Alerts is 0. A realistic page of 100 weighs about 840 kB, a light
	// one about a fifth.
	Light bool
	// Bare leaves alerts without entities and devices, too, and all else as it is
	// without it. It is for the life of Daily.
	Bare bool

	// Rates of the tenant's life; zero: it rests.
	Rates Rates
	// Daily is how many incidents are created in an average day, in another kind of
	// life, beside Rates and Incidents: that of a tenant which people look after, see
	// soc.go. It goes on by itself. What has happened within History is there from the
	// start, and all that is open.
	Daily float64
}

// Hooks are where a tenant can be made to behave otherwise. They are called, and
// may be set, within [Tenant.Do].
type Hooks struct {
	// Publish brings a new version of an incident into the Index in place of the
	// one before, now or later. Either is nil where there is none.
	Publish func(at time.Time, id int64, old, e *Entry)
	// Settle is called when everything up to now has happened.
	Settle func(now time.Time)
	// Stamp is the update time of a change that is made at the given instant to
	// an incident that was last updated at last, zero if it is new.
	Stamp func(id int64, last, at time.Time) time.Time
}

// Tenant is what a tenant has and what happens to it. All methods may be called
// concurrently.
type Tenant struct {
	opts Options

	mu sync.Mutex // guards everything below

	Hooks Hooks
	Index Index

	at             time.Time // the instant up to which everything has happened
	records        map[int64]*Entry
	open, resolved idSet
	lastID, alerts int64

	rates  Rates
	next   [lifeKinds]time.Time
	target int
	late   []late
	soc    soc

	// Separate sources of chance: what a test does deliberately must not change
	// what the tenant's life brings.
	life, deliberate *rand.Rand
}

// New makes a tenant with its backlog.
func New(opts Options) *Tenant {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.History <= 0 {
		opts.History = 180 * day
	}
	opts.Mix = opts.Mix.complete()
	t := &Tenant{
		opts:       opts,
		records:    make(map[int64]*Entry, opts.Incidents),
		lastID:     900_000,
		life:       rand.New(rand.NewPCG(opts.Seed, 1)),
		deliberate: rand.New(rand.NewPCG(opts.Seed, 2)),
	}
	t.Hooks = Hooks{
		Publish: func(_ time.Time, _ int64, old, e *Entry) { t.Index.Show(old, e) },
		Settle:  func(time.Time) {},
		Stamp:   func(_ int64, _, at time.Time) time.Time { return at },
	}
	now := t.Now()
	t.backlog(rand.New(rand.NewPCG(opts.Seed, 4)), now)
	t.live(opts.Rates, now)
	t.employ(now)
	t.advance(now)
	return t
}

// Now is the server's clock: UTC, in the API's resolution of 100 ns.
func (t *Tenant) Now() time.Time {
	// Round(0) drops the monotonic reading: timestamps are compared and
	// printed, and only the wall clock is on the wire.
	return t.opts.Now().Round(0).Add(t.opts.Skew).UTC().Truncate(Resolution)
}

// Do lets life go on up to the present and calls f, while nothing else happens
// to the tenant. f must not call a method that says the same of itself.
func (t *Tenant) Do(f func(now time.Time)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now()
	t.advance(now)
	f(now)
}
