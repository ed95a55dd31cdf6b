package client

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

type (
	request    = http.Request
	responseOf = http.Response
)

// roundTrip is a transport made of a function; a nil answer is a broken
// connection.
type roundTrip func(*request) *responseOf

func (f roundTrip) RoundTrip(r *request) (*responseOf, error) {
	if resp := f(r); resp != nil {
		resp.Request = r
		return resp, nil
	}
	return nil, io.ErrUnexpectedEOF
}

// TestFailures: how each failure is classified, how often it is tried, and
// that each attempt takes its own grant.
func TestFailures(t *testing.T) {
	const body = `{"error":{"code":"Code","message":"what went wrong","target":"t"}}`
	tests := []struct {
		name     string
		answer   func(*request) *responseOf
		attempts int
		reason   string
		text     string
	}{
		{"400", func(*request) *responseOf { return response(400, body) }, 1, "other", "HTTP 400 Bad Request: Code: what went wrong"},
		{"401", func(*request) *responseOf { return response(401, body) }, 2, "auth", "HTTP 401"},
		{"403", func(*request) *responseOf { return response(403, body) }, 1, "forbidden", "HTTP 403"},
		{"404", func(*request) *responseOf { return response(404, "") }, 1, "other", "HTTP 404 Not Found"},
		{"405 without a body", func(*request) *responseOf { return response(405, "") }, 1, "other", "HTTP 405"},
		{"429", func(*request) *responseOf {
			return response(429, `{"error":{"code":"429","message":"maximum allowed 45 per 00:01:00"}}`)
		}, 3, "throttled", "HTTP 429 Too Many Requests: 429: maximum"},
		{"code as a number", func(*request) *responseOf { return response(429, `{"error":{"code":429,"message":"m"}}`) }, 3, "throttled", ": 429: m"},
		{"500", func(*request) *responseOf { return response(500, body) }, 3, "server", "HTTP 500"},
		{"500 without JSON", func(*request) *responseOf { return response(502, "<html>\x1b[31m"+strings.Repeat("x", 1000)) }, 3, "server", `<html>\x1b[31mxxx`},
		{"503", func(*request) *responseOf { return response(503, body, "Retry-After", "10") }, 3, "server", "HTTP 503"},
		{"broken connection", func(*request) *responseOf { return nil }, 3, "network", "unexpected EOF"},
		{"not JSON", func(*request) *responseOf { return response(200, "<html>") }, 2, "decode", "not JSON: <html>"},
		{"too large", func(*request) *responseOf { return response(200, `{"value":["`+strings.Repeat("x", 3000)+`"]}`) }, 1, "decode", "--api.max-response-bytes"},
		{"redirect to another host", func(*request) *responseOf {
			return response(302, "", "Location", "https://elsewhere.example/")
		}, 1, "other", "another host"},
		{"redirect to plain http", func(*request) *responseOf {
			return response(302, "", "Location", "http://api.example/api/incidents")
		}, 1, "other", "another host"},
		{"redirects for ever", func(r *request) *responseOf { return response(302, "", "Location", r.URL.String()) }, 4, "other", "too many redirects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, renewed, attempts := 0, 0, 0
				via := roundTrip(func(r *request) *responseOf {
					calls++
					if r.URL.Host != "api.example" || r.URL.Scheme != "https" {
						t.Errorf("a request went to %s", r.URL)
					}
					return test.answer(r)
				})
				d, l := newClient(t, via, func(o *Options) {
					o.MaxResponseBytes = 2000
					o.Renew = func() { renewed++ }
					o.Observe = func(c Call) { attempts++ }
				})
				_, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{})
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v", err)
				}
				if e.FailureReason() != test.reason {
					t.Errorf("reason: got %s, want %s", e.FailureReason(), test.reason)
				}
				if !strings.Contains(err.Error(), test.text) || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("text: got %q, want %q in it", err, test.text)
				}
				if attempts != test.attempts || l.taken != attempts || l.settled != attempts {
					t.Errorf("%d attempts, %d grants, %d settled, want %d", attempts, l.taken, l.settled, test.attempts)
				}
				if want := test.attempts - 1; test.reason == "auth" && renewed != want {
					t.Errorf("token renewed %d times", renewed)
				}
			})
		})
	}
}

// TestRefusalWaits: after a 429 the next attempt waits as the limiter says,
// but not longer than a caller can be held up.
func TestRefusalWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		via := roundTrip(func(*request) *responseOf {
			if calls++; calls == 1 {
				return response(429, `{"error":{"code":"429","message":"slow down"}}`, "Retry-After", "7")
			}
			return response(200, `{"value":[]}`)
		})
		d, l := newClient(t, via, nil)
		began := time.Now()
		if _, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != l.wait {
			t.Errorf("took %v, want %v", took, l.wait)
		}
		if len(l.refusals) != 1 || l.refusals[0] != "429 7 slow down" {
			t.Errorf("refusals: %q", l.refusals)
		}
		if l.succeeded != 1 {
			t.Errorf("succeeded %d times", l.succeeded)
		}
		calls, l.wait = 0, 10*time.Minute
		began = time.Now()
		_, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{})
		var e *Error
		if !errors.As(err, &e) || !e.Until.Equal(began.Add(10*time.Minute)) || time.Since(began) > 0 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

// TestTimeout: waiting for a grant is not part of the attempt's time.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := true
		via := roundTripper(func(r *request) (*responseOf, error) {
			if stuck {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return response(200, `{"value":[]}`), nil
		})
		d, l := newClient(t, via, func(o *Options) { o.Timeout, o.Retries = 5*time.Second, 1 })
		l.block = time.Now().Add(time.Minute)
		began := time.Now()
		_, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{})
		var e *Error
		if !errors.As(err, &e) || e.FailureReason() != "timeout" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took < 70*time.Second || took > 72*time.Second {
			t.Errorf("took %v, want a minute of waiting and two attempts of 5 s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.block = time.Now().Add(time.Minute)
		if _, err := d.Page(ctx, incident.Query{}, incident.Cursor{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if l.taken != l.settled {
			t.Errorf("%d grants, %d settled", l.taken, l.settled)
		}
	})
}

type roundTripper func(*request) (*responseOf, error)

func (f roundTripper) RoundTrip(r *request) (*responseOf, error) { return f(r) }

func TestLookup(t *testing.T) {
	d, _ := newClient(t, roundTrip(func(r *request) *responseOf {
		if r.URL.Path == "/api/incidents/5" {
			return response(200, `{"incidentId":5,"status":"Resolved"}`)
		}
		return response(404, `{"error":{"code":"NotFound","message":"none"}}`)
	}), nil)
	in, err := d.Incident(t.Context(), 5, incident.PassSweep)
	if err != nil || in.ID != 5 || in.Status != incident.StatusResolved {
		t.Errorf("got %+v, %v", in, err)
	}
	if _, err := d.Incident(t.Context(), 6, incident.PassSweep); !errors.Is(err, incident.ErrNotFound) {
		t.Errorf("got %v, want %v", err, incident.ErrNotFound)
	}
}

// TestOverHTTP: gzip, connections that are used again, and no token for
// another host, over a real connection.
func TestOverHTTP(t *testing.T) {
	var foreign, connections atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { foreign.Add(1) }))
	defer elsewhere.Close()
	mode := ""
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case mode == "redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case mode == "link" && r.URL.Query().Get("$skip") != "":
			w.WriteHeader(http.StatusBadRequest)
		case mode == "link" && strings.Contains(r.URL.RawQuery, "%20l"):
			w.WriteHeader(http.StatusBadRequest)
		case mode == "link":
			_, _ = fmt.Fprintf(w, `{"@odata.nextLink":%q,"value":[%s]}`, elsewhere.URL+"/?$skip=100", strings.TrimSuffix(strings.Repeat(`{"incidentId":1,"lastUpdateTime":"2026-01-01T00:00:00Z"},`, 100), ","))
		default:
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				t.Error("gzip was not asked for")
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write([]byte(`{"value":[{"incidentId":1}]}` + strings.Repeat(" ", 10_000)))
			_ = z.Close()
		}
	}))
	defer api.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	d, _ := newClient(t, roundTripper(func(r *request) (*responseOf, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer token")
		return transport.RoundTrip(r)
	}), func(o *Options) {
		o.BaseURL, o.Retries = api.URL, 1
		o.Observe = func(c Call) { connections.Add(1) }
	})
	for range 3 {
		if page, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{}); err != nil || len(page.Incidents) != 1 {
			t.Fatalf("%v, %v", page, err)
		}
	}
	mode = "redirect"
	if _, err := d.Page(t.Context(), incident.Query{}, incident.Cursor{}); !errors.Is(err, errForeignHost) {
		t.Errorf("redirect: got %v", err)
	}
	mode = "link"
	var c incident.Cursor
	var err error
	for range 5 {
		var page incident.Page
		if page, err = d.Page(t.Context(), incident.Query{}, c); err != nil {
			break
		}
		c = page.Next
	}
	if !errors.Is(err, errForeignHost) {
		t.Errorf("link: got %v", err)
	}
	if n := foreign.Load(); n > 0 {
		t.Errorf("%d requests with a token went to another host", n)
	}
}

func TestAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://api.example": true, "https://api.example/": true, "http://127.0.0.1:1": true, "http://localhost": true, "http://[::1]:8": true,
		"http://api.example": false, "ftp://api.example": false, "api.example": false, "": false, "https://": false, "http://10.0.0.1": false,
	} {
		_, err := NewDefender(Options{BaseURL: address, HTTP: &http.Client{}, Limiter: &limiter{}})
		if (err == nil) != ok {
			t.Errorf("%q: got %v", address, err)
		}
	}
}
