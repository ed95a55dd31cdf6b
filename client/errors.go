package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/listing"
)

var errTooLarge = errors.New("the answer is too large")

// partialError is an answer that says, or shows, that something is missing.
type partialError struct{ text, code, message string }

func (e *partialError) Error() string { return e.text }

// shownError shows a scrubbed text and is still the error that it shows.
type shownError struct {
	text string
	err  error
}

func (e *shownError) Error() string { return e.text }

func (e *shownError) Unwrap() error { return e.err }

// shown makes an error whose text the server may have chosen fit to be shown:
// net/http quotes malformed headers and status lines, the decoder what it reads.
func (c *Client) shown(err error) error {
	return &shownError{c.opts.Scrubber.Text(err.Error()), err}
}

// failure makes the attempt's error of a cause that is fit to be shown.
func (a *attempt) failure(reason listing.Reason, err error) *listing.Error {
	code := a.call.Code
	if a.call.Operation == get && (code == http.StatusNotFound || code == http.StatusGone) {
		err = listing.ErrNotFound
	}
	return &listing.Error{
		Op: a.call.Operation, Request: a.request, Status: code, StatusText: http.StatusText(code),
		Reason: reason, TooLarge: errors.Is(err, errTooLarge), Err: err,
	}
}

// broken makes an error of a request that got no answer, or not all of it. ctx
// is the caller's, sending the request's own.
func (a *attempt) broken(ctx, sending context.Context, err error) error {
	var network net.Error
	switch {
	case errors.Is(err, errTooLarge):
		return a.failure(listing.ReasonDecode, err)
	case errors.Is(context.Cause(sending), errNotRepeated):
		return a.failure(listing.ReasonNetwork, errNotRepeated)
	case errors.Is(ctx.Err(), context.Canceled):
		return a.failure(listing.ReasonOther, context.Canceled)
	case sending.Err() != nil:
		return a.failure(listing.ReasonTimeout, context.DeadlineExceeded)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return a.failure(listing.ReasonTimeout, a.shown(err))
	}
	return a.failure(listing.ReasonNetwork, a.shown(err))
}

// noToken makes an error of the failure to get an access token.
func (a *attempt) noToken(err error) error {
	var classified interface{ FailureReason() string }
	var network net.Error
	switch {
	case errors.As(err, &classified):
		reason := listing.ReasonAuth
		for r := range listing.Reason(listing.NumReasons) {
			if r.String() == classified.FailureReason() {
				reason = r
			}
		}
		return a.failure(reason, err)
	case errors.As(err, &network):
		return a.broken(context.Background(), context.Background(), err)
	}
	return a.failure(listing.ReasonAuth, a.shown(err))
}

// unreadable makes an error of an answer 200 whose body arrived.
func (a *attempt) unreadable(err error) error {
	e := a.failure(listing.ReasonDecode, a.shown(err))
	if partial, ok := errors.AsType[*partialError](err); ok {
		e.Reason = listing.ReasonPartial
		e.Code, e.Message = a.opts.Scrubber.Text(partial.code), a.opts.Scrubber.Text(partial.message)
	}
	return e
}

// Bounds of what is read of an error, in bytes.
const (
	maxErrorBody  = 64 << 10
	maxRetryAfter = 64
)

// limitOfTop is what Graph says when $top is too large (measured by graph2otel).
var limitOfTop = regexp.MustCompile(`(?i)limit\s+of\s+\W{0,3}(\d{1,6})\W{0,3}\s+for\s+\W{0,3}top\b`)

// refused makes an error of an answer that is not a whole success.
func (a *attempt) refused(resp *http.Response, body io.Reader) error {
	if resp.StatusCode < 200 {
		// Its body is the connection, and never ends.
		return a.failure(listing.ReasonDecode, errors.New("the server wants to switch protocols"))
	}
	if resp.StatusCode < 300 {
		// A page without a part of its rows looks like any other.
		e := a.failure(listing.ReasonPartial, nil)
		e.Message = a.opts.Scrubber.Text(resp.Header.Get("Warning"))
		return e
	}
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	text = bytes.TrimPrefix(text, byteOrderMark)
	code, message := serverError(text)
	if code == "" && message == "" {
		message = string(text)
	}
	e := a.failure(reasonOf(resp.StatusCode, code+" "+message), nil)
	e.Code, e.Message = a.opts.Scrubber.Text(code), a.opts.Scrubber.Text(message)
	if match := limitOfTop.FindStringSubmatch(message); match != nil {
		e.TopLimit, _ = strconv.Atoi(match[1])
	}
	e.RetryAfter = resp.Header.Get("Retry-After")
	e.RetryAfter = e.RetryAfter[:min(len(e.RetryAfter), maxRetryAfter)]
	if resp.StatusCode < 400 {
		e.Location, e.Err = a.location(resp.Header.Get("Location"))
	}
	if resp.StatusCode == http.StatusUnauthorized {
		a.opts.Renew()
	}
	return e
}

// location is where a redirect leads, if it leads elsewhere on the same host.
func (a *attempt) location(to string) (string, error) {
	u, err := a.follow(to)
	switch {
	case err != nil:
		return "", err
	case to == "", u.String() == a.target.String():
		return "", errors.New("the server redirects to the same address, or to none")
	}
	return u.String(), nil
}

// reasonOf classifies a status of 300 or more. Throttling was seen told in
// words alone, as HTTP 500 "Rate limit reached because of too many requests".
func reasonOf(status int, text string) listing.Reason {
	said := strings.ReplaceAll(strings.ToLower(text), " ", "")
	throttled := strings.Contains(said, "ratelimitreached") || strings.Contains(said, "toomanyrequests")
	switch {
	case status == http.StatusTooManyRequests, status >= 400 && throttled:
		return listing.ReasonThrottled
	case status == http.StatusUnauthorized:
		return listing.ReasonAuth
	case status == http.StatusForbidden:
		return listing.ReasonForbidden
	case status == http.StatusRequestTimeout:
		return listing.ReasonTimeout
	case status >= 500:
		return listing.ReasonServer
	}
	return listing.ReasonOther
}

// serverError reads {"error": {"code": …, "message": …}}, empty if a body is of
// another shape. The code is a string, at times one that holds a number, at
// times a number.
func serverError(body []byte) (code, message string) {
	var is struct {
		Error struct {
			Code    json.RawMessage `json:"code"`
			Message string          `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &is) != nil {
		return "", ""
	}
	if json.Unmarshal(is.Error.Code, &code) != nil {
		code = string(is.Error.Code)
	}
	return code, is.Error.Message
}
