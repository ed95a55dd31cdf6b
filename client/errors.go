package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/incident"
)

// What a caller may want to know besides that a call failed.
var (
	// ErrNotFound: no incident has this id.
	ErrNotFound = incident.ErrNotFound
	// ErrFilterRefused: the server cannot select by status, or does not do so.
	ErrFilterRefused = incident.ErrFilterRefused
)

// Error is a call that did not bring what was asked for.
type Error struct {
	// Op is what was tried: list or get.
	Op string
	// Status is the HTTP status, 0 if there was no answer.
	Status int
	// Code and Message are those of the error in the body, Message shortened and
	// made printable.
	Code, Message string
	// Reason overrides the failure reason that follows from Status and Err.
	Reason string
	// Until is when the API asked to be called again, zero if it did not.
	Until time.Time
	// Err is the cause, nil if the answer was one.
	Err error
	// location is where the server sent the call on to, on the same host.
	location string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s incidents", e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// FailureReason classifies the failure: auth, forbidden, throttled, timeout,
// network, server, decode or other.
func (e *Error) FailureReason() string {
	var classified interface{ FailureReason() string }
	var token *oauth2.RetrieveError
	var network net.Error
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Err != nil && errors.As(e.Err, &classified):
		// The transport could not even add an access token.
		return classified.FailureReason()
	case errors.As(e.Err, &token):
		if token.Response == nil {
			return "network"
		}
		if token.Response.StatusCode/100 == 4 {
			return "auth"
		}
		return "server"
	case e.Status == http.StatusUnauthorized:
		return "auth"
	case e.Status == http.StatusForbidden:
		return "forbidden"
	case e.Status == http.StatusTooManyRequests:
		return "throttled"
	case e.Status >= 500:
		return "server"
	case e.Status >= 300:
		return "other"
	case errors.Is(e.Err, context.DeadlineExceeded), errors.As(e.Err, &network) && network.Timeout():
		return "timeout"
	case e.Err != nil:
		return "network"
	}
	return "other"
}

// heals tells whether the same call may succeed a little later.
func (e *Error) heals() bool {
	var noToken interface{ FailureReason() string }
	if e.Err != nil && errors.As(e.Err, &noToken) {
		// Whoever gets the tokens knows when to try again; until then every
		// attempt would take a grant for nothing.
		return false
	}
	switch e.FailureReason() {
	case "throttled", "server", "network", "timeout", "decode":
		return !errors.Is(e.Err, errTooLarge)
	}
	return false
}

// failed makes an error of a request that got no answer.
func failed(op string, err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		// The address is long, known, and nothing for a log.
		err = u.Err
	}
	e := &Error{Op: op, Err: err}
	var classified interface{ FailureReason() string }
	var token *oauth2.RetrieveError
	switch {
	case errors.Is(err, errForeignHost), errors.Is(err, errRedirectLoop):
		e.Reason = "other"
	case errors.As(err, &classified):
		// Its own text is fit to be shown.
	case errors.As(err, &token):
		e.Err = &tokenError{token}
	}
	return e
}

// tokenError is a refusal of the token endpoint. The error of the library
// shows the whole body, which may repeat what was sent.
type tokenError struct{ err *oauth2.RetrieveError }

func (e *tokenError) Error() string {
	text := "get access token"
	if e.err.Response != nil {
		text += fmt.Sprintf(": HTTP %d", e.err.Response.StatusCode)
	}
	if e.err.ErrorCode != "" {
		text += ": " + printable([]byte(e.err.ErrorCode))
	}
	// AADSTS700016: what is wrong. Then come advice and trace ids.
	sentence, _, _ := strings.Cut(e.err.ErrorDescription, "\n")
	sentence, _, _ = strings.Cut(sentence, ". ")
	if sentence = strings.TrimSpace(sentence); sentence != "" {
		text += ": " + printable([]byte(sentence))
	}
	return text
}

func (e *tokenError) Unwrap() error { return e.err }

// maxErrorBody bounds what is read of the body of an error.
const maxErrorBody = 64 << 10

// parseError reads the error in a body, of whatever shape it is.
func parseError(op string, status int, body []byte) *Error {
	e := &Error{Op: op, Status: status}
	var envelope struct {
		Error json.RawMessage `json:"error"`
	}
	var inner struct {
		Code    json.RawMessage `json:"code"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &envelope) == nil && json.Unmarshal(envelope.Error, &inner) == nil {
		// The code is a string, at times one that holds a number.
		e.Code = printable([]byte(strings.Trim(string(inner.Code), `"`)))
		e.Message = printable([]byte(inner.Message))
	} else if len(body) > 0 {
		e.Message = printable(body)
	}
	return e
}

// printable returns the beginning of a foreign text, safe for a log.
func printable(text []byte) string {
	const limit = 200
	cut := text[:min(len(text), limit)]
	quoted := strconv.QuoteToGraphic(strings.ToValidUTF8(string(cut), "\ufffd"))
	s := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(text) > limit {
		s += "…"
	}
	return s
}
