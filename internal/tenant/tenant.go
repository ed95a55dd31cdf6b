// Package tenant is one tenant put together: from its configuration come a
// credential, a client, a ledger of its calls, the loop that refreshes its
// counts, what survives a restart, and the series that it exposes.
package tenant

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/version"

	"m365_defender_exporter/client"
	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/collector"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/state"
)

// Tenant is one tenant with everything that belongs to it alone. Open it, then
// Run it; every other method may be called at any time by anyone.
type Tenant struct {
	config     config.Tenant
	transport  http.RoundTripper
	api        *collector.API
	ledger     *AccountLedger
	state      *tenantState
	credential *auth.Source
	warned     time.Time // when it was last said that the credential expires
	source     *client.Client
	loop       *refresh.Loop
	series     *collector.Series
	logger     *slog.Logger
	now        func() time.Time
	dimensions client.Dimensions
	key        []byte // of the owners' hashes; nil: none

	// ownedSince is when this process made the account its own, in Unix
	// milliseconds; 0: not yet. A tenant that replaces one of the same account
	// shares it.
	ownedSince *atomic.Int64
	ended      atomic.Bool // Run has

	choice  *Choice   // nil: the API is what the operator wrote
	refused time.Time // since when the API has shown nothing but that it is not there; zero: it has not
}

// Dependencies are what a tenant is given besides its configuration.
type Dependencies struct {
	// Store keeps the state over restarts; nil: nothing is kept.
	Store state.Store
	// Transport carries all of the tenant's requests. It must not be nil.
	Transport http.RoundTripper
	// Logger must not be nil. The tenant adds its name.
	Logger *slog.Logger
	// Stagger is where in its intervals it begins, from 0 to below 1.
	Stagger float64
	// Lost is told, once at most and by the tenant's own goroutine, that a shared
	// state is another replica's: no more calls are made, and the tenant is to be
	// stopped. It must not wait for that. nil: it is not told.
	Lost func()
	// Heard tells when a shared store has last answered whatever is of no tenant; nil:
	// nobody asks it.
	Heard func() time.Time
	// Replaces is the tenant whose counters go on; nil: they begin at zero.
	Replaces *Tenant
	// Choice is there if the configuration leaves the API open.
	Choice *Choice
	// Anew: what was saved of incidents is of no use, and goes; the ledger goes on.
	Anew bool
	// Clock is what all of it goes by; nil: the wall clock.
	Clock refresh.Clock
}

// New puts a tenant together from a complete configuration. It makes no call,
// opens nothing and does not wait; what there is to go on from waits for Open.
// An error says which setting cannot be used.
func New(cfg config.Tenant, d Dependencies) (*Tenant, error) {
	t := &Tenant{config: cfg, transport: d.Transport, logger: d.Logger.With("tenant", cfg.Name), now: time.Now, choice: d.Choice}
	if d.Clock != nil {
		t.now = d.Clock.Now
	}
	if d.Replaces != nil {
		t.api = d.Replaces.api
	} else {
		t.api = collector.NewAPI()
	}
	if d.Replaces != nil && d.Replaces.config.Account() == cfg.Account() {
		t.ownedSince = d.Replaces.ownedSince
	} else {
		t.ownedSince = new(atomic.Int64)
	}
	t.state = &tenantState{
		store: d.Store, key: state.Key{Tenant: cfg.TenantID, API: cfg.API}, logger: t.logger, now: t.now,
		handedIn: t.api.HandedIn, lost: d.Lost, opened: t.opened, anew: d.Anew, heard: d.Heard,
	}
	t.state.shared = isShared(d.Store)
	var err error
	if t.dimensions, t.key, err = newDimensions(&cfg); err != nil {
		return nil, err
	}
	if t.ledger, err = newAccountLedger(cfg); err != nil {
		return nil, err
	}
	t.ledger.now = t.now
	t.state.ledger, t.state.unsaved = t.ledger.log, t.ledger.unsaved
	t.ledger.waited, t.ledger.save, t.ledger.logger = t.api.Waited, t.state.saveLedger, t.logger
	if t.credential, err = t.newCredential(); err != nil {
		return nil, err
	}
	proxySecrets(t.credential.Scrubber(), cfg.HTTP)
	if t.source, err = t.newSource(); err != nil {
		return nil, err
	}
	t.loop = refresh.New(refresh.Options{
		Source:        t.source,
		Ledger:        t.ledger,
		Interval:      cfg.Interval,
		SweepInterval: cfg.SweepInterval,
		Overlap:       cfg.Overlap,
		Lookback:      cfg.Lookback,
		Thresholds:    cfg.AgeThresholds,
		Objectives:    objectives(cfg.Objectives),
		Priorities:    cfg.API == config.Graph,
		Dimensions:    t.dimensions.Dimensions,
		Store:         t.state,
		Stagger:       d.Stagger,
		Logger:        t.logger,
		Clock:         d.Clock,
	})
	t.series = collector.NewSeries(cfg.Name, t.sources()...)
	return t, nil
}

// objectives are those of the configuration, as they are counted by.
func objectives(of config.Objectives) (o incident.Objectives) {
	for sev, bounds := range map[incident.Severity]config.Objective{
		incident.SeverityUnknown: of.Unknown, incident.SeverityInformational: of.Informational,
		incident.SeverityLow: of.Low, incident.SeverityMedium: of.Medium, incident.SeverityHigh: of.High,
	} {
		o[sev] = [incident.NumObjectives]time.Duration{
			incident.ObjectiveAssign: bounds.Assign, incident.ObjectiveFirstTouch: bounds.FirstTouch, incident.ObjectiveResolve: bounds.Resolve,
		}
	}
	return o
}

// newSource is the API that the tenant's incidents are read from.
func (t *Tenant) newSource() (*client.Client, error) {
	cfg := t.config
	options := client.Options{
		BaseURL:          cfg.APIURL,
		HTTP:             &http.Client{Transport: t.transport},
		Tokens:           t.credential,
		Timeout:          cfg.Timeout,
		MaxResponseBytes: cfg.MaxResponseBytes,
		Observe:          t.observeCall,
		Logger:           t.logger,
		Renew:            t.credential.Renew,
		Scrubber:         t.credential.Scrubber(),
		Now:              t.now,
		UserAgent:        "m365_defender_exporter/" + version.Version,
		Dimensions:       t.dimensions,
	}
	if cfg.API == config.Graph {
		return client.NewGraph(options)
	}
	return client.NewDefender(options)
}

// Config is what the operator wrote, with the API that was chosen where that is left
// open.
func (t *Tenant) Config() config.Tenant { return t.config }

// String is the name and nothing else: a tenant holds secrets.
func (t *Tenant) String() string { return t.config.Name }

// GoString is String.
func (t *Tenant) GoString() string { return t.config.Name }

// Ledger accounts for the calls of the tenant's account.
func (t *Tenant) Ledger() *AccountLedger { return t.ledger }

// Credential is what its calls are authorised with.
func (t *Tenant) Credential() *auth.Source { return t.credential }

// Source makes calls of the API that the incidents are read from, one attempt
// each. The caller takes a grant of the ledger first.
func (t *Tenant) Source() *client.Client { return t.source }

// Transport carries its requests.
func (t *Tenant) Transport() http.RoundTripper { return t.transport }

// Series are what the tenant exposes.
func (t *Tenant) Series() *collector.Series { return t.series }

// Open makes the saved state this tenant's and goes on from it: the counts are
// there before the first call. It goes on with the saved ledger, too, unless
// that of the tenant that this one replaces in this process is at hand; that
// one must have stopped. With a shared store it goes on with both. It reads the disk
// and makes no call. After an error, which matches state.ErrInUse if the state is
// another process's, the tenant can be run all the same and begins anew, unless the
// store is shared; it can be opened again. A tenant that was opened and is not
// going to be run has to be closed.
func (t *Tenant) Open(before *AccountLedger, now time.Time) error {
	err := t.state.open()
	if !t.state.shared {
		t.ownedSince.CompareAndSwap(0, now.UnixMilli())
	}
	if err == nil {
		t.loop.Load(now)
		if t.state.unread != nil {
			err = t.state.giveBack()
		} else if t.state.anew && t.state.state != nil {
			t.loop.Save()
		}
	}
	if before != nil && (err == nil || !t.state.shared) { // else it is tried again, and the calls would count once more each time
		t.ledger.Continue(before, now)
	}
	if err == nil && t.state.state != nil && (before == nil || t.state.shared) {
		t.state.restoreLedger()
	}
	return err
}

// opened is told how the state has become this process's.
func (t *Tenant) opened(o state.Ownership) {
	if !o.Since.IsZero() {
		t.ownedSince.Store(o.Since.UnixMilli())
	}
}

// Run refreshes until ctx ends, saves the state and closes it. A call that is
// on its way is given up, so that Run ends within the time that a save takes. It
// is called once.
func (t *Tenant) Run(ctx context.Context) {
	defer t.ended.Store(true)
	defer t.Close()
	// Requests for tokens know of no context but their source's.
	defer context.AfterFunc(ctx, t.credential.Close)()
	if err := t.loop.Run(ctx); err != nil && ctx.Err() == nil {
		t.logger.Error("Refreshing ended", "err", err)
	}
	_, _ = t.state.saveLedger(t.ledger.log.Final(t.now())) // what fails is said there
}

// TakenFrom is whom a shared state was taken over from. It comes after Open.
func (t *Tenant) TakenFrom() state.Predecessor { return t.state.from }

// Released tells that the state was closed, for all that is known. It comes after
// Run.
func (t *Tenant) Released() bool { return !t.state.unreleased }

// Close lets go of what Open has opened, for a tenant that is not run.
func (t *Tenant) Close() { t.state.close() }

// Forget lets go of what the store keeps in memory for a tenant that has stopped
// and is not coming back.
func (t *Tenant) Forget() { t.state.forget() }

func (t *Tenant) observeCall(c client.Call) {
	t.api.Request(c.Operation, c.Code, c.Duration, c.Bytes)
	if c.Code == http.StatusForbidden {
		// Roles are written into a token: once consent is granted, only the next
		// one has them.
		t.credential.Renew()
	}
	t.judge(c.Operation, c.Err)
	t.logger.Debug("Called the API", "operation", c.Operation, "code", c.Code, "took", c.Duration, "bytes", c.Bytes, "err", c.Err)
}
