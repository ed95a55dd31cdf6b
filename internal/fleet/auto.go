package fleet

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// A tenant whose configuration leaves its API open is read by one of them at a time,
// each with a state and a ledger of its own:
//
//   - It begins with the one that it was read by last, as the ledgers tell; with the
//     native one if there are none.
//   - From the native one it goes to Graph, at most once in a life: when the native
//     API has been gone for goneFor, or has refused the application for so long, or
//     gives it no role at all; and only if a token for Graph shows a role.
//   - While it is read by Graph since a life before, or under another configuration,
//     the native API is tried beside that, until it has answered: it is read again if
//     it can be. One that shows no incident is not, where Graph shows some, or may yet.
//
// Whose a tenant is among replicas goes by what the operator wrote, and so it moves
// with both of its states.

const (
	// goneFor is how long the native API has to be gone. Name servers, proxies and
	// services have their bad moments.
	goneFor = 10 * time.Minute
	// askEvery is how often Graph is asked whether it can be read in place of the
	// native API, tryEvery how often the native API is tried that fails otherwise.
	askEvery = 5 * time.Minute
	tryEvery = 10 * time.Minute
)

// choice is that of a slot. A nil one has nothing to choose.
type choice struct {
	api    string      // that is read
	known  bool        // that it is this one
	anew   atomic.Bool // what was saved by this API is older than what the other has counted, and goes
	tried  atomic.Bool // the native API has answered, in this life
	shut   atomic.Bool // Graph, which is read, does not let the application read, since the last try
	why    atomic.Pointer[tenant.Fallback]
	next   atomic.Pointer[string] // what is to be read in its place; nil: nothing is
	asking atomic.Bool            // of what follows
	again  time.Time              // when Graph may be asked next
	said   string                 // why it was of no use
}

func (c *choice) fallback() tenant.Fallback {
	if why := c.why.Load(); why != nil {
		return *why
	}
	return tenant.None
}

// changed tells that another API is to be read.
func (c *choice) changed() bool { return c != nil && c.next.Load() != nil }

// untried tells that it is not known of the native API whether it can be read.
func (c *choice) untried() bool { return c != nil && c.api == config.Graph && !c.tried.Load() }

// made tells that it is known which API is read.
func (c *choice) made() bool { return c == nil || c.known }

// begun notes that what is read is saved from here on.
func (c *choice) begun() {
	if c != nil {
		c.anew.Store(false)
	}
}

// choiceFor is the choice of what takes an old slot's place.
func choiceFor(cfg *config.Tenant, old *slot) *choice {
	switch {
	case cfg.API != config.Auto:
		return nil
	case old == nil || !strings.EqualFold(old.written.TenantID, cfg.TenantID):
		return &choice{api: config.Defender}
	case old.choice != nil && old.written.Equal(cfg):
		return old.choice
	}
	// It is read as before, for what was counted so far is there.
	c := &choice{api: old.Config().API, known: true}
	if old.choice != nil {
		c.anew.Store(old.choice.anew.Load())
		c.why.Store(old.choice.why.Load())
	}
	return c
}

// chooser is what a tenant tells and is told of its choice.
func (f *Fleet) chooser(r *slot) *tenant.Choice {
	return &tenant.Choice{
		Fallback: r.choice.fallback,
		Refused:  func(why tenant.Fallback, since time.Time, sure bool) { f.refused(r, why, since, sure) },
	}
}

// recall finds out by which API a tenant was read last. It reads the store, and makes
// no call. Its error matches state.ErrOutOfReach.
func (f *Fleet) recall(r *slot) error {
	if r.choice.made() {
		return nil
	}
	api, known := f.reads[strings.ToLower(r.written.TenantID)]
	if f.replicas != nil || !known { // another one may have read it since
		var err error
		if api, err = f.lastUsed(r.written); err != nil {
			return err
		}
	}
	r.choice.known = true
	if api == config.Defender {
		return nil
	}
	r.choice.api = api
	f.logger.Info("The tenant was read by Microsoft Graph last, and is again; the native API is tried beside it", "tenant", r.written.Name)
	return f.make(r, nil)
}

// lastUsed is the API whose ledger has the newest call.
func (f *Fleet) lastUsed(cfg config.Tenant) (last string, err error) {
	var at time.Time
	last = config.Defender
	for _, api := range config.APIs() {
		cfg.API = api
		saved, _, err := f.store.Peek(keyOf(cfg))
		if errors.Is(err, state.ErrOutOfReach) {
			return "", err
		}
		// What else is wrong is said when it is opened.
		if used := tenant.LastUse(api, saved, time.Now()); used.After(at) {
			last, at = api, used
		}
	}
	return last, nil
}

// refused is told that the API of a tenant is not there for it. It does not wait.
func (f *Fleet) refused(r *slot, why tenant.Fallback, since time.Time, sure bool) {
	c, now := r.choice, time.Now()
	if !sure && now.Sub(since) < goneFor {
		return
	}
	if c.api != config.Defender {
		c.shut.Store(true)
		return
	}
	if !c.asking.CompareAndSwap(false, true) {
		return
	}
	if now.Before(c.again) {
		c.asking.Store(false)
		return
	}
	f.loops.Go(func() {
		defer c.asking.Store(false)
		c.again = now.Add(askEvery)
		f.fallBack(r, why, since)
	})
}

// fallBack goes over to Graph, if that lets the application read.
func (f *Fleet) fallBack(r *slot, why tenant.Fallback, since time.Time) {
	logger := f.logger.With("tenant", r.written.Name, "reason", string(why), "since", since)
	graph, err := tenant.New(r.written.By(config.Graph), tenant.Dependencies{Transport: r.transport, Logger: f.logger, Replaces: r.Tenant})
	if err == nil {
		err = graph.Permitted(f.ctx)
	}
	if f.ctx.Err() != nil {
		return
	}
	if err != nil {
		if text := err.Error(); r.choice.said != text {
			r.choice.said = text
			logger.Warn("The native API cannot be read, nor can Microsoft Graph in its place", "again", askEvery, "err", err)
		}
		return
	}
	r.choice.why.Store(&why)
	if f.change(r, config.Graph) {
		logger.Warn("The native API cannot be read: the tenant is read by Microsoft Graph from now on. Its counts begin with a first sync, its counters anew with a start time. " +
			"The native API is tried again after a restart, or when the configuration of this tenant changes")
	}
}

// change has a tenant read by the other API, and tells whether it is.
func (f *Fleet) change(r *slot, api string) bool {
	r.choice.next.Store(&api)
	f.Review()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.slots[r.written.Name]
	return now != nil && now != r && now.choice != nil && now.choice.api == api
}

// switched is what takes the place of a slot whose API is to change.
func (f *Fleet) switched(old *slot) *slot {
	c := &choice{api: *old.choice.next.Load(), known: true}
	c.anew.Store(true)
	c.tried.Store(true)
	if c.api == config.Graph {
		c.why.Store(old.choice.why.Load())
	}
	r := &slot{written: old.written, transport: old.transport, staggered: old.staggered, choice: c}
	if err := f.make(r, old); err != nil {
		f.logger.Error("The API of a tenant cannot be changed", "tenant", old.written.Name, "err", err)
		return old
	}
	return r
}

// stay keeps those as they were whose API was to change, and whose state for the
// other one cannot be opened. It is tried again.
func (f *Fleet) stay(order []*slot, failures map[string]error) {
	for i, r := range order {
		name := r.written.Name
		old := f.slots[name]
		if err := failures[name]; err != nil && old != nil && old != r && !old.lost.Load() {
			f.logger.Warn("The state of a tenant cannot be opened, and its API is not changed yet", "tenant", name, "api", r.choice.api, "err", err)
			order[i] = old
			delete(failures, name)
		}
	}
}

// tryNative tries the native API beside a tenant that is read by Graph, until it has
// answered, and has it read if it can be.
func (f *Fleet) tryNative(ctx context.Context, r *slot) {
	logger := f.logger.With("tenant", r.written.Name)
	wait, said := time.Duration(0), false
	if r.staggered {
		wait = time.Duration(stagger(r.written.Name) * float64(r.written.Interval))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		why, err := f.try(ctx, r)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if f.change(r, config.Defender) {
				logger.Info("The native API can be read again: the tenant is, from now on. Its counts begin with a first sync, its counters anew with a start time")
			}
		case why != tenant.None:
			logger.Warn("The native API cannot be read still: the tenant stays with Microsoft Graph", "reason", string(why), "err", err)
			r.choice.why.Store(&why)
			r.choice.tried.Store(true)
			return
		case errors.Is(err, errNothingShown) && !said:
			said = true
			logger.Warn("The native API answers without any incident: the tenant stays with Microsoft Graph", "again", tryEvery)
		default:
			logger.Debug("The native API was tried, and is tried again", "every", tryEvery, "err", err)
		}
		wait = tryEvery
	}
}

var errNothingShown = errors.New("the native API shows no incident, and Microsoft Graph does or is not read yet")

// try makes one call of the native API, of the tenant's account there. It returns
// what its error shows.
func (f *Fleet) try(ctx context.Context, r *slot) (tenant.Fallback, error) {
	native, before, done, err := f.openNative(r)
	if err != nil {
		return tenant.None, err
	}
	defer close(done)
	if err := native.Open(before.ledger, time.Now()); err != nil {
		if f.replicas != nil && before.ledger != nil {
			native.Ledger().Continue(before.ledger, time.Now())
		}
		return tenant.None, err
	}
	shows, err := native.Try(ctx)
	shut, graph := r.choice.shut.Swap(false), r.Status(time.Now())
	if some := graph.Snapshot != nil && graph.Snapshot.Rows > 0; err == nil && !shows && !graph.Empty() && (some || !shut) {
		err = errNothingShown
	}
	if f.replicas != nil && !native.Released() {
		f.replicas.doubt(r.written.Account(), keyOf(native.Config()))
	}
	return native.Refusal(err), err
}

// openNative makes the account of a tenant at the native API that of a try.
func (f *Fleet) openNative(r *slot) (native *tenant.Tenant, before account, done chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by := r.written.By(config.Defender)
	before, known := f.accounts[by.Account()]
	if known && before.used() {
		return nil, before, nil, errors.New("another tenant has the account")
	}
	// What the tenant was counted by before it was read by Graph is of no use any more.
	native, err = tenant.New(by, tenant.Dependencies{Store: f.store, Transport: r.transport, Logger: f.logger, Replaces: r.Tenant, Anew: true})
	if err == nil {
		done = make(chan struct{})
		f.accounts[by.Account()] = account{native.Ledger(), done}
	}
	return native, before, done, err
}
