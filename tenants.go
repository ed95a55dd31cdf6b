package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"reflect"
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

	list atomic.Pointer[[]*tenant]
}

// running is a tenant with its goroutine.
type running struct {
	*tenant
	cancel context.CancelFunc
}

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

// replace makes the set what the configuration says. Tenants that are the same
// go on undisturbed. If one cannot be made nothing changes. It does not wait
// for the tenants that it stops: their successors do.
func (s *tenants) replace(configs []config.Tenant) (changes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var did changes
	list := make([]*tenant, 0, len(configs))
	next := make(map[string]*running, len(configs))
	for _, cfg := range configs {
		transport, err := s.transports.of(cfg.HTTP)
		if err != nil {
			return changes{}, fmt.Errorf("tenant %s: %w", cfg.Name, err)
		}
		old := s.running[cfg.Name]
		if old != nil && old.transport == transport && reflect.DeepEqual(old.config, cfg) {
			did.Unchanged++
			next[cfg.Name] = old
			list = append(list, old.tenant)
			continue
		}
		e := environment{store: s.store, transport: transport, logger: s.logger}
		if len(configs) > 1 {
			e.stagger = stagger(cfg.Name)
		}
		if did.Added++; old != nil {
			did.Added--
			did.Changed++
			e.api = old.api
		}
		t, err := newTenant(cfg, e)
		if err != nil {
			return changes{}, fmt.Errorf("tenant %s: %w", cfg.Name, err)
		}
		next[cfg.Name] = &running{tenant: t}
		list = append(list, t)
	}
	if err := s.open(next); err != nil {
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
	for _, r := range next {
		if r.cancel == nil {
			s.start(r)
		}
	}
	s.running = next
	s.list.Store(&list)
	s.transports.keep(list)
	s.forget(time.Now())
	return did, nil
}

// open opens those that nobody in this process has preceded. If one of them
// cannot be, none is.
func (s *tenants) open(next map[string]*running) error {
	const atOnce = 16
	var (
		group   sync.WaitGroup
		places  = make(chan struct{}, atOnce)
		mu      sync.Mutex
		failure error
		opened  []*tenant
	)
	for _, r := range next {
		if _, known := s.past[r.config.Account()]; known || r.cancel != nil {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			err := r.open(nil, time.Now())
			mu.Lock()
			defer mu.Unlock()
			if opened = append(opened, r.tenant); err != nil && failure == nil {
				failure = fmt.Errorf("tenant %s: %w", r.config.Name, err)
			}
		})
	}
	group.Wait()
	if failure != nil {
		for _, t := range opened {
			t.close()
		}
	}
	return failure
}

// start runs a tenant once whoever had its account before has stopped.
func (s *tenants) start(r *running) {
	account := r.config.Account()
	before, known := s.past[account]
	done := make(chan struct{})
	s.past[account] = past{r.ledger, done}
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	s.loops.Go(func() {
		defer close(done)
		defer cancel()
		if known {
			<-before.done
			if err := r.open(before.ledger, time.Now()); err != nil {
				r.logger.Error("The saved state is out of reach, everything is read again", "err", err)
			}
		}
		r.run(ctx)
	})
}

// forget drops the ledgers of removed tenants that no window sees any more.
func (s *tenants) forget(now time.Time) {
	for account, p := range s.past {
		select {
		case <-p.done:
		default:
			continue
		}
		used := p.ledger.BlockedUntil().After(now)
		for _, u := range p.ledger.Usage(now) {
			used = used || u.Used > 0
		}
		if !used {
			delete(s.past, account)
		}
	}
}

// stop ends all loops and waits for them, at most as long as given.
func (s *tenants) stop(patience time.Duration) {
	s.cancel()
	done := make(chan struct{})
	go func() {
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
