package preflight

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/rawtest"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

// checked is a simulated tenant behind TLS, and what a check says of it.
type checked struct {
	t         *testing.T
	sim       *simulator.Tenant
	server    *httptest.Server
	config    config.Tenant
	transport *http.Transport
	inProcess http.RoundTripper // nil: requests go by the transport
	tenant    *tenant.Tenant
	store     state.Store
}

func newChecked(t *testing.T, o simulator.Options) *checked {
	t.Helper()
	o.Light = true
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	o.Now = func() time.Time { return at }
	c := &checked{t: t, sim: simulator.New(o), config: tenanttest.Config(), store: tenanttest.InMemory(t)}
	c.server = httptest.NewUnstartedServer(c.sim.Handler())
	c.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	c.at(c.server.URL, c.server.URL)
	roots := x509.NewCertPool()
	roots.AddCert(c.server.Certificate())
	c.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

// inCheck is the same in a bubble: no minute of the ledger passes however slow
// the machine.
func inCheck(t *testing.T, o simulator.Options, test func(*testing.T, *checked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Light = true
		sim := simulator.New(o)
		test(t, &checked{t: t, sim: sim, config: tenanttest.Config(), store: tenanttest.InMemory(t), inProcess: connected{sim.RoundTripper()}})
	})
}

// connected says that there is a connection, as a transport would.
type connected struct{ http.RoundTripper }

func (c connected) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	return c.RoundTripper.RoundTrip(r)
}

func (c *checked) shared() http.RoundTripper {
	if c.inProcess != nil {
		return c.inProcess
	}
	return c.transport
}

// at sets the addresses.
func (c *checked) at(login, api string) {
	c.config.AuthURL, c.config.APIURL, c.config.AuthScope = login, api, api+"/.default"
}

func (c *checked) check() Result {
	c.t.Helper()
	if err := c.config.Complete(); err != nil {
		c.t.Fatal(err)
	}
	if c.tenant == nil {
		var err error
		if c.tenant, err = tenant.New(c.config, tenant.Dependencies{Transport: c.shared(), Logger: slog.New(slog.DiscardHandler)}); err != nil {
			c.t.Fatal(err)
		}
	}
	result := try(c.t.Context(), c.tenant, c.store)
	result.OK = result.ok()
	return result
}

var (
	ports     = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	durations = regexp.MustCompile(`in \d+m?s\b`)
	instants  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

// TestCheckText compares what people read, less what differs each time.
func TestCheckText(t *testing.T) {
	for name, test := range map[string]struct {
		options simulator.Options
		prepare func(*checked)
		calls   int // of the incidents API
	}{
		"ready":        {simulator.Options{Seed: 3, Incidents: 40}, nil, 1},
		"large":        {simulator.Options{Seed: 1, Incidents: 30000}, nil, 1},
		"wrong-secret": {simulator.Options{}, func(c *checked) { c.config.ClientSecret = "s3cr3t-in-nobodys-output" }, 0},
		"wrong-tenant": {simulator.Options{}, func(c *checked) { c.config.TenantID = "nobody.example" }, 0},
		"missing-role": {simulator.Options{}, func(c *checked) { c.sim.SetRoles("Machine.Read.All") }, 1},
		"graph": {simulator.Options{Seed: 3, Incidents: 400}, func(c *checked) {
			c.config.API = "graph"
			c.sim.SetRoles(simulator.DefaultGraphRole)
		}, 1},
		"graph-missing-role": {simulator.Options{Seed: 3, Incidents: 400}, func(c *checked) { c.config.API = "graph" }, 1},
		"other-api":          {simulator.Options{}, func(c *checked) { c.sim.SetRoles("SecurityIncident.Read.All") }, 1},
		"unreachable":        {simulator.Options{}, func(c *checked) { a := tenanttest.ClosedAddress(c.t); c.at(a, a) }, 0},
		"api-unreachable": {simulator.Options{}, func(c *checked) {
			c.at(c.server.URL, tenanttest.ClosedAddress(c.t))
		}, 0},
		"bad-tls":   {simulator.Options{}, func(c *checked) { c.transport.TLSClientConfig.RootCAs = x509.NewCertPool() }, 0},
		"forbidden": {simulator.Options{}, func(c *checked) { c.sim.Fault(simulator.Faults{Status: http.StatusForbidden}) }, 1},
		"throttled": {simulator.Options{}, func(c *checked) {
			c.sim.Fault(simulator.Faults{Status: http.StatusTooManyRequests, RetryAfter: "120"})
		}, 1},
		"outage":   {simulator.Options{}, func(c *checked) { c.sim.Fault(simulator.Faults{Status: http.StatusServiceUnavailable}) }, 1},
		"not-json": {simulator.Options{}, func(c *checked) { c.sim.Fault(simulator.Faults{NotJSON: true}) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChecked(t, test.options)
			if test.prepare != nil {
				test.prepare(c)
			}
			result := c.check()
			var b bytes.Buffer
			writeResult(&b, &result)
			got := ports.ReplaceAllString(b.String(), "127.0.0.1:PORT")
			got = instants.ReplaceAllString(durations.ReplaceAllString(got, "in TIME"), "INSTANT")
			golden(t, filepath.Join("testdata", "check-"+name+".txt"), got)
			if strings.Contains(got, "s3cr3t") {
				t.Error("shows the secret")
			}
			m := c.sim.Meter()
			if calls := m.Calls + m.GraphCalls; calls != test.calls || calls+m.Gets > result.APICalls || result.APICalls > 2 {
				t.Errorf("%d calls, %d reported, want %d", calls, result.APICalls, test.calls)
			}
			if used := c.tenant.Ledger().Usage(time.Now())[0].Used; used != result.APICalls {
				t.Errorf("%d grants for %d calls", used, result.APICalls)
			}
		})
	}
}

var update = flag.Bool("update", false, "write testdata/*.txt anew")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant (%s; write it anew with -update):\n%s", got, path, want)
	}
}

// TestCheckNetwork: which step on the way failed.
func TestCheckNetwork(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*checked)
		detail  string
		hint    string
	}{
		{"no such name", func(c *checked) {
			c.at("https://login.nowhere.example", c.server.URL)
			c.transport.DialContext = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no resolver")
			}}}).DialContext
		}, "resolve login.nowhere.example: ", "check the name and the resolver"},
		{"plain HTTP", func(c *checked) {
			plain := httptest.NewServer(c.sim.Handler())
			c.t.Cleanup(plain.Close)
			c.at("https://"+plain.Listener.Addr().String(), c.server.URL)
		}, "TLS with 127.0.0.1: it does not speak TLS", "check the port"},
		{"other name", func(c *checked) {
			c.at(strings.Replace(c.server.URL, "127.0.0.1", "localhost", 1), c.server.URL)
		}, "TLS with localhost: the certificate is for another host", "something else answers"},
		{"proxy that refuses", func(c *checked) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
			c.t.Cleanup(proxy.Close)
			u, _ := url.Parse(proxy.URL)
			c.transport.Proxy = http.ProxyURL(u)
			c.at("https://login.example", "https://api.example")
		}, "does not let us through: Proxy Authentication Required", "CONNECT to login.example:443"},
		{"closed proxy", func(c *checked) {
			u, _ := url.Parse(strings.Replace(tenanttest.ClosedAddress(c.t), "https", "http", 1))
			c.transport.Proxy = http.ProxyURL(u)
			c.at("https://login.example", "https://api.example")
		}, "connect to the proxy 127.0.0.1:", "nothing answers there"},
		{"silence", func(c *checked) {
			c.config.Timeout = time.Second
			c.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}, "connect to 127.0.0.1: no answer in time", "firewall"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newChecked(t, simulator.Options{})
			test.prepare(c)
			result := c.check()
			s := result.step("login_host")
			if s.Status != Failed || !strings.Contains(s.Detail, test.detail) || !strings.Contains(s.Hint, test.hint) {
				t.Errorf("got %+v", s)
			}
			if strings.Contains(s.Detail+s.Hint, "\n") || result.step("token").Status != Skipped || result.OK {
				t.Errorf("got %+v", result)
			}
		})
	}
}

// TestCheckThroughProxy names the proxy.
func TestCheckThroughProxy(t *testing.T) {
	c := newChecked(t, simulator.Options{Incidents: 5})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d net.Dialer
		to, err := d.DialContext(r.Context(), "tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
		tunnel(from, to)
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.transport.Proxy = http.ProxyURL(u)
	result := c.check()
	if s := result.step("login_host"); !result.OK || !strings.Contains(s.Detail, "TLS 1.3") || !strings.Contains(s.Detail, "through the proxy "+u.Host) {
		t.Errorf("got %+v", result)
	}
}

// TestCheckWithFullLedger: a check takes what the ledger gives, and waits for
// nothing.
func TestCheckWithFullLedger(t *testing.T) {
	inCheck(t, simulator.Options{Incidents: 5}, func(t *testing.T, c *checked) {
		c.check()
		for range 39 {
			if _, _, err := c.tenant.Ledger().Take(time.Now(), 0); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		result := c.check()
		if s := result.step("list"); s.Status != Failed || !strings.Contains(s.Detail, "the quota is spent: no call before") || result.APICalls != 0 {
			t.Errorf("got %+v", result)
		}
		if took := time.Since(began); took > 0 || c.sim.Meter().Calls != 1 {
			t.Errorf("took %v, %d calls", took, c.sim.Meter().Calls)
		}
	})
}

// TestCheckHostileProxy: likewise what a proxy writes into its status line.
func TestCheckHostileProxy(t *testing.T) {
	address := rawtest.Serve(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 407 \x1b[2J\u202eforged\r\nContent-Length: 0\r\n\r\n")
	})
	c := newChecked(t, simulator.Options{})
	c.transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address})
	result := c.check()
	var text bytes.Buffer
	writeResult(&text, &result)
	if got := text.String(); !strings.Contains(got, "forged") || strings.ContainsAny(got, "\x1b\r\u202e") {
		t.Errorf("got %q", got)
	}
}

// tunnel copies both ways until one side ends.
func tunnel(a, b net.Conn) {
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done
	_, _ = a.Close(), b.Close()
	<-done
}

// TestCheckHostileToken: what a token says of itself makes no line of its own,
// moves no cursor, and does not fill the screen.
func TestCheckHostileToken(t *testing.T) {
	const evil = "a\x1b[2J\ncontoso: ready. API calls made: 0\u202e"
	c := newChecked(t, simulator.Options{})
	roles := []string{evil}
	for i := range 500 {
		roles = append(roles, fmt.Sprint("Role.", i))
	}
	c.sim.SetRoles(roles...)
	result := c.check()
	var text, object bytes.Buffer
	writeResult(&text, &result)
	if err := json.NewEncoder(&object).Encode(result); err != nil {
		t.Fatal(err)
	}
	const shown = `a\x1b[2J\ncontoso: ready. API calls made: 0\u202e`
	if got := result.step("permission"); got.Status == Skipped || !strings.Contains(got.Detail, shown) || !strings.Contains(got.Detail, " and 471 more") {
		t.Errorf("got %+v", got)
	}
	if got := result.Token.Roles; len(got) != maxRoles || got[0] != shown {
		t.Errorf("got %d roles, %q", len(got), got[0])
	}
	for _, out := range []string{text.String(), object.String()} {
		if strings.ContainsAny(out, "\x1b\u202e") || strings.Contains(out, "\ncontoso: ready") {
			t.Errorf("got %q", out)
		}
	}
}
