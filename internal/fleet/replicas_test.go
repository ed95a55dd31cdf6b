package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/statetest"
	"m365_defender_exporter/internal/tenanttest"
)

// herd is replicas that share a board, and the tenants of the hosts, in a bubble.
type herd struct {
	*tenanttest.Hosts
	t     testing.TB
	board *statetest.Board
	all   []*life
	log   io.Writer
}

// life is a replica from its start to its end.
type life struct {
	*Fleet
	replicas *Replicas
	store    *statetest.Store
	herd     *herd
	name     string
	over     atomic.Bool
	said     bytes.Buffer
}

// RoundTrip implements http.RoundTripper: nothing leaves a process that is stopped
// or dead.
func (l *life) RoundTrip(r *http.Request) (*http.Response, error) {
	l.store.Gate()
	defer l.store.Gate()
	if l.over.Load() {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return l.herd.RoundTrip(r)
}

func inHerd(t *testing.T, test func(*herd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &herd{t: t, Hosts: tenanttest.NewHosts(t), board: statetest.NewBoard(), log: io.Discard}
		if os.Getenv("HERD_LOG") != "" {
			h.log = os.Stderr
		}
		defer func() {
			for _, l := range h.all {
				if !l.over.Load() {
					l.stop()
				}
			}
		}()
		test(h)
	})
}

// begin is a new replica.
func (h *herd) begin(name string, patience time.Duration, configs ...config.Tenant) *life {
	h.t.Helper()
	l := &life{herd: h, name: name, store: h.board.Store()}
	logger := slog.New(slog.NewTextHandler(io.MultiWriter(&l.said, h.log), nil)).With("replica", name)
	l.replicas = NewReplicas(ReplicaOptions{Store: l.store, Name: name, Patience: patience, Logger: logger})
	l.Fleet = New(h.t.Context(), Options{
		Store: l.store, Logger: logger, Replicas: l.replicas,
		NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return l, nil },
	})
	if _, err := l.Replace(configs); err != nil {
		h.t.Fatal(err)
	}
	l.replicas.Start(l.Fleet)
	h.all = append(h.all, l)
	return l
}

// stop is SIGTERM.
func (l *life) stop() {
	l.replicas.Stop(10 * time.Second)
	l.over.Store(true)
}

// kill is SIGKILL: what it still does in order to stop reaches nobody.
func (l *life) kill() {
	l.store.Cut(true)
	l.over.Store(true)
	l.replicas.Stop(10 * time.Second)
}

func (h *herd) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tenants are so many small ones.
func (h *herd) tenants(n int) (configs []config.Tenant) {
	for i := range n {
		configs = append(configs, h.Tenant(fmt.Sprintf("t%03d", i)))
	}
	return configs
}

// served are the names of the tenants that a replica serves.
func (l *life) served() (names []string) {
	for _, t := range l.Tenants() {
		names = append(names, t.String())
	}
	slices.Sort(names)
	return names
}

// once fails the test unless each tenant is served by one of the replicas, which
// is its owner of record.
func (h *herd) once(configs []config.Tenant) {
	h.t.Helper()
	if why := h.unserved(configs); why != "" {
		h.t.Error(why)
	}
	owners := h.board.Owners()
	for _, l := range h.all {
		if l.over.Load() {
			continue
		}
		s, _ := l.Replicas() // it may go by another name
		for _, t := range l.Tenants() {
			if owner, _, _ := strings.Cut(owners[t.Config().TenantID], "/"); owner != s.Name {
				h.t.Errorf("%s is served by %s, and the owner of record is %q", t, s.Name, owner)
			}
		}
	}
}

// unserved says which tenants are not served by exactly one replica. After two
// faults at once one may not be the owner of record any more: it learns of that at
// its next call.
func (h *herd) unserved(configs []config.Tenant) string {
	by := map[string][]string{}
	for _, l := range h.all {
		if l.over.Load() {
			continue
		}
		for _, t := range l.Tenants() {
			by[t.String()] = append(by[t.String()], l.name)
		}
	}
	var wrong []string
	for _, cfg := range configs {
		if got := by[cfg.Name]; len(got) != 1 {
			wrong = append(wrong, fmt.Sprintf("%s is served by %v", cfg.Name, got))
		}
	}
	return strings.Join(wrong, "; ")
}

// counts of tenants by replica.
func (h *herd) counts() map[string]int {
	n := map[string]int{}
	for _, l := range h.all {
		if !l.over.Load() {
			n[l.name] = len(l.Tenants())
		}
	}
	return n
}

// TestReplicasShare: the first has all, each that comes gets its share, which is
// handed over, and what goes is taken over by the rest.
func TestReplicasShare(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(30)
		a := h.begin("a", 0, configs...)
		h.wait(2 * time.Second)
		if len(a.Tenants()) != 30 {
			t.Errorf("alone it serves %d", len(a.Tenants()))
		}
		h.wait(time.Minute)
		h.begin("b", 0, configs...)
		h.wait(3 * time.Second)
		c := h.begin("c", 0, configs...)
		h.wait(3 * time.Second)
		h.once(configs)
		for name, n := range h.counts() {
			if n < 3 || n > 18 {
				t.Errorf("%s serves %d", name, n)
			}
		}
		// One leaves.
		before := a.served()
		began := time.Now()
		c.stop()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the stop took %v", took)
		}
		h.wait(1100 * time.Millisecond)
		h.once(configs)
		if after := a.served(); slices.ContainsFunc(before, func(name string) bool { return !slices.Contains(after, name) }) {
			t.Errorf("what was a's moved: %v, then %v", before, after)
		}
		// One dies.
		a.kill()
		h.wait(9 * time.Second)
		if len(h.all[1].Tenants()) == 30 {
			t.Error("it was not waited for")
		}
		h.wait(4 * time.Second)
		h.once(configs)
		b := h.all[1]
		s, _ := b.Replicas()
		if s.Takeovers["silent"] == 0 || s.Takeovers["handed_over"] == 0 || s.Lost > 0 {
			t.Errorf("takeovers %v, %d lost", s.Takeovers, s.Lost)
		}
		h.wait(5 * time.Minute)
		for _, tenant := range b.Tenants() {
			if !tenant.Status(time.Now()).Refresh.Up {
				t.Errorf("%s does not refresh", tenant)
			}
		}
		for name, sim := range h.Sims {
			if m := sim.Meter(); m.MaxPerMinute > 40 {
				t.Errorf("%s: %d calls in a minute", name, m.MaxPerMinute)
			}
		}
	})
}

// TestRestartInPlace: a replica whose process died and begins again does not wait
// for itself.
func TestRestartInPlace(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(10)
		h.begin("a", 0, configs...)
		b := h.begin("b", 0, configs...)
		h.wait(time.Minute)
		b.kill()
		h.begin("b", 0, configs...)
		h.wait(2 * time.Second)
		h.once(configs)
	})
}

// TestSameName: of two living replicas with one name one goes on under another, or
// both do if they find out in the same moment. Both say so, and then nothing moves
// any more.
func TestSameName(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(10)
		a := h.begin("a", 0, configs...)
		h.wait(time.Minute)
		b := h.begin("a", 0, configs...)
		h.wait(20 * time.Second) // who has not left is struck off after ten
		s, _ := a.Replicas()
		other, _ := b.Replicas()
		if s.Conflicts != 1 || other.Conflicts > 1 || !strings.HasPrefix(s.Name, "a~") || s.Name == other.Name {
			t.Errorf("got %+v and %+v", s, other)
		}
		for _, l := range []*life{a, b} {
			if said := l.said.String(); !strings.Contains(said, "has the same name") && !strings.Contains(said, "another one has its name") {
				t.Errorf("it was not said:\n%s", said)
			}
		}
		if why := h.unserved(configs); why != "" || len(s.Names) != 2 {
			t.Errorf("%s; %v", why, s.Names)
		}
		moves := strings.Count(a.said.String()+b.said.String(), "Tenants have moved")
		h.wait(10 * time.Minute)
		if n := strings.Count(a.said.String()+b.said.String(), "Tenants have moved") - moves; n > 0 {
			t.Errorf("tenants moved %d times more", n)
		}
	})
}

// TestStruckOff: a replica that was suspended gives everything up when it finds
// out, joins as somebody new, and gets its share back.
func TestStruckOff(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(12)
		h.begin("a", 0, configs...)
		b := h.begin("b", 0, configs...)
		h.wait(time.Minute)
		had := b.served()
		goOn := b.store.Freeze()
		h.wait(12500 * time.Millisecond)
		if n := len(h.all[0].Tenants()); n != 12 {
			t.Errorf("after the patience the other serves %d of 12", n)
		}
		goOn()
		h.wait(3 * time.Second)
		h.once(configs)
		if got := b.served(); !slices.Equal(got, had) {
			t.Errorf("got %v, want %v", got, had)
		}
		if s, _ := b.Replicas(); s.Lost != uint64(len(had)) {
			t.Errorf("%d lost, want %d", s.Lost, len(had))
		}
	})
}

// TestReloadWhileAway: with other settings a tenant goes on as soon as the store
// is back, and until then its counts stay.
func TestReloadWhileAway(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(4)
		a := h.begin("a", 0, configs...)
		h.wait(time.Minute)
		h.board.Away(true)
		h.wait(10 * time.Second)
		for i := range configs {
			configs[i].SweepInterval += time.Hour
		}
		if did, err := a.Replace(configs); err != nil || did.Changed != 4 {
			t.Errorf("got %+v, %v", did, err)
		}
		h.wait(5 * time.Minute)
		now := time.Now()
		for _, tenant := range a.Tenants() {
			if tenant.Status(now).Open == nil || !tenant.Healthy(now) {
				t.Errorf("%s: the counts are gone, or it is not healthy", tenant)
			}
		}
		h.board.Away(false)
		h.wait(time.Minute)
		h.once(configs)
		for _, tenant := range a.Tenants() {
			if cfg := tenant.Config(); !tenant.Status(time.Now()).Refresh.Up || !cfg.Equal(&configs[slices.IndexFunc(configs, func(c config.Tenant) bool { return c.Name == cfg.Name })]) {
				t.Errorf("%s does not go on with the new settings", tenant)
			}
		}
	})
}

// TestOutageSaid: an outage is said once, and again in a minute if its cause is another one.
func TestOutageSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		r := &Replicas{logger: slog.New(slog.NewTextHandler(&logged, nil))}
		refused, password := errors.New("connection refused"), errors.New("WRONGPASS")
		for _, err := range []error{refused, refused, password, nil, nil, refused} {
			for range 5 {
				r.failed(err)
				time.Sleep(20 * time.Second)
			}
		}
		r.failed(nil)
		var got []string
		for line := range strings.Lines(logged.String()) {
			_, what, _ := strings.Cut(strings.TrimSpace(line), "err=")
			got = append(got, what)
		}
		if want := []string{`"connection refused"`, "WRONGPASS", "", `"connection refused"`, ""}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestFaultyTenant: one that cannot be opened for a reason of its own holds no
// other up, is said once, and is shown with the reason.
func TestFaultyTenant(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(4)
		a := h.begin("a", 0, configs...)
		h.wait(time.Second)
		b := h.begin("b", 0)
		h.wait(2 * time.Second)
		bad := slices.Clone(configs)
		bad[2].HTTP.TLS.CAFile = "/nowhere/ca.pem"
		if _, err := b.Replace(bad); err != nil {
			t.Fatal(err)
		}
		a.stop()
		h.wait(2 * time.Minute)
		if got := b.served(); len(got) != 3 {
			t.Errorf("%v are served", got)
		}
		all, err := b.Unserved(t.Context())
		if err != nil || len(all) != 1 || all[0].Err == nil || all[0].Owner != "" || strings.Count(b.said.String(), "cannot be opened") != 1 {
			t.Errorf("got %+v, %v\n%s", all, err, &b.said)
		}
		if _, _, failures := b.Census(); failures < 3 || failures > 6 {
			t.Errorf("%d attempts in two minutes", failures)
		}
	})
}

// TestOneOutOfReach: what is kept of one tenant cannot be had, of all others it can.
// It is said once, while it is owned and when it is not any more, and counted; the
// others are taken over.
func TestOneOutOfReach(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(6)
		a := h.begin("a", 0, configs...)
		h.wait(2 * time.Second)
		h.board.Break(configs[3].TenantID, true)
		h.wait(3 * time.Minute)
		const owned = "does not take what is this tenant's"
		if got := strings.Count(a.said.String(), owned); got < 1 || got > 2 { // its rows, its ledger
			t.Errorf("said %d times by its owner:\n%s", got, &a.said)
		}
		if _, _, failures := a.Census(); failures > 0 {
			t.Errorf("%d failures to open what is open", failures)
		}
		a.kill()
		b := h.begin("b", 0, configs...)
		h.wait(2 * time.Minute)
		if got := b.served(); len(got) != 5 {
			t.Errorf("%v are served", got)
		}
		if got := strings.Count(b.said.String(), "A tenant cannot be opened"); got != 1 {
			t.Errorf("said %d times:\n%s", got, &b.said)
		}
		if _, _, failures := b.Census(); failures < 10 || failures > 30 {
			t.Errorf("%d failures counted in two minutes", failures)
		}
		// A reload goes on trying, too.
		other := slices.Clone(configs)
		h.board.Break(configs[4].TenantID, true)
		other[4].Lookback += time.Hour
		if _, err := b.Replace(other); err != nil {
			t.Fatal(err)
		}
		h.wait(time.Minute)
		if got := strings.Count(b.said.String(), "it is not refreshed, and tried again"); got != 1 {
			t.Errorf("said %d times of a replacement:\n%s", got, &b.said)
		}
		h.board.Break(configs[3].TenantID, false)
		h.board.Break(configs[4].TenantID, false)
		h.wait(time.Minute)
		h.once(configs)
		if got := strings.Count(b.said.String(), "The tenant could be opened"); got != 1 {
			t.Errorf("said %d times that it is served", got)
		}
	})
}

// TestStoreAway: nothing is taken, nothing given up, no call is made, nobody is
// struck off; and everything goes on when it is back.
func TestStoreAway(t *testing.T) {
	inHerd(t, func(h *herd) {
		configs := h.tenants(12)
		h.begin("a", 0, configs...)
		h.begin("b", 0, configs...)
		h.wait(time.Minute)
		before := h.counts()
		h.board.Away(true)
		h.wait(time.Second)
		calls := map[string]int{}
		for name, sim := range h.Sims {
			calls[name] = sim.Meter().Calls
		}
		h.wait(10 * time.Minute)
		if got := h.counts(); !maps.Equal(got, before) {
			t.Errorf("got %v, want %v", got, before)
		}
		for name, sim := range h.Sims {
			if got := sim.Meter().Calls; got != calls[name] {
				t.Errorf("%s: %d calls", name, got-calls[name])
			}
		}
		now := time.Now()
		for _, l := range h.all {
			for _, tenant := range l.Tenants() {
				if !tenant.Healthy(now) {
					t.Errorf("%s is not healthy", tenant)
				}
			}
			if s, _ := l.Replicas(); now.Sub(s.Heartbeat) > 3*time.Second {
				t.Errorf("no heartbeat for %v", now.Sub(s.Heartbeat))
			}
		}
		h.board.Away(false)
		h.wait(time.Minute)
		h.once(configs)
		if got := h.counts(); !maps.Equal(got, before) {
			t.Errorf("got %v, want %v", got, before)
		}
		for _, l := range h.all {
			if s, _ := l.Replicas(); s.Lost > 0 || strings.Contains(l.said.String(), "struck off") {
				t.Errorf("%s lost %d tenants", l.name, s.Lost)
			}
			if said := l.said.String(); strings.Contains(said, "this tenant's") || strings.Contains(said, "cannot be opened") {
				t.Errorf("it is said of more than the store:\n%s", said)
			}
			for _, tenant := range l.Tenants() {
				if !tenant.Status(time.Now()).Refresh.Up {
					t.Errorf("%s does not refresh", tenant)
				}
			}
		}
	})
}
