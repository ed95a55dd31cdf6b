// Package auth turns credentials into access tokens, as sources of
// golang.org/x/oauth2.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Options are the settings of a [Secret].
type Options struct {
	TokenURL, ClientID, Scope string
	// Secret is asked for every token, so that a new one is picked up.
	Secret func() (string, error)
	// HTTP makes the requests; it needs a timeout of its own. nil: one with
	// 30 s.
	HTTP *http.Client
	// Observe is told how long each request took, and how it failed.
	Observe func(took time.Duration, err error)
}

// Secret is the client credentials flow with a client secret. It is an
// oauth2.TokenSource, safe for concurrent use.
type Secret struct {
	opts Options

	mu      sync.Mutex
	token   *oauth2.Token
	renewAt time.Time // zero: never
}

// early is how long before its end a token is replaced.
const early = 5 * time.Minute

// ClientSecret returns a source that has no token yet.
func ClientSecret(opts Options) *Secret {
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	if opts.Observe == nil {
		opts.Observe = func(time.Duration, error) {}
	}
	return &Secret{opts: opts}
}

// Token implements oauth2.TokenSource.
func (s *Secret) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != nil && (s.renewAt.IsZero() || time.Now().Before(s.renewAt)) {
		return s.token, nil
	}
	began := time.Now()
	token, err := s.request()
	s.opts.Observe(time.Since(began), err)
	if err != nil {
		return nil, err
	}
	s.token, s.renewAt = token, renewal(token, began)
	return token, nil
}

// renewal leaves some time for the call. A token that lives hardly longer
// than that is used for half of its life.
func renewal(t *oauth2.Token, issued time.Time) time.Time {
	if t.Expiry.IsZero() {
		return time.Time{}
	}
	margin := early
	if life := t.Expiry.Sub(issued); life < 2*early {
		margin = life / 2
	}
	return t.Expiry.Add(-margin)
}

func (s *Secret) request() (*oauth2.Token, error) {
	secret, err := s.opts.Secret()
	if err != nil {
		return nil, &Error{err: err}
	}
	config := clientcredentials.Config{
		ClientID:     s.opts.ClientID,
		ClientSecret: secret,
		TokenURL:     s.opts.TokenURL,
		Scopes:       []string{s.opts.Scope},
		// Otherwise the first request that fails is sent twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, s.opts.HTTP)
	token, err := config.Token(ctx)
	if err != nil {
		return nil, &Error{err: err, hide: secret}
	}
	return token, nil
}

// Renew drops the token: the API has refused it.
func (s *Secret) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = nil
}

// Expiry is when the present token ends, zero if there is none.
func (s *Secret) Expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return time.Time{}
	}
	return s.token.Expiry
}

// SecretFile returns a function that reads a secret from a file, less the
// line break at its end.
func SecretFile(path string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read client secret: %w", err)
		}
		secret := strings.TrimRight(string(text), "\r\n")
		if secret == "" {
			return "", fmt.Errorf("read client secret: %s is empty", path)
		}
		return secret, nil
	}
}

// Error is a token that was not to be had. Its text never holds the secret.
type Error struct {
	err  error
	hide string
}

// Error implements error.
func (e *Error) Error() string {
	text := "get access token: "
	var answer *oauth2.RetrieveError
	switch {
	case !errors.As(e.err, &answer):
		text += e.err.Error()
	case answer.ErrorCode != "":
		text += answer.ErrorCode
		if answer.ErrorDescription != "" {
			// The first line is the sentence; trace ids follow.
			sentence, _, _ := strings.Cut(answer.ErrorDescription, "\r\n")
			text += ": " + bounded(sentence)
		}
	case answer.Response != nil:
		text += "HTTP " + answer.Response.Status
	}
	if hint := Hint(e.err); hint != "" {
		text += " (" + hint + ")"
	}
	if e.hide != "" {
		text = strings.ReplaceAll(text, e.hide, "<secret>")
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// FailureReason classifies the failure of the call that needed the token.
func (e *Error) FailureReason() string {
	switch reason := Reason(e.err); reason {
	case "timeout", "network", "server":
		return reason
	case "server_error", "temporarily_unavailable":
		return "server"
	}
	return "auth"
}

func bounded(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return s[:min(len(s), 200)]
}
