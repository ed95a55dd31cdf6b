package auth

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"m365_defender_exporter/internal/rawtest"
)

// raw is a token endpoint that says whatever it likes, without TLS.
func raw(t *testing.T, say func(net.Conn)) Options {
	t.Helper()
	address := rawtest.Serve(t, func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			say(c)
		}
	})
	transport := &http.Transport{MaxResponseHeaderBytes: 64 << 10}
	t.Cleanup(transport.CloseIdleConnections)
	return Options{
		TokenURL: "http://" + address + "/token", ClientID: "c", Scope: "https://api.example/.default",
		HTTP: &http.Client{Transport: transport, Timeout: time.Second},
	}
}

// TestHostileAnswers end within the time limit, are failures, and stand in no
// error longer than a line.
func TestHostileAnswers(t *testing.T) {
	withoutIdentityEnvironment(t)
	for name, test := range map[string]struct {
		say    func(net.Conn)
		reason string
	}{
		"101": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = io.Copy(io.Discard, c) // until it is closed
		}, "decode"},
		"1xx for ever": {func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
					return
				}
			}
		}, "network"},
		"1xx now and then": {func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return
				}
				time.Sleep(300 * time.Millisecond)
			}
		}, "timeout"},
		"status line": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 "+strings.Repeat(canary+" ", 300000)+"\r\n\r\n")
		}, "network"},
		"no HTTP": {func(c net.Conn) { _, _ = io.WriteString(c, "SMTP "+canary+"\x1b[2J\r\n\r\n") }, "network"},
		"header":  {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+canary+"\r\n\r\n") }, "network"},
		"length": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: "+canary+"\r\n\r\n")
		}, "network"},
		"body for ever": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := io.WriteString(c, strings.Repeat(" ", 4096)); err != nil {
					return
				}
			}
		}, "decode"},
		"slow body": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
				time.Sleep(300 * time.Millisecond)
			}
		}, "timeout"},
		"huge token": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+`{"token_type":"Bearer","expires_in":3600,"access_token":"`+strings.Repeat("a", 40<<10)+`"}`)
		}, "decode"},
		"token for two headers": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+`{"token_type":"Bearer","expires_in":3600,"access_token":"a\r\nX: y"}`)
		}, "decode"},
		"IMDS": {func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n"+`{"error":"`+strings.Repeat("x", 500)+`","error_description":"`+strings.Repeat(canary+`\u001b`, 1000)+`","error_codes":[`+strings.Repeat("1,", 10000)+`1]}`)
		}, "other"},
	} {
		for kind, newSource := range map[string]func(Options) (*Source, error){
			"secret": func(o Options) (*Source, error) { return ClientSecret(o, fixed(canary)), nil },
			"managed": func(o Options) (*Source, error) {
				t.Setenv("IDENTITY_ENDPOINT", o.TokenURL)
				t.Setenv("IDENTITY_HEADER", canary)
				return ManagedIdentity(o)
			},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s, err := newSource(raw(t, test.say))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				token, err := s.Token()
				if token != nil || err == nil {
					t.Fatalf("got %v, %v", token, err)
				}
				// Generous: the machine may be busy. Without an end it would hang.
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("took %v", took)
				}
				if got := Reason(err); got != test.reason {
					t.Errorf("reason %s, want %s: %v", got, test.reason, err)
				}
				if e, ok := errors.AsType[*Error](err); !ok || len(e.Error()) > 800 || len(e.Message()) > 420 || len(e.Codes) > maxCodes {
					t.Errorf("%d bytes, %d codes: %v", len(e.Error()), len(e.Codes), e)
				}
				silent(t, "error", err, canary, canary[:12])
				if strings.ContainsAny(err.Error(), "\x1b\r\n") {
					t.Errorf("not escaped: %q", err)
				}
			})
		}
	}
}

// TestScrubber knows what was sent and what came back, and the token before.
func TestScrubber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const token = "one-token-that-is-long-enough-%d"
		e := &endpoint{answer: func(n int, _ map[string]string) (int, string) {
			return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3600,"access_token":"`+token+`"}`, n)
		}}
		s := source(e, fixed(canary))
		for range 3 {
			if _, err := s.Token(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		for _, secret := range []string{canary, fmt.Sprintf(token, 1), fmt.Sprintf(token, 3)} {
			for _, text := range []string{secret, url.QueryEscape(secret), base64.RawStdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("% x", secret)} {
				if got := s.Scrubber().Text("it was " + text); got != "it was [removed]" {
					t.Errorf("%q becomes %q", text, got)
				}
			}
		}
	})
}

// TestTokenWaits: with a token that lasts no caller waits for the next; without
// one all wait for one request, and for its end only.
func TestTokenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		asked := 0
		s := source(roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			select {
			case <-r.Context().Done():
				return nil, r.Context().Err()
			case <-time.After(map[bool]time.Duration{false: 2 * time.Second, true: time.Hour}[down]):
			}
			return (&endpoint{answer: good}).RoundTrip(r)
		}), fixed("x-secret"))
		// callers is how long five of them wait, who ask at the same time.
		callers := func() (waited [5]time.Duration, errs [5]error) {
			done := make(chan struct{})
			for i := range waited {
				go func() {
					began := time.Now()
					_, errs[i] = s.Token()
					waited[i] = time.Since(began)
					done <- struct{}{}
				}()
				if i == 0 {
					synctest.Wait()
				}
			}
			for range waited {
				<-done
			}
			return waited, errs
		}
		if waited, errs := callers(); asked != 1 || waited != [5]time.Duration{2e9, 2e9, 2e9, 2e9, 2e9} || errs != [5]error{} {
			t.Errorf("without a token: %d requests, waited %v, %v", asked, waited, errs)
		}
		time.Sleep(56 * time.Minute)
		if waited, errs := callers(); asked != 2 || waited != [5]time.Duration{2e9} || errs != [5]error{} {
			t.Errorf("with one that is due: %d requests, waited %v, %v", asked, waited, errs)
		}
		time.Sleep(2 * time.Hour)
		down = true
		waited, errs := callers()
		if asked != 3 || waited != [5]time.Duration{10e9, 10e9, 10e9, 10e9, 10e9} {
			t.Errorf("with one that has ended: %d requests, waited %v", asked, waited)
		}
		for _, err := range errs {
			if Reason(err) != "timeout" {
				t.Errorf("got %v", err)
			}
		}
		began := time.Now()
		if _, err := s.Token(); err == nil || time.Since(began) > 0 || asked != 3 {
			t.Errorf("too early: %v after %v, %d requests", err, time.Since(began), asked)
		}
	})
}

// TestTokenType: what an answer says of its token goes nowhere. It would be the first
// word of a header of each call, which may be none, or the secret.
func TestTokenType(t *testing.T) {
	for _, kind := range []string{"", `"token_type":null,`, `"token_type":"bearer",`, `"token_type":"Bearer\r\n",`, `"token_type":"mac",`, `"token_type":"` + canary + `",`} {
		e := &endpoint{answer: func(int, map[string]string) (int, string) {
			return 200, `{` + kind + `"expires_in":3600,"access_token":"token"}`
		}}
		token, err := source(e, fixed(canary)).Token()
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		req := &http.Request{Header: http.Header{}}
		if token.SetAuthHeader(req); req.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("%s: sent %q", kind, req.Header)
		}
	}
}

// TestLegible: a token is read whatever its answer is sent as, and whatever its life
// looks like.
func TestLegible(t *testing.T) {
	const never = time.Duration(math.MaxInt64)
	answer := func(life string) string {
		return `{"token_type":"Bearer",` + life + `"access_token":"token"}`
	}
	for _, test := range []struct {
		kind, body string
		life       time.Duration
	}{
		{"application/json", answer(`"expires_in":3600,`), time.Hour},
		{"application/json", bom + answer(`"expires_in":3600,`), time.Hour},
		{"text/plain; charset=utf-8", answer(`"expires_in":3600,`), time.Hour},
		{"application/x-www-form-urlencoded", "\r\n" + answer(`"expires_in":3600,`), time.Hour},
		{"text/html", answer(`"expires_in":3600,`), time.Hour},
		{"application/x-www-form-urlencoded", "access_token=token&expires_in=3600", time.Hour},
		{"", answer(`"expires_in":"3600",`), time.Hour},
		{"", answer(`"expires_in":" 3600 ",`), time.Hour},
		{"", answer(`"expires_in":3600.0,`), time.Hour},
		{"", answer(`"expires_in":"3600.9",`), time.Hour},
		{"", answer(`"expires_in":3.6e3,`), time.Hour},
		{"", answer(`"expires_in":99999999999999999999,`), math.MaxInt32 * time.Second},
		{"", answer(`"expires_in":1e999,`), math.MaxInt32 * time.Second},
		{"", answer(`"expires_in":"Infinity",`), math.MaxInt32 * time.Second},
		{"", answer(`"Expires_In":3600.0,"error":null,`), time.Hour},
		{"", answer(`"expires_in":3600.0,"error":"","scope":"` + strings.Repeat("<", 300<<10) + `",`), time.Hour},
		{"", answer(`"expires_in":7200,"expires_in":3600.0,"access_token":"other",`), time.Hour},
		{"", `{"access_token":"other","Access_Token":"token","access_token":null,"expires_in":3600}`, time.Hour},
		{"", answer(`"expires_in":null,`), never},
		{"", answer(`"expires_in":"",`), never},
		{"", answer(`"expires_in":"NaN",`), never},
		{"", answer(`"expires_in":"an hour",`), never},
		{"", answer(`"expires_in":{"seconds":3600},`), never},
		{"", answer(``), never},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := ClientSecret(Options{TokenURL: "http://login.example/token", HTTP: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				header := http.Header{"Content-Type": {test.kind}}
				if test.kind == "" {
					header = nil
				}
				return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(test.body))}, nil
			})}}, fixed("x-secret"))
			token, err := s.Token()
			if err != nil {
				t.Errorf("%s %s: %v", test.kind, test.body, err)
				return
			}
			life := never
			if !token.Expiry.IsZero() {
				life = time.Until(token.Expiry)
			}
			if token.AccessToken != "token" || life != test.life {
				t.Errorf("%s %s: %q for %v, want %v", test.kind, test.body, token.AccessToken, life, test.life)
			}
		})
	}
}

// TestTokenThatHasEnded: a clock that is wrong, ours or theirs, does not make
// each call ask.
func TestTokenThatHasEnded(t *testing.T) {
	for _, expires := range []string{"-7200", "1", `"-1"`} {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{answer: func(n int, _ map[string]string) (int, string) {
				return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":%s,"access_token":"token %d"}`, expires, n)
			}}
			s := source(e, fixed("x-secret"))
			for range 60 {
				if _, err := s.Token(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			if got := len(e.forms); got != 4 {
				t.Errorf("expires_in %s: %d tokens in a minute", expires, got)
			}
		})
	}
}

// TestGoodbye: a server that answers each request with GOAWAY, over HTTP/2, is sent the
// credential once, and not again and again until time is up.
func TestGoodbye(t *testing.T) {
	var received atomic.Int64
	address, transport := rawtest.ServeHTTP2(t, func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(conn, conn)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := frame.(*http2.HeadersFrame); ok {
				received.Add(1)
				_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			}
		}
	})
	source := ClientSecret(Options{
		TokenURL: "https://" + address + "/token", ClientID: "c", Scope: "s",
		HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second},
	}, func() (string, error) { return "secret", nil })
	_, err := source.Token()
	if Reason(err) != "network" || !strings.Contains(err.Error(), "not sent again") {
		t.Errorf("got %v", err)
	}
	if n := received.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}
