// Package fleet is the set of tenants that run here, which are those of the
// configuration that this process owns: it starts, replaces and stops them, and
// shares connections among those that are reached alike.
package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// Fleet is the set of tenants that is being served. Each has its own goroutine,
// mirror, ledger and credential; none waits for another.
type Fleet struct {
	ctx    context.Context // of all loops
	cancel context.CancelFunc
	logger *slog.Logger
	loops  sync.WaitGroup
	stop   sync.Once

	store    state.Store
	owns     func(config.Tenant) bool
	replicas *Replicas // nil: nobody shares the store

	mu         sync.Mutex // of Replace and Review
	configs    []config.Tenant
	replaced   int // times
	transports Transports
	slots      map[string]*slot   // by name
	accounts   map[string]account // by config.Tenant.Account
	reads      map[string]string  // by tenant id in lower case: by which API it was read last
	unopened   map[string]error   // by name
	review     *time.Timer        // runs while there are any

	configured   atomic.Int64
	configHash   atomic.Pointer[string]
	openFailures atomic.Uint64

	showing  sync.Mutex       // of what follows; never held for long
	order    []*slot          // of the configuration
	shown    []config.Tenant  // which configuration
	failures map[string]error // by name, why some are not served
	list     atomic.Pointer[[]*tenant.Tenant]
}

// Options are what a fleet is made of.
type Options struct {
	// Store keeps the states of all tenants. It must not be nil.
	Store state.Store
	// Logger must not be nil.
	Logger *slog.Logger
	// Replicas decides which tenants of the configuration are served here: for no
	// others anything is made, be it a credential, a connection or a series. nil: all
	// are. It has the same store.
	Replicas *Replicas
	// NewTransport makes what carries the requests of tenants with these settings
	// and these certificate authorities, PEM or none; nil: the standard one.
	NewTransport func(settings config.HTTP, ca []byte) (http.RoundTripper, error)
}

// slot is a tenant with its goroutine.
type slot struct {
	*tenant.Tenant
	written   config.Tenant // by the operator
	choice    *choice       // of its API; nil: it is written
	staggered bool
	transport *sharedTransport
	cancel    context.CancelFunc // nil: not started
	opened    bool               // by Replace
	// before is the tenant that this one replaces. It is shown until this one has
	// opened its state, lest its series have a gap.
	before *tenant.Tenant
	taken  bool        // it is not a replacement
	lost   atomic.Bool // its state is another replica's by now
	// held: the state was had under this name, by this slot or one before it, and its
	// loss is not counted yet.
	held *atomic.Bool
}

// shown is the tenant that is served.
func (s *slot) shown() *tenant.Tenant { return cmp.Or(s.before, s.Tenant) }

// account is one tenant by one API, under whatever name it is configured: its
// ledger, and whether a loop still spends from that. It outlives its tenant: what was spent must not be spent again when a tenant is
// changed, renamed, or removed and added again.
type account struct {
	ledger *tenant.AccountLedger
	done   <-chan struct{} // closed when the ledger is in use no more
}

// New returns an empty fleet. Its tenants do not end with ctx, but when they are
// stopped.
func New(ctx context.Context, o Options) *Fleet {
	f := &Fleet{
		store: o.Store, logger: o.Logger, replicas: o.Replicas, transports: Transports{open: o.NewTransport},
		slots: map[string]*slot{}, accounts: map[string]account{}, reads: map[string]string{},
	}
	f.configHash.Store(new(string))
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.list.Store(new([]*tenant.Tenant))
	f.owns = func(config.Tenant) bool { return true }
	if f.replicas != nil {
		f.owns = f.replicas.owns
	}
	f.review = time.AfterFunc(reviewEvery, func() { f.Review() })
	f.review.Stop()
	return f
}

// Tenants are those that are served, in the order of the configuration. The
// slice must not be changed. It may be called at any time and does not wait.
func (f *Fleet) Tenants() []*tenant.Tenant { return *f.list.Load() }

// Changes counts what Replace did.
type Changes struct{ Added, Changed, Removed, Unchanged int }

// ErrStopping says that the fleet has been told to stop.
var ErrStopping = errors.New("the exporter is stopping")

// Replace makes the fleet what the configuration says, as far as its tenants are
// owned. Tenants that are the same go on as they are. If one cannot be made, or
// the state of none can be opened, nothing changes, and the error names one; it
// matches ErrStopping after Stop, and state.ErrInUse if another process has the
// states. If only some states cannot be opened, the others are served, and those
// are tried again; see Review. If replicas share the states, those that cannot be
// opened never refuse a configuration. Replace reads the saved states and makes no call.
// It does not wait for the tenants that it stops: their replacements do. It may be
// called concurrently; one call waits for the other.
func (f *Fleet) Replace(configs []config.Tenant) (Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return Changes{}, ErrStopping
	}
	order := make([]*slot, 0, len(configs))
	for _, cfg := range configs {
		if !f.owns(cfg) {
			continue
		}
		r, err := f.replacement(f.slots[cfg.Name], cfg, len(configs) > 1)
		if err != nil {
			return Changes{}, fmt.Errorf("tenant %s: %w", cfg.Name, err)
		}
		order = append(order, r)
	}
	failures := f.open(order)
	if f.replicas == nil && len(failures) > 0 && len(failures) == len(order) {
		name := order[0].Config().Name
		return Changes{}, fmt.Errorf("tenant %s: %w", name, failures[name])
	}
	f.configs, f.replaced = configs, f.replaced+1
	f.configHash.Store(new(configHash(configs)))
	return f.serve(order, failures), nil
}

// configHash tells whether two replicas have the same tenants. How these are read
// has no part in it.
func configHash(configs []config.Tenant) string {
	accounts := make([]string, len(configs))
	for i := range configs {
		accounts[i] = configs[i].Account()
	}
	slices.Sort(accounts)
	sum := sha256.New()
	for _, account := range accounts {
		_, _ = fmt.Fprintln(sum, account)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Review serves what is owned now of the configuration that there is: what is not
// owned any more stops, and what is owned and not served is made and opened. No
// other tenant is touched. What decides on ownership calls it after a change,
// and the fleet itself as long as there are tenants that it could not open. It
// returns why some, by their names, could not be.
func (f *Fleet) Review() (failures map[string]error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return nil
	}
	var order []*slot
	unmade := map[string]error{}
	for _, cfg := range f.configs {
		if !f.owns(cfg) {
			continue
		}
		r := f.slots[cfg.Name]
		if r == nil || r.lost.Load() {
			var err error
			if r, err = f.replacement(nil, cfg, len(f.configs) > 1); err != nil {
				unmade[cfg.Name] = err
				continue
			}
		} else if r.choice.changed() {
			r = f.switched(r)
		}
		order = append(order, r)
	}
	failures = f.open(order)
	f.stay(order, failures)
	maps.Copy(failures, unmade)
	f.serve(order, failures)
	return failures
}

// serve makes the slots those that are served, but for those that failed.
func (f *Fleet) serve(order []*slot, failures map[string]error) (did Changes) {
	order = slices.DeleteFunc(order, func(r *slot) bool { return failures[r.Config().Name] != nil })
	next := make(map[string]*slot, len(order))
	for _, r := range order {
		name := r.Config().Name
		switch old := f.slots[name]; {
		case r == old:
			did.Unchanged++
		case old != nil:
			did.Changed++
		default:
			did.Added++
		}
		next[name] = r
	}
	for name, old := range f.slots {
		if next[name] != old {
			old.cancel()
		}
		if next[name] == nil {
			did.Removed++
		}
		if next[name] == nil || accountOf(next[name]) != accountOf(old) {
			f.remove(old)
		}
	}
	for _, r := range order {
		if r.cancel == nil {
			f.start(r)
		}
	}
	f.slots = next
	if f.replicas != nil {
		failures = nil // they know which are worth telling
	}
	f.show(func() { f.order, f.shown, f.failures = order, f.configs, failures })
	f.transports.keep(order)
	f.forget(time.Now())
	f.tryAgain(failures)
	return did
}

// reviewEvery is how often it is tried to open what could not be opened.
const reviewEvery = 30 * time.Second

// tryAgain says which tenants are not served although they are owned, and reviews
// them after a while.
func (f *Fleet) tryAgain(failures map[string]error) {
	f.configured.Store(int64(len(f.configs)))
	if f.replicas != nil {
		return // they try again, and say so
	}
	f.openFailures.Add(uint64(len(failures)))
	for name, err := range failures {
		if before := f.unopened[name]; before == nil || before.Error() != err.Error() {
			f.logger.Warn("A tenant cannot be opened; it is not served, and tried again", "tenant", name, "every", reviewEvery, "err", err)
		}
	}
	for name := range f.unopened {
		if f.slots[name] != nil {
			f.logger.Info("The tenant could be opened, it is served", "tenant", name)
		}
	}
	f.unopened = failures
	f.review.Stop()
	if len(failures) > 0 {
		f.review.Reset(reviewEvery)
	}
}

// Census counts the tenants of the configuration, those that are served here, and
// how often one could not be opened, each attempt. It may be called at any time
// and does not wait.
func (f *Fleet) Census() (configured, owned int, openFailures uint64) {
	return int(f.configured.Load()), len(f.Tenants()), f.openFailures.Load()
}

// took counts a tenant that came here.
func (f *Fleet) took(r *slot) {
	r.held.Store(true)
	if f.replicas != nil && r.taken {
		f.replicas.takeovers[r.TakenFrom()].Add(1)
	}
}

// lose notes that a tenant's state is another replica's. It does not wait: the
// next review lets go of it.
func (f *Fleet) lose(r *slot) {
	if f.replicas == nil || r.lost.Swap(true) {
		return
	}
	if r.held.Swap(false) {
		f.replicas.lost.Add(1)
	}
	signal(f.replicas.wake)
}

// loseAll loses all tenants that are served, and returns how many. It does not
// wait.
func (f *Fleet) loseAll() int {
	f.showing.Lock()
	defer f.showing.Unlock()
	for _, r := range f.order {
		f.lose(r)
	}
	return len(f.order)
}

// claims are what the fleet has at one moment.
type claims struct {
	configs  []config.Tenant
	config   string          // their hash
	replaced int             // how often they were
	served   map[string]bool // by account, as the operator wrote it
	open     map[string]bool // by account, likewise but of the API that is read
	closing  map[string]bool // likewise: not open, and not closed yet
	lost     int             // tenants that are to be let go of
}

func (f *Fleet) claims() claims {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := claims{
		configs: f.configs, config: *f.configHash.Load(), replaced: f.replaced,
		served: make(map[string]bool, len(f.slots)), open: make(map[string]bool, len(f.slots)), closing: map[string]bool{},
	}
	for _, r := range f.slots {
		if r.lost.Load() {
			c.lost++
		} else {
			c.served[r.written.Account()], c.open[accountOf(r)] = true, true
		}
	}
	for account, a := range f.accounts {
		if !c.open[account] && a.used() {
			c.closing[account] = true
		}
	}
	return c
}

// Unserved is a tenant of the configuration that is not served here.
type Unserved struct {
	Config config.Tenant
	// Owner is the name of the replica that has it, "" if that is not known.
	Owner string
	// Err says why it could not be opened, nil if that was not tried.
	Err error
}

// Unserved are the tenants that are not served here, in the order of the
// configuration, with their owners as the shared state has them, which it is
// asked for. err: the owners are not known. It may be called at any time.
func (f *Fleet) Unserved(ctx context.Context) (all []Unserved, err error) {
	f.showing.Lock()
	served := make(map[string]bool, len(f.order))
	for _, r := range f.order {
		served[r.Config().Name] = true
	}
	for _, cfg := range f.shown {
		if !served[cfg.Name] {
			all = append(all, Unserved{Config: cfg, Err: f.failures[cfg.Name]})
		}
	}
	f.showing.Unlock()
	if f.replicas != nil {
		err = f.replicas.explain(ctx, all)
	}
	return all, err
}

// keepFor is how long what a store in memory has of a removed tenant is kept: it
// may be removed by mistake and added again, or renamed.
const keepFor = time.Hour

// remove lets go of what is kept in memory of a tenant after a while, unless its
// account goes on.
func (f *Fleet) remove(old *slot) {
	f.loops.Go(func() {
		timer := time.NewTimer(keepFor)
		defer timer.Stop()
		select {
		case <-f.ctx.Done():
			return
		case <-timer.C:
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		account := accountOf(old)
		for _, s := range f.slots {
			if accountOf(s) == account {
				return
			}
		}
		old.Forget()
	})
}

// replacement is the tenant that goes on under a name: the old one itself if
// nothing has changed.
func (f *Fleet) replacement(old *slot, cfg config.Tenant, staggered bool) (*slot, error) {
	transport, err := f.transports.of(cfg.HTTP)
	if err != nil {
		return nil, err
	}
	if old != nil && old.transport == transport && old.written.Equal(&cfg) && old.KeyHolds() {
		return old, nil
	}
	r := &slot{written: cfg, transport: transport, staggered: staggered, taken: old == nil, choice: choiceFor(&cfg, old)}
	return r, f.make(r, old)
}

// make puts the tenant of a slot together, which goes on in the place of an old one.
func (f *Fleet) make(r, old *slot) (err error) {
	if r.held = new(atomic.Bool); f.slots[r.written.Name] != nil {
		r.held = f.slots[r.written.Name].held
	}
	cfg, d := r.written, tenant.Dependencies{Store: f.store, Transport: r.transport, Logger: f.logger, Lost: func() { f.lose(r) }}
	if f.replicas != nil {
		d.Heard = f.replicas.heard
	}
	if r.staggered {
		d.Stagger = stagger(cfg.Name)
	}
	if old != nil {
		d.Replaces = old.Tenant
		f.showing.Lock()
		r.before = old.shown()
		f.showing.Unlock()
	}
	if r.choice != nil {
		cfg = cfg.By(r.choice.api)
		d.Choice, d.Anew = f.chooser(r), r.choice.anew.Load()
	}
	r.Tenant, err = tenant.New(cfg, d)
	return err
}

// show serves the tenants that there are after a change.
func (f *Fleet) show(change func()) {
	f.showing.Lock()
	defer f.showing.Unlock()
	change()
	list := make([]*tenant.Tenant, len(f.order))
	for i, r := range f.order {
		list[i] = r.shown()
	}
	f.list.Store(&list)
}

// errNotTried is of a tenant that was to be opened with another one, for which the
// store was out of reach.
var errNotTried = fmt.Errorf("%w for another tenant a moment ago", state.ErrOutOfReach)

// open opens those whose account is free in this process. It returns why some, by
// their names, could not be.
func (f *Fleet) open(order []*slot) (failures map[string]error) {
	const atOnce = 16
	var (
		group  sync.WaitGroup
		places = make(chan struct{}, atOnce)
		mu     sync.Mutex
		away   error
	)
	failures = map[string]error{}
	for _, r := range order {
		if r.cancel != nil || r.choice.made() && f.busy(r) {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			mu.Lock()
			err := away
			mu.Unlock()
			if err == nil {
				err = f.recall(r)
			}
			if err == nil {
				if f.busy(r) {
					return
				}
				err = r.Open(f.accounts[accountOf(r)].ledger, time.Now())
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failures[r.Config().Name] = err; errors.Is(err, state.ErrOutOfReach) {
					away = errNotTried // each would take as long to find out
				}
				return
			}
			r.opened, r.before = true, nil
			r.choice.begun()
			f.took(r)
		})
	}
	group.Wait()
	return failures
}

// busy tells that another tenant still spends from the account of this one.
func (f *Fleet) busy(r *slot) bool {
	before, known := f.accounts[accountOf(r)]
	return known && before.used()
}

// start runs a tenant once the tenant that had its account before has stopped.
func (f *Fleet) start(r *slot) {
	key := accountOf(r)
	f.reads[strings.ToLower(r.written.TenantID)] = r.Config().API
	before := f.accounts[key]
	done := make(chan struct{})
	f.accounts[key] = account{r.Ledger(), done}
	ctx, cancel := context.WithCancel(f.ctx)
	r.cancel = cancel
	f.loops.Go(func() {
		defer close(done)
		defer cancel()
		if !r.opened {
			<-before.done
			if ctx.Err() != nil {
				// Stopped before it began. But its replacement goes on from its ledger.
				r.Ledger().Continue(before.ledger, time.Now())
				return
			}
			if !f.begin(ctx, r, before) {
				return
			}
		}
		if r.choice.untried() {
			f.loops.Go(func() { f.tryNative(ctx, r) })
		}
		r.Run(ctx)
		if f.replicas != nil && !r.Released() {
			f.replicas.doubt(r.written.Account(), keyOf(r.Config()))
		}
	})
}

// begin lets a tenant go on from where the one before it, which has stopped,
// ended. False: it must not run. Without a record that nobody else has, a shared
// store would not keep its calls from being made twice.
func (f *Fleet) begin(ctx context.Context, r *slot, before account) bool {
	since, said := time.Now(), false
	err := r.Open(before.ledger, since)
	for f.replicas != nil && errors.Is(err, state.ErrOutOfReach) {
		if f.replicas.heard().After(since) { // it is this tenant's own affair
			f.openFailures.Add(1)
			if !said {
				f.logger.Warn("A tenant cannot be opened; it is not refreshed, and tried again", "tenant", r.Config().Name, "every", beatEvery, "err", err)
			}
			said = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(beatEvery):
			err = r.Open(before.ledger, time.Now())
		}
	}
	f.show(func() { r.before = nil })
	switch {
	case err == nil:
		r.choice.begun()
		f.took(r)
	case f.replicas != nil:
		f.logger.Info("Another replica has taken a tenant", "tenant", r.Config().Name, "err", err)
		f.lose(r)
		return false
	default:
		f.logger.Error("The saved state is out of reach, everything is read again", "tenant", r.Config().Name, "err", err)
	}
	return true
}

// accountOf names the account that a tenant spends from.
func accountOf(s *slot) string {
	cfg := s.Config()
	return cfg.Account()
}

// used tells that the ledger may still be spent from.
func (a account) used() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// forget drops the ledgers of removed tenants that no window sees any more.
func (f *Fleet) forget(now time.Time) {
	for key, a := range f.accounts {
		if !a.used() && a.ledger.Idle(now) {
			delete(f.accounts, key)
		}
	}
}

// Stop ends all loops and waits for them, at most for so long; those that are
// late are logged. Replace fails from then on. Another Stop waits for nothing more.
func (f *Fleet) Stop(patience time.Duration) { f.stop.Do(func() { f.stopWithin(patience) }) }

func (f *Fleet) stopWithin(patience time.Duration) {
	f.cancel()
	f.review.Stop()
	done := make(chan struct{})
	go func() {
		// A replace that is at work has opened what its loops will close.
		f.mu.Lock()
		f.mu.Unlock() //nolint:staticcheck // only to wait
		f.loops.Wait()
		close(done)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		f.logger.Warn("Some tenants did not stop in time")
	}
}

// stagger is where in an interval a tenant begins: a fraction that depends on
// nothing but its name, so that a thousand tenants are no burst and every
// restart is like the last.
func stagger(name string) float64 {
	sum := sha256.Sum256([]byte(name))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
