// Package simulator is a Microsoft 365 Defender tenant in memory: its
// incidents, the life they lead, the native Incidents API, that of Microsoft
// Graph and the token endpoint in front of them, and every way of misbehaving
// that was ever reported of the real ones. The demo, the tests and the
// benchmarks use it.
//
// It imports nothing of this module on purpose: a mistake in a JSON tag or in
// the meaning of a value that both sides shared would pass every test.
//
// The tenant's state (record.go, state.go, life.go, acts.go, truth.go) knows
// nothing of the wire. A list call of either flavour goes through query.go (its
// options), visible.go (what can be seen at all), list.go (which rows, in which
// order), heavy.go, links.go and partial.go; rows.go says what a row looks like,
// native.go and graphwire.go write it. lookup.go answers calls by id, token.go
// and its neighbours those for tokens. answer.go puts an answer together and
// serve.go brings it to the client, with what wire.go and echo.go do to it;
// server.go does so over TCP.
//
// [Faults] are all that can be wrong, fault.go says in which order they decide.
// [Switches] and [Weather] name each of them for tests that try them all.
package simulator

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The credentials that a tenant accepts unless its Options say otherwise, the
// application role that its tokens carry, and the one that the Graph flavour
// asks for, see [Tenant.SetRoles].
const (
	DefaultTenantID     = "3f6d2a10-5b1e-4c7a-9a44-0d51c0ffee01"
	DefaultClientID     = "8a1b7c52-90de-4f3b-b1c6-0d51c0ffee02"
	DefaultClientSecret = "simulated-secret-opens-nothing"
	DefaultRole         = "Incident.Read.All"
	DefaultGraphRole    = "SecurityIncident.Read.All"
)

// day is for reading: the API's retention and histories are told in days.
const day = 24 * time.Hour

// Options describe a tenant. The zero value is an empty, resting, healthy
// tenant on the wall clock with the real API's limits.
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

	// Rates of the tenant's life; zero: it rests.
	Rates Rates

	// Limits of the list call and GetLimits of the call by id. Nil: what is
	// documented, 50 a minute and 1,500 an hour, and 100 a minute and 1,500 an
	// hour. Empty but not nil: none.
	Limits, GetLimits []Limit
	// GraphLimits are those of all calls of the Graph flavour together. Nil: 150
	// a minute.
	GraphLimits []Limit

	// TenantID, ClientID and ClientSecret are what the token endpoint accepts;
	// empty: the defaults above.
	TenantID, ClientID, ClientSecret string
	// TokenLifetime, 0: an hour.
	TokenLifetime time.Duration
	// NoRoles issues tokens without application roles, as happens when admin
	// consent is missing: the token endpoint is content, the API answers 403.
	NoRoles bool
}

// Demo is a tenant worth watching: something changes within every half minute.
func Demo(seed uint64) Options {
	return Options{
		Seed:      seed,
		Incidents: 5000,
		Rates:     Rates{Create: 240, Assign: 200, Change: 300, Merge: 60, Resolve: 200, Reopen: 10},
	}
}

// Tenant is a simulated tenant. All methods may be called concurrently.
type Tenant struct {
	opts Options

	mu sync.Mutex // guards everything below

	at             time.Time // the instant up to which everything has happened
	records        map[int64]*entry
	order          []*entry // what lists show
	stale          int      // entries of order that were superseded
	unsorted       bool     // order needs sorting before it is read
	generation     uint64   // of order and the faults
	arranged       arranged
	shown          map[int64]*entry // what lists show of incidents of which a version waits
	waiting        []version        // oldest first
	changes        []change         // of lists, oldest first
	open, resolved idSet
	lastID, alerts int64

	rates  Rates
	next   [lifeKinds]time.Time
	target int
	late   []late

	// Separate sources of chance: what a test does deliberately, and which
	// calls a fault hits, must not change what the tenant's life brings.
	life, deliberate, chance *rand.Rand

	faults Faults
	tokens map[string]token
	roles  []string
	meter  meter

	trust    trust
	identity Identity
}

// New makes a tenant with its backlog.
func New(opts Options) *Tenant {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.History <= 0 {
		opts.History = 180 * day
	}
	if opts.Limits == nil {
		opts.Limits = []Limit{{time.Minute, 50}, {time.Hour, 1500}}
	}
	if opts.GetLimits == nil {
		opts.GetLimits = []Limit{{time.Minute, 100}, {time.Hour, 1500}}
	}
	if opts.GraphLimits == nil {
		opts.GraphLimits = []Limit{{time.Minute, 150}}
	}
	setDefault(&opts.TenantID, DefaultTenantID)
	setDefault(&opts.ClientID, DefaultClientID)
	setDefault(&opts.ClientSecret, DefaultClientSecret)
	if opts.TokenLifetime <= 0 {
		opts.TokenLifetime = time.Hour
	}
	opts.Mix = opts.Mix.complete()
	opts.Limits, opts.GetLimits = slices.Clone(opts.Limits), slices.Clone(opts.GetLimits)
	t := &Tenant{
		opts:       opts,
		records:    make(map[int64]*entry, opts.Incidents),
		shown:      make(map[int64]*entry),
		lastID:     900_000,
		life:       rand.New(rand.NewPCG(opts.Seed, 1)),
		deliberate: rand.New(rand.NewPCG(opts.Seed, 2)),
		chance:     rand.New(rand.NewPCG(opts.Seed, 3)),
		tokens:     make(map[string]token),
	}
	if !opts.NoRoles {
		t.roles = []string{DefaultRole}
	}
	now := t.now()
	t.backlog(rand.New(rand.NewPCG(opts.Seed, 4)), now)
	t.live(opts.Rates, now)
	return t
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Now is the server's clock: UTC, in the API's resolution of 100 ns.
func (t *Tenant) Now() time.Time { return t.now() }

func (t *Tenant) now() time.Time {
	// Round(0) drops the monotonic reading: timestamps are compared and
	// printed, and only the wall clock is on the wire.
	return t.opts.Now().Round(0).Add(t.opts.Skew).UTC().Truncate(resolution)
}

// resolution of all timestamps of the API.
const resolution = 100 * time.Nanosecond

// Handler serves the tenant over HTTP:
//
//	GET  /api/incidents, /api/incidents/     list
//	GET  /api/incidents/{id}                 one incident
//	GET  /v1.0/security/incidents            the list of Microsoft Graph
//	GET  /v1.0/security/incidents/{id}       one incident there
//	POST /{tenant}/oauth2/v2.0/token         token endpoint
//	GET  /metadata/identity/oauth2/token     tokens of the machine's identity
//	GET  /msi/token                          the same as in App Service
//
// A dropped connection is a closed one. Mind that http.Transport repeats a GET
// whose reused connection was closed before the first byte; the meter counts
// both.
func (t *Tenant) Handler() http.Handler { return http.HandlerFunc(t.serve) }

// RoundTripper is the same tenant without a network, for synctest bubbles, in
// which listeners hang. It answers every host but [Foreign]'s, honours the
// request's context while it delays or drips, and fails as a connection would.
// Unlike http.Transport it compresses only for requests that ask for it
// themselves, since nobody would decompress for the others. A delay or a drip
// passes on the timers of package time, whatever Options.Now says.
func (t *Tenant) RoundTripper() http.RoundTripper { return roundTripper{t} }
