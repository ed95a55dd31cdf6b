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
	if pause(r.Context(), rep.delay) != nil || rep.status == 0 {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	for name, values := range rep.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(rep.body)))
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
			if rep.drip > 0 || rep.dropMidBody {
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
	s := &stream{ctx: ctx, rest: r.body, end: io.EOF}
	if r.dropMidBody {
		s.rest, s.end = r.body[:len(r.body)/2], io.ErrUnexpectedEOF
	}
	if r.drip > 0 {
		s.piece = (len(s.rest) + drips - 1) / drips
		s.gap = r.drip / drips
	}
	return s
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
	if base == Foreign {
		rt.t.foreign(r.Header.Get("Authorization") != "")
		return nil, &foreignError{r.URL.Host}
	}
	c, err := newCall(r, base)
	if err != nil {
		return nil, err
	}
	rep := rt.t.answer(c)
	if err := pause(ctx, rep.delay); err != nil {
		return nil, err
	}
	if rep.status == 0 {
		return nil, io.EOF // what http.Transport says
	}
	rep.header.Set("Content-Length", strconv.Itoa(len(rep.body)))
	return &http.Response{
		Status:     strconv.Itoa(rep.status) + " " + http.StatusText(rep.status),
		StatusCode: rep.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        rep.header,
		Body:          io.NopCloser(rep.stream(ctx)),
		ContentLength: int64(len(rep.body)),
		Request:       r,
	}, nil
}

func (t *Tenant) foreign(credentials bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter.Foreign++
	if credentials {
		t.meter.ForeignWithCredentials++
	}
}

// foreignError is the failure of a request to [Foreign].
type foreignError struct{ host string }

func (e *foreignError) Error() string { return "lookup " + e.host + ": no such host" }
