package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/timeout"
)

var (
	errNoToken      = errors.New("there is no access token")
	errTooLarge     = errors.New("the answer is too large")
	errTooManyBytes = fmt.Errorf("%w: --api.max-response-bytes", errTooLarge)
	errEncoding     = errors.New("the answer is in an encoding that was not asked for")
	errOther        = errors.New("the answer is another incident than was asked for")
	errSwitched     = errors.New("the server wants to switch protocols")
	errRedirectSelf = errors.New("the server redirects to the same address, or to none")
)

// partialError is an answer that says, or shows, that something is missing.
type partialError struct {
	text   string
	member []byte // of the name error, nil if there is none
}

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
func (c *Client) shown(err error) error { return &shownError{c.show(err.Error()), err} }

// show makes a text of the server's fit to be shown.
func (c *Client) show(text string) string {
	if text == "" {
		return ""
	}
	return c.opts.Scrubber.Text(text[:min(len(text), maxErrorBody)])
}

// broken classifies a request that got no answer, or not all of it. ctx is the
// caller's, sending the request's own.
func (c *Client) broken(ctx, sending context.Context, err error) (listing.Reason, error) {
	switch {
	case errors.Is(err, errTooLarge):
		return listing.ReasonDecode, err
	case errors.Is(context.Cause(sending), errNotRepeated):
		return listing.ReasonNetwork, errNotRepeated
	case errors.Is(ctx.Err(), context.Canceled):
		return listing.ReasonOther, context.Canceled
	case sending.Err() != nil:
		return listing.ReasonTimeout, context.DeadlineExceeded
	case timeout.Is(err):
		return listing.ReasonTimeout, c.shown(err)
	}
	return listing.ReasonNetwork, c.shown(err)
}

// noToken classifies the failure to get an access token.
func (c *Client) noToken(err error) (listing.Reason, error) {
	var classified interface{ FailureReason() string }
	if errors.As(err, &classified) {
		for r := range listing.Reason(listing.NumReasons) {
			if r.String() == classified.FailureReason() {
				return r, err
			}
		}
		return listing.ReasonAuth, err
	}
	var network net.Error
	if errors.As(err, &network) {
		return c.broken(context.Background(), context.Background(), err)
	}
	return listing.ReasonAuth, c.shown(err)
}

// unreadable makes an error of an answer 200 whose body arrived.
func (c *Client) unreadable(q *question, status int, err error) *listing.Error {
	e := &listing.Error{Op: q.op, Request: q.request, Status: status, Reason: listing.ReasonDecode, TooLarge: errors.Is(err, errTooLarge)}
	if partial, ok := errors.AsType[*partialError](err); ok {
		e.Reason = listing.ReasonPartial
		code, message := errorMember(partial.member)
		e.Code, e.Message = c.show(code), c.show(message)
	}
	e.Err = c.shown(err)
	return e
}

// Bounds of what is read of an error, in bytes.
const (
	maxErrorBody  = 64 << 10
	maxRetryAfter = 64
)

// refused makes an error of an answer that is not a whole success.
func (c *Client) refused(q *question, resp *http.Response, body io.Reader) *listing.Error {
	e := &listing.Error{Op: q.op, Request: q.request, Status: resp.StatusCode}
	if resp.StatusCode < 200 {
		// Its body is the connection, and never ends.
		e.Reason, e.Err = listing.ReasonDecode, errSwitched
		return e
	}
	if resp.StatusCode < 300 {
		// A page without a part of its rows looks like any other.
		e.Reason = listing.ReasonPartial
		e.Message = c.show(resp.Header.Get("Warning"))
		return e
	}
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	code, message := parseError(text)
	e.Code, e.Message = c.show(code), c.show(message)
	e.Reason = reasonOf(resp.StatusCode, code+" "+message)
	e.TopLimit = topLimit(message)
	e.RetryAfter = resp.Header.Get("Retry-After")
	e.RetryAfter = e.RetryAfter[:min(len(e.RetryAfter), maxRetryAfter)]
	if resp.StatusCode < 400 {
		e.Location, e.Err = c.location(resp.Header.Get("Location"), q.target)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		c.opts.Renew()
	}
	return e
}

// location is where a redirect leads, empty if it leads nowhere else on the
// same host.
func (c *Client) location(to, from string) (string, error) {
	u, err := c.follow(to)
	switch {
	case err != nil:
		return "", err
	case to == "", u.String() == from:
		return "", errRedirectSelf
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

// limitOfTop is what Graph says when $top is too large (measured by graph2otel).
var limitOfTop = regexp.MustCompile(`(?i)limit\s+of\s+\W{0,3}(\d{1,6})\W{0,3}\s+for\s+\W{0,3}top\b`)

func topLimit(message string) int {
	if match := limitOfTop.FindStringSubmatch(message); match != nil {
		n, _ := strconv.Atoi(match[1])
		return n
	}
	return 0
}

// parseError reads the error in a body, of whatever shape it is; the message is
// the whole body if it has none.
func parseError(body []byte) (code, message string) {
	body = bytes.TrimPrefix(body, byteOrderMark)
	var envelope struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil {
		if code, message = errorMember(envelope.Error); code != "" || message != "" {
			return code, message
		}
	}
	return "", string(body)
}

// errorMember reads {"code": …, "message": …}. The code is a string, at times
// one that holds a number, at times a number.
func errorMember(member []byte) (code, message string) {
	var inner struct {
		Code    json.RawMessage `json:"code"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(member, &inner) != nil {
		return "", ""
	}
	if json.Unmarshal(inner.Code, &code) != nil {
		code = string(inner.Code)
	}
	return code, inner.Message
}
