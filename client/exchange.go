package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/listing"
)

// The operations.
const (
	list = "list"
	get  = "get"
)

// attempt is one request, and what has become of it so far.
type attempt struct {
	*Client
	request listing.Request
	target  *url.URL
	read    func(body io.Reader) (listing.Page, error)
	call    Call
}

// exchange sends the request and reads the answer, within the time limit. Its
// error is a *[listing.Error], and then the page is empty.
func (a *attempt) exchange(ctx context.Context) (page listing.Page, err error) {
	token, err := a.token(ctx)
	if err != nil {
		return page, err
	}
	began, body := time.Now(), &boundedReader{}
	defer func() {
		a.call.Duration, a.call.Bytes, a.call.Err = time.Since(began), body.read, err
		a.opts.Observe(a.call)
	}()
	limited, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	sending, stop := context.WithCancelCause(limited)
	defer stop(nil)
	req := &http.Request{Method: http.MethodGet, URL: a.target, Host: a.target.Host, Header: a.header.Clone()}
	token.SetAuthHeader(req)
	resp, err := a.transport.RoundTrip(req.WithContext(sentOnce(sending, stop))) //nolint:bodyclose // closeWithin does
	if err != nil {
		return page, a.broken(ctx, sending, err)
	}
	defer closeWithin(sending, resp.Body)
	a.call.Code, body.Reader = resp.StatusCode, http.MaxBytesReader(nil, resp.Body, a.opts.MaxResponseBytes)
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		// Gzip is all that was asked for, and the transport has taken it off.
		return page, a.unreadable(errors.New("the answer is in an encoding that was not asked for"))
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent || resp.Header.Get("Warning") != "" {
		return page, a.refused(resp, body)
	}
	answer, err := a.read(body)
	switch {
	case body.err != nil:
		return page, a.broken(ctx, sending, body.err)
	case err != nil:
		return page, a.unreadable(err)
	}
	answer.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	return answer, nil
}

// token is the access token at hand, or a new one.
func (a *attempt) token(ctx context.Context) (*oauth2.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, a.broken(ctx, ctx, err)
	}
	token, err := a.opts.Tokens.Token()
	if err != nil {
		return nil, a.noToken(err)
	}
	if token == nil || token.AccessToken == "" {
		return nil, a.failure(listing.ReasonAuth, errors.New("there is no access token"))
	}
	return token, nil
}

// closeWithin closes a body, and does not wait for longer than the request may
// last.
func closeWithin(ctx context.Context, body io.Closer) {
	ctx, closed := context.WithCancel(ctx)
	go func() {
		defer closed()
		_ = body.Close()
	}()
	<-ctx.Done()
}

// boundedReader reads a body of bounded size, and remembers how the connection
// failed: a decoder tells it in words of its own.
type boundedReader struct {
	io.Reader
	read int64
	err  error
	// decoded is how far the decoder has come, nil if there is none: what it has
	// been given and not decoded it holds in memory several times over.
	decoded func() int64
}

// maxToken bounds what a decoder may have to hold at once: one text, or blanks.
const maxToken = 4 << 20

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.decoded != nil && b.read-b.decoded() > maxToken {
		b.err = errTooLarge
		return 0, b.err
	}
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fmt.Errorf("%w: --api.max-response-bytes", errTooLarge)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
