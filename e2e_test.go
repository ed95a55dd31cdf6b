//go:build e2e

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// TestOverRealHTTP runs the program itself for minutes of real time against a
// tenant on a real port that keeps moving, and believes nothing but the
// tenant's own meter and a recount of its incidents.
func TestOverRealHTTP(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "exporter")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, test := range []struct {
		share             string
		perMinute, perAll int
	}{{"1.0", 50, 1500}, {"0.8", 40, 1200}} {
		t.Run(test.share, func(t *testing.T) {
			t.Parallel()
			sim := simulator.New(simulator.Options{Seed: 11, Incidents: 12_000, Rates: tenanttest.Busy})
			// An answer that takes as long as a real one, so that the counts can be
			// seen before the next call.
			sim.Fault(simulator.Faults{Delay: 300 * time.Millisecond})
			scrape := startExporter(t, binary, sim, "--api.quota-share="+test.share, "--refresh.interval=10s")
			open := len(sim.IDs("Active", "InProgress", "AwaitingAction"))
			for len(scrape("m365_defender_incidents")) == 0 {
				time.Sleep(20 * time.Millisecond)
			}
			if got, limit := sim.Meter().Calls, (open+99)/100+6; got > limit {
				t.Errorf("counts of %d open incidents after %d calls, want at most %d", open, got, limit)
			}
			for scrape("m365_defender_first_sync_complete")["stage=all"] != 1 {
				time.Sleep(time.Second)
			}
			cpu := scrape("process_cpu_seconds_total")[""]
			const moving = 30 * time.Second
			time.Sleep(moving)
			cpu = (scrape("process_cpu_seconds_total")[""] - cpu) / moving.Seconds()
			if cpu > 0.01 {
				t.Errorf("%.2f %% of a core, want at most 1 %%", 100*cpu)
			}
			sim.Rest()
			time.Sleep(20 * time.Second) // two intervals
			want := map[string]float64{}
			for k, n := range sim.Truth(time.Now(), 180*24*time.Hour).Incidents {
				want[fmt.Sprintf("assigned=%s,severity=%s,status=%s", k[2], k[0], k[1])] = float64(n)
			}
			got := scrape("m365_defender_incidents")
			maps.DeleteFunc(got, func(_ string, v float64) bool { return v == 0 })
			if !maps.Equal(got, want) {
				t.Errorf("incidents:\ngot  %v\nwant %v", got, want)
			}
			m := sim.Meter()
			if m.MaxPerMinute > test.perMinute || m.MaxPerHour > test.perAll || m.Throttled > 0 {
				t.Errorf("%d calls in 60 s, %d in an hour, %d throttled", m.MaxPerMinute, m.MaxPerHour, m.Throttled)
			}
			t.Logf("share %s: %d calls in all, at most %d in 60 s, %.2f %% of a core", test.share, m.Calls, m.MaxPerMinute, 100*cpu)
		})
	}
}

// startExporter starts the program against the tenant on a port of its own. What
// it returns reads one metric, less the label tenant; nothing while the program
// is not listening yet.
func startExporter(t *testing.T, binary string, sim *simulator.Tenant, args ...string) (scrape func(name string) map[string]float64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: sim.Handler()}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	api := "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, append([]string{
		"--tenant.id=" + simulator.DefaultTenantID, "--client.id=" + simulator.DefaultClientID, "--tenant.name=contoso",
		"--api.url=" + api, "--auth.url=" + api, "--auth.scope=" + api + "/.default", "--web.listen-address=127.0.0.1:0",
	}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "AZURE_CLIENT_SECRET="+simulator.DefaultClientSecret)
	log := &output{}
	cmd.Stderr = io.MultiWriter(os.Stderr, log)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("exit code %d after SIGTERM", cmd.ProcessState.ExitCode())
		}
	})
	return func(name string) map[string]float64 {
		t.Helper()
		address := addressIn(log.String())
		if address == "" {
			return nil
		}
		return exposition(t, "http://"+address+"/metrics")[strings.TrimPrefix(name, "m365_defender_")]
	}
}

var listeningOn = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

// addressIn is where the program that has written the log listens; empty as long
// as it does not.
func addressIn(log string) string {
	if found := listeningOn.FindStringSubmatch(log); found != nil {
		return found[1]
	}
	return ""
}
