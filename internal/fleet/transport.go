package fleet

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"time"

	promconfig "github.com/prometheus/common/config"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/textfile"
)

// Transports are shared by all tenants with equal HTTP settings: with them go
// the connections. Its zero value has none yet. It is not safe for concurrent
// use.
type Transports struct {
	known []*sharedTransport
	// open makes a new one; nil: newTransport.
	open func(config.HTTP, []byte) (http.RoundTripper, error)
}

type sharedTransport struct {
	http.RoundTripper
	settings config.HTTP
	ca       []byte // what the file held
}

// Unwrap is for a managed identity, whose requests must not go through a proxy.
func (t *sharedTransport) Unwrap() http.RoundTripper { return t.RoundTripper }

// Of returns the transport for the settings, which is a new one if the file of
// certificate authorities has changed. It reads that file; an error says which
// setting cannot be used.
func (ts *Transports) Of(settings config.HTTP) (http.RoundTripper, error) {
	return ts.of(settings)
}

// of returns the transport for the settings.
func (ts *Transports) of(settings config.HTTP) (*sharedTransport, error) {
	ca := []byte(settings.TLS.CA)
	if file := settings.TLS.CAFile; file != "" {
		var err error
		if ca, err = textfile.Read(file); err != nil {
			return nil, fmt.Errorf("http.tls_config.ca_file: %w", err)
		}
	}
	for _, t := range ts.known {
		if bytes.Equal(t.ca, ca) && reflect.DeepEqual(t.settings, settings) {
			return t, nil
		}
	}
	open := ts.open
	if open == nil {
		open = newTransport
	}
	t, err := open(settings, ca)
	if err != nil {
		return nil, err
	}
	shared := &sharedTransport{t, settings, ca}
	ts.known = append(ts.known, shared)
	return shared, nil
}

// keep forgets what none of the slots uses any more.
func (ts *Transports) keep(slots []*slot) {
	used := map[*sharedTransport]bool{}
	for _, t := range slots {
		used[t.transport] = true
	}
	var known []*sharedTransport
	for _, t := range ts.known {
		if used[t] {
			known = append(known, t)
		} else {
			(&http.Client{Transport: t.RoundTripper}).CloseIdleConnections()
		}
	}
	ts.known = known
}

// newTransport is the standard one with a floor for TLS, a pool of its own and
// what the settings say. Certificate authorities are added to the system's: a
// proxy that looks into TLS does not do so everywhere.
func newTransport(settings config.HTTP, ca []byte) (http.RoundTripper, error) {
	certificates := settings.TLS
	certificates.CA, certificates.CAFile = "", ""
	for _, named := range []struct{ field, file string }{{"cert_file", certificates.CertFile}, {"key_file", certificates.KeyFile}} {
		if named.file == "" {
			continue
		}
		// The library would read a device or a pipe without an end.
		if _, err := textfile.Read(named.file); err != nil {
			return nil, fmt.Errorf("http.tls_config.%s: %w", named.field, err)
		}
	}
	tlsConfig, err := promconfig.NewTLSConfig(&certificates)
	if err != nil {
		return nil, fmt.Errorf("http.tls_config: %w", err)
	}
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	if len(ca) > 0 {
		if tlsConfig.RootCAs, err = x509.SystemCertPool(); err != nil {
			tlsConfig.RootCAs = x509.NewCertPool()
		}
		if !tlsConfig.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("http.tls_config: there is no certificate in the certificate authorities %s", settings.TLS.CAFile)
		}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = tlsConfig
	// Proxy remembers its answer in what it is called on.
	proxy := settings.Proxy
	t.Proxy = direct(proxy.Proxy())
	t.ProxyConnectHeader = proxy.GetProxyConnectHeader()
	// One host serves all tenants of a cloud.
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 64
	t.MaxResponseHeaderBytes = maxHeader
	liveliness{frame: pingAfter, answer: pingAnswer, idle: maxIdle}.apply(t)
	return t, nil
}

// direct lets plain http to this machine, which carries a credential in the
// clear, through a proxy only if that is on this machine, too. Where a proxy
// comes from the environment the library does so anyway.
func direct(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if proxy == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		through, err := proxy(r)
		if err == nil && through != nil && r.URL.Scheme == "http" && config.Loopback(r.URL.Hostname()) && !config.Loopback(through.Hostname()) {
			return nil, nil
		}
		return through, err
	}
}

const (
	// maxHeader bounds status line and headers of an answer, in bytes, those of
	// 1xx answers included. Microsoft's have some kilobytes.
	maxHeader = 64 << 10
	// A connection without a frame for pingAfter gets an HTTP/2 ping, and is closed
	// if there is no answer within pingAnswer: a firewall or a NAT that forgot it
	// drops packets without a word, and HTTP/2 would send call after call into it.
	// Together they are less than the time limit of a call (30 s), so that a
	// connection costs one call at most.
	pingAfter, pingAnswer = 10 * time.Second, 5 * time.Second
	// maxIdle is less than the minutes after which load balancers and NAT forget a
	// connection (Azure: 4). Between the calls of one tenant (30 s) it stays.
	maxIdle = 90 * time.Second
)

// liveliness is how soon a dead connection is noticed.
type liveliness struct{ frame, answer, idle time.Duration }

// apply sets it for HTTP/2, and for HTTP/1.1 as far as TCP can tell: there a
// call that gets no answer closes its connection, and no other call has it.
func (l liveliness) apply(t *http.Transport) {
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: l.frame, PingTimeout: l.answer}
	t.IdleConnTimeout = l.idle
	t.DialContext = (&net.Dialer{
		Timeout: 30 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: l.frame, Interval: l.answer, Count: 3,
		},
	}).DialContext
}
