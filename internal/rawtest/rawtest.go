// Package rawtest has servers for tests that say what no HTTP server of the standard
// library would.
package rawtest

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Serve hands each connection to serve, and closes it then, until the test ends.
func Serve(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return accept(t, listener, serve)
}

// ServeHTTP2 is Serve with TLS and HTTP/2 agreed on. The transport trusts it.
func ServeHTTP2(t *testing.T, serve func(net.Conn)) (address string, transport *http.Transport) {
	t.Helper()
	certs := httptest.NewTLSServer(nil)
	t.Cleanup(certs.Close)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certs.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	roots := certs.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return accept(t, listener, serve), transport
}

func accept(t *testing.T, listener net.Listener, serve func(net.Conn)) (address string) {
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}
