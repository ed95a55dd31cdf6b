package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"m365_defender_exporter/internal/incident"
)

// inquiry is what one call asks for.
type inquiry struct {
	op     string // list or get
	pass   incident.Pass
	target string
	// header is what this flavour sends besides what every call carries.
	header http.Header
	// once: a failure that may heal is not worth a second attempt.
	once bool
	// read takes in the body of the answer.
	read func(io.Reader) error
}

// call makes attempts until one succeeds, or none can.
func (w *wire) call(ctx context.Context, q inquiry) error {
	tries := tries{left: w.opts.Retries}
	if q.once {
		tries.left = 0
	}
	for {
		e := w.attempt(ctx, &q)
		if e == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s incidents: %w", q.op, err)
		}
		switch {
		case e.location != "":
			if tries.redirects++; tries.redirects > maxRedirects {
				e.Err = errRedirectLoop
				return e
			}
			q.target = e.location
		case e.Status == http.StatusUnauthorized && w.opts.Renew != nil && !tries.renewed:
			tries.renewed = true
			w.opts.Renew()
		case !tries.again(e):
			return e
		case e.Until.IsZero():
			if err := sleep(ctx, tries.backoff()); err != nil {
				return fmt.Errorf("%s incidents: %w", q.op, err)
			}
		}
	}
}

// tries is what one call has been through.
type tries struct {
	left, made, redirects int
	renewed, garbled      bool
}

// longestWait is how long a call is held up by a refusal; beyond, the caller
// is told and may do something better in the meantime.
const longestWait = 2 * time.Minute

// again tells whether there is a point in one more attempt. A body that makes
// no sense twice will not the third time either.
func (t *tries) again(e *Error) bool {
	if !e.heals() || t.left <= 0 || time.Until(e.Until) > longestWait {
		return false
	}
	if e.FailureReason() == "decode" {
		if t.garbled {
			return false
		}
		t.garbled = true
	}
	t.left--
	t.made++
	return true
}

// backoff is half a second, doubled for each attempt, with jitter.
func (t *tries) backoff() time.Duration {
	d := 250 * time.Millisecond << min(t.made, 6)
	return d + time.Duration(rand.Int64N(int64(d/2)))
}

// attempt waits for a grant and makes one request. Waiting comes before the
// attempt's own timeout begins.
func (w *wire) attempt(ctx context.Context, q *inquiry) (e *Error) {
	grant, err := w.grant(ctx, q.pass)
	if err != nil {
		return &Error{Op: q.op, Err: err}
	}
	began := time.Now()
	call := Call{Operation: q.op}
	repeats := &repeats{limiter: w.opts.Limiter, pass: q.pass}
	defer func() {
		now := time.Now()
		w.opts.Limiter.Settle(grant, now)
		repeats.settle(now)
		call.Duration = now.Sub(began)
		if e != nil {
			call.Err = e
		}
		w.opts.Observe(call)
	}()
	ctx, cancel := context.WithTimeout(repeats.watch(ctx), w.opts.Timeout)
	defer cancel()
	e = w.exchange(ctx, &call, q)
	if e != nil && e.Status == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Reason = "timeout"
	}
	return e
}

// exchange makes one request and reads its answer.
func (w *wire) exchange(ctx context.Context, call *Call, q *inquiry) *Error {
	op := q.op
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.target, nil)
	if err != nil {
		return &Error{Op: op, Err: err, Reason: "other"}
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	if w.opts.UserAgent != "" {
		req.Header.Set("User-Agent", w.opts.UserAgent)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return failed(op, err)
	}
	body := &boundedReader{r: resp.Body, max: w.opts.MaxResponseBytes}
	defer func() {
		if body.err == nil {
			// What is left is read so that the connection can serve the next call.
			_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		}
		_ = resp.Body.Close()
		call.Bytes = body.read
	}()
	call.Code = resp.StatusCode
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return w.refused(op, resp, body)
	}
	w.opts.Limiter.Succeeded()
	if resp.StatusCode == http.StatusPartialContent && w.partial.first() {
		w.opts.Logger.Warn("The server says that its answers are partial; what they have is used",
			"warning", printable([]byte(resp.Header.Get("Warning"))))
	}
	return unreadable(op, resp.StatusCode, q.read(body), body.err)
}

// unreadable makes an error of an answer that could not be read: either the
// connection broke, or what it carried makes no sense.
func unreadable(op string, status int, err, broken error) *Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(broken, errTooLarge):
		return &Error{Op: op, Status: status, Err: broken, Reason: "decode"}
	case broken != nil:
		return &Error{Op: op, Err: broken}
	}
	return &Error{Op: op, Status: status, Err: err, Reason: "decode"}
}

// refused makes an error of an answer that is not 2xx.
func (w *wire) refused(op string, resp *http.Response, body io.Reader) *Error {
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	e := parseError(op, resp.StatusCode, text)
	retryAfter := resp.Header.Get("Retry-After")
	if resp.StatusCode == http.StatusTooManyRequests || retryAfter != "" {
		now := time.Now()
		if until := w.opts.Limiter.Refused(now, resp.StatusCode, retryAfter, e.Message); until.After(now) {
			e.Until = until
		}
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if to, err := resp.Location(); err == nil {
			e.location, e.Err = w.follow(to.String())
		}
	}
	return e
}

// grant waits for the permission to make one call.
func (w *wire) grant(ctx context.Context, pass incident.Pass) (uint64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		id, at := w.opts.Limiter.Take(time.Now(), pass)
		if id != 0 {
			return id, nil
		}
		// Never a busy loop, whatever the limiter says.
		if err := sleep(ctx, max(time.Until(at), time.Millisecond)); err != nil {
			return 0, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

var errTooLarge = errors.New("the body is larger than --api.max-response-bytes allows")

// boundedReader fails rather than ends past its bound, and remembers how the
// connection failed.
type boundedReader struct {
	r         io.Reader
	max, read int64
	err       error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	// One byte more than allowed tells a body that is too large from one that
	// ends exactly there.
	n, err := b.r.Read(p[:min(int64(len(p)), b.max-b.read+1)])
	b.read += int64(n)
	if b.read > b.max {
		b.err = errTooLarge
		return n - 1, b.err
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}
