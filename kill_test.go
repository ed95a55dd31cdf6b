//go:build e2e

package main

import (
	"context"
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
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"m365_defender_exporter/internal/app"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// These tests kill the real program. Run them with: go test -tags e2e -run E2E .

// program is the built exporter, its simulated tenant on a real port, and its
// state.
type program struct {
	t        *testing.T
	binary   string
	sim      *simulator.Tenant
	api      string
	dir      string
	args     []string
	lookback time.Duration
	running  *exec.Cmd
	log      output // of all lives
	born     int    // where that of the present one begins
}

func newProgram(t *testing.T, o simulator.Options, args ...string) *program {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "exporter")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	o.Light = true
	p := &program{t: t, binary: binary, sim: simulator.New(o), dir: t.TempDir(), args: args, lookback: config.Default().Lookback}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.sim.Handler()}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	p.api = "http://" + listener.Addr().String()
	t.Cleanup(func() {
		if p.running != nil {
			p.kill()
		}
		if t.Failed() {
			text := p.log.String()
			t.Logf("the end of the log:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return p
}

func (p *program) start() {
	p.t.Helper()
	p.running = exec.Command(p.binary, append([]string{
		"--tenant.id=" + simulator.DefaultTenantID, "--tenant.name=contoso", "--client.id=" + simulator.DefaultClientID,
		"--api.url=" + p.api, "--auth.url=" + p.api, "--auth.scope=" + p.api + "/.default",
		"--web.listen-address=127.0.0.1:0", "--state.url=file:" + p.dir,
	}, p.args...)...)
	p.running.Env = append(os.Environ(), "AZURE_CLIENT_SECRET="+simulator.DefaultClientSecret)
	p.running.Stdout, p.running.Stderr = &p.log, &p.log
	p.born = len(p.log.String())
	if err := p.running.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill gives the program no chance to do anything.
func (p *program) kill() {
	_ = p.running.Process.Kill()
	_ = p.running.Wait()
	p.running = nil
}

// scrape returns all series, nil as long as nothing answers.
func (p *program) scrape() map[string]map[string]float64 {
	p.t.Helper()
	address := addressIn(p.log.String()[p.born:])
	if address == "" {
		return nil
	}
	return exposition(p.t, "http://"+address+"/metrics")
}

// exposition is what is answered at a URL, by metric less its prefix and by
// labels less the tenant; nil if nothing is.
func exposition(t *testing.T, url string) map[string]map[string]float64 {
	t.Helper()
	return expositionOf(t, url, "")
}

// expositionOf leaves out the series of other tenants; "": there is one alone.
func expositionOf(t *testing.T, url, tenant string) map[string]map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		family.Metric = slices.DeleteFunc(family.Metric, func(m *dto.Metric) bool {
			return tenant != "" && slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == "tenant" && l.GetValue() != tenant })
		})
	}
	return tenanttest.Samples(slices.Collect(maps.Values(families)))
}

// until polls the metrics until they are as wanted.
func (p *program) until(what string, wait time.Duration, ok func(map[string]map[string]float64) bool) map[string]map[string]float64 {
	p.t.Helper()
	var last map[string]map[string]float64
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = p.scrape(); last != nil && ok(last) {
			return last
		}
	}
	p.t.Fatalf("not within %v: %s", wait, what)
	return last
}

// exact waits until the counts are those of the tenant, which has to rest.
func (p *program) exact(wait time.Duration) {
	p.t.Helper()
	var lines []string
	defer func() {
		if p.t.Failed() {
			p.t.Log(strings.Join(lines[:min(len(lines), 10)], "\n"))
		}
	}()
	p.until("exact counts", wait, func(m map[string]map[string]float64) bool {
		want := tenanttest.Expected(p.sim.Truth(time.Now(), p.lookback), config.Default().AgeThresholds)
		lines = tenanttest.Differences(want, m)
		return m["first_sync_complete"]["stage=all"] == 1 && len(lines) == 0
	})
}

// howLong is the length of a kill loop; E2E_LOOP=10m makes it longer.
func howLong(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("E2E_LOOP")
	if text == "" {
		return 35 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestE2EKillWindows kills the program at random moments while it would like
// to make far more calls than it may. The server's own meter is the judge.
func TestE2EKillWindows(t *testing.T) {
	t.Parallel()
	const limit = 30
	p := newProgram(t, simulator.Options{Seed: 1, Incidents: 4000, Rates: tenanttest.Busy},
		"--api.quota-per-minute=30", "--api.quota-share=1", "--refresh.interval=3s")
	p.sim.Fault(simulator.Faults{Delay: 30 * time.Millisecond})
	random := rand.New(rand.NewPCG(1, 1))
	lives := 0
	for end := time.Now().Add(howLong(t)); time.Now().Before(end); lives++ {
		p.start()
		time.Sleep(time.Duration(50+random.IntN(900)) * time.Millisecond)
		p.kill()
	}
	m := p.sim.Meter()
	t.Logf("%d lives, %d calls, at most %d in a minute", lives, m.Calls, m.MaxPerMinute)
	if m.MaxPerMinute > limit || m.MaxPerHour > 1500 || m.Throttled > 0 {
		t.Errorf("%d calls in a minute, want at most %d; %d in an hour; %d answers 429", m.MaxPerMinute, limit, m.MaxPerHour, m.Throttled)
	}
	if m.MaxPerMinute < limit-2 || lives < 20 {
		t.Errorf("%d calls in %d lives: the test shows nothing", m.Calls, lives)
	}
}

// TestE2EKillCounts kills the program at random moments, and wants exact
// counts each time that it is left alone. A restart never shows less than was
// known before.
func TestE2EKillCounts(t *testing.T) {
	t.Parallel()
	limits := []simulator.Limit{{Period: time.Minute, Calls: 3000}, {Period: time.Hour, Calls: 100_000}}
	fast := simulator.Rates{Create: 9000, Assign: 9000, Change: 20_000, Merge: 2000, Resolve: 9000, Reopen: 900}
	p := newProgram(t, simulator.Options{Seed: 2, Incidents: 2000, Rates: fast, Limits: limits, GetLimits: limits},
		"--api.quota-per-minute=3000", "--api.quota-per-hour=100000", "--refresh.interval=1s", "--refresh.sweep-interval=1m")
	random := rand.New(rand.NewPCG(2, 2))
	lives, rounds, synced := 0, 0, false
	for end := time.Now().Add(howLong(t)); time.Now().Before(end); rounds++ {
		p.sim.Live(fast)
		for range 1 + random.IntN(5) {
			p.start()
			time.Sleep(time.Duration(20+random.IntN(1200)) * time.Millisecond)
			p.kill()
			lives++
		}
		p.sim.Rest()
		p.start()
		first := p.until("a scrape", 10*time.Second, func(map[string]map[string]float64) bool { return true })
		if synced && (len(first["incidents"]) == 0 || first["first_sync_complete"]["stage=all"] != 1) {
			t.Error("the first scrape after a restart does not show what was known")
		}
		p.exact(15 * time.Second)
		synced = true
		if got := p.scrape()["sweep_corrections_total"]; got["kind=missed"]+got["kind=changed"]+got["kind=vanished"] > 0 {
			t.Errorf("nothing was to be corrected: %v", got)
		}
		p.kill()
	}
	m := p.sim.Meter()
	t.Logf("%d lives, %d rounds, %d calls", lives, rounds, m.Calls)
	if m.Throttled > 0 || rounds < 3 {
		t.Errorf("%d answers 429, %d rounds", m.Throttled, rounds)
	}
}

// TestE2EFullDisk fills a small disk under the running program, makes it
// read-only, and mends it again. It needs to be root.
func TestE2EFullDisk(t *testing.T) {
	t.Parallel()
	limits := []simulator.Limit{{Period: time.Minute, Calls: 3000}}
	p := newProgram(t, simulator.Options{Seed: 3, Incidents: 2000, Rates: tenanttest.Busy, Limits: limits},
		"--api.quota-per-minute=3000", "--api.quota-per-hour=0", "--refresh.interval=1s")
	mount := smallDisk(t, p)
	failures := func(m map[string]map[string]float64) float64 { return m["state_save_failures_total"][""] }
	goesOn := func(what string) {
		t.Helper()
		before := failures(p.scrape())
		p.until(what+": failures are counted", 20*time.Second, func(m map[string]map[string]float64) bool { return failures(m) > before+3 })
		p.sim.Rest()
		p.exact(10 * time.Second)
		if up := p.scrape()["up"][""]; up != 1 {
			t.Errorf("%s: up is %v", what, up)
		}
		p.sim.Live(tenanttest.Busy)
	}
	waits := func(what string) {
		t.Helper()
		calls := p.sim.Meter().Calls
		p.start()
		p.until(what+": what was saved is served, and the quota counts as used", 10*time.Second, func(m map[string]map[string]float64) bool {
			return len(m["incidents"]) > 0 && m["first_sync_complete"]["stage=all"] == 1 && m["api_quota_used"]["window=minute"] == m["api_quota_effective_limit"]["window=minute"] && failures(m) > 0
		})
		time.Sleep(2 * time.Second)
		if got := p.sim.Meter().Calls; got != calls {
			t.Errorf("%s: %d calls", what, got-calls)
		}
	}
	heals := func(what string) {
		t.Helper()
		at := p.scrape()["state_last_save_timestamp_seconds"][""]
		p.until(what+": saved again", 20*time.Second, func(m map[string]map[string]float64) bool {
			return m["state_last_save_timestamp_seconds"][""] > at+2
		})
		before := failures(p.scrape())
		time.Sleep(2 * time.Second)
		if got := failures(p.scrape()); got != before {
			t.Errorf("%s: still %v more failures", what, got-before)
		}
	}
	ballast := filepath.Join(p.dir, "ballast")
	full := func() {
		file, err := os.Create(ballast)
		for err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		_ = file.Close()
	}
	p.start()
	p.until("synced", 20*time.Second, func(m map[string]map[string]float64) bool { return m["first_sync_complete"]["stage=all"] == 1 })
	// Beyond what the files have to spare.
	for i := range 3000 {
		p.sim.Touch(p.sim.IDs("Resolved")[i%100])
	}
	full()
	p.sim.Live(simulator.Rates{Create: 200_000})
	time.Sleep(3 * time.Second)
	p.sim.Live(tenanttest.Busy)
	goesOn("full")
	// A restart on the full disk has what was saved before, and room for the ledger.
	p.kill()
	p.start()
	p.sim.Rest()
	p.exact(20 * time.Second)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.sim.Live(tenanttest.Busy)
	heals("room again")
	p.kill() // nobody can make a disk read-only that somebody writes to
	mount("-o", "remount,ro")
	p.sim.Live(tenanttest.Busy)
	waits("read-only")
	p.kill()
	mount("-o", "remount,rw,size=16m")
	p.start()
	heals("writable again")
	p.sim.Rest()
	p.exact(20 * time.Second)
	if names := setAsideIn(t, p.dir); len(names) > 0 {
		t.Errorf("set aside: %v", names)
	}
}

// TestE2ELittleRoom: where there is too little room to keep some for later, none is taken, and
// what there is suffices for as long as without.
func TestE2ELittleRoom(t *testing.T) {
	t.Parallel()
	p := newProgram(t, simulator.Options{Seed: 3, Incidents: 300})
	smallDisk(t, p)
	if err := os.WriteFile(filepath.Join(p.dir, "ballast"), make([]byte, 2_900_000), 0o600); err != nil { // of 4 MiB
		t.Fatal(err)
	}
	for range 2 {
		p.start()
		p.exact(20 * time.Second)
		m := p.scrape()
		if failures, used := m["state_save_failures_total"][""], m["api_quota_used"]["window=minute"]; failures > 0 || used > 35 {
			t.Errorf("%v failures, %v calls used", failures, used)
		}
		p.kill()
	}
}

// smallDisk mounts one of 4 MiB where the program has its state, and returns what mounts it
// anew.
func smallDisk(t *testing.T, p *program) (mount func(args ...string)) {
	t.Helper()
	mount = func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", append(args, p.dir)...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
	}
	mount("-t", "tmpfs", "-o", "size=4m", "tmpfs")
	t.Cleanup(func() {
		if p.running != nil {
			p.kill()
		}
		if out, err := exec.Command("umount", p.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mount
}

func setAsideIn(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.db.*Z"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestE2EDamage spoils the files between two lives: the program comes up,
// reads what it has to, and its counts are exact.
func TestE2EDamage(t *testing.T) {
	t.Parallel()
	limits := []simulator.Limit{{Period: time.Minute, Calls: 3000}}
	p := newProgram(t, simulator.Options{Seed: 4, Incidents: 1000, Limits: limits},
		"--api.quota-per-minute=3000", "--api.quota-per-hour=0", "--refresh.interval=1s")
	random := rand.New(rand.NewPCG(4, 4))
	for round := range 10 {
		p.start()
		p.exact(20 * time.Second)
		p.kill()
		for _, name := range []string{"incidents.db", "incidents.db-wal"} {
			name = filepath.Join(p.dir, name)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if round%3 == 0 {
				b = b[:random.IntN(len(b))]
			}
			for range random.IntN(200) {
				if len(b) > 0 {
					b[random.IntN(len(b))] = byte(random.Uint32())
				}
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	names := setAsideIn(t, p.dir)
	slices.Sort(names)
	if len(names) < 3 {
		t.Errorf("set aside: %v", names)
	}
	t.Log(fmt.Sprint(len(names), " files were set aside"))
}

// TestE2ETwoProcesses: the second one on the same state says so and ends.
func TestE2ETwoProcesses(t *testing.T) {
	t.Parallel()
	p := newProgram(t, simulator.Options{Seed: 5, Incidents: 50})
	p.start()
	p.exact(20 * time.Second)
	second := &program{t: t, binary: p.binary, sim: p.sim, api: p.api, dir: p.dir}
	second.start()
	err := second.running.Wait()
	if code := second.running.ProcessState.ExitCode(); err == nil || code != app.ExitRuntime {
		t.Errorf("exit code %d, %v", code, err)
	}
	if text := second.log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "in use by another process") {
		t.Errorf("got %s", text)
	}
	p.exact(5 * time.Second)
}
