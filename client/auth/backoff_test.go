package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// attempts asks every five seconds for so long, and returns when the endpoint
// was asked.
func attempts(s *Source, e *endpoint, d time.Duration) (at []time.Duration) {
	begin, seen := time.Now(), len(e.forms)
	for time.Since(begin) < d {
		_, _ = s.Token()
		if len(e.forms) > seen {
			seen = len(e.forms)
			at = append(at, time.Since(begin))
		}
		time.Sleep(5 * time.Second)
	}
	return at
}

func refusing(status int, code string) *endpoint {
	return &endpoint{answer: func(int, map[string]string) (int, string) { return status, fmt.Sprintf(`{"error":%q}`, code) }}
}

func TestBackoff(t *testing.T) {
	s, m := time.Second, time.Minute
	for _, test := range []struct {
		name   string
		e      *endpoint
		header http.Header
		during time.Duration
		want   []time.Duration
	}{
		{"refused", refusing(401, "invalid_client"), nil, time.Hour,
			[]time.Duration{0, 15 * s, 45 * s, 105 * s, 225 * s, 465 * s, 945 * s, 1545 * s, 2145 * s, 2745 * s, 3345 * s}},
		{"transient", refusing(503, "temporarily_unavailable"), nil, 4 * m,
			[]time.Duration{0, 5 * s, 10 * s, 15 * s, 25 * s, 45 * s, 80 * s, 140 * s, 200 * s}},
		{"throttled", refusing(429, ""), http.Header{"Retry-After": {"90"}}, 4 * m, []time.Duration{0, 90 * s, 180 * s}},
		{"server with a date", refusing(500, ""), http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:02:00 GMT"}}, 121 * s, []time.Duration{0, 120 * s}},
		{"for ever", refusing(503, ""), http.Header{"Retry-After": {"99999999"}}, 2*time.Hour - s, []time.Duration{0, time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.e.header = test.header
				if got := attempts(source(test.e, fixed("x")), test.e, test.during); !slices.Equal(got, test.want) {
					t.Errorf("asked at %v, want %v", got, test.want)
				}
			})
		})
	}
}

// TestBackoffIsSpread: many exporters must not come back together.
func TestBackoffIsSpread(t *testing.T) {
	var f failure
	now := time.Now()
	f.add(now, &Error{Reason: "invalid_client"}, [32]byte{}, 0.5)
	if got, want := f.until.Sub(now), firstRefused+firstRefused/10; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestChangedCredential is tried at once.
func TestChangedCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: func(n int, form map[string]string) (int, string) {
			if form["client_secret"] != "right" {
				return 401, `{"error":"invalid_client"}`
			}
			return good(n, form)
		}}
		secret := "wrong"
		s := source(e, func() (string, error) { return secret, nil })
		attempts(s, e, 10*time.Minute)
		before := len(e.forms)
		if wait := time.Until(s.Held()); wait <= 0 || wait > maxRefused {
			t.Errorf("held for %v", wait)
		}
		if _, err := s.Token(); err == nil || len(e.forms) != before {
			t.Fatalf("%v, %d requests more", err, len(e.forms)-before)
		}
		secret = "also wrong"
		_, _ = s.Token()
		time.Sleep(firstRefused)
		_, _ = s.Token()
		if got := len(e.forms) - before; got != 2 {
			t.Errorf("a new credential begins anew: %d requests", got)
		}
		secret = "right"
		if _, err := s.Token(); err != nil || !s.Held().IsZero() {
			t.Errorf("%v, held until %v", err, s.Held())
		}
	})
}

// TestOutage: the token that is there is used to its end.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		e := &endpoint{answer: func(n int, form map[string]string) (int, string) {
			if down {
				return 503, ""
			}
			return good(n, form)
		}}
		failures := 0
		o := options(e)
		o.Observe = func(a Attempt) {
			if a.Err != nil {
				failures++
			}
		}
		s := ClientSecret(o, fixed("x"))
		want := func(text string) {
			t.Helper()
			if token, err := s.Token(); err != nil || token.AccessToken != text {
				t.Errorf("got %v, %v, want %s", token, err, text)
			}
		}
		want("token 1")
		down = true
		time.Sleep(56 * time.Minute)
		want("token 1")
		if failures != 1 {
			t.Errorf("%d failures observed", failures)
		}
		time.Sleep(4 * time.Minute)
		if _, err := s.Token(); Reason(err) != "server" {
			t.Errorf("after its end: %v", err)
		}
		down = false
		time.Sleep(time.Minute)
		want(fmt.Sprint("token ", len(e.forms)+1))
	})
}

// TestRenew: a token that the API refuses is replaced, but not all the time.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: good}
		s := source(e, fixed("x"))
		for range 60 {
			if _, err := s.Token(); err != nil {
				t.Fatal(err)
			}
			s.Renew()
			time.Sleep(30 * time.Second)
		}
		if got := len(e.forms); got != 7 {
			t.Errorf("%d tokens in half an hour of refusals", got)
		}
	})
}

// TestRenewWithAnotherCredential: a token that the API refuses is replaced at once
// when the credential was changed, and stays if the new one gets none.
func TestRenewWithAnotherCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: good}
		secret, unread := "before", error(nil)
		s := source(e, func() (string, error) { return secret, unread })
		want := func(requests int) {
			t.Helper()
			s.Renew()
			time.Sleep(30 * time.Second)
			if _, err := s.Token(); err != nil || len(e.forms) != requests {
				t.Errorf("%d requests, want %d; %v", len(e.forms), requests, err)
			}
		}
		want(1)
		want(2) // five minutes after the start it may be another
		want(2)
		unread = errors.New("no such file")
		want(2)
		secret, unread = "after", nil
		want(3)
		want(3)
		// Without a refusal nobody looks.
		secret = "third"
		time.Sleep(time.Minute)
		if _, err := s.Token(); err != nil || len(e.forms) != 3 {
			t.Errorf("%d requests without a refusal, %v", len(e.forms), err)
		}
		e.answer = func(int, map[string]string) (int, string) { return 401, `{"error":"invalid_client"}` }
		want(4)
	})
}

// TestTimeoutIsKnown: the cause stays known.
func TestTimeoutIsKnown(t *testing.T) {
	_, err := source(&endpoint{err: context.DeadlineExceeded}, fixed("x")).Token()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestScrapesDoNotWait: who asks when a token ends does not wait for the next.
func TestScrapesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: func(n int, form map[string]string) (int, string) {
			time.Sleep(10 * time.Second)
			return good(n, form)
		}}
		s := source(e, fixed("x"))
		done := make(chan struct{})
		go func() {
			_, _ = s.Token()
			close(done)
		}()
		synctest.Wait()
		began := time.Now()
		s.Renew()
		if !s.Expiry().IsZero() || !s.CredentialExpiry().IsZero() || s.Describe() != "client secret" || time.Since(began) > 0 {
			t.Errorf("waited for %v", time.Since(began))
		}
		<-done
		if got := time.Until(s.Expiry()); got != time.Hour {
			t.Errorf("expires in %v", got)
		}
	})
}
