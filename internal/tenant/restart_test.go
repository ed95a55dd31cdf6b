package tenant

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// lives is a bubble whose exporter ends and begins again.
type lives struct {
	*bubble
	cfg  config.Tenant
	dir  string
	last state.Store
	stop func()
	born time.Time     // of the machine
	set  time.Duration // how far its wall clock was put forward since
	boot string
}

func withLives(t *testing.T, o simulator.Options, change func(*config.Tenant), test func(*lives)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Light = true
		l := &lives{bubble: &bubble{t: t, sim: simulator.New(o)}, cfg: tenanttest.Config(), dir: t.TempDir(), born: time.Now(), boot: "first"}
		if change != nil {
			change(&l.cfg)
		}
		if err := l.cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		l.begin()
		test(l)
		l.stop()
	})
}

// store is that of the next life. The one before it has ended.
func (l *lives) store() state.Store {
	l.t.Helper()
	if l.last != nil {
		_ = l.last.Close()
	}
	l.last = l.another()
	return l.last
}

// another is a store of another process.
func (l *lives) another() state.Store {
	l.t.Helper()
	store, err := state.New("file:"+l.dir, state.Options{Uptime: func() (string, time.Duration) { return l.boot, time.Since(l.born) - l.set }})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = store.Close() })
	return store
}

func (l *lives) begin() {
	store := l.store()
	stop := l.start(l.cfg, store)
	l.stop = func() {
		stop()
		if err := store.Close(); err != nil {
			l.t.Error(err)
		}
	}
}

// crash leaves the next life what is on the disk now. What this one still does
// in order to stop is lost.
func (l *lives) crash() {
	l.t.Helper()
	synctest.Wait()
	at := l.t.TempDir()
	files, err := filepath.Glob(filepath.Join(l.dir, "*"))
	if err != nil || len(files) == 0 {
		l.t.Fatalf("nothing was saved: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, filepath.Base(file)), data, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	l.stop()
	l.dir = at
}

// ends are the two ways in which a life can end.
func ends(t *testing.T, test func(t *testing.T, end func(*lives))) {
	t.Run("clean stop", func(t *testing.T) { test(t, func(l *lives) { l.stop() }) })
	t.Run("crash", func(t *testing.T) { test(t, (*lives).crash) })
}

// TestRestart: the counts are there before the first call, current after one
// delta, and what was created meanwhile is counted once.
func TestRestart(t *testing.T) {
	ends(t, func(t *testing.T, end func(*lives)) {
		rates := simulator.Rates{Create: 120, Assign: 200, Change: 300, Resolve: 100, Reopen: 20}
		withLives(t, simulator.Options{Seed: 3, Incidents: 900, Rates: rates}, nil, func(l *lives) {
			l.wait(3 * time.Minute)
			total := func() (n int) {
				for _, status := range []string{"Active", "InProgress", "Resolved", "AwaitingAction"} {
					n += len(l.sim.IDs(status))
				}
				return n
			}
			created := func() (n float64) {
				for _, v := range l.series("incidents_created_total") {
					n += v
				}
				return n
			}
			l.sim.Rest()
			l.wait(time.Minute)
			history := float64(total()) - created()
			l.sim.Live(rates)
			for _, down := range []time.Duration{0, time.Second, 40 * time.Minute} {
				l.wait(5 * time.Minute)
				known, asOf := l.series("incidents"), l.value("refresh_last_success_timestamp_seconds", "kind=delta")
				counted, calls := created(), l.sim.Meter().Calls
				end(l)
				l.wait(down)
				l.construct(l.cfg, l.store())
				if got := l.series("incidents"); !maps.Equal(got, known) {
					t.Errorf("before the first call\ngot  %v\nwant %v", got, known)
				}
				if got := created(); got != counted {
					t.Errorf("created: got %v, want %v", got, counted)
				}
				if got := l.value("refresh_last_success_timestamp_seconds", "kind=delta"); got != asOf {
					t.Errorf("age: got %v, want %v", got, asOf)
				}
				if got, want := l.value("up", ""), 1.0; got != want && down < time.Minute || got == want && down > 10*time.Minute {
					t.Errorf("up after %v: got %v", down, got)
				}
				if got := l.sim.Meter().Calls; got > calls+1 { // one that the crash left on its way
					t.Errorf("%d calls by then", got-calls)
				}
				l.tenant.Close()
				l.sim.Rest()
				l.begin()
				l.wait(10 * time.Second)
				l.exact()
				if got := history + created(); got != float64(total()) {
					t.Errorf("down for %v: %v were created or known, want %v", down, got, total())
				}
				l.sim.Live(rates)
			}
			l.frugal(40, 1200)
			if l.value("state_size_bytes", "") == 0 || l.value("state_last_save_timestamp_seconds", "") == 0 {
				t.Error("no account of the state")
			}
			if got := l.value("state_save_failures_total", ""); got != 0 {
				t.Errorf("%v saves failed", got)
			}
		})
	})
}

// TestRestartInFirstSync: whatever was read once is not read again, and the
// ledger holds over all lives.
func TestRestartInFirstSync(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 4))
			o := simulator.Options{Seed: seed, Incidents: 3000, Rates: tenanttest.Busy}
			withLives(t, o, nil, func(l *lives) {
				l.sim.Fault(simulator.Faults{Delay: 100 * time.Millisecond})
				restarts := 0
				for l.wait(time.Millisecond); !l.tenant.loop.Status().Coverage.All; restarts++ {
					l.wait(time.Duration(random.Int64N(int64(1500 * time.Millisecond))))
					if random.IntN(2) == 0 {
						l.crash()
					} else {
						l.stop()
					}
					l.wait(time.Duration(random.Int64N(int64(10 * time.Second))))
					l.begin()
					l.wait(time.Millisecond)
				}
				if restarts < 3 {
					t.Errorf("only %d restarts", restarts)
				}
				l.sim.Fault(simulator.Faults{})
				l.sim.Rest()
				l.wait(2 * time.Minute)
				l.exact()
				l.frugal(40, 1200)
				// 40 pages in all; of each life one may be read twice, and it has a delta
				// at once that reads all of the overlap.
				if got, limit := l.sim.Meter().Calls, 40+6*restarts+20; got > limit {
					t.Errorf("%d calls over %d restarts, want at most %d", got, restarts, limit)
				}
			})
		})
	}
}

// TestRestartInSweep: a sweep goes on where it was, and takes nothing for
// vanished that it had seen before.
func TestRestartInSweep(t *testing.T) {
	ends(t, func(t *testing.T, end func(*lives)) {
		often := func(c *config.Tenant) { c.SweepInterval = 15 * time.Minute }
		withLives(t, simulator.Options{Seed: 8, Incidents: 4000, Rates: simulator.Rates{Change: 60}}, often, func(l *lives) {
			restarts := 0
			for restarts < 3 {
				l.wait(time.Second)
				before := l.tenant.loop.Status()
				if !before.Sweeping || before.ScanPages < 5*(restarts+1) {
					continue
				}
				end(l)
				l.begin()
				if s := l.tenant.loop.Status(); !s.Sweeping || s.ScanPages < before.ScanPages {
					t.Errorf("sweep of %d pages: got %d", before.ScanPages, s.ScanPages)
				}
				restarts++
			}
			for l.tenant.loop.Status().Sweeping {
				l.wait(time.Second)
			}
			l.sim.Rest()
			l.wait(time.Minute)
			l.exact()
			if got := l.sim.Meter().Gets; got != 0 {
				t.Errorf("%d incidents were taken for missing", got)
			}
			if got := l.series("sweep_corrections_total"); got["kind=missed"]+got["kind=changed"]+got["kind=vanished"] != 0 {
				t.Errorf("nothing was to be corrected: %v", got)
			}
			l.frugal(40, 1200)
		})
	})
}

// TestRestartOfOldData: what is older than --cache.max-age stays withdrawn
// until a refresh succeeds. Counters go on, and the reason is still told.
func TestRestartOfOldData(t *testing.T) {
	withLives(t, simulator.Options{Seed: 2, Incidents: 300}, nil, func(l *lives) {
		l.wait(2 * time.Minute)
		l.sim.Fault(simulator.Faults{Status: http.StatusInternalServerError})
		l.wait(time.Minute)
		l.crash()
		l.wait(2 * time.Hour)
		l.begin()
		if got := l.series("incidents"); len(got) > 0 {
			t.Errorf("two hours old, and shown: %v", got)
		}
		if l.value("up", "") != 0 || len(l.series("incidents_created_total")) == 0 || l.tenant.loop.Status().LastError == "" {
			t.Error("up has to be 0 with its reason, and the counters have to be there")
		}
		l.wait(10 * time.Minute)
		if got := l.series("incidents"); len(got) > 0 {
			t.Errorf("no refresh has succeeded, and shown: %v", got)
		}
		l.sim.Fault(simulator.Faults{})
		l.wait(5 * time.Minute)
		l.exact()
	})
}

// TestRestartWhileBlocked: the server's order to wait outlives a crash.
func TestRestartWhileBlocked(t *testing.T) {
	withLives(t, simulator.Options{Seed: 2, Incidents: 300}, nil, func(l *lives) {
		l.wait(2 * time.Minute)
		l.sim.Fault(simulator.Faults{Status: http.StatusTooManyRequests, RetryAfter: "600"})
		l.wait(time.Minute)
		before := l.sim.Meter().Calls
		l.crash()
		l.begin()
		l.wait(8 * time.Minute)
		if got := l.sim.Meter().Calls; got != before {
			t.Errorf("%d calls while blocked", got-before)
		}
		if l.value("api_blocked_until_timestamp_seconds", "") == 0 {
			t.Error("the block is not shown")
		}
		if got := l.value("api_quota_effective_limit", "window=minute"); got > 25 {
			t.Errorf("effective limit: got %v, want it still halved", got)
		}
	})
}

// TestRestartAfterTheClockWasSet: calls and the server's order to wait do not get older
// by a wall clock that was put forward between two lives.
func TestRestartAfterTheClockWasSet(t *testing.T) {
	const down = 5 * time.Second
	// forward lets time pass that only the wall clock shows.
	forward := func(l *lives, by time.Duration) {
		time.Sleep(by)
		l.set += by
	}
	ends(t, func(t *testing.T, end func(*lives)) {
		withLives(t, simulator.Options{Seed: 2, Incidents: 8000}, nil, func(l *lives) {
			l.wait(5 * time.Second)
			end(l)
			used := l.sim.Meter().Calls
			forward(l, 24*time.Hour)
			l.wait(down)
			l.begin()
			l.wait(40 * time.Second)
			if got := l.sim.Meter().Calls; used < 30 || got > 40 {
				t.Errorf("%d calls before, and %d more within the same minute, want 40 in all", used, got-used)
			}
			l.sim.Fault(simulator.Faults{Status: http.StatusTooManyRequests, RetryAfter: "600"})
			l.wait(time.Minute)
			used = l.sim.Meter().Calls
			end(l)
			forward(l, 24*time.Hour)
			l.begin()
			l.wait(8 * time.Minute)
			if got := l.sim.Meter().Calls; got != used {
				t.Errorf("%d calls while blocked", got-used)
			}
			end(l)
			l.boot = "second"
			time.Sleep(24 * time.Hour)
			l.begin()
			l.sim.Fault(simulator.Faults{})
			l.wait(time.Minute)
			if got := l.sim.Meter().Calls; got == used {
				t.Error("no call a day later, after another boot")
			}
		})
	})
}

// TestRestartWithOtherSettings: a longer look-back is read, and until then only
// what is known of it is shown. History is not counted as created.
func TestRestartWithOtherSettings(t *testing.T) {
	short := func(c *config.Tenant) { c.Lookback = 20 * 24 * time.Hour }
	withLives(t, simulator.Options{Seed: 6, Incidents: 3000}, short, func(l *lives) {
		l.wait(3 * time.Minute)
		l.exact()
		created := l.series("incidents_created_total")
		l.stop()
		l.cfg.Lookback = 180 * 24 * time.Hour
		l.cfg.AgeThresholds = []time.Duration{3 * time.Hour, 100 * time.Hour}
		l.sim.Fault(simulator.Faults{Delay: time.Second}) // nothing is read in the same moment
		l.begin()
		all := l.scrape()
		open, complete := all["first_sync_complete"]["stage=open"], all["first_sync_complete"]["stage=all"]
		if open != 1 || complete != 0 || len(all["resolved_incidents"]) > 0 || len(all["incidents"]) == 0 {
			t.Errorf("open %v, all %v, %d series of resolved ones", open, complete, len(all["resolved_incidents"]))
		}
		l.wait(10 * time.Second)
		l.crash()
		l.begin()
		l.wait(5 * time.Minute)
		l.exact()
		if got := l.series("incidents_created_total"); !maps.Equal(got, created) {
			t.Errorf("created: got %v, want %v", got, created)
		}
		l.stop()
		l.cfg.Lookback = 10 * 24 * time.Hour
		l.begin()
		l.exact()
	})
}

// TestLostLedger: a ledger that is damaged, or not there although rows are, is
// taken for one whose windows were filled as late as possible. A crash in the
// meantime does not make the wait begin anew.
func TestLostLedger(t *testing.T) {
	for name, lose := range map[string]func(file string) error{
		"damaged": func(file string) error { return os.Truncate(file, 100) },
		"empty":   func(file string) error { return os.Truncate(file, 0) },
		"deleted": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			withLives(t, simulator.Options{Seed: 6, Incidents: 300}, nil, func(l *lives) {
				l.wait(2 * time.Minute)
				l.stop()
				files, _ := filepath.Glob(filepath.Join(l.dir, "ledgers.db"))
				if len(files) != 1 {
					t.Fatalf("files: %v", files)
				}
				if err := lose(files[0]); err != nil {
					t.Fatal(err)
				}
				calls := l.sim.Meter().Calls
				l.begin()
				if minute, hour := l.value("api_quota_used", "window=minute"), l.value("api_quota_used", "window=hour"); minute != 40 || hour != 1200 {
					t.Errorf("used: got %v and %v, want all", minute, hour)
				}
				l.exact()
				l.wait(20 * time.Minute)
				l.crash()
				l.begin()
				l.wait(10 * time.Minute)
				if got := l.sim.Meter().Calls; got != calls {
					t.Errorf("got %d calls in half an hour, want none", got-calls)
				}
				l.wait(2 * time.Minute)
				if got := l.value("up", ""); got != 1 {
					t.Errorf("up: got %v", got)
				}
				l.exact()
			})
		})
	}
}

// TestCrashBeforeAnyCall: where no call was made yet there is no ledger to be lost, although
// the first sync has begun.
func TestCrashBeforeAnyCall(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 300}, nil, func(l *lives) {
		l.stop()
		l.dir = t.TempDir()
		calls := l.sim.Meter().Calls
		l.sim.Fault(simulator.Faults{Token: faults.TokenFaults{Status: 401}})
		l.begin()
		l.wait(10 * time.Second)
		l.crash()
		if got := l.sim.Meter().Calls; got != calls {
			t.Fatalf("%d calls", got-calls)
		}
		l.sim.Fault(simulator.Faults{})
		l.begin()
		l.wait(2 * time.Minute)
		l.exact()
	})
}

// unwritable is a store that can be read and, while it is full, not written.
type unwritable struct {
	state.Store
	full *atomic.Bool
}

func (s unwritable) Open(key state.Key) (state.Tenant, error) {
	tenant, err := s.Store.Open(key)
	return unwritableTenant{tenant, s.full}, err
}

type unwritableTenant struct {
	state.Tenant
	full *atomic.Bool
}

var errFull = errors.New("no space left on device")

func (t unwritableTenant) Save(export func(bool) (*incident.Saved, error)) error {
	if t.full.Load() {
		return errFull
	}
	return t.Tenant.Save(export)
}

func (t unwritableTenant) SaveLedger(log []byte) ([]state.Written, error) {
	if t.full.Load() {
		return nil, errFull
	}
	return t.Tenant.SaveLedger(log)
}

// TestRestartOnAFullDisk: what was saved of the calls before the disk was full is not all of
// them.
func TestRestartOnAFullDisk(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 300}, nil, func(l *lives) {
		l.wait(2 * time.Minute)
		l.stop()
		calls := l.sim.Meter().Calls
		for range 3 {
			store := l.store()
			full := new(atomic.Bool)
			full.Store(true)
			stop := l.start(l.cfg, unwritable{store, full})
			l.exact()
			l.wait(10 * time.Second)
			if minute, hour := l.value("api_quota_used", "window=minute"), l.value("api_quota_used", "window=hour"); minute != 40 || hour != 1200 {
				t.Errorf("used: got %v and %v, want all", minute, hour)
			}
			stop()
			if got := l.sim.Meter().Calls; got != calls {
				t.Errorf("%d calls", got-calls)
			}
		}
		l.begin()
		l.wait(2 * time.Minute)
		l.exact()
		l.frugal(40, 1200)
	})
}

// TestFullDiskAndCrash: calls that cannot be saved are so few that nobody who does not know
// of them exceeds a window, and there is room on the disk when the next life begins. The
// counts go on meanwhile, if the share leaves something.
func TestFullDiskAndCrash(t *testing.T) {
	for _, share := range []float64{0.8, 0.5, 1} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			withLives(t, simulator.Options{Seed: 6, Incidents: 9000, Rates: tenanttest.Busy}, func(c *config.Tenant) { c.QuotaShare = share }, func(l *lives) {
				for life := range 3 {
					l.stop()
					full := new(atomic.Bool)
					l.stop = l.start(l.cfg, unwritable{l.store(), full})
					l.wait(20 * time.Second)
					full.Store(true)
					saved := l.sim.Meter().Calls
					l.wait(5 * time.Minute)
					made := l.sim.Meter().Calls - saved
					if share == 1 {
						if up := l.value("up", ""); made > 0 || up != 0 {
							t.Errorf("life %d: %d calls that were not saved, up %v", life, made, up)
						}
					} else if made < 10 || made > int(5*50*(1-share)+0.5) {
						t.Errorf("life %d: %d calls that were not saved", life, made)
					}
					l.crash()
					l.begin()
					l.wait(2 * time.Minute)
				}
				l.frugal(50, 1500)
				if share == 1 {
					return
				}
				l.stop()
				full := new(atomic.Bool)
				l.stop = l.start(l.cfg, unwritable{l.store(), full})
				l.wait(20 * time.Second)
				full.Store(true)
				l.sim.Rest()
				l.wait(40 * time.Minute)
				l.exact()
				l.frugal(50, 1500)
			})
		})
	}
}

// TestStateOfOneTenantTwice: the second one is refused.
func TestStateOfOneTenantTwice(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 30}, nil, func(l *lives) {
		second, err := New(l.cfg, Dependencies{Store: l.another(), Transport: l.sim.RoundTripper(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		err = second.Open(nil, time.Now())
		if err == nil || !strings.Contains(err.Error(), "in use by another process") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
	})
}

// TestMemoryOutlivesReload: with memory: a tenant that is stopped and started
// within the process goes on as well.
func TestMemoryOutlivesReload(t *testing.T) {
	store := tenanttest.InMemory(t)
	withLives(t, simulator.Options{Seed: 6, Incidents: 300, Rates: tenanttest.Busy}, nil, func(l *lives) {
		l.stop()
		l.stop = l.start(l.cfg, store)
		l.wait(10 * time.Minute)
		known, created, used := l.series("incidents"), l.series("incidents_created_total"), l.value("api_quota_used", "window=hour")
		l.stop()
		l.cfg.AgeThresholds = []time.Duration{2 * time.Hour}
		l.construct(l.cfg, store)
		if got := l.series("incidents"); len(known) == 0 || !maps.Equal(got, known) {
			t.Errorf("got %v, want %v", got, known)
		}
		if got := l.series("incidents_created_total"); !maps.Equal(got, created) {
			t.Errorf("created: got %v, want %v", got, created)
		}
		if got := l.value("api_quota_used", "window=hour"); got != used {
			t.Errorf("used: got %v, want %v", got, used)
		}
		l.tenant.Close()
		l.sim.Rest()
		l.stop = l.start(l.cfg, store)
		l.wait(time.Minute)
		l.exact()
	})
}

// TestRestartWithoutAlerts: what is not known before a restart is not known
// after it, and is read again once it can be.
func TestRestartWithoutAlerts(t *testing.T) {
	overGraph := func(c *config.Tenant) { c.API = config.Graph }
	ends(t, func(t *testing.T, end func(*lives)) {
		withLives(t, simulator.Options{Seed: 12, Incidents: 700}, overGraph, func(l *lives) {
			l.sim.SetRoles(simulator.DefaultGraphRole)
			l.tenant.credential.Renew()
			l.wait(15 * time.Minute)
			l.exact()
			available := func(want float64) {
				t.Helper()
				if got := l.value("alerts_available", ""); got != want {
					t.Errorf("alerts are available: got %v, want %v", got, want)
				}
				for _, name := range alertSeries {
					if n := len(l.series(name)); (n > 0) != (want == 1) {
						t.Errorf("%d series of %s", n, name)
					}
				}
			}
			available(1)
			restart := func(down time.Duration) {
				end(l)
				l.wait(down)
				l.construct(l.cfg, l.store())
				available(0)
				l.tenant.Close()
				l.begin()
				l.wait(10 * time.Second)
				available(0)
			}
			l.sim.Fault(simulator.Faults{Takes: simulator.Takes{Alerts: 500}})
			l.wait(10 * time.Minute) // nothing changes, so that nothing is missed
			available(0)
			restart(time.Second)
			l.sim.Live(tenanttest.Busy)
			l.wait(10 * time.Minute) // now something is
			l.sim.Rest()
			for _, down := range []time.Duration{time.Second, 40 * time.Minute} {
				restart(down)
				if l.value("up", "") != 1 {
					t.Error("up is 0 although incidents are counted")
				}
			}
			l.sim.Fault(simulator.Faults{})
			l.wait(80 * time.Minute) // the longest wait for a trial, and a sweep
			l.exact()
			available(1)
			end(l)
			l.begin()
			l.wait(time.Second)
			l.exact()
			available(1)
		})
	})
}

// TestStatusAfterRestart: an error that was over before the restart is not what
// the page shows while the first answer is awaited.
func TestStatusAfterRestart(t *testing.T) {
	withLives(t, simulator.Options{Seed: 6, Incidents: 30}, nil, func(l *lives) {
		l.wait(time.Minute)
		l.sim.Fault(simulator.Faults{Status: 503})
		l.wait(2 * time.Minute)
		l.sim.Fault(simulator.Faults{})
		l.wait(5 * time.Minute)
		l.stop()
		l.wait(time.Hour)
		l.construct(l.cfg, l.store())
		if got := l.tenant.Status(time.Now()); got.Condition != Starting || got.Refresh.LastErrorAt.IsZero() {
			t.Errorf("got %v, last error at %v", got.Condition, got.Refresh.LastErrorAt)
		}
		l.tenant.Close()
		l.sim.Fault(simulator.Faults{Status: 503})
		l.begin()
		l.wait(time.Minute)
		if got := l.tenant.Status(time.Now()).Condition; got != Down {
			t.Errorf("got %v", got)
		}
	})
}
