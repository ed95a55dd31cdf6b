// Package client speaks the native Microsoft 365 Defender Incidents API. It
// knows how a page is asked for and read, not when: whoever calls it decides
// that, and a [Limiter] grants every single attempt.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Limiter hands out the calls that may be made.
type Limiter interface {
	// Take asks at now for one call. If it is granted, id is not 0; otherwise
	// the caller asks again at the instant at.
	Take(now time.Time, pass incident.Pass) (id uint64, at time.Time)
	// Settle tells that the attempt is over: its answer is here, or none comes.
	Settle(id uint64, now time.Time)
	// Refused reports an answer that asks to slow down: 429, or another one with
	// Retry-After. It returns until when no call will be granted.
	Refused(now time.Time, status int, retryAfter, message string) (until time.Time)
	// Succeeded reports an answer of another kind.
	Succeeded()
}

// Call is the account of one attempt.
type Call struct {
	Operation string // list or get
	Code      int    // HTTP status, 0 if there was no answer
	Duration  time.Duration
	Bytes     int64 // of the body, decompressed, as far as it was read
	Err       error
}

// Options are the settings of a [Defender]. BaseURL, HTTP and Limiter are
// required.
type Options struct {
	// BaseURL is https, or http to loopback.
	BaseURL string
	// HTTP adds the access token to each request.
	HTTP    *http.Client
	Limiter Limiter
	// Timeout of one attempt, waiting for its grant excluded. 0: 30 s.
	Timeout time.Duration
	// MaxResponseBytes bounds a body, decompressed. 0: 64 MiB.
	MaxResponseBytes int64
	// Retries is how many further attempts a failure gets that may heal. 0: 2.
	Retries int
	// Observe is told of every attempt.
	Observe func(Call)
	// Renew drops the access token after an answer 401; the call is then made
	// once more. nil: it is not.
	Renew     func()
	Logger    *slog.Logger
	UserAgent string
}

// Defender is the native API. It is safe for concurrent use.
type Defender struct {
	opts    Options
	base    *url.URL
	http    *http.Client
	decoder decoder
	ability ability
}

// NewDefender checks the settings; it makes no call.
func NewDefender(opts Options) (*Defender, error) {
	base, err := url.Parse(strings.TrimRight(opts.BaseURL, "/"))
	if err != nil {
		return nil, fmt.Errorf("parse API address: %w", err)
	}
	ip := net.ParseIP(base.Hostname())
	loopback := base.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback) {
		return nil, fmt.Errorf("API address %q must begin with https:// (plain http only to loopback)", opts.BaseURL)
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.MaxResponseBytes == 0 {
		opts.MaxResponseBytes = 64 << 20
	}
	if opts.Retries == 0 {
		opts.Retries = 2
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Observe == nil {
		opts.Observe = func(Call) {}
	}
	// A copy, so that the redirect rule is ours. The transport adds the token to
	// whatever request it is given: none may go anywhere else.
	hc := *opts.HTTP
	hc.CheckRedirect = sameHost(base)
	return &Defender{opts: opts, base: base, http: &hc, decoder: decoder{logger: opts.Logger}}, nil
}

var errForeignHost = errors.New("the server refers to another host, which gets no token")

func sameHost(base *url.URL) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if r.URL.Scheme != base.Scheme || r.URL.Host != base.Host {
			return errForeignHost
		}
		if len(via) >= 3 {
			return errors.New("too many redirects")
		}
		return nil
	}
}

// Incident looks one incident up by its id. An error that matches
// incident.ErrNotFound says that it does not exist.
func (d *Defender) Incident(ctx context.Context, id int64, pass incident.Pass) (in incident.Incident, err error) {
	err = d.call(ctx, "get", pass, fmt.Sprintf("%s/api/incidents/%d", d.base, id), func(body io.Reader) error {
		in, err = d.decoder.incident(body)
		return err
	})
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		e.Err = incident.ErrNotFound
	}
	return in, err
}

// call makes attempts until one succeeds, or none can.
func (d *Defender) call(ctx context.Context, op string, pass incident.Pass, target string, read func(io.Reader) error) error {
	renewed := false
	for attempt := 0; ; attempt++ {
		e := d.attempt(ctx, op, pass, target, read)
		switch {
		case e == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s incidents: %w", op, context.Cause(ctx))
		case e.Status == http.StatusUnauthorized && d.opts.Renew != nil && !renewed:
			renewed = true
			d.opts.Renew()
		case !e.heals() || attempt >= d.opts.Retries || time.Until(e.Until) > longestWait:
			return e
		case e.Until.IsZero():
			if err := sleep(ctx, backoff(attempt)); err != nil {
				return fmt.Errorf("%s incidents: %w", op, err)
			}
		}
	}
}

// longestWait is how long a call is held up by a refusal; beyond, the caller
// is told and may do something better in the meantime.
const longestWait = 2 * time.Minute

// backoff is half a second, doubled for each attempt, with jitter.
func backoff(attempt int) time.Duration {
	d := 500 * time.Millisecond << min(attempt, 6)
	return d + time.Duration(rand.Int64N(int64(d/2)))
}

// attempt waits for a grant and makes one request. Waiting comes before the
// attempt's own timeout begins.
func (d *Defender) attempt(ctx context.Context, op string, pass incident.Pass, target string, read func(io.Reader) error) *Error {
	grant, err := d.grant(ctx, pass)
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	call := Call{Operation: op}
	e := d.exchange(ctx, &call, target, read)
	if e != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.reason = "timeout"
	}
	now := time.Now()
	d.opts.Limiter.Settle(grant, now)
	call.Duration = now.Sub(began)
	if e != nil {
		call.Err = e
	}
	d.opts.Observe(call)
	return e
}

// exchange makes one request and reads its answer.
func (d *Defender) exchange(ctx context.Context, call *Call, target string, read func(io.Reader) error) *Error {
	op := call.Operation
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return &Error{Op: op, Err: err, reason: "other"}
	}
	req.Header.Set("Accept", "application/json")
	if d.opts.UserAgent != "" {
		req.Header.Set("User-Agent", d.opts.UserAgent)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return failed(op, err)
	}
	body := &boundedReader{r: resp.Body, left: d.opts.MaxResponseBytes}
	defer func() {
		// What is left is read so that the connection can serve the next call.
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
		_ = resp.Body.Close()
		call.Bytes = body.read
	}()
	call.Code = resp.StatusCode
	if resp.StatusCode != http.StatusOK {
		return d.refused(op, resp, body)
	}
	d.opts.Limiter.Succeeded()
	if err := read(body); err != nil {
		e := &Error{Op: op, Status: resp.StatusCode, Err: err, reason: "decode"}
		if body.err != nil {
			// It is the connection that broke, not what it carried.
			e.Err, e.Status = body.err, 0
			if !errors.Is(body.err, errTooLarge) {
				e.reason = ""
			}
		}
		return e
	}
	return nil
}

// refused makes an error of an answer that is not 200.
func (d *Defender) refused(op string, resp *http.Response, body io.Reader) *Error {
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	e := parseError(op, resp.StatusCode, text)
	retryAfter := resp.Header.Get("Retry-After")
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 && retryAfter != "" {
		until := d.opts.Limiter.Refused(time.Now(), resp.StatusCode, retryAfter, e.Message)
		if until.After(time.Now()) {
			e.Until = until
		}
	}
	return e
}

// failed makes an error of a request that got no answer.
func failed(op string, err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		// The address is long, known, and nothing for a log.
		err = u.Err
	}
	e := &Error{Op: op, Err: err}
	if errors.Is(err, errForeignHost) {
		e.reason = "other"
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

// boundedReader fails rather than ends at its bound, and remembers how the
// connection failed.
type boundedReader struct {
	r    io.Reader
	left int64
	read int64
	err  error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = errTooLarge
		return 0, b.err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left, b.read = b.left-int64(n), b.read+int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// once is true the first time only.
type once struct{ done atomic.Bool }

func (o *once) first() bool { return o.done.CompareAndSwap(false, true) }
