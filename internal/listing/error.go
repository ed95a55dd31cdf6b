package listing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"m365_defender_exporter/internal/reason"
)

// Operation is what a call of the API does, as a label value.
type Operation string

// The operations.
const (
	OperationList Operation = "list" // a page of the list
	OperationGet  Operation = "get"  // one incident, by its id
)

// ErrNotFound says that no incident has this id.
var ErrNotFound = errors.New("no such incident")

// Error is one request that did not bring what it asked for. Its texts are fit
// to be shown: no secret, no control character, no more than a few hundred
// bytes.
type Error struct {
	Operation Operation
	// Request is what was asked for, zero for get: which options it carried.
	Request Request
	// Status is the HTTP status, 0 if there was no answer, and StatusText its text.
	Status     int
	StatusText string
	// Code and Message are those of the error in the body.
	Code, Message string
	Reason        reason.Reason
	// Limits are the parts of the message, whole, that may name a limit of calls.
	Limits string
	// RetryAfter is the header, a date made seconds.
	RetryAfter string
	// Unsent: the request was not even made, its link leads elsewhere, or there is no access
	// token, and then Request is zero.
	Unsent bool
	// TopLimit is the page size that the server says is its limit, 0 if it does
	// not.
	TopLimit int
	// TooLarge: the answer exceeded a bound of ours on bytes, rows or alerts; a
	// smaller page may not.
	TooLarge bool
	// Location is where a redirect leads, absolute, only ever on the same scheme
	// and host; empty if there was none.
	Location string
	// Err is the cause, nil if an answer was.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	parts := []string{string(e.Operation) + " incidents", "", e.Code, e.Message, ""}
	if e.Status != 0 {
		parts[1] = strings.TrimRight(fmt.Sprintf("HTTP %d %s", e.Status, e.StatusText), " ")
	}
	if e.Err != nil {
		parts[4] = e.Err.Error()
	}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
