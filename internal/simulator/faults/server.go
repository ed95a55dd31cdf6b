package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves a tenant over TCP on loopback: what only a real connection can
// show. All methods may be called concurrently.
type Server struct {
	// URL is the scheme, the address and the port.
	URL string
	// CA is the certificate to trust, in PEM; nil without TLS. It is right for
	// 127.0.0.1, localhost and example.com.
	CA []byte

	http     *http.Server
	listener *holes
	done     chan struct{} // closed when nothing is accepted any more
}

// ServerOptions describe a server. The zero value has TLS and HTTP/2.
type ServerOptions struct {
	// Plain is without TLS, and with that without HTTP/2. HTTP1 is with TLS and
	// without HTTP/2.
	Plain, HTTP1 bool
}

// Serve begins to serve on a port that is free. Close has to be called.
func (m *Misbehaviour) Serve(opts ServerOptions) (*Server, error) {
	inner, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	s := &Server{
		URL: "http://" + inner.Addr().String(), listener: &holes{Listener: inner}, done: make(chan struct{}),
		http: &http.Server{Handler: m.Handler(), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)},
	}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	if opts.Plain {
		go func() { defer close(s.done); _ = s.http.Serve(s.listener) }() // ends with Close
		return s, nil
	}
	s.http.Protocols.SetHTTP2(!opts.HTTP1)
	certificate, err := selfSigned()
	if err != nil {
		_ = inner.Close()
		return nil, fmt.Errorf("simulator: certificate: %w", err)
	}
	s.URL = "https://" + inner.Addr().String()
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	go func() { defer close(s.done); _ = s.http.ServeTLS(s.listener, "", "") }()
	return s, nil
}

// Close ends the server and all its connections.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	s.listener.closeAll() // those that were hijacked, too
	return err
}

// BlackHole lets every connection that there is go on without a byte in either
// direction, as when a firewall or a virtual machine that moved has forgotten
// it. Those that are made later are well.
func (s *Server) BlackHole() { s.listener.dig() }

// Refuse closes new connections as soon as they are made, until it is told
// otherwise. Those that there are stay.
func (s *Server) Refuse(is bool) { s.listener.refuse.Store(is) }

// Cut closes every connection that there is.
func (s *Server) Cut() { s.listener.closeAll() }

// Connections is how many were made so far, those that were refused apart.
func (s *Server) Connections() int {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	return s.listener.made
}

// holes is a listener whose connections can become black holes.
type holes struct {
	net.Listener
	refuse atomic.Bool

	mu    sync.Mutex
	conns []*hole
	made  int
}

func (l *holes) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.refuse.Load() {
			_ = conn.Close()
			continue
		}
		h := &hole{Conn: conn}
		l.mu.Lock()
		l.conns = slices.DeleteFunc(l.conns, func(h *hole) bool { return h.closed.Load() })
		l.conns, l.made = append(l.conns, h), l.made+1
		l.mu.Unlock()
		return h, nil
	}
}

func (l *holes) dig() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.conns {
		h.dead.Store(true)
	}
}

func (l *holes) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.conns {
		_ = h.Conn.Close()
	}
	l.conns = nil
}

// hole is a connection that swallows everything once it is dead: the kernel
// goes on to acknowledge what comes.
type hole struct {
	net.Conn
	dead, closed atomic.Bool
}

func (h *hole) Read(p []byte) (int, error) {
	for {
		n, err := h.Conn.Read(p)
		if err != nil || !h.dead.Load() {
			return n, err
		}
	}
}

func (h *hole) Write(p []byte) (int, error) {
	if h.dead.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// Close of a dead connection is not heard of by the other side, either: it is
// kept until the server closes.
func (h *hole) Close() error {
	if h.dead.Load() {
		return nil
	}
	h.closed.Store(true)
	return h.Conn.Close()
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Whoever checks it does so by the wall clock, whatever the tenant's is.
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simulated"},
		NotBefore: now.Add(-day), NotAfter: now.Add(365 * day),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
