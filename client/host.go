package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

var (
	errForeignHost  = errors.New("the server refers to another host, which gets no token")
	errRedirectLoop = errors.New("too many redirects")
)

// maxRedirects bounds how often one call is sent on.
const maxRedirects = 3

// parseBase checks the address of an API. Its errors quote no more of it than
// cannot be secret.
func parseBase(address string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("parse API address: %w", err)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("API address %q: nothing but a scheme, a host and a path is allowed", base.Scheme+"://"+base.Host)
	}
	if base.Hostname() == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, fmt.Errorf("API address %q must begin with https:// (plain http only to loopback)", address)
	}
	return base, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sameHost is a redirect rule for an http.Client whose transport adds a token:
// it refuses every other host, every other scheme, and more than three hops.
func sameHost(base *url.URL) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if !sameOrigin(base, r.URL) {
			return errForeignHost
		}
		if len(via) > maxRedirects {
			return errRedirectLoop
		}
		return nil
	}
}

// sameOrigin compares scheme, host and port, a default port being as good as
// none.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// follow resolves a reference of the server's, to itself only.
func (w *wire) follow(link string) (string, error) {
	u, err := w.base.Parse(link)
	if err != nil || !sameOrigin(w.base, u) {
		return "", errForeignHost
	}
	// Would be sent as credentials.
	u.User = nil
	return u.String(), nil
}
