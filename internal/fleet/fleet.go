// Package fleet is the set of tenants that run here: it starts, replaces and
// stops them, and shares connections among those that are reached alike.
package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

	store state.Store

	mu         sync.Mutex // of Replace
	transports Transports
	slots      map[string]*slot   // by name
	accounts   map[string]account // by config.Tenant.Account

	showing sync.Mutex // of what follows; never held for long
	order   []*slot    // of the configuration
	list    atomic.Pointer[[]*tenant.Tenant]
}

// Options are what a fleet is made of.
type Options struct {
	// Store keeps the states of all tenants. It must not be nil.
	Store state.Store
	// Logger must not be nil.
	Logger *slog.Logger
	// NewTransport makes what carries the requests of tenants with these settings
	// and these certificate authorities, PEM or none; nil: the standard one.
	NewTransport func(settings config.HTTP, ca []byte) (http.RoundTripper, error)
}

// slot is a tenant with its goroutine.
type slot struct {
	*tenant.Tenant
	transport *sharedTransport
	cancel    context.CancelFunc // nil: not started
	opened    bool               // by Replace
	// before is the tenant that this one replaces. It is shown until this one has
	// opened its state, lest its series have a gap.
	before *tenant.Tenant
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
		store: o.Store, logger: o.Logger, transports: Transports{open: o.NewTransport},
		slots: map[string]*slot{}, accounts: map[string]account{},
	}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.list.Store(new([]*tenant.Tenant))
	return f
}

// Tenants are those that are served, in the order of the configuration. The
// slice must not be changed. It may be called at any time and does not wait.
func (f *Fleet) Tenants() []*tenant.Tenant { return *f.list.Load() }

// Changes counts what Replace did.
type Changes struct{ Added, Changed, Removed, Unchanged int }

// ErrStopping says that the fleet has been told to stop.
var ErrStopping = errors.New("the exporter is stopping")

// Replace makes the fleet what the configuration says. Tenants that are the same
// go on as they are. If one cannot be made nothing changes, and the error names
// it; it matches ErrStopping after Stop, and state.ErrInUse if another process
// has a tenant's state. Replace reads the saved states and makes no call. It
// does not wait for the tenants that it stops: their replacements do. It may be
// called concurrently; one call waits for the other.
func (f *Fleet) Replace(configs []config.Tenant) (Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return Changes{}, ErrStopping
	}
	var did Changes
	order := make([]*slot, 0, len(configs))
	next := make(map[string]*slot, len(configs))
	for _, cfg := range configs {
		old := f.slots[cfg.Name]
		r, err := f.replacement(old, cfg, len(configs) > 1)
		if err != nil {
			return Changes{}, fmt.Errorf("tenant %s: %w", cfg.Name, err)
		}
		switch {
		case r == old:
			did.Unchanged++
		case old != nil:
			did.Changed++
		default:
			did.Added++
		}
		next[cfg.Name], order = r, append(order, r)
	}
	if err := f.open(order); err != nil {
		return Changes{}, err
	}
	for name, old := range f.slots {
		if next[name] != old {
			old.cancel()
		}
		if next[name] == nil {
			did.Removed++
			f.remove(old)
		}
	}
	for _, r := range order {
		if r.cancel == nil {
			f.start(r)
		}
	}
	f.slots = next
	f.show(func() { f.order = order })
	f.transports.keep(order)
	f.forget(time.Now())
	return did, nil
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
	d := tenant.Dependencies{Store: f.store, Transport: transport, Logger: f.logger}
	if staggered {
		d.Stagger = stagger(cfg.Name)
	}
	r := &slot{transport: transport}
	if old != nil {
		if was := old.Config(); old.transport == transport && was.Equal(&cfg) {
			return old, nil
		}
		d.Replaces = old.Tenant
		f.showing.Lock()
		r.before = old.shown()
		f.showing.Unlock()
	}
	r.Tenant, err = tenant.New(cfg, d)
	return r, err
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

// open opens those whose account is free in this process. If one of them
// cannot be, none is.
func (f *Fleet) open(order []*slot) error {
	const atOnce = 16
	var (
		group   sync.WaitGroup
		places  = make(chan struct{}, atOnce)
		mu      sync.Mutex
		failure error
		opened  []*slot
	)
	for _, r := range order {
		before, known := f.accounts[accountOf(r)]
		if r.cancel != nil || known && before.used() {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			err := r.Open(before.ledger, time.Now())
			mu.Lock()
			defer mu.Unlock()
			if opened = append(opened, r); err != nil && failure == nil {
				failure = fmt.Errorf("tenant %s: %w", r.Config().Name, err)
			}
		})
	}
	group.Wait()
	for _, r := range opened {
		if r.opened, r.before = true, nil; failure != nil {
			r.Close()
		}
	}
	return failure
}

// start runs a tenant once the tenant that had its account before has stopped.
func (f *Fleet) start(r *slot) {
	key := accountOf(r)
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
			f.begin(r, before.ledger)
		}
		r.Run(ctx)
	})
}

// begin lets a tenant go on from where the one before it, which has stopped,
// ended.
func (f *Fleet) begin(r *slot, before *tenant.AccountLedger) {
	if err := r.Open(before, time.Now()); err != nil {
		f.logger.Error("The saved state is out of reach, everything is read again", "tenant", r.Config().Name, "err", err)
	}
	f.show(func() { r.before = nil })
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
// late are logged. Replace fails from then on.
func (f *Fleet) Stop(patience time.Duration) {
	f.cancel()
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
