package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"m365_defender_exporter/internal/reason"
)

// elsewhere is a server that must not be asked for anything. It would give a
// token.
func elsewhere(t *testing.T, start func(http.Handler) *httptest.Server) *httptest.Server {
	t.Helper()
	var asked atomic.Int32
	s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"token_type":"Bearer","expires_in":3600,"access_token":"from elsewhere"}`))
	}))
	t.Cleanup(func() {
		s.Close()
		if n := asked.Load(); n > 0 {
			t.Errorf("the place that was pointed to got %d requests", n)
		}
	})
	return s
}

// TestRedirects: a credential goes nowhere but to the token endpoint, and a
// token from another place is not used.
func TestRedirects(t *testing.T) {
	withoutIdentityEnvironment(t)
	c := newCredentials(t)
	federated := fileWith(t, workloadToken(t, c.key, "s", time.Now().Add(time.Hour)))
	certificate := fileWith(t, certPEM(c.certificate)+pkcs8PEM(t, c.key))
	kinds := map[string]func(Options) *Source{
		"secret":      func(o Options) *Source { return ClientSecret(o, fixed(canary)) },
		"certificate": func(o Options) *Source { return Certificate(o, certificate, nil) },
		"federated":   func(o Options) *Source { return Federated(o, federated) },
		"managed": func(o Options) *Source {
			s, err := ManagedIdentity(o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	places := map[string]func(*testing.T, *httptest.Server) string{
		"another host": func(t *testing.T, _ *httptest.Server) string { return elsewhere(t, httptest.NewTLSServer).URL },
		"plain http":   func(t *testing.T, _ *httptest.Server) string { return elsewhere(t, httptest.NewServer).URL },
		"same host":    func(_ *testing.T, login *httptest.Server) string { return login.URL },
	}
	for kind, newSource := range kinds {
		for place, target := range places {
			for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
				t.Run(fmt.Sprint(kind, "/", place, "/", status), func(t *testing.T) {
					var asked atomic.Int32
					var to string
					login := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						asked.Add(1)
						w.Header().Set("Location", to+"/path?client_secret="+canary)
						w.WriteHeader(status)
					}))
					defer login.Close()
					to = target(t, login)
					s := newSource(Options{TokenURL: login.URL + "/token", ClientID: "c", Scope: "https://api.example/.default", HTTP: towards(login)})
					defer s.Close()
					token, err := s.Token()
					if token != nil || Reason(err) != "redirect" {
						t.Fatalf("got %v, %s, %v", token, Reason(err), err)
					}
					if asked.Load() != 1 {
						t.Errorf("asked %d times", asked.Load())
					}
					if text := err.Error(); !strings.Contains(text, to) || !strings.Contains(text, fmt.Sprint(status)) || strings.Contains(text, "path") || strings.Contains(text, canary) {
						t.Errorf("got %q", text)
					}
					if e, ok := errors.AsType[*Error](err); !ok || e.FailureReason() != reason.Auth || e.Status != status {
						t.Errorf("class or status of %#v", err)
					}
				})
			}
		}
	}
}

// towards is a client that trusts the server, follows redirects if it is let,
// and takes the machine's metadata service for the server, too.
func towards(s *httptest.Server) *http.Client {
	c := s.Client()
	transport := c.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true // the second server has the same certificate anyway
	dialer := &net.Dialer{}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "169.254.169.254:80" {
			return bridge(s)
		}
		return dialer.DialContext(ctx, network, address)
	}
	c.Transport, c.Timeout = transport, 10*time.Second
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	return c
}

// bridge is a plain connection to the handler of a server with TLS.
func bridge(s *httptest.Server) (net.Conn, error) {
	here, there := net.Pipe()
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- there
	go func() { _ = (&http.Server{Handler: s.Config.Handler, ReadHeaderTimeout: time.Minute}).Serve(l) }()
	return here, nil
}

type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		close(l.closed)
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// TestRedirectTargets: what a Location can say, and what is said of it.
func TestRedirectTargets(t *testing.T) {
	for location, want := range map[string]string{
		"https://user:pass@other.example:444/p?q#f": "points to https://other.example:444 ",
		"//other.example":     "points to https://other.example ",
		"/here":               "points to https://login.example ",
		"":                    "names no address",
		"https://":            "names no address",
		"::":                  "names no address",
		"javascript:alert(1)": "names no address",
	} {
		t.Run(location, func(t *testing.T) {
			e := &endpoint{answer: func(int, map[string]string) (int, string) { return 307, "" }, header: http.Header{"Location": {location}}}
			_, err := source(e, fixed("x-secret")).Token()
			if Reason(err) != "redirect" || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if len(e.forms) != 1 {
				t.Errorf("asked %d times", len(e.forms))
			}
		})
	}
}
