package simulator

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
)

// overTCP is a caller of a server that is right in all respects.
func overTCP(t *testing.T, tenant *Tenant, opts faults.ServerOptions) (*faults.Server, *caller) {
	t.Helper()
	s, err := tenant.Serve(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: !opts.HTTP1}
	t.Cleanup(transport.CloseIdleConnections)
	return s, newCaller(t, &http.Client{Transport: transport}, s.URL)
}

func TestServer(t *testing.T) {
	for name, test := range map[string]struct {
		opts  faults.ServerOptions
		major int
	}{"HTTP/2": {faults.ServerOptions{}, 2}, "HTTP/1.1": {faults.ServerOptions{HTTP1: true}, 1}, "plain": {faults.ServerOptions{Plain: true}, 1}} {
		t.Run(name, func(t *testing.T) {
			s, c := overTCP(t, New(Options{Incidents: 30, Light: true}), test.opts)
			resp, err := c.http.Get(c.base + "/api/incidents")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.ProtoMajor != test.major || (resp.TLS == nil) != test.opts.Plain {
				t.Errorf("got %s", resp.Proto)
			}
			c.page("")
			if got := s.Connections(); got > 2 {
				t.Errorf("got %d connections", got)
			}

			s.BlackHole()
			before := s.Connections()
			c.http.Timeout = 100 * time.Millisecond
			if a := c.get("/api/incidents"); a.err == nil {
				t.Errorf("through a hole: got %d", a.status)
			}
			c.http.Timeout = 0
			c.http.CloseIdleConnections()
			c.http.Transport = c.http.Transport.(*http.Transport).Clone()
			t.Cleanup(c.http.CloseIdleConnections)
			c.page("")
			if got := s.Connections(); got != before+1 {
				t.Errorf("got %d connections, want one more than %d", got, before)
			}

			s.Refuse(true)
			s.Cut()
			if a := c.get("/api/incidents"); a.err == nil {
				t.Errorf("refused: got %d", a.status)
			}
			s.Refuse(false)
			c.page("")
		})
	}
}
