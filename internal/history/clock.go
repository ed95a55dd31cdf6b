package history

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
)

// clock is a tenant's. It stands still unless the tenant sleeps or a request is
// on its way; then it leaps, and rings at each instant at which it is due. It
// belongs to one goroutine; Now may be called by others.
type clock struct {
	now  atomic.Int64 // Unix nanoseconds
	due  time.Time    // zero: never
	ring func()
}

func newClock(at time.Time) *clock {
	c := new(clock)
	c.now.Store(at.UnixNano())
	return c
}

// Now implements refresh.Clock.
func (c *clock) Now() time.Time { return time.Unix(0, c.now.Load()).UTC() }

// Sleep implements refresh.Clock.
func (c *clock) Sleep(ctx context.Context, until time.Time) {
	for !c.due.IsZero() && !c.due.After(until) && ctx.Err() == nil {
		c.now.Store(c.due.UnixNano())
		c.ring()
	}
	c.now.Store(max(c.now.Load(), until.UnixNano()))
}

// network carries requests to a server in this process, in time of the clock.
type network struct {
	clock  *clock
	server Server
}

const (
	// way is how long a request and its answer are under way, and perByte what each
	// byte adds: a full page of 840 kB then takes about 0.6 s.
	way     = 90 * time.Millisecond
	perByte = 500 * time.Nanosecond
)

// RoundTrip implements http.RoundTripper.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	c, err := wire.Read(r, r.URL.Scheme+"://"+r.URL.Host)
	if err != nil {
		return nil, err
	}
	n.clock.Sleep(r.Context(), n.clock.Now().Add(way))
	rep := n.server.Answer(c)
	n.clock.Sleep(r.Context(), n.clock.Now().Add(way+time.Duration(len(rep.Body))*perByte))
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: rep.Status, Status: http.StatusText(rep.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rep.Header, Body: io.NopCloser(bytes.NewReader(rep.Body)), ContentLength: int64(len(rep.Body)), Request: r,
	}, nil
}
