package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
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
	// Until is when the API asked to be called again, zero if it did not.
	Until time.Time
	// Err is the cause, nil if the answer was one.
	Err error
	// reason overrides what follows from the status.
	reason string
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
	var network net.Error
	switch {
	case e.reason != "":
		return e.reason
	case e.Err != nil && errors.As(e.Err, &classified):
		// The transport could not even add an access token.
		return classified.FailureReason()
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
	switch e.FailureReason() {
	case "throttled", "server", "network", "timeout", "decode":
		return !errors.Is(e.Err, errTooLarge)
	}
	return false
}

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
