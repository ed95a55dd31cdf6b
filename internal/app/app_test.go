package app

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/common/promslog"

	"m365_defender_exporter/internal/state"
)

// TestStateOfOthers: a directory that any user may write is used, but not
// without a word.
func TestStateOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the mode of a directory tells nothing")
	}
	withoutEnvironment(t)
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o770: false, 0o707: true, 0o777 | os.ModeSticky: true} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		p := started(t, &http.Client{}, "http", "--demo", "--state.url=file:"+dir)
		p.stop()
		if got := strings.Contains(p.log.String(), "may be written by any user"); got != want {
			t.Errorf("%v: said so is %v, want %v: %s", mode, got, want, p.log.String())
		}
	}
}

// hanging is a store on a disk that does not answer.
type hanging struct {
	state.Store
	until chan struct{}
}

func (h hanging) Close() error {
	<-h.until
	return nil
}

// TestStopDoesNotWaitForTheDisk: after a while it is said, and the rest is undone.
func TestStopDoesNotWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log output
		a, until := New(&Options{}, slog.New(slog.NewTextHandler(&log, nil))), make(chan struct{})
		a.closeState(hanging{until: until})
		if !strings.Contains(log.String(), "The state was not closed in time") {
			t.Errorf("log: %s", log.String())
		}
		close(until)
	})
}

// TestStopUndoesInReverse: also what a start that failed has begun.
func TestStopUndoesInReverse(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("GOGC", "")
	taken := started(t, &http.Client{}, "http", "--demo", "--web.probe-listen-address=127.0.0.1:0")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--log.level=debug", "--web.listen-address=127.0.0.1:0", "--web.probe-listen-address=127.0.0.1:0"}, "probes listener, metrics listener, tenants, state, demo, garbage collector"},
		{[]string{"--log.level=debug", "--web.listen-address=127.0.0.1:0", "--web.probe-listen-address=" + taken.ProbeAddr().String()}, "metrics listener, tenants, state, demo, garbage collector"},
		{[]string{"--log.level=debug", "--web.listen-address=" + taken.Addr().String()}, "tenants, state, demo, garbage collector"},
	} {
		o, err := Parse(append([]string{"--demo"}, test.args...), io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var log output
		o.log.Writer = &log
		a := New(o, promslog.New(o.log))
		if err := a.Start(t.Context()); err == nil {
			a.Stop()
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			if _, what, ok := strings.Cut(strings.TrimSpace(line), "msg=Stopping what="); ok {
				got = append(got, strings.Trim(what, `"`))
			}
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%v: got %q, want %q", test.args, got, test.want)
		}
	}
}
