// Package client makes one request to one of the two APIs that list a tenant's
// incidents: the native one of Microsoft 365 Defender, or Microsoft Graph's. It
// translates a [listing.Request] into a URL and the answer into a
// [listing.Page], or says in a [listing.Error] what went wrong.
//
// It decides nothing: when to call, with which options, and whether to try
// again is the caller's. It treats the server as hostile: no redirect is
// followed, no token goes to another host, and what an answer costs in time and
// memory is bounded.
package client

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/scrub"
)

// Call is the account of one request.
type Call struct {
	Operation listing.Operation
	Code      int // HTTP status, 0 if there was no answer
	Duration  time.Duration
	Bytes     int64 // of the body, decompressed, as far as it was read
	Err       error // a *listing.Error, nil if the request brought what it asked for
}

// Options are the settings of a [Client]. BaseURL, HTTP and Tokens are required.
type Options struct {
	BaseURL string // https, or http to loopback
	// HTTP is used for its Transport alone, which adds nothing to a request: the
	// client sets Authorization itself.
	HTTP *http.Client
	// Tokens has an access token at hand, or gets one. Its errors may implement
	// FailureReason() reason.Reason; their text is then fit to be shown.
	Tokens oauth2.TokenSource
	// Renew drops the access token at hand after an answer 401; it may be nil.
	Renew func()
	// Timeout of one request, from sending it to the end of the answer's body.
	Timeout          time.Duration // 0: 30 s
	MaxResponseBytes int64         // bounds a body, decompressed; 0: 64 MiB
	Observe          func(Call)    // is told of every request that was sent
	// Scrubber knows the secrets that no text of the server's may show. nil: it
	// removes what looks like a credential.
	Scrubber  *scrub.Scrubber
	Logger    *slog.Logger // nil: nothing is logged
	UserAgent string
	Now       func() time.Time // the clock that durations are told by; nil: time.Now
	// Dimensions are what is kept besides.
	Dimensions Dimensions
}

// Client makes requests to one API for one tenant. Its methods may be called
// concurrently; none tries again or waits for quota.
type Client struct {
	opts      Options
	api       *api
	list      *url.URL
	header    http.Header
	transport http.RoundTripper
	decoder   *decoder
	// plain: the last list was asked for without alerts.
	plain atomic.Bool
	// warned: rows that cannot be used were mentioned.
	warned atomic.Bool
}

func newClient(opts Options, is *api) (*Client, error) {
	base, err := parseBase(opts.BaseURL)
	if err != nil {
		return nil, err
	}
	if opts.HTTP == nil || opts.Tokens == nil {
		return nil, errors.New("a client needs an HTTP client and a source of access tokens")
	}
	opts.Timeout = cmp.Or(opts.Timeout, 30*time.Second)
	opts.MaxResponseBytes = cmp.Or(opts.MaxResponseBytes, 64<<20)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Renew == nil {
		opts.Renew = func() {}
	}
	if opts.Observe == nil {
		opts.Observe = func(Call) {}
	}
	header := is.header.Clone()
	if opts.UserAgent != "" {
		header.Set("User-Agent", opts.UserAgent)
	}
	decoder := newDecoder(is, opts.Dimensions)
	decoder.scrubber = opts.Scrubber
	return &Client{
		opts: opts, api: is, list: base.JoinPath(is.path), header: header,
		// The transport and not the client: that one follows redirects, keeps
		// cookies, and has a time limit of its own.
		transport: cmp.Or(opts.HTTP.Transport, http.DefaultTransport),
		decoder:   decoder,
	}, nil
}

// Offer is what the API is documented to take.
func (c *Client) Offer() listing.Offer { return c.api.offer }

// Authorize makes sure that an access token is at hand, so that a call that is
// counted against the quota is not spent in vain. It makes no call to the API;
// it may wait for as long as the source of tokens does. Its error is a
// *[listing.Error] of the reason that the source tells, or auth.
func (c *Client) Authorize(ctx context.Context) error {
	_, err := (&attempt{Client: c, call: Call{Operation: listing.OperationList}}).token(ctx)
	return err
}

// List makes the one request that req describes. It returns within
// [Options.Timeout] from sending it; a token that is not at hand is fetched
// before. Nothing is sent at all for want of a token, or where a link leads to
// another host.
//
// Its error is a *[listing.Error] and then the page is empty: a page is had
// whole or not at all. It matches context.Canceled if ctx was canceled before
// there was an answer.
func (c *Client) List(ctx context.Context, req listing.Request) (listing.Page, error) {
	a := attempt{Client: c, call: Call{Operation: listing.OperationList}, request: req, element: (*reading).readIncident}
	var err error
	if a.target, err = c.target(&req); err != nil {
		failure := a.failure(reason.Other, err)
		failure.Unsent = true
		return listing.Page{}, failure
	}
	switch {
	case req.Link == "":
		c.plain.Store(!req.Alerts)
	case req.AlertsOf != 0:
		a.element = (*reading).readAlert
	}
	page, err := a.exchange(ctx)
	if c.api.offer.Expand && !req.Alerts && req.Link == "" {
		page.MoreAlerts = nil
		for i := range page.Rows {
			page.Rows[i].Alerts, page.Rows[i].AlertsUnknown = nil, true
		}
	}
	if n := unusable(page.Rows); n > 0 {
		level := slog.LevelDebug
		if !c.warned.Swap(true) {
			level = slog.LevelWarn
		}
		c.opts.Logger.Log(ctx, level, "Incidents in an answer have no id and cannot be counted; the others are", "rows", len(page.Rows), "unusable", n)
	}
	return page, err
}

// Incident looks one incident up by its id, with one request and within the
// same time as [Client.List]. Where alerts come only when asked for, it asks for
// them if the last List did. The answer may be another one, which it was merged into.
// Its error is a *[listing.Error]; it matches
// [listing.ErrNotFound] if the server says that there is no such incident.
func (c *Client) Incident(ctx context.Context, id int64) (incident.Incident, error) {
	target := c.list.JoinPath(strconv.FormatInt(id, 10))
	if c.api.offer.Expand && !c.plain.Load() {
		target.RawQuery = "$expand=alerts"
	}
	a := attempt{Client: c, call: Call{Operation: listing.OperationGet}, target: target}
	page, err := a.exchange(ctx)
	if err != nil {
		return incident.Incident{}, err
	}
	return page.Rows[0], nil
}
