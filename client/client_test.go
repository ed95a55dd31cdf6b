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
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
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
			h.Set(header[i], header[i+1])
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

// TestRequest: what is sent, to the letter.
func TestRequest(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cest := time.FixedZone("", 7200)
	tests := []struct {
		name          string
		req           listing.Request
		native, graph string
	}{
		{"plain", listing.Request{Top: 7}, "?$top=7", "?$top=7"},
		{"lower bound", listing.Request{Top: 7, Since: at.In(cest)}, "?$top=7&$filter=TIME ge 2026-01-02T03:04:05Z", ""},
		{"both bounds", listing.Request{Top: 7, Since: at, Before: at.Add(time.Hour)},
			"?$top=7&$filter=TIME ge 2026-01-02T03:04:05Z and TIME lt 2026-01-02T04:04:05Z", ""},
		{"the last instant before", listing.Request{Top: 7, Before: at, Bound: listing.Le}, "?$top=7&$filter=TIME le 2026-01-02T03:04:04.9999999Z", ""},
		{"status", listing.Request{Top: 7, Since: at, Status: incident.StatusAwaitingAction},
			"?$top=7&$filter=TIME ge 2026-01-02T03:04:05Z and status eq 'AwaitingAction'", "?$top=7&$filter=TIME ge 2026-01-02T03:04:05Z and status eq 'awaitingAction'"},
		{"order and count", listing.Request{Top: 7, Order: listing.Ascending, Count: true}, "?$top=7&$orderby=TIME asc&$count=true", ""},
		{"order and skip", listing.Request{Top: 7, Order: listing.Descending, Skip: 30}, "?$top=7&$orderby=TIME desc&$skip=30", ""},
		{"alerts", listing.Request{Top: 7, Alerts: true, Skip: 1}, "?$top=7&$skip=1", "?$top=7&$expand=alerts&$skip=1"},
		{"link", listing.Request{Top: 7, Skip: 1, Link: "https://API.example:443/x/?$skip=100&$filter=a b#c"}, "/x/?$skip=100&$filter=a b", ""},
		{"relative link", listing.Request{Link: "/x?$skip=100"}, "/x?$skip=100", ""},
	}
	for _, of := range []struct {
		name, base, updated string
		new                 func(Options) (*Client, error)
	}{
		{"native", "https://api.example/api/incidents", "lastUpdateTime", NewDefender},
		{"graph", "https://api.example/v1.0/security/incidents", "lastUpdateDateTime", NewGraph},
	} {
		for _, test := range tests {
			t.Run(of.name+", "+test.name, func(t *testing.T) {
				want := test.native
				if of.name == "graph" && test.graph != "" {
					want = test.graph
				}
				want = strings.ReplaceAll(want, "TIME", of.updated)
				if strings.HasPrefix(want, "?") {
					want = of.base + want
				} else {
					want = "https://api.example" + want
				}
				sent := 0
				c := newTestOf(t, of.new, roundTrip(func(r *http.Request) (*http.Response, error) {
					sent++
					got, err := url.PathUnescape(r.URL.String())
					got = strings.Replace(got, "API.example:443", "api.example", 1)
					if err != nil || got != want || strings.ContainsAny(r.URL.String(), " +#") {
						t.Errorf("\ngot  %s (%s)\nwant %s", got, r.URL, want)
					}
					header := http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer token"}, "User-Agent": {"ours"}}
					if of.name == "graph" {
						header["Prefer"] = []string{"include-unknown-enum-members"}
					}
					if r.Method != http.MethodGet || fmt.Sprint(r.Header) != fmt.Sprint(header) {
						t.Errorf("got %s %v, want %v", r.Method, r.Header, header)
					}
					return answer(200, `{"value":[]}`)(r)
				}), func(o *Options) { o.UserAgent = "ours" })
				if _, err := c.List(t.Context(), test.req); err != nil || sent != 1 {
					t.Errorf("%d requests, %v", sent, err)
				}
			})
		}
	}
}

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
	if page, _ = c.List(t.Context(), listing.Request{Top: 50}); fmt.Sprint(known(page)) != "[false false false]" || page.MoreAlerts != nil {
		t.Errorf("not asked for, alerts known: got %v, more %v", known(page), page.MoreAlerts)
	}
	if page, _ = c.List(t.Context(), listing.Request{Link: "https://api.example/next"}); fmt.Sprint(known(page)) != "[true false true]" {
		t.Errorf("from a link, alerts known: got %v", known(page))
	}
	page, err = c.List(t.Context(), listing.Request{Link: "https://api.example/more", AlertsOf: 7})
	if err != nil || len(page.Alerts) != 3 || page.Rows != nil {
		t.Errorf("alerts of an incident: got %+v, %v", page, err)
	}
	for _, date := range []string{"", "yesterday", "2026-01-02T03:04:05Z"} {
		page, err := newTest(t, answer(200, `{"value":[]}`, "Date", date), nil).List(t.Context(), first)
		if err != nil || !page.Date.IsZero() || page.Count != -1 {
			t.Errorf("date %q: got %+v, %v", date, page, err)
		}
	}
}

// TestFailures: how an answer that brings nothing is classified and told.
func TestFailures(t *testing.T) {
	const body = `{"error":{"code":"Code","message":"what went wrong","target":"t"}}`
	tests := []struct {
		name    string
		via     roundTrip
		reason  listing.Reason
		text    string
		partial bool
	}{
		{"400", answer(400, body), listing.ReasonOther, "HTTP 400 Bad Request: Code: what went wrong", false},
		{"401", answer(401, body), listing.ReasonAuth, "HTTP 401", false},
		{"403", answer(403, body), listing.ReasonForbidden, "HTTP 403", false},
		{"404", answer(404, ""), listing.ReasonOther, "HTTP 404 Not Found", false},
		{"405 without a body", answer(405, ""), listing.ReasonOther, "HTTP 405", false},
		{"408", answer(408, ""), listing.ReasonTimeout, "HTTP 408", false},
		{"410", answer(410, ""), listing.ReasonOther, "HTTP 410", false},
		{"429", answer(429, `{"error":{"code":"429","message":"maximum allowed 45 per 00:01:00"}}`), listing.ReasonThrottled, "HTTP 429 Too Many Requests: 429: maximum", false},
		{"code as a number", answer(429, `{"error":{"code":429,"message":"m"}}`), listing.ReasonThrottled, ": 429: m", false},
		{"throttling as 500", answer(500, `{"error":{"code":"InternalServerError","message":"Rate limit reached because of too many requests"}}`), listing.ReasonThrottled, "HTTP 500", false},
		{"throttling as 400", answer(400, `TOO MANY requests`), listing.ReasonThrottled, "HTTP 400", false},
		{"throttling as 503 with a code", answer(503, `{"error":{"code":"TooManyRequests","message":""}}`), listing.ReasonThrottled, "HTTP 503", false},
		{"500", answer(500, body), listing.ReasonServer, "HTTP 500", false},
		{"501", answer(501, body), listing.ReasonServer, "HTTP 501", false},
		{"502 without JSON", answer(502, "<html>\x1b[31m\u202e"+strings.Repeat("x", 100_000)), listing.ReasonServer, `<html>\x1b[31m\u202exxx`, false},
		{"an error that is a text", answer(500, `{"error":"text"}`), listing.ReasonServer, `{"error":"text"}`, false},
		{"byte order mark", answer(400, "\ufeff"+body), listing.ReasonOther, ": Code: what went wrong", false},
		{"599", answer(599, ""), listing.ReasonServer, "HTTP 599", false},
		{"not JSON", answer(200, "<html>\x1b"), listing.ReasonDecode, `not JSON: <html>\x1b`, false},
		{"no content", answer(204, ""), listing.ReasonDecode, "empty", false},
		{"rows without ids", answer(200, `{"value":[{"incidentId":"guid"}]}`), listing.ReasonDecode, "none of the 1 incidents", false},
		{"206", answer(206, `{"value":[]}`), listing.ReasonPartial, "HTTP 206", true},
		{"warning", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", "199 - \"a provider\x1b failed\""), listing.ReasonPartial, `199 - "a provider\x1b failed"`, true},
		{"error beside the list", answer(200, `{"value":[{"incidentId":1}],`+body[1:]), listing.ReasonPartial, "Code: what went wrong: read answer: the answer has an error in it", true},
		{"no list", answer(200, `{}`), listing.ReasonPartial, "no list", true},
		{"300", answer(300, ""), listing.ReasonOther, "HTTP 300", false},
		{"304", answer(304, ""), listing.ReasonOther, "HTTP 304", false},
		{"101", answer(101, ""), listing.ReasonDecode, "switch protocols", false},
		{"broken connection", func(*http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: "https://x", Err: io.ErrUnexpectedEOF}
		}, listing.ReasonNetwork, "unexpected EOF", false},
		{"a text of the server's in an error", func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("malformed HTTP response %s", "\x1b[31m"+strings.Repeat("x", 4<<20))
		}, listing.ReasonNetwork, `malformed HTTP response \x1b`, false},
		{"a time limit of the transport's", func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, listing.ReasonTimeout, "deadline", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sent, renewed := 0, 0
			var calls []Call
			c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) { sent++; return test.via(r) }), func(o *Options) {
				o.Renew = func() { renewed++ }
				o.Observe = func(call Call) { calls = append(calls, call) }
			})
			req := listing.Request{Top: 9, Skip: 3, Order: listing.Ascending}
			page, err := c.List(t.Context(), req)
			e := failure(t, err)
			if e.Reason != test.reason || e.Op != "list" || e.Request != req {
				t.Errorf("got %+v, want the reason %s", e, test.reason)
			}
			if text := err.Error(); !strings.Contains(text, test.text) || len(text) > 700 || strings.ContainsAny(text, "\x1b\n\u202e") {
				t.Errorf("text: got %q, want %q in it", err, test.text)
			}
			if sent != 1 || len(calls) != 1 || calls[0].Operation != "list" || calls[0].Code != e.Status || calls[0].Err != err {
				t.Errorf("%d requests, told of %+v", sent, calls)
			}
			if want := e.Status == 401; (renewed == 1) != want || renewed > 1 {
				t.Errorf("renewed %d times", renewed)
			}
			if page.Rows != nil {
				t.Errorf("rows of a failed page: %+v", page)
			}
			_, err = c.Incident(t.Context(), 7)
			if want := e.Status == 404 || e.Status == 410; errors.Is(err, listing.ErrNotFound) != want {
				t.Errorf("lookup: got %v", err)
			}
			// A lookup has no list, and an id of its own.
			if got := failure(t, err); got.Reason != test.reason && test.name != "no list" && test.name != "rows without ids" || got.Op != "get" {
				t.Errorf("lookup: got %+v, want the reason %s", got, test.reason)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	long := strings.Repeat("9", 1000)
	for retryAfter, want := range map[string]string{"": "", "7": "7", "Fri, 02 Jan 2026 03:04:05 GMT": "Fri, 02 Jan 2026 03:04:05 GMT", "-1": "-1", long: long[:64]} {
		_, err := newTest(t, answer(503, "", "Retry-After", retryAfter), nil).List(t.Context(), first)
		if e := failure(t, err); e.RetryAfter != want || e.Reason != listing.ReasonServer {
			t.Errorf("Retry-After %q: got %+v", retryAfter, e)
		}
	}
	for message, want := range map[string]int{
		`The limit of '25' for Top query has been exceeded. The value from the incoming request is '50'.`:         25,
		`{"error":{"code":"BadRequest","message":"The limit of \u002750\u0027 for Top query has been exceeded"}}`: 50,
		`the LIMIT of "5" for $top query`: 5,
		"limit of ’10’ for top":           10,
		"limit of 30 for 'Top' query":     30,
		"limit of '0' for Top":            0,
		"limit of '99999999999' for Top":  0,
		"limit of 25 for topics":          0,
		"Top query":                       0,
		"":                                0,
	} {
		for _, status := range []int{400, 500} {
			_, err := newTest(t, answer(status, message), nil).List(t.Context(), first)
			if e := failure(t, err); e.TopLimit != want {
				t.Errorf("%d %q: got %d, want %d", status, message, e.TopLimit, want)
			}
		}
	}
}

// TestRedirect: none is followed, and one to elsewhere is not even told in full.
func TestRedirect(t *testing.T) {
	const self = "https://api.example/api/incidents?$top=100"
	tests := []struct{ name, to, location, text string }{
		{"another path", "/v2/incidents", "https://api.example/v2/incidents", ""},
		{"an address", "https://api.example:443/x?$top=1", "https://api.example:443/x?$top=1", ""},
		{"itself", self, "", "the same address"},
		{"itself, relative", "/api/incidents?$top=100", "", "the same address"},
		{"nowhere", "", "", "or to none"},
		{"another host", "https://elsewhere.example/secret?token=1", "", "another host, which gets no token: https://elsewhere.example"},
		{"another port", "https://api.example:444/", "", "another host"},
		{"plain http", "http://api.example/api/incidents", "", "another host"},
		{"no scheme", "//elsewhere.example/", "", "another host"},
		{"credentials", "https://api.example@elsewhere.example/", "", "another host"},
		{"no address", "https://api.example/%zz", "", "not an address"},
		{"control characters", "https://api.example/\x7f", "", "not an address"},
		{"a megabyte", "https://api.example/" + strings.Repeat("x", 1<<20), "", "longer than"},
	}
	for _, test := range tests {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(test.name, " ", status), func(t *testing.T) {
				sent := 0
				c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					sent++
					return answer(status, "", "Location", test.to)(r)
				}), nil)
				_, err := c.List(t.Context(), first)
				e := failure(t, err)
				if e.Reason != listing.ReasonOther || e.Status != status || e.Location != test.location || sent != 1 {
					t.Errorf("got %+v after %d requests, want the location %q", e, sent, test.location)
				}
				if text := err.Error(); !strings.Contains(text, test.text) || strings.Contains(text, "secret") || len(text) > 400 {
					t.Errorf("got %q", text)
				}
			})
		}
	}
}

// TestForeignLink: no token goes to another host, nothing is sent at all.
func TestForeignLink(t *testing.T) {
	for _, link := range []string{
		"https://elsewhere.example/v1.0/security/incidents", "http://api.example/x", "//elsewhere.example/x", "https://api.example:444/x",
		"https://api.example.elsewhere.example/", "https://api.example@elsewhere.example/", "ftp://api.example/", "https://api.example/" + strings.Repeat("x", maxLink), "https://%",
	} {
		for _, of := range []func(Options) (*Client, error){NewDefender, NewGraph} {
			c := newTestOf(t, of, roundTrip(func(r *http.Request) (*http.Response, error) {
				t.Errorf("a request went to %s", r.URL)
				return nil, io.EOF
			}), func(o *Options) { o.Observe = func(Call) { t.Error("told of a request") } })
			for _, req := range []listing.Request{{Link: link}, {Link: link, AlertsOf: 7}} {
				_, err := c.List(t.Context(), req)
				if e := failure(t, err); e.Reason != listing.ReasonOther || e.Request != req || e.Status != 0 || len(err.Error()) > 300 {
					t.Errorf("%.60s: got %+v", link, e)
				}
			}
		}
	}
	// User and password of a link are not sent.
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.User != nil || r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("got %s, %v", r.URL, r.Header)
		}
		return answer(200, `{"value":[]}`)(r)
	}), nil)
	if _, err := c.List(t.Context(), listing.Request{Link: "https://a:b@api.example/"}); err != nil {
		t.Error(err)
	}
}

type tokenFailure string

func (f tokenFailure) Error() string         { return "no token: " + string(f) }
func (f tokenFailure) FailureReason() string { return string(f) }

func TestAuthorize(t *testing.T) {
	refused := &oauth2.RetrieveError{Response: &http.Response{Status: "400 Bad Request", StatusCode: 400}, Body: []byte("\x1b" + strings.Repeat("secret ", 100))}
	tests := []struct {
		name   string
		err    error
		reason listing.Reason
		text   string
	}{
		{"auth", tokenFailure("auth"), listing.ReasonAuth, "authorize incidents: no token: auth"},
		{"network", fmt.Errorf("wrapped: %w", tokenFailure("network")), listing.ReasonNetwork, "wrapped: no token: network"},
		{"throttled", tokenFailure("throttled"), listing.ReasonThrottled, ""},
		{"a reason that there is not", tokenFailure("moon"), listing.ReasonAuth, ""},
		{"no reason", errors.New("\x1b[31m"), listing.ReasonAuth, `\x1b[31m`},
		{"refused by the library", refused, listing.ReasonAuth, "400 Bad Request"},
		{"no connection", &url.Error{Op: "Post", URL: "https://login", Err: io.EOF}, listing.ReasonNetwork, ""},
		{"no answer", &url.Error{Op: "Post", URL: "https://login", Err: context.DeadlineExceeded}, listing.ReasonTimeout, ""},
		{"nothing", nil, listing.ReasonAuth, "no access token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newTest(t, roundTrip(func(*http.Request) (*http.Response, error) {
				t.Error("a request without a token")
				return nil, io.EOF
			}), func(o *Options) {
				o.Tokens = source(func() (*oauth2.Token, error) { return nil, test.err })
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
			if e := failure(t, err); e.Reason != test.reason || e.Op != "list" || e.Request != first {
				t.Errorf("list: got %+v", e)
			}
			_, err = c.Incident(t.Context(), 7)
			if e := failure(t, err); e.Reason != test.reason || e.Op != "get" {
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
	if _, err := c.List(t.Context(), first); failure(t, err).Reason != listing.ReasonAuth {
		t.Errorf("got %v", err)
	}
	if _, err := c.List(t.Context(), first); err != nil {
		t.Error(err)
	}
}

// TestTimeout: one limit holds for the answer and for its body, and the
// caller's end of it all is told from it.
func TestTimeout(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	drip := func(status int) roundTrip {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: &dripping{ctx: r.Context()}}, nil
		}
	}
	tests := []struct {
		name   string
		via    roundTrip
		status int
		reason listing.Reason
	}{
		{"no answer", hang, 0, listing.ReasonTimeout},
		{"a body that drips", drip(200), 200, listing.ReasonTimeout},
		{"an error that drips", drip(500), 500, listing.ReasonServer},
		{"a body that cannot be closed", func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Body: stuck{strings.NewReader("x")}}, nil
		}, 403, listing.ReasonForbidden},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var call Call
				c := newTest(t, test.via, func(o *Options) {
					o.Timeout = 5 * time.Second
					o.Observe = func(is Call) { call = is }
				})
				began := time.Now()
				_, err := c.List(t.Context(), first)
				if e := failure(t, err); e.Reason != test.reason || e.Status != test.status || test.reason == listing.ReasonTimeout && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %+v", e)
				}
				if took := time.Since(began); took != 5*time.Second || call.Duration != took {
					t.Errorf("took %v, told %v", took, call.Duration)
				}
				if test.name == "a body that cannot be closed" {
					time.Sleep(2 * time.Hour) // until it is
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := c.List(ctx, first); !errors.Is(err, context.DeadlineExceeded) && test.status < 300 {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took != 6*time.Second {
					t.Errorf("took %v", took-5*time.Second)
				}
				ctx, stop := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, stop)
				_, err = c.List(ctx, first)
				if e := failure(t, err); test.status < 300 && (!errors.Is(err, context.Canceled) || e.Reason != listing.ReasonOther) {
					t.Errorf("got %+v", e)
				}
			})
		})
	}
}

// dripping is a body of a byte a second.
type dripping struct{ ctx context.Context }

func (d *dripping) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}

func (*dripping) Close() error { return nil }

// stuck is a body whose Close takes an hour.
type stuck struct{ io.Reader }

func (stuck) Close() error { time.Sleep(time.Hour); return nil }

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
		if err != nil || in.ID != 5 || in.Status != incident.StatusResolved || in.AlertsUnknown {
			t.Errorf("got %+v, %v", in, err)
		}
		if _, err := c.Incident(t.Context(), 6); !errors.Is(err, listing.ErrNotFound) || !strings.Contains(err.Error(), "get incidents: HTTP 404") {
			t.Errorf("got %v, want %v", err, listing.ErrNotFound)
		}
	}
	// Alerts are asked for as the list does.
	c := newTestOf(t, NewGraph, via, nil)
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
	c := newTest(t, answer(200, `{"value":[{"incidentId":1}`+strings.Repeat(`,{}`, 1000)+`]}`), func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for range 3 {
		if _, err := c.List(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if lines, loud := strings.Count(log.String(), "\n"), strings.Count(log.String(), "level=WARN"); lines != 3 || loud != 1 || !strings.Contains(log.String(), "unusable=1000") {
		t.Errorf("%d lines, %d warnings: %s", lines, loud, log.String())
	}
}

// TestScrub: whatever the server chose the words of passes through it.
func TestScrub(t *testing.T) {
	const secret = "s3cr3t"
	for name, via := range map[string]roundTrip{
		"message":   answer(400, `{"error":{"code":"c","message":"s3cr3t"}}`),
		"code":      answer(400, `{"error":{"code":"s3cr3t","message":"m"}}`),
		"body":      answer(500, secret),
		"warning":   answer(200, "", "Warning", secret),
		"no JSON":   answer(200, secret),
		"a name":    answer(200, `{"value":[{"s3cr3t":{"a":x}}]}`),
		"host":      answer(302, "", "Location", "https://s3cr3t.example"),
		"member":    answer(200, `{"error":{"code":"c","message":"s3cr3t"}}`),
		"transport": func(*http.Request) (*http.Response, error) { return nil, errors.New(secret) },
		"reading": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("{"), broken(secret)))}, nil
		},
	} {
		c := newTest(t, via, func(o *Options) {
			o.Scrub = func(text string) string { return strings.ReplaceAll(text, secret, "SCRUBBED") }
		})
		_, err := c.List(t.Context(), first)
		if e := failure(t, err); strings.Contains(fmt.Sprint(err, e.Code, e.Message), secret) || !strings.Contains(err.Error(), "SCRUBBED") {
			t.Errorf("%s: got %q", name, err)
		}
	}
}

type broken string

func (b broken) Read([]byte) (int, error) { return 0, errors.New(string(b)) }

func TestAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://api.example": true, "https://api.example/": true, "http://127.0.0.1:1": true, "http://localhost": true, "http://[::1]:8": true, "https://api.example/a": true,
		"http://api.example": false, "ftp://api.example": false, "api.example": false, "": false, "https://": false, "http://10.0.0.1": false,
		"https://api.example?": false, "https://api.example/#": false, "https://a:b@api.example": false, "https://%": false,
	} {
		_, err := NewDefender(Options{BaseURL: address, HTTP: &http.Client{}, Tokens: token})
		if (err == nil) != ok {
			t.Errorf("%q: got %v", address, err)
		}
	}
	if _, err := NewGraph(Options{BaseURL: "https://api.example", HTTP: &http.Client{}}); err == nil {
		t.Error("a client without tokens")
	}
	asked := ""
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = r.URL.String()
		return answer(200, `{"value":[]}`)(r)
	}), func(o *Options) { o.BaseURL = "https://api.example/a/" })
	if _, err := c.List(t.Context(), listing.Request{Top: 1}); err != nil || asked != "https://api.example/a/api/incidents?$top=1" {
		t.Errorf("got %s, %v", asked, err)
	}
}
