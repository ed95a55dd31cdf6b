package client

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

// TestRepeats: a server that closes kept connections on the next request makes
// net/http send it again; the server never sees more requests than there were
// grants.
func TestRepeats(t *testing.T) {
	for _, test := range []struct {
		name   string
		grants int64
		fails  bool
	}{{"granted", 100, false}, {"not granted", 4, true}} {
		t.Run(test.name, func(t *testing.T) {
			address, received := rudeServer(t)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			limits := &fewGrants{left: test.grants}
			d, err := NewDefender(Options{BaseURL: "http://" + address, HTTP: &http.Client{Transport: transport}, Limiter: limits, Retries: -1})
			if err != nil {
				t.Fatal(err)
			}
			failed := false
			for range 3 {
				_, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{})
				failed = failed || err != nil
			}
			if failed != test.fails {
				t.Errorf("failed: got %v, want %v", failed, test.fails)
			}
			if got := received.Load(); got > limits.given.Load() {
				t.Errorf("%d requests for %d grants", got, limits.given.Load())
			}
			if limits.given.Load() != limits.settled.Load() {
				t.Errorf("%d grants, %d settled", limits.given.Load(), limits.settled.Load())
			}
		})
	}
}

// rudeServer answers the first request of each connection and closes it,
// without an answer, when the second has come.
func rudeServer(t *testing.T) (address string, received *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	received = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for n := range 2 {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					received.Add(1)
					if n == 0 {
						_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"value\":[]}"))
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), received
}

// fewGrants is a limiter with so many grants; once they are gone it says so
// for the repeats, and lets whoever waits have one.
type fewGrants struct {
	left           int64
	refused        bool
	given, settled atomic.Int64
}

func (f *fewGrants) Take(now time.Time, _ incident.Pass) (uint64, time.Time) {
	if f.left == 0 && !f.refused {
		f.refused = true
		return 0, now
	}
	f.left = max(0, f.left-1)
	f.refused = false
	return uint64(f.given.Add(1)), now
}

func (f *fewGrants) Settle(uint64, time.Time) { f.settled.Add(1) }
func (f *fewGrants) Succeeded()               {}
func (f *fewGrants) Refused(now time.Time, _ int, _, _ string) time.Time {
	return now
}
