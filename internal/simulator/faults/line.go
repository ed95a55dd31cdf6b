package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
)

// Wire is what is wrong below the JSON of an answer.
type Wire struct {
	// Interim is how many answers 103 come before the right one, negative: no
	// other ever comes.
	Interim int
	// LengthOff is how far Content-Length is off: more than there is, or less,
	// so that the end is missing.
	LengthOff int
	// BadChecksum spoils the checksum of a gzip body.
	BadChecksum bool
}

// drips is the number of pieces in which a slow body comes.
const drips = 20

// gap passes between interim answers that have no end, lest they are all that
// happens in a bubble.
const gap = time.Millisecond

// raw is an answer that net/http would not write: over HTTP/1.1 its text goes
// over the line as it is.
type raw struct {
	// reason is that of the status line.
	reason string
	// line is a header line that is none, or makes no sense; err is what a client
	// of net/http finds.
	line string
	err  error
}

// line is what happens to an answer on its way.
type line struct {
	hit  Faults
	hang bool // nothing comes, ever
	raw  raw
}

// Serve sends an answer. One without a status is a connection that is lost.
func (l *line) Serve(w http.ResponseWriter, r *http.Request, rep *wire.Reply) {
	ctx := r.Context()
	if l.hang {
		<-ctx.Done()
	}
	if pause(ctx, l.hit.Delay) != nil || rep.Status == 0 {
		panic(http.ErrAbortHandler) // net/http's way to close the connection
	}
	if l.hit.Wire.Interim != 0 {
		l.interim(ctx, w)
	}
	if (l.raw != raw{} || rep.Status == http.StatusSwitchingProtocols) && l.hijack(w, rep) {
		return
	}
	body, length := l.body(ctx, rep)
	rep.WriteHeader(w, length)
	flusher := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, failed := w.Write(buf[:n]); failed != nil {
				return
			}
			if l.hit.Drip > 0 || l.hit.Drop == DropMidBody || l.hit.Wire.LengthOff > 0 {
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

// body is the body as it comes over the line: whole, dripping or broken off;
// length is the Content-Length that the answer has.
func (l *line) body(ctx context.Context, rep *wire.Reply) (body io.Reader, length int) {
	all := rep.Body
	if l.hit.Wire.BadChecksum && rep.Header.Get("Content-Encoding") == "gzip" {
		all = spoilChecksum(all)
	}
	if len(all) > 0 {
		length = max(0, len(all)+l.hit.Wire.LengthOff)
	}
	s := &stream{ctx: ctx, rest: all[:min(len(all), length)], end: io.EOF}
	switch {
	case l.hit.Drop == DropMidBody:
		s.rest, s.end = all[:len(all)/2], io.ErrUnexpectedEOF
	case length > len(all):
		s.end = io.ErrUnexpectedEOF
	}
	if l.hit.Drip > 0 {
		s.piece = (len(s.rest) + drips - 1) / drips
		s.gap = l.hit.Drip / drips
	}
	return s, length
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

// statusText is the status as a client sees it.
func (l *line) statusText(status int) string {
	if l.raw.reason != "" {
		return fmt.Sprintf("%d %s", status, l.raw.reason)
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}

// hijack writes the answer by hand and closes the connection, after 101 not
// before the client does. Where that cannot be done, over HTTP/2, it is not.
func (l *line) hijack(w http.ResponseWriter, rep *wire.Reply) bool {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	rep.Header.Set("Content-Length", fmt.Sprint(len(rep.Body)))
	if rep.Status == http.StatusSwitchingProtocols {
		rep.Header.Del("Content-Length")
	} else {
		rep.Header.Set("Connection", "close")
	}
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %s\r\n", l.statusText(rep.Status))
	if l.raw.line != "" {
		rep.Header.Del("Content-Length")
		_, _ = fmt.Fprintf(buf, "%s\r\n", l.raw.line)
	}
	_ = rep.Header.Write(buf)
	_, _ = buf.WriteString("\r\n")
	_, _ = buf.Write(rep.Body)
	if buf.Flush() == nil && rep.Status == http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, buf)
	}
	return true
}

// interim sends the answers before the answer. With a length among the headers
// net/http writes each from a copy of them: an HTTP/2 stream that the client
// resets may still be writing one while the handler goes on.
func (l *line) interim(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Length", "0")
	for i := 0; i != l.hit.Wire.Interim && ctx.Err() == nil; i++ {
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
	}
	w.Header().Del("Link")
}

// trace does the same without a network. Like http.Transport it leaves the
// bound to a client that looks at them, and has one of its own otherwise.
func (l *line) trace(ctx context.Context) error {
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks == nil || hooks.Got1xxResponse == nil {
		if l.hit.Wire.Interim < 0 || l.hit.Wire.Interim > 100_000 {
			return errors.New("net/http: HTTP/1.x transport connection broken: read limit of 10485760 bytes exhausted")
		}
		return nil
	}
	for i := 0; i != l.hit.Wire.Interim; i++ {
		if err := hooks.Got1xxResponse(http.StatusEarlyHints, textproto.MIMEHeader{"Link": {"</style.css>"}}); err != nil {
			return err
		}
		if l.hit.Wire.Interim < 0 {
			if err := pause(ctx, gap); err != nil {
				return err
			}
		}
	}
	return nil
}

// spoilChecksum breaks the checksum at the end of a gzip body.
func spoilChecksum(body []byte) []byte {
	body = bytes.Clone(body)
	if n := len(body) - 8; n >= 0 {
		body[n] ^= 0xff
	}
	return body
}

// switched is what comes after 101: nothing, until the client closes it, which
// is the only thing that ends a read. Neither the request's context nor the
// client's timeout does.
type switched struct{ closed chan struct{} }

func (s switched) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.ErrClosedPipe
}

func (s switched) Write(p []byte) (int, error) { return len(p), nil }

func (s switched) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// RoundTripper is the same tenant without a network, for synctest bubbles, in
// which listeners hang. It answers every host but [Foreign]'s, honours the
// request's context while it delays or drips, and fails as a connection would.
// Unlike http.Transport it compresses only for requests that ask for it
// themselves, since it does not decompress for the others. A delay or a drip
// passes on the timers of package time, whatever Options.Now says.
func (m *Misbehaviour) RoundTripper() http.RoundTripper { return roundTripper{m} }

type roundTripper struct{ m *Misbehaviour }

func (rt roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }() // the contract of http.RoundTripper
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := wire.Read(r, r.URL.Scheme+"://"+r.URL.Host)
	if err != nil {
		return nil, err
	}
	if rt.m.elsewhere(c) {
		return nil, &foreignError{r.URL.Host}
	}
	rep := rt.m.Answer(c)
	l, bad := rep.Line.(*line)
	if !bad {
		l = &line{}
	}
	if l.hang {
		<-ctx.Done()
	}
	if err := pause(ctx, l.hit.Delay); err != nil {
		return nil, err
	}
	if l.hit.Wire.Interim != 0 {
		if err := l.trace(ctx); err != nil {
			return nil, err
		}
	}
	resp := &http.Response{
		Status: l.statusText(rep.Status), StatusCode: rep.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rep.Header, Request: r,
	}
	switch {
	case rep.Status == 0:
		return nil, io.EOF // what http.Transport says
	case l.raw.err != nil:
		return nil, l.raw.err
	case rep.Status == http.StatusSwitchingProtocols:
		resp.Body = switched{make(chan struct{})}
		return resp, nil
	}
	body, length := l.body(ctx, rep)
	rep.Header.Set("Content-Length", strconv.Itoa(length))
	resp.Body, resp.ContentLength = io.NopCloser(body), int64(length)
	return resp, nil
}

// elsewhere notes calls that no careful client makes, with what they give away,
// and tells whether they are for another host.
func (m *Misbehaviour) elsewhere(c *wire.Call) bool {
	credentials := c.Header.Get("Authorization") != "" || strings.Contains(c.Body, "client_secret=") || strings.Contains(c.Body, "client_assertion=")
	count := func(calls, withCredentials *int) {
		m.Do(func(time.Time) {
			*calls++
			if credentials {
				*withCredentials++
			}
		})
	}
	switch {
	case c.Base == Foreign:
		count(&m.Account.Foreign, &m.Account.ForeignWithCredentials)
		return true
	case strings.HasPrefix(c.Base, "http:"):
		count(&m.Account.Plain, &m.Account.PlainWithCredentials)
	}
	return false
}

// foreignError is the failure of a request to [Foreign].
type foreignError struct{ host string }

func (e *foreignError) Error() string { return "lookup " + e.host + ": no such host" }
