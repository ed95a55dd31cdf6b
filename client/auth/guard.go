package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"m365_defender_exporter/internal/once"
)

// guarded returns the client that credentials are sent with. It follows no
// redirect: with 307 and 308 the form, and with it the secret or the assertion,
// would go to wherever the answer points. It has no time limit of its own, so that
// the context says that time was up, and not a text.
func guarded(c *http.Client) *http.Client {
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &http.Client{Transport: &guard{next}, CheckRedirect: stay}
}

// stay is a redirect rule: the answer is given back as it is.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// guard lets through only what can be an answer of a token endpoint. It is a
// RoundTripper, so that it holds for libraries that have a redirect rule of
// their own, too.
type guard struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper. Its errors, besides those of the
// transport, are of type *redirectError, errSwitched, and once.ErrRepeated.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	sending, stop := context.WithCancelCause(r.Context())
	resp, err := g.next.RoundTrip(r.WithContext(once.Sent(sending, stop)))
	if err != nil {
		if errors.Is(context.Cause(sending), once.ErrRepeated) {
			err = once.ErrRepeated
		}
		stop(nil)
		return resp, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer, stop: stop}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		_ = resp.Body.Close()
		return nil, newRedirectError(resp, r.URL)
	case resp.StatusCode < 200:
		// The body of a 101 is the bare connection, which no time limit ends.
		_ = resp.Body.Close()
		return nil, errSwitched
	}
	return resp, nil
}

// Unwrap is for a managed identity, whose requests must not go through a proxy.
func (g *guard) Unwrap() http.RoundTripper { return g.next }

// maxAnswer bounds what is read of an answer, decompressed: a token has some
// kilobytes.
const maxAnswer = 1 << 20

var (
	errSwitched = errors.New("HTTP 101 Switching Protocols")
	errTooLong  = errors.New("the answer is longer than 1 MiB")
	errNoToken  = errors.New("the answer holds no token that can be used")
)

// boundedBody fails where it is too long, instead of ending there.
type boundedBody struct {
	io.ReadCloser
	left int
	stop context.CancelCauseFunc
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *boundedBody) Close() error {
	defer b.stop(nil)
	return b.ReadCloser.Close()
}

// redirectError is an answer that points elsewhere.
type redirectError struct {
	status int
	target string // scheme and host, empty if it names none
}

func newRedirectError(resp *http.Response, from *url.URL) *redirectError {
	e := &redirectError{status: resp.StatusCode}
	if location := resp.Header.Get("Location"); location != "" {
		if to, err := from.Parse(location); err == nil && to.Host != "" {
			e.target = to.Scheme + "://" + to.Host
		}
	}
	return e
}

// Error holds a foreign text, the host.
func (e *redirectError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.status, http.StatusText(e.status)))
	if e.target == "" {
		return text + ", which names no address that could be read"
	}
	return text + ", which points to " + e.target
}
