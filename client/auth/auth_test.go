package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// endpoint is a token endpoint behind a RoundTripper.
type endpoint struct {
	mu     sync.Mutex
	forms  []map[string]string
	answer func(n int, form map[string]string) (int, string)
	err    error
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	form := map[string]string{"authorization": r.Header.Get("Authorization"), "url": r.URL.String()}
	for name := range r.PostForm {
		form[name] = r.PostForm.Get(name)
	}
	e.forms = append(e.forms, form)
	status, body := e.answer(len(e.forms), form)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)), Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func good(n int, _ map[string]string) (int, string) {
	return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":"token %d"}`, n)
}

func source(e *endpoint, secret func() (string, error)) *Secret {
	return ClientSecret(Options{
		TokenURL: "https://login.example/t/oauth2/v2.0/token", ClientID: "c", Scope: "https://api.example/.default",
		Secret: secret, HTTP: &http.Client{Transport: e, Timeout: 10 * time.Second},
	})
}

func fixed(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}

// TestToken: one request serves until five minutes before the end, and the
// secret is asked for again with each.
func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: good}
		secret := "first"
		s := source(e, func() (string, error) { return secret, nil })
		if !s.Expiry().IsZero() {
			t.Errorf("expiry before there is a token: %v", s.Expiry())
		}
		want := func(text string) {
			t.Helper()
			token, err := s.Token()
			if err != nil || token.AccessToken != text {
				t.Fatalf("got %v, %v, want %s", token, err, text)
			}
		}
		want("token 1")
		time.Sleep(54 * time.Minute)
		want("token 1")
		secret = "second"
		time.Sleep(2 * time.Minute)
		want("token 2")
		if got := time.Until(s.Expiry()); got != time.Hour {
			t.Errorf("expires in %v", got)
		}
		s.Renew()
		want("token 3")
		first, second := e.forms[0], e.forms[1]
		for name, value := range map[string]string{
			"client_id": "c", "client_secret": "first", "scope": "https://api.example/.default", "grant_type": "client_credentials",
			"authorization": "", "url": "https://login.example/t/oauth2/v2.0/token",
		} {
			if first[name] != value {
				t.Errorf("%s: got %q, want %q", name, first[name], value)
			}
		}
		if second["client_secret"] != "second" {
			t.Errorf("the old secret was sent: %q", second["client_secret"])
		}
	})
}

// TestTokenErrors: class, hint, and never the secret.
func TestTokenErrors(t *testing.T) {
	body := func(code string, number int, text string) string {
		return fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: %s\r\nTrace ID: x","error_codes":[%d]}`, code, number, text, number)
	}
	tests := []struct {
		name           string
		status         int
		body           string
		reason, class  string
		hint, contains string
	}{
		{"wrong secret", 401, body("invalid_client", 7000215, "Invalid client secret provided: 'hush-hush'."), "invalid_client", "auth", "secret is wrong", "AADSTS7000215"},
		{"expired secret", 401, body("invalid_client", 7000222, "The provided client secret keys are expired."), "invalid_client", "auth", "has expired", "expired"},
		{"unknown app", 400, body("unauthorized_client", 700016, "Application not found."), "unauthorized_client", "auth", "client id", "700016"},
		{"unknown tenant", 400, body("invalid_request", 90002, "Tenant not found."), "invalid_request", "auth", "tenant id", "90002"},
		{"no such API", 400, body("invalid_resource", 500011, "The resource principal was not found."), "invalid_resource", "auth", "--cloud", "500011"},
		{"certificate", 401, body("invalid_client", 700027, "Client assertion failed."), "invalid_client", "auth", "certificate", "700027"},
		{"federated", 401, body("invalid_client", 70021, "No matching federated identity."), "invalid_client", "auth", "federated", "70021"},
		{"something else", 400, body("odd_code", 1, "Odd."), "other", "auth", "", "odd_code"},
		{"temporarily", 503, body("temporarily_unavailable", 90033, "Later."), "temporarily_unavailable", "server", "", "temporarily_unavailable"},
		{"server", 500, `<html>hush-hush</html>`, "server", "server", "", "HTTP 500"},
		{"not JSON", 200, `<html>`, "other", "auth", "", "get access token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := &endpoint{answer: func(int, map[string]string) (int, string) { return test.status, test.body }}
			var observed error
			s := source(e, fixed("hush-hush"))
			s.opts.Observe = func(_ time.Duration, err error) { observed = err }
			_, err := s.Token()
			if err == nil || observed == nil {
				t.Fatalf("got %v, observed %v", err, observed)
			}
			if len(e.forms) != 1 {
				t.Errorf("asked %d times", len(e.forms))
			}
			if got := Reason(err); got != test.reason {
				t.Errorf("reason: got %s, want %s", got, test.reason)
			}
			var classified interface{ FailureReason() string }
			if !errors.As(err, &classified) || classified.FailureReason() != test.class {
				t.Errorf("class: want %s", test.class)
			}
			if got := Hint(err); !strings.Contains(got, test.hint) || (got == "") != (test.hint == "") {
				t.Errorf("hint: got %q, want %q in it", got, test.hint)
			}
			text := err.Error()
			if !strings.Contains(text, test.contains) || !strings.Contains(text, test.hint) {
				t.Errorf("text: %q", text)
			}
			if strings.Contains(text, "hush-hush") || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "Trace") {
				t.Errorf("text tells too much: %q", text)
			}
		})
	}
}

func TestNetworkErrors(t *testing.T) {
	for want, cause := range map[string]error{
		"timeout": context.DeadlineExceeded,
		"network": plainError{},
	} {
		s := source(&endpoint{err: cause}, fixed("x"))
		_, err := s.Token()
		if got := Reason(err); got != want {
			t.Errorf("%v: got %s, want %s", cause, got, want)
		}
	}
}

type plainError struct{}

func (plainError) Error() string   { return "no route to host" }
func (plainError) Timeout() bool   { return false }
func (plainError) Temporary() bool { return false }

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	read := SecretFile(path)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{"a b\n": "a b", "x\r\n": "x", "y": "y"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("empty file: %v", err)
	}
}

// TestShortLivedToken: one that ends within minutes is used for half its life.
func TestShortLivedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: func(n int, _ map[string]string) (int, string) {
			return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":120,"access_token":"token %d"}`, n)
		}}
		s := source(e, fixed("x"))
		for range 10 {
			if _, err := s.Token(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		if got := len(e.forms); got != 2 {
			t.Errorf("%d tokens in 100 s", got)
		}
	})
}
