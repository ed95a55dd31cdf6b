package fleet

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"

	"m365_defender_exporter/internal/config"
)

// relay is a way to a server on which connections can die without a word, as
// behind a NAT that forgets them.
type relay struct {
	net.Listener
	made atomic.Int64 // connections so far
	dead atomic.Int64 // those up to this one are black holes
}

func newRelay(t *testing.T, server net.Addr) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			id := r.made.Add(1)
			up, err := net.Dial("tcp", server.String())
			if err != nil {
				_ = down.Close()
				continue
			}
			go r.pump(id, up, down)
			go r.pump(id, down, up)
		}
	}()
	return r
}

func (r *relay) pump(id int64, to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if id > r.dead.Load() {
			_, _ = to.Write(buf[:n])
		}
	}
}

// TestDeadConnection: one that is a black hole is noticed and replaced, by a
// call that is lost with HTTP/1.1, and by pings with HTTP/2, where the
// connection would take every later call as well.
func TestDeadConnection(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
			api.EnableHTTP2 = h2
			api.StartTLS()
			defer api.Close()
			way := newRelay(t, api.Listener.Addr())
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
			made, err := newTransport(config.HTTP{TLS: promconfig.TLSConfig{ServerName: "example.com"}}, ca)
			if err != nil {
				t.Fatal(err)
			}
			transport := made.(*http.Transport)
			liveliness{frame: 150 * time.Millisecond, answer: 150 * time.Millisecond, idle: maxIdle}.apply(transport)
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, Timeout: 200 * time.Millisecond}
			call := func() error {
				resp, err := c.Get("https://" + way.Addr().String())
				if err != nil {
					return err
				}
				defer func() { _ = resp.Body.Close() }()
				proto, err := io.ReadAll(resp.Body)
				if err == nil && !strings.HasPrefix(string(proto), strings.Split(name, ".")[0]) {
					t.Errorf("the server was spoken to in %s", proto)
				}
				return err
			}
			// The machine may be busy: what counts is that it is so in the end.
			works := func(tries int) (lost int) {
				for ; ; lost++ {
					err := call()
					if err == nil {
						return lost
					}
					if lost == tries {
						t.Fatalf("%d calls failed, %d connections were made: %v", lost, way.made.Load(), err)
					}
				}
			}
			works(20)
			before := way.made.Load()
			way.dead.Store(before)
			if lost := works(20); lost == 0 {
				t.Error("no call was lost: the connection was not used")
			}
			if way.made.Load() == before {
				t.Error("no connection was made anew")
			}
		})
	}
}

// TestLiveliness: a dead connection must not cost more than one call, nor an
// idle one be used longer than the way there remembers it.
func TestLiveliness(t *testing.T) {
	made, err := newTransport(config.Default().HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport, limit := made.(*http.Transport), config.Default().Timeout
	if h2 := transport.HTTP2; h2 == nil || h2.SendPingTimeout <= 0 || h2.PingTimeout <= 0 || h2.SendPingTimeout+h2.PingTimeout >= limit {
		t.Errorf("pings: %+v, and a call takes up to %v", h2, limit)
	}
	if got := transport.IdleConnTimeout; got <= 0 || got >= 4*time.Minute {
		t.Errorf("idle for %v", got)
	}
	if got := transport.MaxResponseHeaderBytes; got != 64<<10 {
		t.Errorf("headers of %d bytes", got)
	}
}
