package auth

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/retryafter"
	"m365_defender_exporter/internal/scrub"
	"m365_defender_exporter/internal/timeout"
)

// Error is a token that was not to be had. It holds nothing that its text does
// not show, and its text shows no secret.
type Error struct {
	// Reason is a label value: the OAuth error code, or one of credential (it
	// could not be read), redirect, decode, timeout, network, server, throttled,
	// other.
	Reason string
	// Status is the HTTP status of the answer, 0 if there was none.
	Status int
	// Codes are the numbers of the AADSTS errors.
	Codes []int
	// Hint says in plain words what to do, empty if that is not known.
	Hint string

	text       string
	retryAfter time.Duration
	// cause is a failure of the network, never an answer of the server's.
	cause error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Hint == "" {
		return "get access token: " + e.text
	}
	return "get access token: " + e.text + " (" + e.Hint + ")"
}

// Message is the text without the operation and the hint.
func (e *Error) Message() string { return e.text }

// Unwrap returns the failure of the network, if it was one.
func (e *Error) Unwrap() error { return e.cause }

// FailureReason is why the call that needed the token fails.
func (e *Error) FailureReason() reason.Reason {
	switch e.Reason {
	case "timeout":
		return reason.Timeout
	case "network":
		return reason.Network
	case "server", "server_error", "temporarily_unavailable":
		return reason.Server
	case "throttled":
		return reason.Throttled
	case "decode":
		return reason.Decode
	}
	return reason.Auth
}

// transient tells whether the failure may pass by itself.
func (e *Error) transient() bool { return e.FailureReason() != reason.Auth }

// Reason is the label value of a token error.
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return "other"
}

// codes are the OAuth error codes that are counted under their own name.
var codes = []string{
	"invalid_client", "invalid_request", "invalid_grant", "invalid_scope", "invalid_resource",
	"unauthorized_client", "unsupported_grant_type", "temporarily_unavailable", "server_error",
}

// credentialError is a credential that could not be used at all.
type credentialError struct {
	text, hint string
}

func (e *credentialError) Error() string { return e.text }

// local makes an error of a credential that could not be read.
func local(err error) *Error {
	out := &Error{Reason: "credential", text: err.Error()}
	if c, ok := errors.AsType[*credentialError](err); ok {
		out.Hint = c.hint
	}
	return out
}

// refusal is an answer that brings no token.
type refusal struct {
	status      int
	header      http.Header
	code        string
	description string
	codes       []int
	hint        string // where no number says more
}

func (r *refusal) Error() string { return "HTTP " + strconv.Itoa(r.status) }

// newRefusal reads an answer of whatever shape it is.
func newRefusal(resp *http.Response, body []byte) *refusal {
	r := &refusal{}
	if resp != nil {
		r.status, r.header = resp.StatusCode, resp.Header
	}
	var answer struct {
		Error       string          `json:"error"`
		Description string          `json:"error_description"`
		Codes       json.RawMessage `json:"error_codes"`
	}
	if json.Unmarshal(body, &answer) == nil {
		r.code, r.description = answer.Error, answer.Description
		_ = json.Unmarshal(answer.Codes, &r.codes) // of another shape: none
		r.codes = r.codes[:min(len(r.codes), maxCodes)]
	}
	if number := aadsts.FindStringSubmatch(r.description); len(r.codes) == 0 && number != nil {
		if n, err := strconv.Atoi(number[1]); err == nil {
			r.codes = []int{n}
		}
	}
	return r
}

// maxCodes bounds what is kept of an answer: one or two are usual.
const maxCodes = 8

var aadsts = regexp.MustCompile(`^AADSTS(\d{3,9})\b`)

// explain makes an error that is fit to be shown.
func explain(err error, s *scrub.Scrubber, now time.Time) *Error {
	var r *refusal
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		r = newRefusal(answer.Response, answer.Body)
	} else {
		errors.As(err, &r)
	}
	if r != nil {
		return r.explain(s, now)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the address is long and known
	}
	e := &Error{Reason: "network", text: s.Text(err.Error())}
	if timeout.Is(err) {
		e.Reason, e.cause = "timeout", context.DeadlineExceeded
	}
	switch redirect, redirected := errors.AsType[*redirectError](err); {
	case redirected:
		e.Reason, e.Status = "redirect", redirect.status
		e.Hint = "redirects of the login host are not followed, for the credential would go along; check --auth.url, and whether a proxy answers in its place"
	case errors.Is(err, errSwitched), errors.Is(err, errTooLong), errors.Is(err, errNoToken),
		strings.Contains(e.text, "cannot parse "), strings.Contains(e.text, "missing access_token"):
		e.Reason = "decode"
		e.Hint = "something else answers in the login's place, a proxy perhaps"
	case errors.As(err, new(*unreachable)):
		e.Hint = "nothing here gives out managed identities; they exist on Azure, or with Azure Arc"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		e.Hint = "the certificate is issued by a CA that this machine does not trust; a proxy that looks into TLS perhaps, whose CA has to be given"
	}
	// Whatever else is neither an answer nor a mistake of ours went wrong on the
	// way.
	return e
}

func (r *refusal) explain(s *scrub.Scrubber, now time.Time) *Error {
	e := &Error{Status: r.status, Codes: r.codes, Hint: hintOf(r)}
	e.retryAfter, _ = retryafter.Parse(retryafter.Of(r.header, now), now)
	switch {
	case slices.Contains(codes, r.code):
		e.Reason = r.code
	case r.status == http.StatusTooManyRequests:
		e.Reason = "throttled"
	case r.status >= 500, r.status == http.StatusGone:
		e.Reason = "server"
	default:
		e.Reason = "other"
	}
	e.text = "HTTP " + strings.TrimSpace(strconv.Itoa(r.status)+" "+http.StatusText(r.status))
	if r.code != "" {
		e.text = s.Text(r.code)
		// The first line is the sentence; trace ids follow.
		sentence, _, _ := strings.Cut(r.description, "\r\n")
		sentence, _, _ = strings.Cut(sentence, " Trace ID:")
		if sentence != "" {
			e.text += ": " + s.Text(sentence)
		}
	}
	return e
}
