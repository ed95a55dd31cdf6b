package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
)

// tenants is the set that is being served. Each tenant has its own goroutine,
// mirror, ledger and credential; none waits for another.
type tenants struct {
	ctx    context.Context // of all loops
	cancel context.CancelFunc
	logger *slog.Logger
	loops  sync.WaitGroup

	mu         sync.Mutex // of replace
	transports transports
	running    map[string]*running // by name
	past       map[string]past     // by account
	store      state.Store

	showing sync.Mutex // of what follows; never held for long
	order   []*running // of the configuration
	list    atomic.Pointer[[]*tenant]
}

// running is a tenant with its goroutine.
type running struct {
	*tenant
	cancel context.CancelFunc // nil: not started
	opened bool               // by replace
	// before is the tenant that was changed into this one. It is shown in its
	// place until this one has opened its state, lest its series have a gap.
	before *tenant
}

// shown is what is served in its place.
func (r *running) shown() *tenant { return cmp.Or(r.before, r.tenant) }

// past is what an account has spent, whoever spent it: it must not be spent
// again when a tenant is changed, renamed, or removed and added again.
type past struct {
	ledger *quota.Ledger
	done   <-chan struct{} // closed when nobody uses the ledger any more
}

// newTenants returns an empty set. Its tenants do not end with ctx, but when
// they are stopped.
func newTenants(ctx context.Context, store state.Store, logger *slog.Logger) *tenants {
	s := &tenants{store: store, logger: logger, running: map[string]*running{}, past: map[string]past{}}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.list.Store(new([]*tenant))
	return s
}

// all are the tenants in the order of the configuration. The slice must not be
// changed.
func (s *tenants) all() []*tenant { return *s.list.Load() }

// changes counts what replace did.
type changes struct{ Added, Changed, Removed, Unchanged int }

var errStopping = errors.New("the exporter is stopping")

// replace makes the set what the configuration says. Tenants that are the same
// go on undisturbed. If one cannot be made nothing changes. It does not wait
// for the tenants that it stops: their successors do.
func (s *tenants) replace(configs []config.Tenant) (changes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return changes{}, errStopping
	}
	var did changes
	order := make([]*running, 0, len(configs))
	next := make(map[string]*running, len(configs))
	for _, cfg := range configs {
		old := s.running[cfg.Name]
		r, err := s.successor(old, cfg, len(configs) > 1)
		if err != nil {
			return changes{}, fmt.Errorf("tenant %s: %w", cfg.Name, err)
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
	if err := s.open(order); err != nil {
		return changes{}, err
	}
	for name, old := range s.running {
		if next[name] != old {
			old.cancel()
		}
		if next[name] == nil {
			did.Removed++
		}
	}
	for _, r := range order {
		if r.cancel == nil {
			s.start(r)
		}
	}
	s.running = next
	s.show(func() { s.order = order })
	s.transports.keep(order)
	s.forget(time.Now())
	return did, nil
}

// successor is the tenant that goes on under a name: the old one itself if
// nothing has changed.
func (s *tenants) successor(old *running, cfg config.Tenant, staggered bool) (*running, error) {
	transport, err := s.transports.of(cfg.HTTP)
	if err != nil {
		return nil, err
	}
	if old != nil && old.transport == transport && old.config.Equal(&cfg) {
		return old, nil
	}
	e := environment{store: s.store, transport: transport, logger: s.logger}
	if staggered {
		e.stagger = stagger(cfg.Name)
	}
	r := &running{}
	if old != nil {
		e.api = old.api
		s.showing.Lock()
		r.before = old.shown()
		s.showing.Unlock()
	}
	r.tenant, err = newTenant(cfg, e)
	return r, err
}

// show serves the tenants that there are after a change.
func (s *tenants) show(change func()) {
	s.showing.Lock()
	defer s.showing.Unlock()
	change()
	list := make([]*tenant, len(s.order))
	for i, r := range s.order {
		list[i] = r.shown()
	}
	s.list.Store(&list)
}

// open opens those whose account nobody in this process uses. If one of them
// cannot be, none is.
func (s *tenants) open(order []*running) error {
	const atOnce = 16
	var (
		group   sync.WaitGroup
		places  = make(chan struct{}, atOnce)
		mu      sync.Mutex
		failure error
		opened  []*running
	)
	for _, r := range order {
		before, known := s.past[r.config.Account()]
		if r.cancel != nil || known && before.used() {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			err := r.open(before.ledger, time.Now())
			mu.Lock()
			defer mu.Unlock()
			if opened = append(opened, r); err != nil && failure == nil {
				failure = fmt.Errorf("tenant %s: %w", r.config.Name, err)
			}
		})
	}
	group.Wait()
	for _, r := range opened {
		if r.opened, r.before = true, nil; failure != nil {
			r.close()
		}
	}
	return failure
}

// start runs a tenant once whoever had its account before has stopped.
func (s *tenants) start(r *running) {
	account := r.config.Account()
	before := s.past[account]
	done := make(chan struct{})
	s.past[account] = past{r.ledger, done}
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	s.loops.Go(func() {
		defer close(done)
		defer cancel()
		if !r.opened {
			<-before.done
			if ctx.Err() != nil {
				// Stopped before it began. But its successor goes on from its ledger.
				now := time.Now()
				r.ledger.Restore(now, before.ledger.Final(now))
				return
			}
			s.succeed(r, before.ledger)
		}
		r.run(ctx)
	})
}

// succeed lets a tenant go on from where the one before it, which has stopped,
// ended.
func (s *tenants) succeed(r *running, before *quota.Ledger) {
	if err := r.open(before, time.Now()); err != nil {
		r.logger.Error("The saved state is out of reach, everything is read again", "err", err)
	}
	s.show(func() { r.before = nil })
}

// used tells that somebody may still use the ledger.
func (p past) used() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// forget drops the ledgers of removed tenants that no window sees any more.
func (s *tenants) forget(now time.Time) {
	for account, p := range s.past {
		if p.used() {
			continue
		}
		spent := p.ledger.BlockedUntil().After(now)
		for _, u := range p.ledger.Usage(now) {
			spent = spent || u.Used > 0
		}
		if !spent {
			delete(s.past, account)
		}
	}
}

// stop ends all loops and waits for them, at most as long as given.
func (s *tenants) stop(patience time.Duration) {
	s.cancel()
	done := make(chan struct{})
	go func() {
		// A replace that is at work has opened what its loops will close.
		s.mu.Lock()
		s.mu.Unlock() //nolint:staticcheck // only to wait
		s.loops.Wait()
		close(done)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.logger.Warn("Some tenants did not stop in time")
	}
}

// stagger is where in an interval a tenant begins: a fraction that depends on
// nothing but its name, so that a thousand tenants are no burst and every
// restart is like the last.
func stagger(name string) float64 {
	sum := sha256.Sum256([]byte(name))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// environment is what a tenant is put into.
type environment struct {
	store     state.Store // nil: nothing is kept
	transport *sharedTransport
	logger    *slog.Logger
	// stagger is where in its intervals it begins, from 0 to below 1.
	stagger float64
	// api goes on with the counters of a tenant that was changed; nil: new ones.
	api *collector.API
}
