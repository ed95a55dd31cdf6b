package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/listing"
)

// question is what one request asks, and how its answer is read.
type question struct {
	op      string // list or get
	request listing.Request
	target  string
	read    func(body io.Reader) error
}

// exchange makes one request and reads its answer, within the time limit. It
// returns the server's clock.
func (c *Client) exchange(ctx context.Context, q *question) (date time.Time, e *listing.Error) {
	token, e := c.token(ctx, q.op, q.request)
	if e != nil {
		return date, e
	}
	began := time.Now()
	call := Call{Operation: q.op}
	defer func() {
		call.Duration = time.Since(began)
		if e != nil {
			e.StatusText = http.StatusText(e.Status)
			call.Err = e
		}
		c.opts.Observe(call)
	}()
	limited, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	sending, stop := context.WithCancelCause(limited)
	defer stop(nil)
	fail := func(err error) *listing.Error {
		reason, err := c.broken(ctx, sending, err)
		return &listing.Error{
			Op: q.op, Request: q.request, Status: call.Code, Reason: reason,
			TooLarge: errors.Is(err, errTooLarge), Err: err,
		}
	}
	req, err := http.NewRequestWithContext(sentOnce(sending, stop), http.MethodGet, q.target, nil)
	if err != nil {
		return date, fail(err)
	}
	for name, values := range c.api.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	if c.opts.UserAgent != "" {
		req.Header.Set("User-Agent", c.opts.UserAgent)
	}
	token.SetAuthHeader(req)
	resp, err := c.transport.RoundTrip(req) //nolint:bodyclose // closeWithin does
	if err != nil {
		return date, fail(err)
	}
	call.Code = resp.StatusCode
	defer closeWithin(sending, resp.Body)
	body := &boundedReader{r: resp.Body, max: c.opts.MaxResponseBytes}
	defer func() { call.Bytes = body.read }()
	date, _ = http.ParseTime(resp.Header.Get("Date"))
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		// Gzip is all that was asked for, and the transport has taken it off.
		return date, c.unreadable(q, resp.StatusCode, errEncoding)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent || resp.Header.Get("Warning") != "" {
		return date, c.refused(q, resp, body)
	}
	if err := q.read(body); body.err != nil {
		return date, fail(body.err)
	} else if err != nil {
		return date, c.unreadable(q, resp.StatusCode, err)
	}
	return date, nil
}

// token is the access token at hand, or a new one.
func (c *Client) token(ctx context.Context, op string, req listing.Request) (*oauth2.Token, *listing.Error) {
	if err := ctx.Err(); err != nil {
		reason, err := c.broken(ctx, ctx, err)
		return nil, &listing.Error{Op: op, Request: req, Reason: reason, Err: err}
	}
	token, err := c.opts.Tokens.Token()
	if err == nil && (token == nil || token.AccessToken == "") {
		err = errNoToken
	}
	if err != nil {
		reason, err := c.noToken(err)
		return nil, &listing.Error{Op: op, Request: req, Reason: reason, Err: err}
	}
	return token, nil
}

// closeWithin closes a body, and does not wait for longer than the request may
// last.
func closeWithin(ctx context.Context, body io.Closer) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = body.Close()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// boundedReader fails rather than ends past its bound, and remembers how the
// connection failed.
type boundedReader struct {
	r         io.Reader
	max, read int64
	err       error
	// decoded is how far the decoder has come, nil if there is none: what it has
	// been given and not decoded it holds in memory several times over.
	decoded func() int64
}

// maxToken bounds what a decoder may have to hold at once: one text, or blanks.
const maxToken = 4 << 20

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.decoded != nil && b.read-b.decoded() > maxToken {
		b.err = errTooLarge
		return 0, b.err
	}
	// One byte more than allowed tells a body that is too large from one that
	// ends exactly there.
	n, err := b.r.Read(p[:min(int64(len(p)), b.max-b.read+1)])
	b.read += int64(n)
	if b.read > b.max {
		b.err = errTooManyBytes
		return n - 1, b.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
