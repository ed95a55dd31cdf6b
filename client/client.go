// Package client speaks the two APIs that have a tenant's incidents: the native
// one of Microsoft 365 Defender and the one of Microsoft Graph. It knows how a
// page is asked for and read, not when: whoever calls it decides that, and a
// [Limiter] grants every single attempt.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
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
	// Refused reports an answer that asks to slow down: 429, or another status
	// with Retry-After. It returns until when no call will be granted.
	Refused(now time.Time, status int, retryAfter, message string) (until time.Time)
	// Succeeded reports a 2xx.
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

// Options are the settings of a [Defender] or a [Graph]. BaseURL, HTTP and
// Limiter are required.
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
	// Retries is how many further attempts a failure gets that may heal. 0: 2,
	// negative: none.
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
	wire
	decoder decoder
	ability ability
}

// NewDefender checks the settings; it makes no call.
func NewDefender(opts Options) (*Defender, error) {
	w, err := newWire(opts)
	if err != nil {
		return nil, err
	}
	return &Defender{wire: w, decoder: decoder{logger: w.opts.Logger}}, nil
}

// wire is what both flavours have in common: how a call is granted, made,
// repeated and bounded, and that none goes to another host.
type wire struct {
	opts    Options
	base    *url.URL
	http    *http.Client
	partial *once
}

func newWire(opts Options) (wire, error) {
	base, err := parseBase(opts.BaseURL)
	if err != nil {
		return wire{}, err
	}
	if opts.HTTP == nil || opts.Limiter == nil {
		return wire{}, errors.New("a client needs an HTTP client and a limiter")
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.MaxResponseBytes <= 0 {
		opts.MaxResponseBytes = 64 << 20
	}
	opts.MaxResponseBytes = min(opts.MaxResponseBytes, 1<<40)
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
	sameHost := sameHost(base)
	hc.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if err := sameHost(r, via); err != nil {
			return err
		}
		// Following is a call like any other: it takes a grant first.
		return http.ErrUseLastResponse
	}
	return wire{opts: opts, base: base, http: &hc, partial: new(once)}, nil
}

// Incident looks one incident up by its id. An error that matches
// [ErrNotFound] says that it does not exist.
func (d *Defender) Incident(ctx context.Context, id int64, pass incident.Pass) (incident.Incident, error) {
	var in incident.Incident
	err := d.call(ctx, inquiry{
		op: "get", pass: pass, target: fmt.Sprintf("%s/api/incidents/%d", d.base, id),
		read: func(body io.Reader) (err error) {
			in, _, err = d.decoder.incident(body)
			return err
		},
	})
	return in, absent(err)
}

// absent tells a lookup that found nothing from one that failed.
func absent(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		e.Err = ErrNotFound
	}
	return err
}
