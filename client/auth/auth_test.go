package auth

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
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
	header http.Header
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
	header := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(header, e.header)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)), Request: r,
		Header: header, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func good(n int, _ map[string]string) (int, string) {
	return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":"token %d"}`, n)
}

func source(e http.RoundTripper, secret func() (string, error)) *Source {
	return ClientSecret(options(e), secret)
}

func options(e http.RoundTripper) Options {
	return Options{
		TokenURL: "https://login.example/t/oauth2/v2.0/token", ClientID: "c", Scope: "https://api.example/.default",
		HTTP: &http.Client{Transport: e, Timeout: 10 * time.Second}, Jitter: func() float64 { return 0 },
	}
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

// TestClose: a login host that does not answer keeps no tenant from stopping,
// and that is no failure to be counted.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		o := options(roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		o.Observe = func(a Attempt) { t.Errorf("observed %v", a.Err) }
		s := ClientSecret(o, func() (string, error) { return "s", nil })
		began := time.Now()
		time.AfterFunc(time.Second, s.Close)
		for range 2 {
			if token, err := s.Token(); token != nil || err == nil {
				t.Errorf("got %v, %v", token, err)
			}
		}
		if took := time.Since(began); took != time.Second || asked != 1 {
			t.Errorf("took %v and %d requests, want 1s and 1", took, asked)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
