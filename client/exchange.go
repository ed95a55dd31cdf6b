package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/once"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/retryafter"
	"m365_defender_exporter/internal/timeout"
)

// attempt is one request, and what has become of it so far.
type attempt struct {
	*Client
	request listing.Request
	target  *url.URL
	element func(*reading) // of the list; nil: one incident is asked for
	call    Call
}

// exchange sends the request and reads the answer, within the time limit. Its
// error is a *[listing.Error], and then the page is empty.
func (a *attempt) exchange(ctx context.Context) (page listing.Page, err error) {
	token, err := a.token(ctx)
	if err != nil {
		return page, err
	}
	began, body := a.opts.Now(), &boundedReader{}
	defer func() {
		a.call.Duration, a.call.Bytes, a.call.Err = a.opts.Now().Sub(began), body.read, err
		a.opts.Observe(a.call)
	}()
	limited, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	sending, stop := context.WithCancelCause(limited)
	defer stop(nil)
	req, err := http.NewRequestWithContext(once.Sent(sending, stop), http.MethodGet, a.target.String(), nil)
	if err != nil {
		return page, a.broken(ctx, sending, err)
	}
	req.Header = a.header.Clone()
	token.SetAuthHeader(req)
	resp, err := a.transport.RoundTrip(req) //nolint:bodyclose // closeWithin does
	if err != nil {
		return page, a.broken(ctx, sending, err)
	}
	defer closeWithin(sending, resp.Body)
	a.call.Code, body.Reader = resp.StatusCode, http.MaxBytesReader(nil, resp.Body, a.opts.MaxResponseBytes)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent || warning(resp.Header) != "" {
		return page, a.refused(resp, body)
	}
	if encoded(resp) {
		// Gzip is all that was asked for, and the transport has taken it off.
		return page, a.failure(reason.Decode, errors.New("the answer is in an encoding that was not asked for"))
	}
	answer, err := a.decoder.read(body, a.element, a.request.AlertsOf != 0)
	switch {
	case body.err != nil:
		return page, a.broken(ctx, sending, body.err)
	case err != nil:
		return page, a.failure(reason.Decode, a.shown(err))
	case warning(resp.Trailer) != "": // which is there at the end
		return page, a.warned(resp.Trailer)
	}
	answer.Date, _ = http.ParseTime(header(resp, "Date"))
	return answer, nil
}

// header is the first line of a header that says something: proxies leave empty ones.
func header(resp *http.Response, name string) string {
	return cmp.Or(resp.Header.Values(name)...)
}

// encoded tells whether the body is not as it is.
func encoded(resp *http.Response) bool {
	for _, line := range resp.Header.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// deprecation is a Warning, or a list of them in one line, that is there on each answer and
// says nothing of this one.
var deprecation = func() *regexp.Regexp {
	const (
		text = `(?:[^"\\]|\\.)*`
		one  = `299 +[^ "]+ +"` + text + `deprecat` + text + `"(?: +"` + text + `")?`
	)
	return regexp.MustCompile(`(?i)^` + one + `(?: *, *` + one + `)*$`)
}()

// warning is the first line of a header or trailer that may say that rows are missing.
func warning(h http.Header) string {
	return cmp.Or(slices.DeleteFunc(slices.Clone(h.Values("Warning")), deprecation.MatchString)...)
}

// warned makes an error of an answer that may lack rows: a page without a part of them
// looks like any other.
func (a *attempt) warned(h http.Header) *listing.Error {
	e := a.failure(reason.Partial, nil)
	e.Message = a.opts.Scrubber.Text(warning(h))
	return e
}

// token is the access token at hand, or a new one.
func (a *attempt) token(ctx context.Context) (*oauth2.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, a.tokenless(a.broken(ctx, ctx, err))
	}
	token, err := a.opts.Tokens.Token()
	var classified interface{ FailureReason() reason.Reason }
	var network net.Error
	switch {
	case err == nil && token != nil && token.AccessToken != "":
		return token, nil
	case err == nil:
		err = errors.New("there is no access token")
	case errors.As(err, &classified):
		return nil, a.tokenless(a.failure(classified.FailureReason(), err))
	case errors.As(err, &network):
		return nil, a.tokenless(a.broken(context.Background(), context.Background(), err))
	}
	return nil, a.tokenless(a.failure(reason.Auth, a.shown(err)))
}

// tokenless is the error of a request that was not made for want of a token.
func (a *attempt) tokenless(e *listing.Error) *listing.Error {
	e.Unsent, e.Request = true, listing.Request{}
	return e
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
	if !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

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
func (a *attempt) failure(why reason.Reason, err error) *listing.Error {
	code := a.call.Code
	if a.call.Operation == listing.OperationGet && (code == http.StatusNotFound || code == http.StatusGone) {
		err = listing.ErrNotFound
	}
	e := &listing.Error{
		Operation: a.call.Operation, Request: a.request, Status: code, StatusText: http.StatusText(code),
		Reason: why, TooLarge: errors.Is(err, errTooLarge), Err: err,
	}
	if partial, ok := errors.AsType[*partialError](err); ok {
		e.Reason = reason.Partial
		e.Code, e.Message = a.opts.Scrubber.Text(partial.code), a.opts.Scrubber.Text(partial.message)
	}
	return e
}

// broken makes an error of a request that got no answer, or not all of it. ctx
// is the caller's, sending the request's own.
func (a *attempt) broken(ctx, sending context.Context, err error) *listing.Error {
	switch {
	case errors.Is(err, errTooLarge):
		return a.failure(reason.Decode, err)
	case errors.Is(context.Cause(sending), once.ErrRepeated):
		return a.failure(reason.Network, once.ErrRepeated)
	case errors.Is(ctx.Err(), context.Canceled):
		return a.failure(reason.Other, context.Canceled)
	case sending.Err() != nil:
		return a.failure(reason.Timeout, context.DeadlineExceeded)
	case timeout.Is(err):
		return a.failure(reason.Timeout, a.shown(err))
	}
	return a.failure(reason.Network, a.shown(err))
}

// maxErrorBody bounds what is read of an error, in bytes.
const maxErrorBody = 64 << 10

var (
	// throttled is what an error says that tells in words alone of too many calls:
	// "Rate limit reached because of too many requests to query broker" was seen of
	// Graph with HTTP 500 (rknightion/graph2otel, internal/graphclient), "API calls
	// quota exceeded!" of the advanced hunting API (MicrosoftDocs/defender-docs,
	// defender-xdr/api-advanced-hunting.md).
	throttled = regexp.MustCompile(`(?i)rate *limit *(is *)?(reached|exceeded)|too *many *requests|quota *exceeded|throttled`)
	// limitOfTop is what Graph says when $top is too large (measured by
	// rknightion/graph2otel).
	limitOfTop = regexp.MustCompile(`(?i)limit\s+of\s+\W{0,3}(\d{1,6})\W{0,3}\s+for\s+\W{0,3}top\b`)
	// per is between the number of a limit and its period.
	per = regexp.MustCompile(`(?i) per `)
)

// refused makes an error of an answer that is not a whole success.
func (a *attempt) refused(resp *http.Response, body io.Reader) error {
	if resp.StatusCode < 200 {
		// Its body is the connection, and never ends.
		return a.failure(reason.Decode, errors.New("the server wants to switch protocols"))
	}
	if resp.StatusCode < 300 {
		return a.warned(resp.Header)
	}
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBody))
	text = bytes.TrimPrefix(text, byteOrderMark)
	code, message := serverError(text)
	said := code + " " + message
	if said == " " {
		if message = string(text); !bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) { // the scripts of a gateway's page say nothing
			said = message
		}
	}
	e := a.failure(reasonOf(resp.StatusCode, said), nil)
	e.Code, e.Message, e.Limits = a.opts.Scrubber.Text(code), a.opts.Scrubber.Text(message), a.limits(message)
	if match := limitOfTop.FindStringSubmatch(message); match != nil {
		e.TopLimit, _ = strconv.Atoi(match[1])
	}
	e.RetryAfter = retryafter.Of(resp.Header, a.opts.Now())
	if resp.StatusCode < 400 {
		location := header(resp, "Location")
		to, err := a.follow(location)
		if err == nil && (location == "" || to.String() == a.target.String()) {
			err = errors.New("the server redirects to the same address, or to none")
		}
		if e.Err = err; err == nil {
			e.Location = to.String()
		}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		a.opts.Renew()
	}
	return e
}

// limits are the parts of a message that may name a limit: what is shown of it is cut,
// within a period perhaps.
func (c *Client) limits(message string) string {
	const most, before, after = 8, 80, 40 // parts, and bytes of each
	var parts []string
	found := per.FindAllStringIndex(message, most)
	for i, at := range found {
		end := min(len(message), at[1]+after)
		if i+1 < len(found) {
			end = min(end, found[i+1][0]) // the next part has it whole
		}
		parts = append(parts, c.opts.Scrubber.Text(message[max(0, at[0]-before):end]))
	}
	return strings.Join(parts, "\n")
}

// reasonOf classifies a status of 300 or more.
func reasonOf(status int, text string) reason.Reason {
	switch {
	case status == http.StatusTooManyRequests, status >= 400 && throttled.MatchString(text):
		return reason.Throttled
	case status == http.StatusUnauthorized:
		return reason.Auth
	case status == http.StatusForbidden:
		return reason.Forbidden
	case status == http.StatusRequestTimeout:
		return reason.Timeout
	case status >= 500:
		return reason.Server
	}
	return reason.Other
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
