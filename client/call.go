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

// call makes attempts until one succeeds, or none can.
func (d *Defender) call(ctx context.Context, op string, pass incident.Pass, target string, read func(io.Reader) error) error {
	tries := tries{left: d.opts.Retries}
	for {
		e := d.attempt(ctx, op, pass, target, read)
		if e == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s incidents: %w", op, err)
		}
		switch {
		case e.location != "":
			if tries.redirects++; tries.redirects > maxRedirects {
				e.Err = errRedirectLoop
				return e
			}
			target = e.location
		case e.Status == http.StatusUnauthorized && d.opts.Renew != nil && !tries.renewed:
			tries.renewed = true
			d.opts.Renew()
		case !tries.again(e):
			return e
		case e.Until.IsZero():
			if err := sleep(ctx, tries.backoff()); err != nil {
				return fmt.Errorf("%s incidents: %w", op, err)
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
func (d *Defender) attempt(ctx context.Context, op string, pass incident.Pass, target string, read func(io.Reader) error) (e *Error) {
	grant, err := d.grant(ctx, pass)
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	began := time.Now()
	call := Call{Operation: op}
	repeats := &repeats{limiter: d.opts.Limiter, pass: pass}
	defer func() {
		now := time.Now()
		d.opts.Limiter.Settle(grant, now)
		repeats.settle(now)
		call.Duration = now.Sub(began)
		if e != nil {
			call.Err = e
		}
		d.opts.Observe(call)
	}()
	ctx, cancel := context.WithTimeout(repeats.watch(ctx), d.opts.Timeout)
	defer cancel()
	e = d.exchange(ctx, &call, target, read)
	if e != nil && e.Status == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Reason = "timeout"
	}
	return e
}

// exchange makes one request and reads its answer.
func (d *Defender) exchange(ctx context.Context, call *Call, target string, read func(io.Reader) error) *Error {
	op := call.Operation
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return &Error{Op: op, Err: err, Reason: "other"}
	}
	req.Header.Set("Accept", "application/json")
	if d.opts.UserAgent != "" {
		req.Header.Set("User-Agent", d.opts.UserAgent)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return failed(op, err)
	}
	body := &boundedReader{r: resp.Body, max: d.opts.MaxResponseBytes}
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
		return d.refused(op, resp, body)
	}
	d.opts.Limiter.Succeeded()
	return unreadable(op, resp.StatusCode, read(body), body.err)
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
func (d *Defender) refused(op string, resp *http.Response, body io.Reader) *Error {
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	e := parseError(op, resp.StatusCode, text)
	retryAfter := resp.Header.Get("Retry-After")
	if resp.StatusCode == http.StatusTooManyRequests || retryAfter != "" {
		now := time.Now()
		if until := d.opts.Limiter.Refused(now, resp.StatusCode, retryAfter, e.Message); until.After(now) {
			e.Until = until
		}
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if to, err := resp.Location(); err == nil {
			e.location, e.Err = d.follow(to.String())
		}
	}
	return e
}

// grant waits for the permission to make one call.
func (d *Defender) grant(ctx context.Context, pass incident.Pass) (uint64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		id, at := d.opts.Limiter.Take(time.Now(), pass)
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
