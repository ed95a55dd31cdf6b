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
