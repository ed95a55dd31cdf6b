package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/replica"
	"m365_defender_exporter/internal/state"
)

const (
	// beatEvery is how often a replica says that it lives, reads who else does, and
	// tries to take what it should have.
	beatEvery = time.Second
	// beatWithin is how long a beat may take. It is less than the shortest patience,
	// lest a single one that hangs be a silence.
	beatWithin = 1500 * time.Millisecond
	// awayEvery is how often it is tried to open a tenant of which the store tells
	// nothing while it tells of others.
	awayEvery = 5 * time.Second
	// leaveWithin bounds each of the two last exchanges.
	leaveWithin = 500 * time.Millisecond
	// takeAtOnce is how many tenants are opened before the first of them refresh.
	takeAtOnce = 64
	// lookAtOnce is how many owners are asked for at a time, of tenants that others
	// have as a rule: replicas with different configurations.
	lookAtOnce = 2000
)

// Patience is how long a silent replica is waited for.
const (
	DefaultPatience = 10 * time.Second
	MinPatience     = 3 * time.Second
	MaxPatience     = 5 * time.Minute
)

// Replicas are the processes that share the tenants, as one of them sees it. It
// says that it lives and strikes off who does not, decides which tenants are its
// own, and has the fleet take those and give up others:
//
//   - A tenant belongs to one of the replicas with the same configuration that are
//     not leaving; see replica.Shares. Its owner hands it over.
//   - Replicas with another configuration hand nothing over to each other. What is
//     free each takes.
//   - A state that is out of reach changes nothing: nothing is taken, nothing given
//     up.
//   - Who was struck off gives everything up, and joins as somebody new at once.
//
// What it decides is for efficiency alone. That no call is made by who is not the
// owner of record is up to the store.
type Replicas struct {
	store    state.Shared
	name     string
	version  string
	logger   *slog.Logger
	observer *replica.Observer
	fleet    *Fleet // set by Start

	cancelBeats, cancelTurns context.CancelFunc
	beats, turns             sync.WaitGroup
	kick                     chan struct{} // a beat is due now
	wake                     chan struct{} // there may be something to take or to give up

	view      atomic.Pointer[view]
	owned     atomic.Pointer[map[string]bool] // by config.Tenant.Account
	heartbeat atomic.Pointer[time.Time]       // whose age the wall clock does not change
	joined    atomic.Bool                     // at least once
	leaving   atomic.Bool
	said      chan struct{} // closed once it was tried to say so

	takeovers [state.Silent + 1]atomic.Uint64
	lost      atomic.Uint64
	conflicts atomic.Uint64

	// Of the goroutine of the beats.
	as       string // its name, unless another replica had that
	member   bool
	again    bool      // it was a member before
	failing  string    // why the store is out of reach, as it was last said; empty: it is not
	failedAt time.Time // when that was
	lastSeen string    // the names, as they were last said

	// Of the goroutine of the turns.
	shares   replica.Shares
	computed int             // for which configuration the next two hold
	mine     map[string]bool // accounts that should be served here
	places   []int           // theirs in the configuration
	cursor   int             // where among them to look for owners next

	mu      sync.Mutex
	perhaps map[state.Key]string // accounts of tenants whose record may say that they are ours
	faulty  map[string]failure   // by account: what cannot be opened here
}

// failure is why a tenant cannot be opened, for another reason than that another
// replica has it, and when it is tried again.
type failure struct {
	err   error
	since time.Time
	again time.Time // zero: in a moment
	said  bool
}

// ReplicaOptions are what a replica is made of.
type ReplicaOptions struct {
	Store state.Shared
	// Name is the same after a restart, and no other replica's.
	Name string
	// Patience is how long a silent replica is waited for; 0: DefaultPatience.
	Patience time.Duration
	// Version of the program, for the others to see.
	Version string
	Logger  *slog.Logger
}

// view is who there is, as of a beat.
type view struct {
	at      time.Time               // when the beat began, which the store has answered
	members map[string]state.Member // by identity
	config  string                  // ours
	me      string                  // our name among them
	peers   []string                // names with our configuration, and not leaving
}

// NewReplicas returns one that is not a member yet and owns nothing.
func NewReplicas(o ReplicaOptions) *Replicas {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	r := &Replicas{
		store: o.Store, name: o.Name, as: o.Name, version: o.Version, logger: o.Logger,
		observer: replica.NewObserver(o.Patience, beatEvery),
		kick:     make(chan struct{}, 1), wake: make(chan struct{}, 1), said: make(chan struct{}),
		perhaps: map[state.Key]string{}, faulty: map[string]failure{},
	}
	r.owned.Store(&map[string]bool{})
	r.heartbeat.Store(new(time.Now()))
	return r
}

// owns tells whether a tenant is this replica's.
func (r *Replicas) owns(cfg config.Tenant) bool { return (*r.owned.Load())[cfg.Account()] }

// Start joins the others, on its own and as soon as the store is in reach, for the
// tenants of a fleet that was made with these replicas and has a configuration.
func (r *Replicas) Start(f *Fleet) {
	r.fleet = f
	var beats, turns context.Context
	beats, r.cancelBeats = context.WithCancel(context.WithoutCancel(f.ctx)) // while the tenants stop, too
	turns, r.cancelTurns = context.WithCancel(f.ctx)
	r.beats.Go(func() { r.beatLoop(beats) })
	r.turns.Go(func() { r.turnLoop(turns) })
}

// Stop hands everything over: the others hear of it first, so that they take each
// tenant as soon as it is closed; the tenants save their states, for which they
// are waited for so long; then the membership ends.
func (r *Replicas) Stop(patience time.Duration) {
	r.cancelTurns()
	r.leaving.Store(true)
	signal(r.kick)
	<-r.said
	r.fleet.Stop(patience)
	r.turns.Wait()
	r.cancelBeats()
	r.beats.Wait()
	if r.member {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.fleet.ctx), leaveWithin)
		defer cancel()
		if err := r.store.Leave(ctx); err != nil {
			r.logger.Warn("The other replicas were not told that this one ends; they wait for it", "err", err)
		}
	}
}

// signal wakes who waits for the channel, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *Replicas) beatLoop(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		r.heartbeat.Store(new(time.Now()))
		leaving := r.leaving.Load()
		within := beatWithin
		if leaving {
			within = leaveWithin
		}
		r.failed(r.beat(ctx, within))
		if leaving {
			r.saidSo()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.kick:
		}
	}
}

// saidSo tells Stop that the others were told that this one leaves, if they could
// be.
func (r *Replicas) saidSo() {
	select {
	case <-r.said:
	default:
		close(r.said)
	}
}

// failed says so when the store gets out of reach, once a minute if it is for another
// reason than before, and when it is back.
func (r *Replicas) failed(err error) {
	switch {
	case err == nil && r.failing != "":
		r.failing = ""
		r.logger.Info("The shared state is back")
	case err != nil && r.failing != err.Error() && (r.failing == "" || time.Since(r.failedAt) >= time.Minute):
		r.failing, r.failedAt = err.Error(), time.Now()
		r.logger.Error("The shared state is out of reach: no call is made, no tenant is taken or given up", "err", err)
	}
}

// beat says that this replica lives, joins first if it has to, and notes who else
// does.
func (r *Replicas) beat(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	me := state.Member{Name: r.as, Config: *r.fleet.configHash.Load(), Version: r.version, Leaving: r.leaving.Load()}
	for {
		if !r.member {
			if err := r.join(ctx, me); err != nil {
				return err
			}
			me.Name = r.as
		}
		began := time.Now()
		members, err := r.store.Beat(ctx, me)
		if errors.Is(err, state.ErrStruckOff) {
			r.struckOff()
			continue
		}
		if err == nil {
			r.see(ctx, began, me, members)
		}
		return err
	}
}

// join becomes a member.
func (r *Replicas) join(ctx context.Context, me state.Member) error {
	before, err := r.store.Join(ctx, me)
	if err != nil {
		return err
	}
	r.member = true
	r.joined.Store(true)
	r.mu.Lock()
	clear(r.perhaps) // the records speak of another life
	r.mu.Unlock()
	r.logger.Info("Joined the replicas", "name", me.Name, "before", before)
	if before != "" && r.again {
		// At a start it is the life before of this replica. But who was struck off and
		// finds its name taken has been struck off by who has it, and struck that one
		// off by now: they would go on so for ever.
		r.conflicts.Add(1)
		r.member, r.as = false, fmt.Sprintf("%s~%04x", r.name, rand.Uint32()&0xffff)
		r.logger.Error("Another replica has the same name; this one goes on under another. Give each its own: --replica.name", "other", before, "name", r.as)
		if err := r.store.Leave(ctx); err != nil {
			return err // it will be found silent
		}
		me.Name = r.as
		return r.join(ctx, me)
	}
	r.again = true
	return nil
}

// struckOff gives everything up.
func (r *Replicas) struckOff() {
	r.member = false
	n := r.fleet.loseAll()
	r.logger.Warn("This replica was struck off: it was silent for too long, or another one has its name. It gives its tenants up and joins again", "tenants", n)
}

// see notes who there is, and strikes off who is silent.
func (r *Replicas) see(ctx context.Context, at time.Time, me state.Member, members []state.Member) {
	v := &view{at: at, members: make(map[string]state.Member, len(members)), config: me.Config, me: me.Name}
	beats := make([]replica.Beat, 0, len(members))
	for _, m := range members {
		v.members[m.Identity] = m
		if m.Name != me.Name {
			beats = append(beats, replica.Beat{Identity: m.Identity, Count: m.Beats})
		}
	}
	for _, silent := range r.observer.Observe(time.Now(), beats) {
		m := v.members[silent.Identity]
		struck, err := r.store.Strike(ctx, m)
		if err != nil {
			r.logger.Warn("A silent replica could not be struck off", "replica", m.Identity, "err", err)
			continue
		}
		if struck {
			r.logger.Warn("A replica is silent and was struck off; its tenants are taken over", "replica", m.Identity)
			delete(v.members, m.Identity)
		}
	}
	for _, m := range v.members {
		if m.Config == v.config && !m.Leaving {
			v.peers = append(v.peers, m.Name)
		}
	}
	slices.Sort(v.peers)
	r.view.Store(v)
	if names := strings.Join(v.names(), ", "); names != r.lastSeen {
		r.lastSeen = names
		r.logger.Info("The replicas have changed", "replicas", names, "with_this_configuration", len(v.peers))
	}
	signal(r.wake)
}

// names of all members, sorted.
func (v *view) names() (names []string) {
	for _, m := range v.members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// turnLoop takes and gives up tenants. It is not the goroutine of the beats, for
// to open many tenants may take longer than the others' patience.
func (r *Replicas) turnLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		var taken, given int
		for more := true; more && ctx.Err() == nil; {
			var t, g int
			t, g, more = r.turn(ctx)
			taken, given = taken+t, given+g
		}
		if taken+given > 0 {
			r.logger.Info("Tenants have moved", "taken", taken, "given_up", given)
		}
	}
}

// turn gives up what is another's, takes some of what is this replica's and free,
// and tells whether there may be more.
func (r *Replicas) turn(ctx context.Context) (taken, given int, more bool) {
	v, c := r.view.Load(), r.fleet.claims()
	if v == nil {
		return 0, 0, false
	}
	if c.config != v.config {
		signal(r.kick) // the others do not know of this configuration yet
		return 0, 0, false
	}
	r.divide(v, &c)
	r.release(&c)
	owned, given := r.keep(&c)
	free := r.free(ctx, v, r.wanted(&c))
	if len(free)+given+c.lost == 0 {
		return 0, 0, false
	}
	for i := range free {
		owned[free[i].Account()] = true
	}
	r.owned.Store(&owned)
	failures := r.fleet.Review()
	for i := range free {
		if r.opened(v, &free[i], failures[free[i].Name]) {
			taken++
		}
	}
	return taken, given, taken > 0
}

// divide finds out which tenants should be this replica's, if that may have changed.
func (r *Replicas) divide(v *view, c *claims) {
	if r.computed == c.replaced && slices.Equal(r.shares.Names(), v.peers) {
		return
	}
	r.shares, r.computed = replica.NewShares(v.peers), c.replaced
	r.mine, r.places, r.cursor = map[string]bool{}, nil, 0
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.faulty
	r.faulty = map[string]failure{}
	for i := range c.configs {
		account := c.configs[i].Account()
		if r.shares.Owner(account) != v.me {
			continue
		}
		r.mine[account], r.places = true, append(r.places, i)
		if was, ok := before[account]; ok {
			r.faulty[account] = was
		}
	}
}

// keep are the accounts that are served here and stay, and how many do not.
func (r *Replicas) keep(c *claims) (owned map[string]bool, given int) {
	owned = make(map[string]bool, len(c.served)+takeAtOnce)
	for account := range c.served {
		if r.mine[account] {
			owned[account] = true
		} else {
			given++
		}
	}
	return owned, given
}

// wanted are some of the tenants that this replica should have and does not.
func (r *Replicas) wanted(c *claims) (wanted []config.Tenant) {
	now, n := time.Now(), len(r.places)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		cfg := &c.configs[r.places[(r.cursor+i)%n]]
		if account := cfg.Account(); c.served[account] || now.Before(r.faulty[account].again) {
			continue
		}
		if wanted = append(wanted, *cfg); len(wanted) == lookAtOnce {
			r.cursor = (r.cursor + i + 1) % n // next time the others
			break
		}
	}
	return wanted
}

// opened takes note of how it went to open a tenant. A store that is out of reach the
// beats tell of; if it has answered one since, the fault is the tenant's own.
func (r *Replicas) opened(v *view, cfg *config.Tenant, err error) bool {
	account, away := cfg.Account(), errors.Is(err, state.ErrOutOfReach)
	if errors.Is(err, errNotTried) {
		return false
	}
	if away {
		for _, key := range keysOf(cfg) {
			r.doubt(account, key) // an answer may have been lost
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.faulty[account]
	if errors.Is(err, state.ErrInUse) {
		delete(r.faulty, account)
		return false // as it may be; it is tried again in a moment
	}
	if err == nil {
		delete(r.faulty, account)
		if was.said {
			r.logger.Info("The tenant could be opened, it is served", "tenant", cfg.Name)
		}
		return true
	}
	now := time.Now()
	is := failure{err: err, since: now, said: was.said}
	if was.err != nil {
		is.since = was.since
	}
	if away && !v.at.After(is.since) {
		r.faulty[account] = is
		return false
	}
	every := reviewEvery
	if away {
		every = awayEvery
	}
	r.fleet.openFailures.Add(1)
	// What is wrong with a connection has another number in it each time.
	if !was.said || away != errors.Is(was.err, state.ErrOutOfReach) || !away && was.err.Error() != err.Error() {
		r.logger.Warn("A tenant cannot be opened; it is not served, and tried again", "tenant", cfg.Name, "every", every, "err", err)
	}
	is.said, is.again = true, now.Add(every)
	r.faulty[account] = is
	return false
}

// heard is when the last beat began that the store has answered, zero before the first.
func (r *Replicas) heard() time.Time {
	if v := r.view.Load(); v != nil {
		return v.at
	}
	return time.Time{}
}

// free are those of the tenants that no living replica has, at most so many as are
// taken at once.
func (r *Replicas) free(ctx context.Context, v *view, wanted []config.Tenant) (free []config.Tenant) {
	if len(wanted) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	owners, err := r.owners(ctx, v, len(wanted), func(i int) *config.Tenant { return &wanted[i] })
	if err != nil {
		// It has answered a beat a moment ago: to open them tells more.
		return wanted[:min(len(wanted), takeAtOnce)]
	}
	for i, owner := range owners {
		switch {
		case owner != "" && owner != v.me:
			r.mu.Lock()
			delete(r.faulty, wanted[i].Account()) // not for everybody
			r.mu.Unlock()
		case len(free) < takeAtOnce:
			free = append(free, wanted[i])
		}
	}
	return free
}

// owners are the names of the living owners of record of n tenants, "" where there
// is none. One that may be read by either API is owned by who has the state of one.
func (r *Replicas) owners(ctx context.Context, v *view, n int, of func(int) *config.Tenant) (names []string, err error) {
	var keys []state.Key
	var whose []int
	for i := range n {
		for _, key := range keysOf(of(i)) {
			keys, whose = append(keys, key), append(whose, i)
		}
	}
	owners, err := r.store.Owners(ctx, keys)
	if err != nil {
		return nil, err
	}
	names = make([]string, n)
	for k, owner := range owners {
		if name := v.members[owner].Name; name != "" && (names[whose[k]] == "" || name != v.me) {
			names[whose[k]] = name
		}
	}
	return names, nil
}

// doubt notes that a record of a tenant may say that it is this replica's,
// although it is not served here: an answer was lost.
func (r *Replicas) doubt(account string, key state.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.perhaps[key] = account
}

// release closes the states that are in doubt and not to be served here, which
// otherwise no replica could open as long as this one lives.
func (r *Replicas) release(c *claims) {
	r.mu.Lock()
	perhaps := maps.Clone(r.perhaps)
	r.mu.Unlock()
	for key, account := range perhaps {
		of := config.Tenant{TenantID: key.Tenant, Settings: config.Settings{API: key.API}}
		open := c.open[of.Account()]
		if c.closing[of.Account()] || !open && (r.mine[account] || c.served[account]) {
			continue
		}
		if !open {
			t, err := r.store.Open(key)
			if err == nil {
				err = t.Close()
			}
			if errors.Is(err, state.ErrOutOfReach) {
				return
			}
		}
		r.mu.Lock()
		delete(r.perhaps, key)
		r.mu.Unlock()
	}
}

// keyOf names the state of a tenant.
func keyOf(cfg config.Tenant) state.Key { return state.Key{Tenant: cfg.TenantID, API: cfg.API} }

// keysOf are those of the states that a tenant may have.
func keysOf(cfg *config.Tenant) (keys []state.Key) {
	if cfg.API != config.Auto {
		return []state.Key{keyOf(*cfg)}
	}
	for _, api := range config.APIs() {
		keys = append(keys, state.Key{Tenant: cfg.TenantID, API: api})
	}
	return keys
}

// ReplicaStatus is what one replica knows of all.
type ReplicaStatus struct {
	// Name is this replica's, Names are those of all members.
	Name  string
	Names []string
	// Joined: it was a member at least once.
	Joined bool
	// Heartbeat is when the loop of the beats last turned.
	Heartbeat time.Time
	// Takeovers are the tenants that were taken from others, Lost those that others
	// have taken, Conflicts the times that another replica had this one's name.
	Takeovers       map[string]uint64 // by state.Predecessor
	Lost, Conflicts uint64
}

// Replicas tells of the replicas; ok is false if the store is not shared. It may be
// called at any time and does not wait.
func (f *Fleet) Replicas() (s ReplicaStatus, ok bool) {
	r := f.replicas
	if r == nil {
		return s, false
	}
	s = ReplicaStatus{
		Name: r.name, Joined: r.joined.Load(), Heartbeat: *r.heartbeat.Load(),
		Lost: r.lost.Load(), Conflicts: r.conflicts.Load(),
	}
	s.Takeovers = make(map[string]uint64, len(r.takeovers))
	for from := range r.takeovers {
		s.Takeovers[state.Predecessor(from).String()] = r.takeovers[from].Load()
	}
	if v := r.view.Load(); v != nil {
		s.Name, s.Names = v.me, v.names()
	}
	return s, true
}

// explain asks whose the tenants are.
func (r *Replicas) explain(ctx context.Context, all []Unserved) error {
	r.mu.Lock()
	for i := range all {
		if all[i].Err == nil {
			all[i].Err = r.faulty[all[i].Config.Account()].err
		}
	}
	r.mu.Unlock()
	v := r.view.Load()
	if v == nil || len(all) == 0 {
		return nil
	}
	owners, err := r.owners(ctx, v, len(all), func(i int) *config.Tenant { return &all[i].Config })
	if err != nil {
		return fmt.Errorf("the owners of the other tenants are not known: %w", err)
	}
	for i, owner := range owners {
		all[i].Owner = owner
	}
	return nil
}
