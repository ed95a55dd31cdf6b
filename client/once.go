package client

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"sync"
)

var (
	errNotRepeated   = errors.New("the connection broke when the request had been sent; it was not sent again")
	errInformational = errors.New("too many informational answers (1xx)")
)

// maxInformational bounds the answers 1xx before the one that counts.
const maxInformational = 10

// sentOnce keeps net/http from sending a request a second time, as it does on
// its own when a kept connection turns out to be closed or an HTTP/2 stream is
// refused: the server may have counted the first one, and the second is no call
// that was decided upon. stop cancels this request alone; a connection that
// others share is left as it is.
func sentOnce(ctx context.Context, stop context.CancelCauseFunc) context.Context {
	var (
		mu     sync.Mutex
		sent   bool // at least in part
		again  bool
		conn   net.Conn
		others int
	)
	// A connection that broke before anything was written to it is replaced.
	begin := func() {
		if again = sent; again {
			stop(errNotRepeated)
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			mu.Lock()
			defer mu.Unlock()
			begin()
		},
		GotConn: func(info httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			begin()
			conn = info.Conn
		},
		WroteHeaderField: func(name string, _ []string) {
			mu.Lock()
			defer mu.Unlock()
			sent = true
			// HTTP/2 looks at the context before it writes. HTTP/1 does not, but has
			// nothing on the wire yet when it writes Host, and a connection per request.
			if again && name == "Host" {
				_ = conn.Close()
			}
		},
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			if others++; others > maxInformational {
				return errInformational
			}
			return nil
		},
	})
}
