package fleet

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// refreshed runs a tenant until its open incidents are known.
func refreshed(t *testing.T, cfg config.Tenant) {
	t.Helper()
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	set := New(context.Background(), Options{Store: tenanttest.InMemory(t), Logger: slog.New(slog.DiscardHandler)})
	defer set.Stop(time.Minute)
	if _, err := set.Replace([]config.Tenant{cfg}); err != nil {
		t.Fatal(err)
	}
	for { // until go test loses its patience
		s := set.Tenants()[0].Status(time.Now()).Refresh
		if s.Coverage.Open {
			return
		}
		if s.LastError != "" {
			t.Fatal(s.LastError)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func smallSimulator() http.Handler {
	return simulator.New(simulator.Options{Seed: 1, Incidents: 20, Light: true}).Handler()
}

// TestProxy: token and API calls go through it, and only through it.
func TestProxy(t *testing.T) {
	var tokens, calls atomic.Int32
	next := smallSimulator()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "localhost:9" {
			t.Errorf("%s is asked for", r.URL)
		}
		if strings.HasSuffix(r.URL.Path, "/token") {
			tokens.Add(1)
		} else {
			calls.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := tenanttest.Config()
	cfg.APIURL, cfg.AuthURL, cfg.AuthScope = "http://localhost:9", "http://localhost:9", "http://localhost:9/.default"
	cfg.HTTP.Proxy = promconfig.ProxyConfig{ProxyURL: promconfig.URL{URL: address}}
	refreshed(t, cfg)
	if tokens.Load() == 0 || calls.Load() == 0 {
		t.Errorf("%d tokens and %d calls through the proxy", tokens.Load(), calls.Load())
	}
}

// TestRemoteProxy: plain http is for this machine, and does not leave it.
func TestRemoteProxy(t *testing.T) {
	remote, near := "http://proxy.example:3128", "http://[::1]:3128"
	for _, test := range []struct{ proxy, url, want string }{
		{remote, "https://api.example/", remote},
		{remote, "http://localhost:9/", ""},
		{remote, "http://127.0.0.1:9/", ""},
		{remote, "http://[::1]:9/", ""},
		{remote, "https://localhost:9/", remote},
		{near, "http://localhost:9/", near},
	} {
		address, err := url.Parse(test.proxy)
		if err != nil {
			t.Fatal(err)
		}
		made, err := newTransport(config.HTTP{Proxy: promconfig.ProxyConfig{ProxyURL: promconfig.URL{URL: address}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := made.(*http.Transport).Proxy(httptest.NewRequest(http.MethodGet, test.url, nil))
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil || text != test.want {
			t.Errorf("%s by %s: got %q, %v, want %q", test.url, test.proxy, text, err, test.want)
		}
	}
}

// TestCertificateAuthority: one of the file is trusted, in addition, and a
// changed file is another transport.
func TestCertificateAuthority(t *testing.T) {
	api := httptest.NewTLSServer(smallSimulator())
	defer api.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := tenanttest.Config()
	cfg.APIURL, cfg.AuthURL, cfg.AuthScope = api.URL, api.URL, api.URL+"/.default"
	cfg.HTTP.TLS.CAFile = file
	refreshed(t, cfg)

	var shared Transports
	first, err := shared.of(cfg.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := shared.of(cfg.HTTP); err != nil || again != first {
		t.Errorf("equal settings do not share a transport: %v", err)
	}
	if err := os.WriteFile(file, append(ca, ca...), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := shared.of(cfg.HTTP); err != nil || other == first {
		t.Errorf("a changed file is the same transport: %v", err)
	}
	endless := config.HTTP{TLS: promconfig.TLSConfig{CAFile: "/dev/zero"}}
	if _, err := shared.of(endless); err == nil || !strings.Contains(err.Error(), "http.tls_config.ca_file: ") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.of(cfg.HTTP); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("got %v", err)
	}
}

func TestTransportFloor(t *testing.T) {
	made, err := newTransport(config.Default().HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := made.(*http.Transport).TLSClientConfig.MinVersion; got < 0x0303 {
		t.Errorf("TLS version %x is accepted", got)
	}
	if made.(*http.Transport).Proxy == nil {
		t.Error("the environment's proxy is not used")
	}
}
