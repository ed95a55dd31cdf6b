package scrub

import (
	"errors"
	"fmt"
	"io"
	"net/url"
)

// Error is an error with a text that is fit to be shown. What was wrapped is
// found by errors.Is and errors.As, and is never printed: there is no Unwrap,
// so that nothing that goes along the chain comes to the raw text. What
// errors.As finds has its own text: do not print that.
type Error struct {
	text  string
	cause error
}

// Error returns err with its text through [Scrubber.Text], for errors that
// quote what came from outside: net/http repeats lines of an answer, crypto/x509
// names of a certificate, encoding/json the text it stumbled on. Of a
// *url.Error the address is left out: it is long and known. nil stays nil.
func (s *Scrubber) Error(err error) error {
	if err == nil {
		return nil
	}
	shown := err
	if u, ok := err.(*url.Error); ok && u.Err != nil { //nolint:errorlint // the outermost alone
		shown = u.Err
	}
	return &Error{s.Text(shown.Error()), err}
}

// Error implements error.
func (e *Error) Error() string { return e.text }

// Is lets errors.Is look into what was wrapped.
func (e *Error) Is(target error) bool { return errors.Is(e.cause, target) }

// As lets errors.As look into what was wrapped.
func (e *Error) As(target any) bool { return errors.As(e.cause, target) }

// Timeout is that of what was wrapped, as net.Error has it.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.cause, &t) && t.Timeout()
}

// Format implements fmt.Formatter: no verb shows more than the text.
func (e *Error) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = fmt.Fprintf(f, "%q", e.text)
		return
	}
	_, _ = io.WriteString(f, e.text)
}
