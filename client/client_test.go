package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/reason"
)

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer makes a transport that gives one answer, with pairs of header names
// and values.
func answer(status int, body string, header ...string) roundTrip {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// source is a source of tokens made of a function.
type source func() (*oauth2.Token, error)

func (f source) Token() (*oauth2.Token, error) { return f() }

var token = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"})

// newTest is a client of api.example, by default the native one.
func newTest(t *testing.T, via http.RoundTripper, change func(*Options)) *Client {
	t.Helper()
	return newTestOf(t, NewDefender, via, change)
}

func newTestOf(t *testing.T, of func(Options) (*Client, error), via http.RoundTripper, change func(*Options)) *Client {
	t.Helper()
	opts := Options{BaseURL: "https://api.example", HTTP: &http.Client{Transport: via}, Tokens: token}
	if change != nil {
		change(&opts)
	}
	c, err := of(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// failure is the typed error that every call returns.
func failure(t *testing.T, err error) *listing.Error {
	t.Helper()
	e, ok := err.(*listing.Error) //nolint:errorlint // it must not be wrapped
	if !ok {
		t.Fatalf("got %T %v, want a *listing.Error", err, err)
	}
	return e
}

var first = listing.Request{Top: 100}

func TestOffer(t *testing.T) {
	if got, want := newTest(t, nil, nil).Offer(), (listing.Offer{MaxTop: 100, Skip: true}); got != want {
		t.Errorf("native: got %+v, want %+v", got, want)
	}
	if got, want := newTestOf(t, NewGraph, nil, nil).Offer(), (listing.Offer{MaxTop: 50, Order: true, Count: true, Skip: true, Expand: true}); got != want {
		t.Errorf("graph: got %+v, want %+v", got, want)
	}
}

// TestPage: what is had besides the rows, and what becomes of the alerts.
func TestPage(t *testing.T) {
	const body = `{"@odata.count":9,"value":[{"id":"7","alerts":[{}],"alerts@odata.nextLink":"https://api.example/more"},{"id":"8"},{"id":"9","status":"redirected"}],"@odata.nextLink":"https://api.example/next"}`
	c := newTestOf(t, NewGraph, answer(200, body, "Date", "Fri, 02 Jan 2026 03:04:05 GMT"), nil)
	page, err := c.List(t.Context(), listing.Request{Top: 50, Alerts: true})
	if err != nil || page.Count != 9 || !page.Date.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) || page.Link != "https://api.example/next" {
		t.Errorf("got %+v, %v", page, err)
	}
	known := func(page listing.Page) (got []bool) {
		for _, in := range page.Rows {
			got = append(got, !in.AlertsUnknown)
		}
		return got
	}
	if got := known(page); fmt.Sprint(got) != "[true false true]" || page.MoreAlerts[7] != "https://api.example/more" {
		t.Errorf("alerts known: got %v, more %v", got, page.MoreAlerts)
	}
	page, _ = c.List(t.Context(), listing.Request{Top: 50})
	if fmt.Sprint(known(page)) != "[false false false]" || page.MoreAlerts != nil || page.Rows[0].Alerts != nil {
		t.Errorf("not asked for, alerts known: got %v, %v, more %v", known(page), page.Rows[0].Alerts, page.MoreAlerts)
	}
	if page, _ = c.List(t.Context(), listing.Request{Link: "https://api.example/next"}); fmt.Sprint(known(page)) != "[true false true]" {
		t.Errorf("from a link, alerts known: got %v", known(page))
	}
	page, err = c.List(t.Context(), listing.Request{Link: "https://api.example/more", AlertsOf: 7})
	if err != nil || len(page.Alerts) != 3 || page.Rows != nil {
		t.Errorf("alerts of an incident: got %+v, %v", page, err)
	}
	for _, date := range []string{"", "yesterday", "2026-01-02T03:04:05Z"} {
		page, err := newTest(t, answer(200, `{"value":[]}`, "Date", date, "Content-Encoding", "identity"), nil).List(t.Context(), first)
		if err != nil || !page.Date.IsZero() || page.Count != -1 {
			t.Errorf("date %q: got %+v, %v", date, page, err)
		}
	}
}

type tokenError reason.Reason

func (f tokenError) Error() string                { return "no token: " + f.FailureReason().String() }
func (f tokenError) FailureReason() reason.Reason { return reason.Reason(f) }

func TestAuthorize(t *testing.T) {
	refused := &oauth2.RetrieveError{Response: &http.Response{Status: "400 Bad Request", StatusCode: http.StatusBadRequest}, Body: []byte("\x1b" + strings.Repeat("secret ", 100))}
	tests := []struct {
		name   string
		err    error
		reason reason.Reason
		text   string
		token  *oauth2.Token
	}{
		{"auth", tokenError(reason.Auth), reason.Auth, "list incidents: no token: auth", nil},
		{"network", fmt.Errorf("wrapped: %w", tokenError(reason.Network)), reason.Network, "wrapped: no token: network", nil},
		{"throttled", tokenError(reason.Throttled), reason.Throttled, "", nil},
		{"no reason", errors.New("\x1b[31m"), reason.Auth, `\x1b[31m`, nil},
		{"refused by the library", refused, reason.Auth, "400 Bad Request", nil},
		{"no connection", &url.Error{Op: "Post", URL: "https://login", Err: io.EOF}, reason.Network, "", nil},
		{"no answer", &url.Error{Op: "Post", URL: "https://login", Err: context.DeadlineExceeded}, reason.Timeout, "", nil},
		{"nothing", nil, reason.Auth, "no access token", nil},
		{"an empty one", nil, reason.Auth, "no access token", &oauth2.Token{}},
		{"one beside an error", tokenError(reason.Network), reason.Network, "no token: network", &oauth2.Token{AccessToken: "token"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newTest(t, roundTrip(func(*http.Request) (*http.Response, error) {
				t.Error("a request without a token")
				return nil, io.EOF
			}), func(o *Options) {
				o.Tokens = source(func() (*oauth2.Token, error) { return test.token, test.err })
				o.Observe = func(Call) { t.Error("told of a request") }
			})
			err := c.Authorize(t.Context())
			e := failure(t, err)
			if e.Reason != test.reason || !strings.Contains(err.Error(), test.text) || len(err.Error()) > 300 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %+v, %q", e, err)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%v does not match %v", err, test.err)
			}
			_, err = c.List(t.Context(), first)
			if e := failure(t, err); e.Reason != test.reason || e.Operation != listing.OperationList || e.Request != (listing.Request{}) || !e.Unsent {
				t.Errorf("list: got %+v", e)
			}
			_, err = c.Incident(t.Context(), 7)
			if e := failure(t, err); e.Reason != test.reason || e.Operation != listing.OperationGet || !e.Unsent {
				t.Errorf("get: got %+v", e)
			}
		})
	}
	c := newTest(t, nil, nil)
	if err := c.Authorize(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Authorize(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestRenew: after a 401 the next request has another token.
func TestRenew(t *testing.T) {
	tokens := []string{"old", "new"}
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") == "Bearer old" {
			return answer(401, "")(r)
		}
		return answer(200, `{"value":[]}`)(r)
	}), func(o *Options) {
		o.Tokens = source(func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: tokens[0]}, nil })
		o.Renew = func() { tokens = tokens[1:] }
	})
	if _, err := c.List(t.Context(), first); failure(t, err).Reason != reason.Auth {
		t.Errorf("got %v", err)
	}
	if _, err := c.List(t.Context(), first); err != nil {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	asked := ""
	via := roundTrip(func(r *http.Request) (*http.Response, error) {
		switch asked = r.URL.RequestURI(); r.URL.Path {
		case "/api/incidents/5", "/v1.0/security/incidents/5":
			return answer(200, `{"incidentId":5,"id":"5","status":"Resolved","alerts":[]}`)(r)
		case "/api/incidents", "/v1.0/security/incidents":
			return answer(200, `{"value":[]}`)(r)
		}
		return answer(404, `{"error":{"code":"NotFound","message":"none"}}`)(r)
	})
	for _, of := range []func(Options) (*Client, error){NewDefender, NewGraph} {
		c := newTestOf(t, of, via, nil)
		in, err := c.Incident(t.Context(), 5)
		if err != nil || in.ID != 5 || strings.Contains(asked, "?") != c.api.offer.Expand || in.Status != incident.StatusResolved || in.AlertsUnknown {
			t.Errorf("got %+v, %v", in, err)
		}
		if _, err := c.Incident(t.Context(), 6); !errors.Is(err, listing.ErrNotFound) || !strings.Contains(err.Error(), "get incidents: HTTP 404") {
			t.Errorf("got %v, want %v", err, listing.ErrNotFound)
		}
	}
	c := newTest(t, answer(200, `{"incidentId":8}`), nil)
	if in, err := c.Incident(t.Context(), 7); err != nil || in.ID != 8 {
		t.Errorf("another incident: got %+v, %v", in, err)
	}
	c = newTest(t, answer(200, `{"value":[]}`), nil)
	if _, err := c.Incident(t.Context(), 7); failure(t, err).Reason != reason.Decode || errors.Is(err, listing.ErrNotFound) {
		t.Errorf("no incident: got %v", err)
	}
	// Alerts are asked for as the list does.
	c = newTestOf(t, NewGraph, via, nil)
	for _, alerts := range []bool{true, false, true} {
		if _, err := c.List(t.Context(), listing.Request{Top: 1, Alerts: alerts}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Incident(t.Context(), 5); err != nil || strings.Contains(asked, "$expand=alerts") != alerts {
			t.Errorf("asked for %s, %v", asked, err)
		}
	}
}

// TestLogOnce: rows that cannot be used are mentioned once a page, and loudly
// once.
func TestLogOnce(t *testing.T) {
	var log bytes.Buffer
	via := answer(200, `{"value":[{"incidentId":1}]}`)
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) { return via(r) }), func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if _, err := c.List(t.Context(), first); err != nil || log.Len() > 0 {
		t.Errorf("%v, %s", err, &log)
	}
	via = answer(200, `{"value":[{"incidentId":1}`+strings.Repeat(`,{}`, 1000)+`]}`)
	for range 3 {
		if _, err := c.List(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if lines, loud := strings.Count(log.String(), "\n"), strings.Count(log.String(), "level=WARN"); lines != 3 || loud != 1 || !strings.Contains(log.String(), "unusable=1000") {
		t.Errorf("%d lines, %d warnings: %s", lines, loud, log.String())
	}
}

// TestDefaults: a client needs no more than an address, a transport and tokens.
func TestDefaults(t *testing.T) {
	body, status := `{"value":[{"incidentId":1},{}]}`, 200
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		if agent, some := r.Header["User-Agent"]; some {
			t.Errorf("a user agent of nobody: %q", agent)
		}
		return answer(status, body)(r)
	}), nil)
	if page, err := c.List(t.Context(), first); err != nil || len(page.Rows) != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	status = 401
	if _, err := c.List(t.Context(), first); failure(t, err).Reason != reason.Auth {
		t.Error(err)
	}
}
