// Package once has a request sent at most once, whatever net/http would do.
package once

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
)

// ErrRepeated is why a request ends that net/http would have sent again.
var ErrRepeated = errors.New("the connection broke when the request had been sent; it was not sent again")

// MaxInformational bounds the answers 1xx before the one that counts.
const MaxInformational = 10

// Sent keeps net/http from sending the request of the context that it returns a
// second time, as it does on its own, and without a pause, when a kept connection
// turns out to be closed, an HTTP/2 stream is refused, or a server says goodbye: it
// may have counted the first one, and the second is none that was decided upon.
// stop cancels this request alone; a connection that others share is left as it is.
// Answers 1xx without end are an error.
func Sent(ctx context.Context, stop context.CancelCauseFunc) context.Context {
	var (
		mu     sync.Mutex
		sent   bool // at least in part
		again  bool
		conn   net.Conn
		others atomic.Int32
	)
	// A connection that broke before anything was written to it is replaced.
	begin := func(on net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if again = sent; again {
			stop(ErrRepeated)
		}
		conn = on
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { begin(nil) },
		GotConn: func(info httptrace.GotConnInfo) { begin(info.Conn) },
		WroteHeaderField: func(name string, _ []string) {
			mu.Lock()
			defer mu.Unlock()
			sent = true
			// HTTP/2 looks at the context before it writes. HTTP/1 does not, but has
			// nothing on the wire yet when it writes Host, and a connection per request.
			if again && conn != nil && name == "Host" {
				_ = conn.Close()
			}
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if others.Add(1) > MaxInformational {
				return errors.New("too many informational answers (1xx)")
			}
			return nil
		},
	})
}
