//go:build e2e && unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// These tests disturb three real replicas and their Redis. Run them with:
// go test -tags e2e -run TestReplicas .

var (
	replicasTime = flag.Duration("replicas.time", time.Minute, "how long TestReplicasChaos disturbs; from 5m on with the default patience")
	replicasSeed = flag.Uint64("replicas.seed", 1, "what TestReplicasChaos does, and when")
	replicasCalm = flag.Bool("replicas.calm", false, "TestReplicasChaos kills and ends one replica at a time, and does nothing else")
	replicasAway = flag.Duration("replicas.away", 20*time.Second, "how long TestReplicasWithoutEngine is without it")
)

// What the API allows of each account. The refreshes would take more.
const (
	sharedPerMinute = 20
	sharedInterval  = time.Second
)

// account is a tenant of all replicas.
type account struct {
	*simulator.Tenant
	name, id string
	perHour  int // 0: no limit
}

// replicas are processes that share their tenants.
type replicas struct {
	t        *testing.T
	engine   *engine
	binary   string
	args     []string
	accounts []*account
	all      []*process
}

// process is one of them, in whatever life.
type process struct {
	name    string
	running *exec.Cmd // nil: it does not run
	ended   chan error
	log     output // of all lives
	born    int    // where that of the present one begins
	stopped bool
	due     time.Time // when what was done to it is undone; zero: it is well
}

// newReplicas starts three, and waits until they serve all tenants: all but the last
// of those have no limit in an hour.
func newReplicas(t *testing.T, e *engine, perHour int, args ...string) *replicas {
	t.Helper()
	r := &replicas{t: t, engine: e, binary: filepath.Join(t.TempDir(), "exporter"), args: args}
	if out, err := exec.Command("go", "build", "-o", r.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "defaults:\n  quota: {per_minute: %d, share: 1}\n  refresh: {interval: %v}\ntenants:\n", sharedPerMinute, sharedInterval)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(simulator.DefaultClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nothing is refused: a client that learns its limit from a refusal is no judge of
	// its own ledger.
	limits := []simulator.Limit{{Period: time.Minute, Calls: 1000}}
	for i, name := range []string{"contoso", "fabrikam", "northwind"} {
		a := &account{name: name, id: fmt.Sprintf("11111111-1111-1111-1111-%012d", i+1)}
		if i == 2 {
			a.perHour = perHour
		}
		a.Tenant = simulator.New(simulator.Options{
			Seed: uint64(i) + 1, Incidents: 150, Light: true, TenantID: a.id, Limits: limits, GetLimits: limits, Rates: tenanttest.Busy,
		})
		a.Fault(simulator.Faults{Delay: 100 * time.Millisecond})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: a.Handler()}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		api := "http://" + listener.Addr().String()
		fmt.Fprintf(&text, "  - {name: %s, tenant_id: %s, api_url: %q, quota: {per_hour: %d}, auth: {client_id: %s, client_secret_file: %s, url: %q, scope: %q}}\n",
			name, a.id, api, a.perHour, simulator.DefaultClientID, secret, api, api+"/.default")
		r.accounts = append(r.accounts, a)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r.args = append(r.args, "--config.file="+file, "--state.url="+e.url, "--web.listen-address=127.0.0.1:0")
	for _, name := range []string{"a", "b", "c"} {
		r.all = append(r.all, &process{name: name})
	}
	t.Cleanup(r.end)
	for _, p := range r.all {
		r.start(p)
	}
	r.until("each tenant has an owner", time.Minute, r.owned)
	return r
}

// end leaves no process behind.
func (r *replicas) end() {
	for _, p := range r.all {
		if p.running != nil {
			_ = p.running.Process.Kill()
			<-p.ended
		}
		if r.t.Failed() {
			text := p.log.String()
			r.t.Logf("the end of the log of %s:\n%s", p.name, text[max(0, len(text)-4000):])
		}
	}
}

func (r *replicas) start(p *process) {
	r.t.Helper()
	p.born, p.stopped, p.due, p.ended = len(p.log.String()), false, time.Time{}, make(chan error, 1)
	p.running = exec.Command(r.binary, append([]string{"--replica.name=" + p.name}, r.args...)...)
	p.running.Stdout, p.running.Stderr = &p.log, &p.log
	if err := p.running.Start(); err != nil {
		r.t.Fatal(err)
	}
	running, ended := p.running, p.ended
	go func() { ended <- running.Wait() }()
}

// signal sends one to a process that runs.
func (r *replicas) signal(p *process, s syscall.Signal) {
	r.t.Helper()
	if err := p.running.Process.Signal(s); err != nil {
		r.t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// gone waits for the end of a process.
func (r *replicas) gone(p *process, within time.Duration) error {
	r.t.Helper()
	select {
	case err := <-p.ended:
		p.running = nil
		return err
	case <-time.After(within):
		r.t.Fatalf("%s does not end within %v", p.name, within)
		return nil
	}
}

// live tells of a process that has ended by itself.
func (r *replicas) live() {
	r.t.Helper()
	for _, p := range r.all {
		select {
		case err := <-p.ended:
			p.ended <- err // for the end of the test
			if p.running != nil {
				r.t.Fatalf("%s has ended: %v", p.name, err)
			}
		default:
		}
	}
}

// address is where a process listens; empty as long as it does not.
func (p *process) address() string { return addressIn(p.log.String()[p.born:]) }

// until waits for something, which is empty once it is so.
func (r *replicas) until(what string, within time.Duration, why func() string) {
	r.t.Helper()
	var last string
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if last = why(); last == "" {
			return
		}
		r.live()
	}
	r.t.Errorf("not within %v: %s: %s", within, what, last)
}

// series are all of a tenant's that a process shows.
func (r *replicas) series(p *process, a *account) map[string]map[string]float64 {
	r.t.Helper()
	if p.address() == "" {
		return nil
	}
	return expositionOf(r.t, "http://"+p.address()+"/metrics", a.name)
}

// owned tells why not each tenant is shown by exactly one replica, who is its owner of
// record since then.
func (r *replicas) owned() string {
	for _, a := range r.accounts {
		if _, why := r.ownerOf(a); why != "" {
			return why
		}
	}
	return ""
}

// ownerOf is the replica that shows a tenant, if it is one and the one of the record.
func (r *replicas) ownerOf(a *account) (owner *process, why string) {
	r.t.Helper()
	var shown []string
	for _, p := range r.all {
		if since := r.series(p, a)["tenant_owned_since_timestamp_seconds"][""]; since > 0 {
			owner, shown = p, append(shown, fmt.Sprintf("%s since %.3f", p.name, since))
		}
	}
	identity, _ := r.engine.owner(a.id)
	if len(shown) != 1 || !strings.HasPrefix(identity, owner.name+"/") {
		return nil, fmt.Sprintf("%s is shown by %v, the record says %q", a.name, shown, identity)
	}
	return owner, ""
}

// exact tells why the counts of the tenants without a limit in an hour are not those
// of the tenants, which have to rest.
func (r *replicas) exact() string {
	for _, a := range r.accounts {
		if a.perHour > 0 {
			continue // it may have to wait for an hour
		}
		owner, why := r.ownerOf(a)
		if why != "" {
			return why
		}
		got := r.series(owner, a)
		want := tenanttest.Expected(a.Truth(time.Now(), config.Default().Lookback), config.Default().AgeThresholds)
		lines := tenanttest.Differences(want, got)
		if got["first_sync_complete"]["stage=all"] != 1 {
			lines = append(lines, "the first sync is not complete")
		}
		if len(lines) > 0 {
			return a.name + ": " + strings.Join(lines[:min(len(lines), 5)], "; ")
		}
	}
	return ""
}

// rest lets nothing happen in the tenants any more.
func (r *replicas) rest() {
	for _, a := range r.accounts {
		a.Rest()
	}
}

// judge asks the meters. most is the fullest minute of any tenant.
func (r *replicas) judge() (calls, most int) {
	r.t.Helper()
	for _, a := range r.accounts {
		m := a.Meter()
		calls += m.Calls
		r.t.Logf("%s: %d calls, at most %d in a minute, %d in an hour", a.name, m.Calls, m.MaxPerMinute, m.MaxPerHour)
		if m.MaxPerMinute > sharedPerMinute || (a.perHour > 0 && m.MaxPerHour > a.perHour) || m.Throttled > 0 || m.Gets > 0 {
			r.t.Errorf("%s: %d calls in a minute, want at most %d; %d in an hour, want at most %d; %d answers 429; %d calls by id",
				a.name, m.MaxPerMinute, sharedPerMinute, m.MaxPerHour, a.perHour, m.Throttled, m.Gets)
		}
		most = max(most, m.MaxPerMinute)
	}
	return calls, most
}

// TestReplicasChaos kills, stops and ends replicas, and kills, empties and fails over
// their Redis, at random moments while they would like to make more calls than they
// may. The servers' own meters are the judge; at rest each tenant has one owner, whose
// counts are exact.
func TestReplicasChaos(t *testing.T) {
	patience, perHour := 3*time.Second, 15
	if *replicasTime >= 5*time.Minute {
		patience, perHour = 10*time.Second, 60
	}
	c := &chaos{
		replicas: newReplicas(t, newEngine(t, true), perHour, "--replica.patience="+patience.String()),
		random:   rand.New(rand.NewPCG(*replicasSeed, 1)),
		faults:   map[string]int{}, took: map[string][]time.Duration{},
	}
	began := time.Now()
	c.run(*replicasTime)
	c.rest()
	c.until("each tenant has one owner", time.Minute, c.owned)
	patient := 3 * time.Minute
	if *replicasTime >= 5*time.Minute {
		patient = 75 * time.Minute // of that many faults one may cost a ledger
	}
	c.until("exact counts", patient, c.exact)
	rested := time.Since(began).Round(time.Second) - *replicasTime
	calls, most := c.judge()
	t.Logf("seed %d, %v: %d calls, %v; exact counts after another %v", *replicasSeed, *replicasTime, calls, c.faults, rested)
	if most < sharedPerMinute*3/4 {
		t.Errorf("%d calls in a minute at most: the test shows nothing", most)
	}
	for _, what := range slices.Sorted(maps.Keys(c.took)) {
		took := c.took[what]
		slices.Sort(took)
		last := took[len(took)-1]
		t.Logf("%s until owned again: %d times, p50 %v, p99 %v, at most %v", what, len(took), took[len(took)/2], took[len(took)*99/100], last)
		if last > 45*time.Second {
			t.Errorf("%s: a tenant had no owner for %v", what, last)
		}
	}
}

// chaos is what befalls replicas.
type chaos struct {
	*replicas
	random *rand.Rand
	faults map[string]int
	// bereft are the tenants whose owner has gone.
	bereft map[*account]loss
	took   map[string][]time.Duration

	broken *server   // of the engine, killed
	mended time.Time // when it is started again
	plan   []string  // what is done to the engine next
	next   time.Time // when something is done to a replica next
	back   time.Time // when the last replica came back
}

const emptied = "Redis emptied"

// replan lets each thing be done to the engine once more.
func (c *chaos) replan() {
	c.plan = []string{"Redis killed", emptied, "Redis failed over"}
	c.random.Shuffle(len(c.plan), func(i, j int) { c.plan[i], c.plan[j] = c.plan[j], c.plan[i] })
}

type loss struct {
	what     string
	identity string // of the owner that has gone
	at       time.Time
}

// amid is added to what happens while something else is wrong, or has just been: how
// long that takes shows nothing.
const amid = " amid other faults"

// alone tells that nothing is wrong but what is done to one replica now.
func (c *chaos) alone(now time.Time) bool {
	return c.well(0) && c.broken == nil && len(c.bereft) == 0 && now.Sub(c.back) > 5*time.Second && now.Sub(c.mended) > 10*time.Second
}

// interfere notes that no loss that is not over is alone any more.
func (c *chaos) interfere() {
	for a, lost := range c.bereft {
		if !strings.HasSuffix(lost.what, amid) {
			lost.what += amid
			c.bereft[a] = lost
		}
	}
}

// between is a time at random.
func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}

func (c *chaos) run(length time.Duration) {
	c.bereft = map[*account]loss{}
	c.replan()
	began := time.Now()
	engineNext := began.Add(12 * time.Second)
	c.next = began.Add(10 * time.Second) // the quotas are spent by then
	for ; time.Since(began) < length; time.Sleep(50 * time.Millisecond) {
		now := time.Now()
		c.live()
		c.undo(now)
		c.look(now)
		if wait := !*replicasCalm && c.plan[0] == emptied && now.After(engineNext); now.After(c.next) && !wait {
			c.next = now.Add(c.between(500*time.Millisecond, 5*time.Second))
			if *replicasCalm {
				c.next = now.Add(c.between(18*time.Second, 22*time.Second))
			}
			c.disturb(now)
		}
		if !*replicasCalm && now.After(engineNext) && c.breakEngine(now) {
			engineNext = now.Add(max(16*time.Second, c.between(length/40, length/15)))
		}
	}
	for end := time.Now().Add(time.Minute); len(c.bereft) > 0 || c.broken != nil || !c.well(0); time.Sleep(50 * time.Millisecond) {
		c.undo(time.Now())
		c.look(time.Now())
		if time.Now().After(end) {
			c.t.Fatalf("no owner a minute after the last fault: %v", c.bereft)
		}
	}
}

// well tells that all replicas are but so many.
func (c *chaos) well(but int) bool {
	for _, p := range c.all {
		if !p.due.IsZero() {
			but--
		}
	}
	return but >= 0
}

// undo brings back what is due.
func (c *chaos) undo(now time.Time) {
	for _, p := range c.all {
		switch {
		case p.due.IsZero() || now.Before(p.due):
		case p.stopped:
			c.back = now
			c.signal(p, syscall.SIGCONT)
			p.stopped, p.due = false, time.Time{}
		default:
			c.back = now
			c.start(p)
		}
	}
	if c.broken != nil && now.After(c.mended) {
		c.engine.again(c.broken)
		c.broken = nil
	}
}

// look notes the tenants that have an owner again.
func (c *chaos) look(now time.Time) {
	for a, lost := range c.bereft {
		if owner, ok := c.engine.owner(a.id); ok && owner != "" && owner != lost.identity {
			c.took[lost.what] = append(c.took[lost.what], now.Sub(lost.at).Round(10*time.Millisecond))
			delete(c.bereft, a)
		}
	}
}

// disturb does something to a replica. One of the three is always well, so that there
// is somebody to take over.
func (c *chaos) disturb(now time.Time) {
	if !c.well(1) {
		return
	}
	p := c.all[c.random.IntN(len(c.all))]
	for !p.due.IsZero() {
		p = c.all[c.random.IntN(len(c.all))]
	}
	c.interfere()
	n := c.random.IntN(10)
	if *replicasCalm && n >= 4 {
		n = 7 + n%3
	}
	switch {
	case n < 4:
		c.bereave(p, "kill -9", now)
		c.signal(p, syscall.SIGKILL)
		_ = c.gone(p, 10*time.Second)
		p.due = now.Add(c.between(0, 10*time.Second))
	case n < 7:
		c.faults["SIGSTOP"]++
		c.signal(p, syscall.SIGSTOP)
		p.stopped, p.due = true, now.Add(c.between(200*time.Millisecond, 15*time.Second))
	default:
		if p.address() == "" {
			return // it may not know of signals yet
		}
		c.bereave(p, "SIGTERM", now)
		c.signal(p, syscall.SIGTERM)
		p.due = now.Add(c.between(0, 10*time.Second))
		c.ends(p)
	}
}

// ends waits for the end after SIGTERM, and does not look away meanwhile.
func (c *chaos) ends(p *process) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c.look(time.Now())
		select {
		case err := <-p.ended:
			if p.running = nil; err != nil {
				c.t.Errorf("%s after SIGTERM: %v", p.name, err)
			}
			return
		default:
		}
	}
	c.t.Fatalf("%s does not end", p.name)
}

// bereave notes the tenants that a replica leaves without an owner.
func (c *chaos) bereave(p *process, what string, now time.Time) {
	c.faults[what]++
	if !c.alone(now) {
		what += amid
	}
	for _, a := range c.accounts {
		owner, ok := c.engine.owner(a.id)
		if _, already := c.bereft[a]; ok && !already && strings.HasPrefix(owner, p.name+"/") {
			c.bereft[a] = loss{what, owner, now}
		}
	}
}

// breakEngine does something to the Redis, unless it has not recovered yet.
func (c *chaos) breakEngine(now time.Time) bool {
	if c.broken != nil || c.engine.Ping(c.t.Context()).Err() != nil {
		return false
	}
	primary := c.engine.primary()
	switch what := c.plan[0]; what {
	case emptied:
		// Each tenant has to have an owner that lives, no tenant may be on its way to
		// another one, and they have to have written themselves back before one of them
		// goes: a ledger that is lost costs a quarter of an hour.
		if !c.well(0) || len(c.bereft) > 0 || now.Sub(c.back) < 4*time.Second || c.engine.FlushAll(c.t.Context()).Err() != nil {
			return false
		}
		c.next = now.Add(5 * time.Second)
	case "Redis failed over":
		if !c.engine.copied(c.other(primary).port) {
			return false
		}
		c.engine.kill(primary)
		c.broken, c.mended = primary, now.Add(8*time.Second)
	default:
		c.engine.kill(primary)
		c.broken, c.mended = primary, now.Add(c.between(100*time.Millisecond, time.Second)) // before the Sentinel takes notice
	}
	c.interfere()
	c.faults[c.plan[0]]++
	if c.plan = c.plan[1:]; len(c.plan) == 0 {
		c.replan()
	}
	return true
}

// other is the server that is not this one.
func (c *chaos) other(s *server) *server {
	return c.engine.servers[1-slices.Index(c.engine.servers, s)]
}

// TestReplicasWithoutEngine: while the Redis is away the counts stay, no call is made
// and no process ends. Soon after its return everything is current.
func TestReplicasWithoutEngine(t *testing.T) {
	e := newEngine(t, false)
	r := newReplicas(t, e, 0, "--replica.patience=3s")
	r.until("a first sync", 2*time.Minute, func() string {
		for _, a := range r.accounts {
			if owner, why := r.ownerOf(a); why != "" {
				return why
			} else if r.series(owner, a)["first_sync_complete"]["stage=all"] != 1 {
				return a.name
			}
		}
		return ""
	})
	owners := map[*account]*process{}
	for _, a := range r.accounts {
		owners[a], _ = r.ownerOf(a)
	}
	e.kill(e.servers[0])
	time.Sleep(3 * time.Second) // what is on its way arrives
	calls, counts := map[*account]int{}, map[*account]map[string]float64{}
	for a, p := range owners {
		calls[a], counts[a] = a.Meter().Calls, r.series(p, a)["incidents"]
	}
	for end := time.Now().Add(*replicasAway); time.Now().Before(end) && !t.Failed(); time.Sleep(time.Second) {
		r.live()
		for _, p := range r.all {
			if err := healthy(t, p.address()); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
		for a, p := range owners {
			if got := r.series(p, a)["incidents"]; len(got) == 0 || !maps.Equal(got, counts[a]) {
				t.Errorf("%s: got %v, want %v", a.name, got, counts[a])
			}
			if got := a.Meter().Calls - calls[a]; got != 0 {
				t.Errorf("%s: %d calls", a.name, got)
			}
		}
	}
	r.rest()
	e.again(e.servers[0])
	e.answers()
	began := time.Now()
	r.until("exact counts", 30*time.Second, r.exact)
	t.Logf("current %v after the return", time.Since(began).Round(10*time.Millisecond))
	for a, p := range owners {
		if now, why := r.ownerOf(a); now != p {
			t.Errorf("%s has moved; %s", a.name, why)
		}
	}
	r.judge()
}

// healthy asks a process whether it is.
func healthy(t *testing.T, address string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/-/healthy", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
