package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"

	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/timeout"
)

// scrubber makes a foreign text fit to be shown.
type scrubber interface{ Text(text string) string }

// netTrace is how far a request came on its way to a host.
type netTrace struct {
	target, port string // of the host that is meant
	// shown makes what was met on the way fit to be shown.
	shown scrubber

	mu           sync.Mutex
	dnsHost      string
	dnsErr       error
	address      string // that was connected to, or tried last
	connected    bool
	connectErr   error
	tlsBegan     bool
	tlsErr       error
	tls          *tls.ConnectionState
	reused, done bool
}

// newNetTrace returns a context whose requests are traced.
func newNetTrace(ctx context.Context, target string, shown scrubber) (*netTrace, context.Context) {
	n := &netTrace{shown: shown}
	if u, err := url.Parse(target); err == nil {
		n.target, n.port = u.Hostname(), u.Port()
		if n.port == "" {
			n.port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
	}
	locked := func(f func()) {
		n.mu.Lock()
		defer n.mu.Unlock()
		f()
	}
	return n, httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { locked(func() { n.dnsHost = i.Host }) },
		DNSDone:  func(i httptrace.DNSDoneInfo) { locked(func() { n.dnsErr = i.Err }) },
		ConnectDone: func(_, address string, err error) {
			locked(func() {
				if n.connected {
					return // another address was quicker
				}
				n.address, n.connected, n.connectErr = address, err == nil, err
			})
		},
		TLSHandshakeStart: func() { locked(func() { n.tlsBegan = true }) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			locked(func() { n.tls, n.tlsErr = &s, err })
		},
		GotConn: func(i httptrace.GotConnInfo) { locked(func() { n.done, n.reused = true, i.Reused }) },
	})
}

// proxy is the proxy that was used on the way, as far as can be seen: empty if
// none.
func (n *netTrace) proxy() string {
	switch {
	case n.dnsHost != "" && !strings.EqualFold(n.dnsHost, n.target):
		return n.dnsHost
	case n.dnsHost == "" && n.address != "" && n.address != net.JoinHostPort(n.target, n.port):
		return n.address
	}
	return ""
}

// step makes a step of the trace and of how the request ended.
func (n *netTrace) step(name string, err error) Step {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		return Step{name, OK, n.way(), ""}
	}
	detail, hint := n.failure(err)
	return Step{name, Failed, detail, hint}
}

// way describes a connection that was made.
func (n *netTrace) way() string {
	text := n.target
	if n.address != "" {
		text += " at " + n.address
	}
	if proxy := n.proxy(); proxy != "" {
		text = n.target + " through the proxy " + proxy
	}
	switch {
	case n.reused:
		text += ", connection reused"
	case n.tls == nil:
		text += ", no TLS"
	default:
		text += ", " + tls.VersionName(n.tls.Version)
		if len(n.tls.PeerCertificates) > 0 {
			text += ", certificate by " + n.issuer(n.tls.PeerCertificates[0])
		}
	}
	return text
}

func (n *netTrace) issuer(c *x509.Certificate) string {
	if len(c.Issuer.Organization) > 0 {
		return n.shown.Text(c.Issuer.Organization[0])
	}
	return n.shown.Text(c.Issuer.CommonName)
}

const proxyHint = "if the way out is a proxy, set HTTPS_PROXY; if it is a firewall, allow TCP 443 to the host"

// failure says at which step it failed and what that means.
func (n *netTrace) failure(err error) (detail, hint string) {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	host, proxy := n.target, n.proxy()
	if proxy != "" {
		host = "the proxy " + proxy
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	late := timeout.Is(err)
	switch {
	case n.dnsErr != nil:
		return "resolve " + host + ": " + n.shown.Text(reasonOfDNS(n.dnsErr)), "the name is not known here: check the name and the resolver; " + proxyHint
	case !n.connected && n.connectErr != nil && !late:
		return "connect to " + host + " at " + n.address + ": " + n.shown.Text(rootText(n.connectErr)), "nothing answers there, or a firewall refuses; " + proxyHint
	case !n.connected:
		return "connect to " + host + ": " + n.textOf(err, late), "nothing answers; a firewall probably drops the packets; " + proxyHint
	case !n.tlsBegan && proxy != "":
		return "the proxy " + proxy + " does not let us through: " + n.textOf(err, late), "the proxy has to allow CONNECT to " + n.target + ":443, and may want credentials in its address"
	case errors.As(err, &unknown):
		return "TLS with " + n.target + ": the certificate is issued by a CA that is not trusted here" + n.seenIssuer(err), "if a proxy looks into TLS, or the host has its own CA, add that CA to the trust store (SSL_CERT_FILE)"
	case errors.As(err, &name):
		return "TLS with " + n.target + ": the certificate is for another host", "something else answers under this name: check the name, DNS and proxy"
	case errors.As(err, &invalid):
		return "TLS with " + n.target + ": " + n.shown.Text(invalid.Error()), "check this machine's clock; otherwise the host's certificate is bad"
	case errors.As(err, &record):
		return "TLS with " + n.target + ": it does not speak TLS", "check the port, and whether something else answers in its place"
	case n.tlsErr != nil:
		return "TLS with " + n.target + ": " + n.textOf(n.tlsErr, late), "TLS 1.2 or newer is needed; check what is on the way"
	}
	return n.target + ": " + n.textOf(err, late), proxyHint
}

// seenIssuer names who issued the certificate that was refused.
func (n *netTrace) seenIssuer(err error) string {
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
		return ": " + n.issuer(v.UnverifiedCertificates[0])
	}
	return ""
}

func reasonOfDNS(err error) string {
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.Err
	}
	return rootText(err)
}

// rootText is the innermost error's text: the others repeat addresses.
func rootText(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

func (n *netTrace) textOf(err error, late bool) string {
	switch {
	case late:
		return "no answer in time"
	case err == nil:
		return "no connection"
	}
	return n.shown.Text(strings.TrimSpace(err.Error()))
}

func sameHost(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && u.Host == v.Host
}

// probe asks a host for nothing, to see the way to it. Any answer will do.
func probe(ctx context.Context, t *tenant.Tenant, step, target string) Step {
	ctx, cancel := context.WithTimeout(ctx, t.Config().Timeout)
	defer cancel()
	trace, ctx := newNetTrace(ctx, target, t.Credential().Scrubber())
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, target+"/", nil)
	if err != nil {
		return Step{step, Failed, err.Error(), ""}
	}
	resp, err := t.Transport().RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return trace.step(step, err)
}

// probeLogin is false if there is no point in asking for a token.
func probeLogin(ctx context.Context, t *tenant.Tenant) (Step, bool) {
	if t.Config().ManagedIdentity {
		return Step{"login_host", Skipped, "a managed identity gets its tokens from the machine", ""}, true
	}
	s := probe(ctx, t, "login_host", t.Config().AuthURL)
	return s, s.Status == OK
}

// probeAPI looks at the way to the API when there is no token to call it with.
// Its request takes a grant like any other.
func probeAPI(ctx context.Context, t *tenant.Tenant, calls *fewCalls) Step {
	var step Step
	err := calls.call(ctx, func() error {
		step = probe(ctx, t, "api_host", t.Config().APIURL)
		return nil
	})
	if err != nil {
		return Step{"api_host", Skipped, err.Error(), ""}
	}
	return step
}
