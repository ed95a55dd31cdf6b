package app

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
)

// TestWebConfigIsWatched: a certificate that was replaced without its key is said once,
// by the minute, and so is that it is right again.
func TestWebConfigIsWatched(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	certificate(t, dir)
	certificate(t, other)
	config := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(config, []byte("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	replace := func(name string) {
		text, err := os.ReadFile(filepath.Join(other, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var said bytes.Buffer
		a := New(&Options{web: &toolkit.FlagConfig{WebConfigFile: &config}}, slog.New(slog.NewTextHandler(&said, nil)))
		go a.watchWebConfig(ctx)
		wants := func(text string, times int) {
			t.Helper()
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			if got := said.String(); strings.Count(got, text) != times || strings.Count(got, "\n") != times {
				t.Errorf("want %q %d times, got:\n%s", text, times, got)
			}
			said.Reset()
		}
		wants("level", 0)
		replace("cert.pem")
		wants("can no longer be used", 1)
		wants("level", 0)
		replace("key.pem")
		wants("can be used again", 1)
	})
}

// TestTLSIsSwitched: TLS that a running exporter is to begin or to end with is not, and that is said.
func TestTLSIsSwitched(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	config := filepath.Join(dir, "web.yml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const (
		with, without = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n", "basic_auth_users: {}\n"
		broken        = "tls_server_config:\n  cert_file: none.pem\n  key_file: key.pem\n"
		nothing       = "tls_server_config:\n  min_version: TLS13\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n" // the toolkit takes it for none
	)
	for _, test := range []struct{ first, then, said string }{
		{with, without, "new connections fail"},
		{with, nothing, "new connections fail"},
		{with, broken, "new connections fail"},
		{without, with, "connections go on without"},
		{nothing, with, "connections go on without"},
		{without, broken, "connections go on without"},
		{without, nothing, ""},
		{nothing, without, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var said bytes.Buffer
			a := New(&Options{web: &toolkit.FlagConfig{WebConfigFile: &config}}, slog.New(slog.NewTextHandler(&said, nil)))
			write(test.first)
			go a.watchWebConfig(ctx)
			synctest.Wait()
			for _, text := range []string{test.then, test.first} {
				write(text)
				time.Sleep(3 * time.Minute)
				synctest.Wait()
			}
			got, want := said.String(), 1
			if test.said == "" {
				want = 0
			}
			if strings.Count(got, "msg=") != 2*want || want > 0 && strings.Count(got, test.said) != 1 || strings.Count(got, "can be used again") != want {
				t.Errorf("from\n%sto\n%swant %q, then that it is right again, got:\n%s", test.first, test.then, test.said, got)
			}
		})
	}
}

// TestServerLog: what single connections do is of no interest. That none can be taken is, once a minute.
func TestServerLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		to := slog.NewLogLogger(&serverLog{Handler: slog.NewTextHandler(&said, nil)}, slog.LevelDebug)
		for range 90 {
			to.Print("http: TLS handshake error from 192.0.2.1:50000: EOF")
			to.Print("http: Accept error: accept tcp [::]:10058: accept4: too many open files; retrying in 1s")
			time.Sleep(time.Second)
		}
		if got := said.String(); strings.Count(got, "level=ERROR") != 2 || strings.Count(got, "too many open files") != 2 || strings.Count(got, "\n") != 2 {
			t.Errorf("got\n%s", got)
		}
	})
}
