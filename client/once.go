package client

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
)

var errNotRepeated = errors.New("the connection broke when the request had been sent; it was not sent again")

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
		others atomic.Int32
	)
	// A connection that broke before anything was written to it is replaced.
	begin := func(on net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if again = sent; again {
			stop(errNotRepeated)
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
			if others.Add(1) > maxInformational {
				return errors.New("too many informational answers (1xx)")
			}
			return nil
		},
	})
}
