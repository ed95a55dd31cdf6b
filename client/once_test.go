package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/once"
	"m365_defender_exporter/internal/rawtest"
	"m365_defender_exporter/internal/reason"
)

// TestSentOnce: a server that closes kept connections on the next request makes
// net/http send it again, on a new connection or another kept one; here it must
// not.
func TestSentOnce(t *testing.T) {
	const long = 6000 // bytes: more than net/http holds back before it writes
	for _, test := range []struct {
		name string
		kept int
		req  func(base string) listing.Request
	}{
		{"one connection", 1, func(string) listing.Request { return first }},
		{"many connections", 8, func(string) listing.Request { return first }},
		{"long request", 8, func(base string) listing.Request {
			return listing.Request{Link: base + "/?x=" + strings.Repeat("x", long)}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 5 {
				base, received := rudeServer(t, test.kept)
				transport := &http.Transport{MaxIdleConnsPerHost: test.kept, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					return lingering{conn}, err
				}}
				c := newTest(t, transport, func(o *Options) { o.BaseURL = base })
				var calls sync.WaitGroup
				for range test.kept {
					calls.Go(func() {
						if _, err := c.List(t.Context(), first); err != nil {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				_, err := c.List(t.Context(), test.req(base))
				if e := failure(t, err); e.Reason != reason.Network || !strings.Contains(err.Error(), "not sent again") || errors.Is(err, context.Canceled) {
					t.Errorf("got %+v, %q", e, err)
				}
				// A request that was sent all the same may be on its way.
				transport.CloseIdleConnections()
				synced(t, base)
				if got := received.Load(); got != int64(test.kept)+1 {
					t.Fatalf("%d requests for %d calls", got, test.kept+1)
				}
			}
		})
	}
}

// TestSentOnceUnseen: the same of a transport that does not show its connections,
// of which there is then none to close.
func TestSentOnceUnseen(t *testing.T) {
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		for range 2 {
			trace := httptrace.ContextClientTrace(r.Context())
			trace.GetConn("api.example:443")
			trace.WroteHeaderField("Host", nil)
		}
		return nil, r.Context().Err()
	}), nil)
	_, err := c.List(t.Context(), first)
	if e := failure(t, err); e.Reason != reason.Network || !strings.Contains(err.Error(), "not sent again") {
		t.Errorf("got %+v", e)
	}
}

// lingering is a connection that net/http, when it cancels a request, closes too
// late to keep it from being written.
type lingering struct{ net.Conn }

func (l lingering) Close() error {
	time.Sleep(5 * time.Millisecond)
	return l.Conn.Close()
}

// rudeServer answers the first request of each connection, when as many have
// come as are to be kept, and closes it, without an answer, when the second has.
func rudeServer(t *testing.T, kept int) (base string, received *atomic.Int64) {
	t.Helper()
	received = new(atomic.Int64)
	var all sync.WaitGroup
	all.Add(kept)
	return "http://" + rawtest.Serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for n := range 2 {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if r.Method == http.MethodOptions {
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
				return
			}
			received.Add(1)
			if n == 0 {
				all.Done()
				all.Wait()
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"value\":[]}"))
			}
		}
	}), received
}

// synced asks the server something else, on a connection of its own.
func synced(t *testing.T, base string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// h2Server answers HTTP/2 frame by frame.
type h2Server struct {
	address   string
	transport *http.Transport
	// received counts the requests of each path.
	mu       sync.Mutex
	received map[string]int
	conns    int
}

// newH2Server makes a server whose requests are handled by handle, which must
// not block.
func newH2Server(t *testing.T, handle func(w *h2Conn, id uint32, path string)) *h2Server {
	t.Helper()
	s := &h2Server{received: map[string]int{}}
	address, transport := rawtest.ServeHTTP2(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
		f := http2.NewFramer(conn, conn)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		w := &h2Conn{framer: f}
		w.do(func() { _ = f.WriteSettings() })
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					w.do(func() { _ = f.WriteSettingsAck() })
				}
			case *http2.MetaHeadersFrame:
				path := frame.PseudoValue("path")
				s.mu.Lock()
				s.received[path]++
				s.mu.Unlock()
				handle(w, frame.StreamID, path)
			}
		}
	})
	s.address, s.transport = "https://"+address, transport
	return s
}

func (s *h2Server) count(path string) (requests, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[path], s.conns
}

type h2Conn struct {
	mu     sync.Mutex
	framer *http2.Framer
}

func (w *h2Conn) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *h2Conn) headers(id uint32, end bool, pairs ...string) {
	w.do(func() {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i < len(pairs); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		_ = w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
	})
}

func (w *h2Conn) answer(id uint32) {
	w.headers(id, false, ":status", "200")
	w.do(func() { _ = w.framer.WriteData(id, true, []byte(`{"value":[]}`)) })
}

// TestSentOnceHTTP2: the server refuses a stream, or says goodbye, and net/http
// would send the request again. Another tenant's request on the same connection
// goes on.
func TestSentOnceHTTP2(t *testing.T) {
	const path = "/b/api/incidents?$top=100"
	for _, test := range []struct {
		name   string
		refuse func(*h2Conn, uint32)
	}{
		{"refused stream", func(w *h2Conn, id uint32) {
			w.do(func() { _ = w.framer.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
		}},
		{"goodbye", func(w *h2Conn, id uint32) {
			w.do(func() { _ = w.framer.WriteGoAway(id-2, http2.ErrCodeNo, nil) })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			arrived, refused := make(chan struct{}), make(chan struct{})
			s := newH2Server(t, func(w *h2Conn, id uint32, of string) {
				if of == path {
					test.refuse(w, id)
					return
				}
				close(arrived)
				go func() { // the answer takes until the other is refused
					<-refused
					w.answer(id)
				}()
			})
			a := newTest(t, s.transport, func(o *Options) { o.BaseURL = s.address + "/a" })
			b := newTest(t, s.transport, func(o *Options) { o.BaseURL = s.address + "/b" })
			done := make(chan error, 1)
			go func() {
				_, err := a.List(t.Context(), first)
				done <- err
			}()
			<-arrived
			_, err := b.List(t.Context(), first)
			close(refused)
			if e := failure(t, err); e.Reason != reason.Network || !strings.Contains(err.Error(), "not sent again") {
				t.Errorf("refused: got %+v", e)
			}
			if err := <-done; err != nil {
				t.Errorf("the other: got %v", err)
			}
			if n, conns := s.count(path); n != 1 {
				t.Errorf("%d requests on %d connections", n, conns)
			}
		})
	}
}

// TestInformational: answers 1xx without end are a failed request, and some are
// none.
func TestInformational(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	flood := 0
	address := rawtest.Serve(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		for range flood {
			if _, err := conn.Write([]byte("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")); err != nil {
				return
			}
		}
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\n\r\n{\"value\":[]}"))
	})
	h2 := newH2Server(t, func(w *h2Conn, id uint32, _ string) {
		for range flood {
			w.headers(id, false, ":status", "103", "link", "</x>")
		}
		w.answer(id)
	})
	for _, base := range []string{"http://" + address, h2.address} {
		for flood = range 3 {
			flood *= 10
			c := newTest(t, h2.transport, func(o *Options) { o.BaseURL = base })
			_, err := c.List(t.Context(), first)
			if flood <= once.MaxInformational && err != nil {
				t.Errorf("%d: %v", flood, err)
			} else if flood > once.MaxInformational {
				if e := failure(t, err); e.Reason != reason.Network || e.Status != 0 {
					t.Errorf("%d: got %+v", flood, e)
				}
			}
		}
	}
}

// TestWire: answers that are wrong below what an http.Response shows.
func TestWire(t *testing.T) {
	zipped := func(torn int) string {
		b := gzipped(`{"value":[{"incidentId":1}]}`)
		b[len(b)-torn] ^= 1
		return string(b)
	}
	tests := []struct {
		name, answer string
		hang         bool
		status       int
		reason       reason.Reason
		text         string
	}{
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", true, 101, reason.Decode, "switch protocols"},
		{"nothing", "", true, 0, reason.Timeout, "deadline"},
		{"a torn header", "HTTP/1.1 200 OK\r\nContent-", true, 0, reason.Timeout, "deadline"},
		{"a torn body", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"value\":[]", true, 200, reason.Timeout, "deadline"},
		{"a body that does not end", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"value\":[]}", true, 200, reason.Timeout, "deadline"},
		{"an error that does not end", "HTTP/1.1 503 X\r\nContent-Length: 40\r\n\r\nx", true, 503, reason.Server, "HTTP 503"},
		{"closed at once", "", false, 0, reason.Network, "EOF"},
		{"a length that does not fit", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"value\":[]}", false, 200, reason.Network, "EOF"},
		{"a chunk missing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{\"value\":[]}\r\n", false, 200, reason.Network, "EOF"},
		{"a wrong checksum", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zipped(8), false, 200, reason.Network, "checksum"},
		{"a wrong size", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zipped(4), false, 200, reason.Network, "checksum"},
		{"no gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}", false, 200, reason.Network, ""},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\x1b[31m\r\n", false, 0, reason.Network, `malformed`},
		{"a long status line", "HTTP/1.1 2000 " + strings.Repeat("x", 4<<20) + "\r\n\r\n", false, 0, reason.Network, "malformed"},
		{"a malformed header", "HTTP/1.1 200 OK\r\n\x1b[31m\r\n\r\n", false, 0, reason.Network, "malformed"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", false, 0, reason.Network, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			defer close(done)
			address := rawtest.Serve(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, test.answer)
				if test.hang {
					<-done
				}
			})
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			limit := 20 * time.Second
			if test.reason == reason.Timeout || test.status == 503 {
				limit = 500 * time.Millisecond
			}
			c := newTest(t, transport, func(o *Options) { o.BaseURL, o.Timeout = "http://"+address, limit })
			began := time.Now()
			_, err := c.List(t.Context(), first)
			if e := failure(t, err); e.Reason != test.reason || e.Status != test.status || !strings.Contains(err.Error(), test.text) ||
				strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 400 {
				t.Errorf("got %+v, %q", e, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
