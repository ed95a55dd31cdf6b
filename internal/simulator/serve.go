package simulator

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxForm bounds what is read of a request's body.
const maxForm = 64 << 10

// drips is the number of pieces in which a slow body comes.
const drips = 20

func (t *Tenant) serve(w http.ResponseWriter, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	c, err := newCall(r, scheme+"://"+r.Host)
	if err != nil {
		http.Error(w, "unreadable request", http.StatusBadRequest)
		return
	}
	rep := t.answer(c)
	if rep.hang {
		<-r.Context().Done()
	}
	if pause(r.Context(), rep.delay) != nil || rep.status == 0 {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	if rep.wire.Interim != 0 {
		rep.interim(r.Context(), w)
	}
	if rep.isRaw() && rep.hijack(w) {
		return
	}
	w.Header()["Date"] = nil // net/http has its own
	for name, values := range rep.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(rep.length()))
	w.WriteHeader(rep.status)
	body := rep.stream(r.Context())
	flusher := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, failed := w.Write(buf[:n]); failed != nil {
				return
			}
			if rep.drip > 0 || rep.dropMidBody || rep.wire.LengthOff > 0 {
				_ = flusher.Flush() // on failure the next write fails
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// newCall reads a request; base is where its next pages are.
func newCall(r *http.Request, base string) (*call, error) {
	c := &call{
		method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, base: base,
		authorization: r.Header.Get("Authorization"), accept: r.Header.Get("Accept-Encoding"), prefer: r.Header.Get("Prefer"),
		header: r.Header,
	}
	if r.Body != nil && r.Method == http.MethodPost {
		var b strings.Builder
		if _, err := io.Copy(&b, io.LimitReader(r.Body, maxForm)); err != nil {
			return nil, err
		}
		c.body = b.String()
	}
	return c, nil
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream is the body as it comes over the line: whole, dripping or broken off.
func (r *reply) stream(ctx context.Context) io.Reader {
	s := &stream{ctx: ctx, rest: r.body[:min(len(r.body), r.length())], end: io.EOF}
	switch {
	case r.dropMidBody:
		s.rest, s.end = r.body[:len(r.body)/2], io.ErrUnexpectedEOF
	case r.length() > len(r.body):
		s.end = io.ErrUnexpectedEOF
	}
	if r.drip > 0 {
		s.piece = (len(s.rest) + drips - 1) / drips
		s.gap = r.drip / drips
	}
	return s
}

// length is the Content-Length that the answer has.
func (r *reply) length() int {
	if len(r.body) == 0 {
		return 0
	}
	return max(0, len(r.body)+r.wire.LengthOff)
}

type stream struct {
	ctx   context.Context
	rest  []byte
	end   error
	piece int // 0: everything at once
	gap   time.Duration
	left  int // of the current piece
}

func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if len(s.rest) == 0 {
		return 0, s.end
	}
	n := min(len(p), len(s.rest))
	if s.piece > 0 && n > 0 {
		if s.left == 0 {
			if err := pause(s.ctx, s.gap); err != nil {
				return 0, err
			}
			s.left = s.piece
		}
		n = min(n, s.left)
		s.left -= n
	}
	copy(p, s.rest[:n])
	s.rest = s.rest[n:]
	return n, nil
}

// roundTripper is the entrance without a network.
type roundTripper struct{ t *Tenant }

func (rt roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }() // the contract of http.RoundTripper
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	base := r.URL.Scheme + "://" + r.URL.Host
	c, err := newCall(r, base)
	if err != nil {
		return nil, err
	}
	if rt.t.elsewhere(c) {
		return nil, &foreignError{r.URL.Host}
	}
	rep := rt.t.answer(c)
	if rep.hang {
		<-ctx.Done()
	}
	if err := pause(ctx, rep.delay); err != nil {
		return nil, err
	}
	if rep.wire.Interim != 0 {
		if err := rep.trace(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case rep.status == 0:
		return nil, io.EOF // what http.Transport says
	case rep.raw.err != nil:
		return nil, rep.raw.err
	case rep.status == http.StatusSwitchingProtocols:
		return &http.Response{
			Status: rep.statusText(), StatusCode: rep.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: rep.header, Body: switched{make(chan struct{})}, Request: r,
		}, nil
	}
	rep.header.Set("Content-Length", strconv.Itoa(rep.length()))
	return &http.Response{
		Status:     rep.statusText(),
		StatusCode: rep.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        rep.header,
		Body:          io.NopCloser(rep.stream(ctx)),
		ContentLength: int64(rep.length()),
		Request:       r,
	}, nil
}

// elsewhere notes calls that no careful client makes, with what they give away,
// and tells whether they are for another host.
func (t *Tenant) elsewhere(c *call) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	credentials := c.authorization != "" || strings.Contains(c.body, "client_secret=") || strings.Contains(c.body, "client_assertion=")
	if c.base == Foreign {
		t.meter.Foreign++
		if credentials {
			t.meter.ForeignWithCredentials++
		}
		return true
	}
	if strings.HasPrefix(c.base, "http:") {
		t.meter.Plain++
		if credentials {
			t.meter.PlainWithCredentials++
		}
	}
	return false
}

// foreignError is the failure of a request to [Foreign].
type foreignError struct{ host string }

func (e *foreignError) Error() string { return "lookup " + e.host + ": no such host" }
