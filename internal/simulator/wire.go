package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"
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

// Flood is what a client has to keep or to throw away: little on the wire where
// it is compressed, much in memory.
type Flood struct {
	// Rows are so many rows 1 behind the others of a page, Alerts so many alerts
	// 1 instead of those of its first row.
	Rows, Alerts int
}

func ones(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }

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

func (r *reply) isRaw() bool { return r.raw != raw{} || r.status == http.StatusSwitchingProtocols }

// statusText is the status as a client sees it.
func (r *reply) statusText() string {
	if r.raw.reason != "" {
		return fmt.Sprintf("%d %s", r.status, r.raw.reason)
	}
	return fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
}

// hijack writes the answer by hand and closes the connection, after 101 not
// before the client does. Where that cannot be done, over HTTP/2, it is not.
func (r *reply) hijack(w http.ResponseWriter) bool {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	r.header.Set("Content-Length", fmt.Sprint(len(r.body)))
	if r.status == http.StatusSwitchingProtocols {
		r.header.Del("Content-Length")
	} else {
		r.header.Set("Connection", "close")
	}
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %s\r\n", r.statusText())
	if r.raw.line != "" {
		r.header.Del("Content-Length")
		_, _ = fmt.Fprintf(buf, "%s\r\n", r.raw.line)
	}
	_ = r.header.Write(buf)
	_, _ = buf.WriteString("\r\n")
	_, _ = buf.Write(r.body)
	if buf.Flush() == nil && r.status == http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, buf)
	}
	return true
}

// interim sends the answers before the answer. With a length among the headers
// net/http writes each from a copy of them: an HTTP/2 stream that the client
// resets may still be writing one while the handler goes on.
func (r *reply) interim(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Length", "0")
	for i := 0; i != r.wire.Interim && ctx.Err() == nil; i++ {
		w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		w.WriteHeader(http.StatusEarlyHints)
	}
	w.Header().Del("Link")
}

// trace does the same without a network. Like http.Transport it leaves the
// bound to a client that looks at them, and has one of its own otherwise.
func (r *reply) trace(ctx context.Context) error {
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks == nil || hooks.Got1xxResponse == nil {
		if r.wire.Interim < 0 || r.wire.Interim > 100_000 {
			return errors.New("net/http: HTTP/1.x transport connection broken: read limit of 10485760 bytes exhausted")
		}
		return nil
	}
	for i := 0; i != r.wire.Interim; i++ {
		if err := hooks.Got1xxResponse(http.StatusEarlyHints, textproto.MIMEHeader{"Link": {"</style.css>"}}); err != nil {
			return err
		}
		if r.wire.Interim < 0 {
			if err := pause(ctx, gap); err != nil {
				return err
			}
		}
	}
	return nil
}

// spoil breaks the checksum at the end of a gzip body.
func spoil(body []byte) []byte {
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
