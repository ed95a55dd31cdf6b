package main

import (
	"bytes"
	"m365_defender_exporter/internal/app"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_MAIN") != "" {
		if dump := os.Getenv("TEST_HEAP_DUMP"); dump != "" {
			go dumpHeap(dump)
		}
		main()
	}
	os.Exit(m.Run())
}

// output is what a program writes, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestSignals runs the program: SIGHUP reads the configuration again, SIGTERM
// ends it well.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process can be sent a signal")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--demo", "--web.listen-address=127.0.0.1:0")
	cmd.Env = append(os.Environ(), "TEST_MAIN=1")
	log := &output{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	until := func(what string) {
		t.Helper()
		for !strings.Contains(log.String(), what) {
			select {
			case err := <-ended:
				t.Fatalf("ended before %q: %v: %s", what, err, log.String())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	signal := func(s os.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	until("Listening on")
	signal(syscall.SIGHUP)
	until("The configuration was reloaded")
	signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("got %v: %s", err, log.String())
	}
}

// TestHangUpAtOnce: a SIGHUP that comes while the command line is being read
// does not end the program. It would end this one, and so is sent to another.
func TestHangUpAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process can be sent a signal")
	}
	if os.Getenv("TEST_HANGUP") != "" {
		var stderr bytes.Buffer
		if code := app.Run(t.Context(), []string{"--help"}, hangUp{t}, &stderr); code != app.ExitOK {
			t.Errorf("exit code %d: %s", code, stderr.String())
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHangUpAtOnce$", "-test.count=1")
	cmd.Env = append(os.Environ(), "TEST_HANGUP=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v\n%s", err, out)
	}
}

// hangUp sends this process a SIGHUP for whatever is written.
type hangUp struct{ t *testing.T }

func (h hangUp) Write(p []byte) (int, error) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(syscall.SIGHUP)
	}
	if err != nil {
		h.t.Error(err)
	}
	return len(p), nil
}
