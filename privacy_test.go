package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator"
)

// dumpHeap writes everything in memory that is in use to a file, for each line of
// the standard input, and says so.
func dumpHeap(path string) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for range 3 { // pools let go of what they hold at the second
			runtime.GC()
		}
		f, err := os.Create(path)
		if err == nil {
			debug.WriteHeapDump(f.Fd())
			err = f.Close()
		}
		_, _ = fmt.Fprintln(os.Stdout, "dumped", err)
	}
}

// TestOwnersLeaveNoTrace: where nothing is asked for, no owner's name is in the
// metrics, the status, the log, the state or in memory. The other modes show that
// the test would see one, and that count has no name either.
func TestOwnersLeaveNoTrace(t *testing.T) {
	const name = "privat.person.%d@contoso.example"
	keyFile, key := filepath.Join(t.TempDir(), "key"), []byte("a key of enough bytes")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for i := range 7 {
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, name, i)
		hashes = append(hashes, hex.EncodeToString(mac.Sum(nil)[:8]))
	}
	isName := regexp.MustCompile(`(?i)privat\.person|analyst\d`)
	isHash := regexp.MustCompile(strings.Join(hashes, "|"))
	for _, test := range []struct {
		mode string
		args []string
		// where a name and a hash are to be found.
		names, hashes string
	}{
		{"off", nil, "", ""},
		{"count", []string{"--incidents.assignees-key-file=" + keyFile}, "", "state heap"},
		{"hashed", []string{"--incidents.assignees-key-file=" + keyFile}, "", "metrics state heap"},
		{"names", nil, "metrics state heap", ""},
	} {
		t.Run(test.mode, func(t *testing.T) {
			sim := simulator.New(simulator.Options{Seed: 2, Incidents: 400, Light: true})
			for i, id := range sim.IDs("Active", "InProgress") {
				sim.Assign(id, fmt.Sprintf(name, i%7))
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: sim.Handler()}
			go func() { _ = server.Serve(listener) }()
			t.Cleanup(func() { _ = server.Close() })
			clean := func(heap []byte) bool { return strings.Contains(test.names, "heap") || !isName.Match(heap) }
			seen := watched(t, server, "http://"+listener.Addr().String(), append(test.args, "--incidents.assignees="+test.mode), clean)
			for where, text := range seen {
				if got, want := isName.Find(text), strings.Contains(test.names, where); (got != nil) != want {
					t.Errorf("%s: a name: got %q, want %v", where, got, want)
				}
				if got, want := isHash.Find(text), strings.Contains(test.hashes, where); (got != nil) != want {
					t.Errorf("%s: a hash: got %q, want %v", where, got, want)
				}
			}
		})
	}
}

// watched runs the program until it knows everything, and returns all that can be
// seen of it. Of its memory that is what it keeps, less what the last call leaves
// in the buffers of its connection, which goes with that.
func watched(t *testing.T, server *http.Server, api string, args []string, clean func(heap []byte) bool) map[string][]byte {
	t.Helper()
	dir, dump := t.TempDir(), filepath.Join(t.TempDir(), "dump")
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{
		"--tenant.id=" + simulator.DefaultTenantID, "--client.id=" + simulator.DefaultClientID, "--tenant.name=contoso",
		"--api.url=" + api, "--auth.url=" + api, "--auth.scope=" + api + "/.default", "--refresh.interval=1m",
		"--web.listen-address=127.0.0.1:0", "--state.url=file:" + dir, "--log.level=debug",
	}, args...)...)
	cmd.Env = append(os.Environ(), "TEST_MAIN=1", "TEST_HEAP_DUMP="+dump, "AZURE_CLIENT_SECRET="+simulator.DefaultClientSecret)
	log, said := &output{}, &output{}
	cmd.Stderr, cmd.Stdout = log, said
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	until := func(what string, is func() bool) {
		t.Helper()
		for range 600 {
			if is() {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatalf("%s did not come; the log:\n%s", what, log.String())
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	base := ""
	until("an address", func() bool {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "Listening on") {
				base = "http://" + address.FindString(line)
			}
		}
		return base != ""
	})
	read := func(path string) []byte {
		t.Helper()
		resp, err := http.Get(base + path) //nolint:noctx // the program ends with the test
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	until("the end of the first sync", func() bool {
		return bytes.Contains(read("/metrics"), []byte(`first_sync_complete{stage="all",tenant="contoso"} 1`))
	})
	seen := map[string][]byte{"metrics": read("/metrics"), "status": append(read("/"), read("/status?format=json")...)}
	server.SetKeepAlivesEnabled(false) // no other call comes within the interval
	// A busy machine may take longer to let go of the connection's buffers.
	for dumps := 1; dumps <= 100; dumps++ {
		time.Sleep(200 * time.Millisecond)
		read("/metrics")
		if _, err := io.WriteString(orders, "now\n"); err != nil {
			t.Fatal(err)
		}
		until("the dump", func() bool { return strings.Count(said.String(), "dumped <nil>") == dumps })
		all, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		if seen["heap"], err = reachable(all); err != nil {
			t.Fatalf("the dump of the heap: %v", err)
		}
		if clean(seen["heap"]) {
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no state: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seen["state"] = append(seen["state"], text...)
	}
	seen["log"] = []byte(log.String())
	return seen
}
