package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/rawtest"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/scrub"
)

// TestFailures: how an answer that brings nothing is classified and told.
func TestFailures(t *testing.T) {
	const body = `{"error":{"code":"Code","message":"what went wrong","target":"t"}}`
	tests := []struct {
		name   string
		via    roundTrip
		reason reason.Reason
		text   string
	}{
		{"400", answer(400, body), reason.Other, "HTTP 400 Bad Request: Code: what went wrong"},
		{"401", answer(401, body), reason.Auth, "HTTP 401"},
		{"403", answer(403, body), reason.Forbidden, "HTTP 403"},
		{"404", answer(404, ""), reason.Other, "HTTP 404 Not Found"},
		{"405 without a body", answer(405, ""), reason.Other, "HTTP 405"},
		{"408", answer(408, ""), reason.Timeout, "HTTP 408"},
		{"410", answer(410, ""), reason.Other, "HTTP 410"},
		{"429", answer(429, `{"error":{"code":"429","message":"maximum allowed 45 per 00:01:00"}}`), reason.Throttled, "HTTP 429 Too Many Requests: 429: maximum"},
		{"code as a number", answer(429, `{"error":{"code":429,"message":"m"}}`), reason.Throttled, ": 429: m"},
		{"throttling as 500", answer(500, `{"error":{"code":"InternalServerError","message":"Rate limit reached because of too many requests"}}`), reason.Throttled, "HTTP 500"},
		{"throttling as 400", answer(400, `TOO MANY requests`), reason.Throttled, "HTTP 400"},
		{"throttling as 503 with a code", answer(503, `{"error":{"code":"TooManyRequests","message":""}}`), reason.Throttled, "HTTP 503"},
		{"throttling in other words", answer(500, "RATE LIMIT REACHED"), reason.Throttled, "HTTP 500"},
		{"throttling as 403", answer(403, "API calls quota exceeded! maximum allowed 45 per 00:01:00"), reason.Throttled, "HTTP 403"},
		{"throttling as 503", answer(503, "The request was throttled"), reason.Throttled, "HTTP 503"},
		{"another limit", answer(400, "The limit of '25' for Top query has been exceeded"), reason.Other, "HTTP 400"},
		{"500", answer(500, body), reason.Server, "HTTP 500"},
		{"501", answer(501, body), reason.Server, "HTTP 501"},
		{"502 without JSON", answer(502, "<html>\x1b[31m\u202e"+strings.Repeat("x", 100_000)), reason.Server, `<html>\x1b[31m\u202exxx`},
		{"an error that is a text", answer(500, `{"error":"text"}`), reason.Server, `{"error":"text"}`},
		{"a message alone", answer(500, `{"error":{"message":"what went wrong"}}`), reason.Server, "HTTP 500 Internal Server Error: what went wrong"},
		{"byte order mark", answer(400, "\ufeff"+body), reason.Other, ": Code: what went wrong"},
		{"599", answer(599, ""), reason.Server, "HTTP 599"},
		{"not JSON", answer(200, "<html>\x1b"), reason.Decode, `not JSON: <html>\x1b`},
		{"no content", answer(204, ""), reason.Decode, "empty"},
		{"rows without ids", answer(200, `{"value":[{"incidentId":"guid"}]}`), reason.Decode, "none of the 1 incidents"},
		{"206", answer(206, `{"value":[]}`), reason.Partial, "HTTP 206"},
		{"warning", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", "199 - \"a provider\x1b failed\""), reason.Partial, `199 - "a provider\x1b failed"`},
		{"warning beside a deprecation", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", `299 - "deprecated"`, "Warning", "199 - x"), reason.Partial, `199 - x`},
		{"warning between deprecations", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", `299 - "deprecated", 299 - "x", 299 - "deprecated"`), reason.Partial, `299 - "x"`},
		{"warning in the line of a deprecation", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", `299 - "deprecated", 199 - "x"`), reason.Partial, `199 - "x"`},
		{"warning behind an empty one", answer(200, `{"value":[{"incidentId":1}]}`, "Warning", "", "Warning", "199 - x"), reason.Partial, `199 - x`},
		{"error beside the list", answer(200, `{"value":[{"incidentId":1}],`+body[1:]), reason.Partial, "Code: what went wrong: read answer: the answer has an error in it"},
		{"no list", answer(200, `{}`), reason.Partial, "no list"},
		{"300", answer(300, ""), reason.Other, "HTTP 300"},
		{"a redirect to a page of that name", answer(302, `<a href="/throttled">Found</a>`, "Location", "/throttled"), reason.Other, "HTTP 302"},
		{"304", answer(304, ""), reason.Other, "HTTP 304"},
		{"an encoding that was not asked for", answer(200, `{"value":[]}`, "Content-Encoding", "br"), reason.Decode, "encoding that was not asked for"},
		{"such an encoding behind an empty one", answer(200, `{"value":[]}`, "Content-Encoding", "", "Content-Encoding", "br"), reason.Decode, "encoding that was not asked for"},
		// What the status says is known all the same.
		{"401 in another encoding", answer(401, "\x0b", "Content-Encoding", "br"), reason.Auth, "HTTP 401"},
		{"429 in another encoding", answer(429, "\x0b", "Content-Encoding", "br"), reason.Throttled, "HTTP 429"},
		{"101", answer(101, ""), reason.Decode, "switch protocols"},
		{"broken connection", func(*http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: "https://x", Err: io.ErrUnexpectedEOF}
		}, reason.Network, "unexpected EOF"},
		{"a text of the server's in an error", func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("malformed HTTP response %s", "\x1b[31m"+strings.Repeat("x", 4<<20))
		}, reason.Network, `malformed HTTP response \x1b`},
		{"a time limit of the transport's", func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }, reason.Timeout, "deadline"},
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
			if e.Reason != test.reason || e.Operation != listing.OperationList || e.Request != req {
				t.Errorf("got %+v, want the reason %s", e, test.reason)
			}
			if text := err.Error(); !strings.Contains(text, test.text) || len(text) > 700 || strings.ContainsAny(text, "\x1b\n\u202e") {
				t.Errorf("text: got %q, want %q in it", err, test.text)
			}
			if sent != 1 || len(calls) != 1 || calls[0].Operation != listing.OperationList || calls[0].Code != e.Status || !errors.Is(calls[0].Err, err) {
				t.Errorf("%d requests, told of %+v", sent, calls)
			}
			if want := e.Status == 401; (renewed == 1) != want || renewed > 1 {
				t.Errorf("renewed %d times", renewed)
			}
			if errors.Is(err, listing.ErrNotFound) || e.Status >= 400 && e.Err != nil {
				t.Errorf("the cause of a list that failed: %v", e.Err)
			}
			if page.Rows != nil {
				t.Errorf("rows of a failed page: %+v", page)
			}
			_, err = c.Incident(t.Context(), 7)
			if want := e.Status == 404 || e.Status == 410; errors.Is(err, listing.ErrNotFound) != want {
				t.Errorf("lookup: got %v", err)
			}
			// A lookup has no list, and an id of its own.
			if got := failure(t, err); got.Reason != test.reason && test.name != "no list" && test.name != "rows without ids" || got.Operation != listing.OperationGet {
				t.Errorf("lookup: got %+v, want the reason %s", got, test.reason)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	long := strings.Repeat("9", 1000)
	for retryAfter, want := range map[string]string{"": "", "7": "7", "Fri, 02 Jan 2026 03:04:05 GMT": "0", "-1": "-1", long: "9223372037"} {
		_, err := newTest(t, answer(503, "", "Retry-After", retryAfter), nil).List(t.Context(), first)
		if e := failure(t, err); e.RetryAfter != want || e.Reason != reason.Server {
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
		{"an address", "https://api.example:443/x?$top=1", "https://api.example/x?$top=1", ""},
		{"itself", self, "", "the same address"},
		{"itself, with its port", "https://api.example:443/api/incidents?$top=100", "", "the same address"},
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
				if e.Reason != reason.Other || e.Status != status || e.Location != test.location || sent != 1 {
					t.Errorf("got %+v after %d requests, want the location %q", e, sent, test.location)
				}
				if text := err.Error(); !strings.Contains(text, test.text) || strings.Contains(text, "secret") || len(text) > 400 {
					t.Errorf("got %q", text)
				}
			})
		}
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
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(io.MultiReader(strings.NewReader("{"), broken(secret)))}, nil
		},
	} {
		c := newTest(t, via, func(o *Options) {
			o.Scrubber = new(scrub.Scrubber)
			o.Scrubber.Secret("test", secret)
		})
		_, err := c.List(t.Context(), first)
		if e := failure(t, err); strings.Contains(fmt.Sprint(err, e.Code, e.Message), secret) || !strings.Contains(err.Error(), scrub.Removed) {
			t.Errorf("%s: got %q", name, err)
		}
	}
}

// TestScrubLabels: who repeats a secret in what becomes a label has it shown to nobody;
// what is none stays as it is.
func TestScrubLabels(t *testing.T) {
	const secret = "s3cr3t~of.the-APP_8Q"
	dimensions := Dimensions{
		Dimensions: incident.Dimensions{DeviceGroups: []string{incident.AllDeviceGroups}, Detectors: 1, Assignees: incident.AssigneesListed},
		Owner:      func(name []byte) string { return string(name) },
	}
	for said, want := range map[string]string{
		secret:                             "removed|removed|removed|[removed]|[removed]|[removed]",
		"of " + secret + " and more":       "removed|removed|removed|[removed]|[removed]|[removed]",
		"Bearer eyJ0eXAi.eyJhdWQi.c2lnbmF": "removed|removed|removed|[removed]|[removed]|[removed]",
		`EU\\Ost "ä" 日本`:                   `eu_ost_ä_日本|eu_ost_ä_日本|eu_ost_ä_日本|EU\Ost "ä" 日本|eu\ost "ä" 日本|eu\ost "ä" 日本`,
	} {
		body := strings.ReplaceAll(`{"value":[{"incidentId":7,"assignedTo":"?","status":"?","alerts":[{"serviceSource":"?","category":"?","detectionSource":"?","detectorId":"?","devices":[{"rbacGroupName":"?"}]}]}]}`,
			"?", strings.ReplaceAll(said, `"`, `\"`))
		c := newTest(t, answer(200, body), func(o *Options) {
			o.Dimensions = dimensions
			o.Scrubber = new(scrub.Scrubber)
			o.Scrubber.Secret("test", secret)
		})
		page, err := c.List(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		a := page.Rows[0].Alerts[0]
		if got := strings.Join([]string{a.Source, a.Category, a.Detection, a.Kept.DeviceGroups[0], a.Kept.Detector, page.Rows[0].Kept.Owner}, "|"); got != want {
			t.Errorf("%s: got %s, want %s", said, got, want)
		}
	}
}

type broken string

func (b broken) Read([]byte) (int, error) { return 0, errors.New(string(b)) }

// TestDeprecation: a notice that is on every answer, and says nothing of its rows, blinds
// nobody.
func TestDeprecation(t *testing.T) {
	for _, warning := range []string{
		`299 - "Deprecated API : use v2"`,
		`299 api.example "This API version is deprecated" "Tue, 01 Sep 2026 00:00:00 GMT"`,
		`299 - "Deprecated API", 299 - "Deprecated: x" "Tue, 01 Sep 2026 00:00:00 GMT",299 - "deprecated"`,
		`299 - "The property \"x\" is deprecated"`,
	} {
		c := newTest(t, answer(200, `{"value":[{"incidentId":1}]}`, "Warning", warning), nil)
		if page, err := c.List(t.Context(), first); err != nil || len(page.Rows) != 1 {
			t.Errorf("%s: got %+v, %v", warning, page, err)
		}
	}
}

// TestDateOfTheServer: until when to be silent is told by the server's clock.
func TestDateOfTheServer(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err := newTest(t, answer(429, "", "Date", date.Format(http.TimeFormat), "Retry-After", date.Add(5*time.Minute).Format(http.TimeFormat)), nil).List(t.Context(), first)
	if e := failure(t, err); e.RetryAfter != "300" {
		t.Errorf("got %q", e.RetryAfter)
	}
}

// TestLimits: the limit that a text names is whole, wherever the text is cut.
func TestLimits(t *testing.T) {
	const names = "maximum allowed 30 per 01:00:00"
	for before := range 300 {
		body := fmt.Sprintf(`{"error":{"code":"429","message":"%s %s"}}`, strings.Repeat("x", before), names)
		_, err := newTest(t, answer(429, body), nil).List(t.Context(), first)
		want := quota.Window{Period: time.Hour, Limit: 30}
		if got, ok := quota.ParseLimit(failure(t, err).Limits); !ok || got != want {
			t.Fatalf("behind %d: got %+v, want %+v", before, got, want)
		}
	}
	for text, want := range map[string]quota.Window{
		"Too many calls per application, maximum allowed 30 per 01:00:00.":   {Period: time.Hour, Limit: 30},
		"Too many requests per app registration: allowed 50 per 10 minutes.": {Period: 10 * time.Minute, Limit: 50},
	} {
		_, err := newTest(t, answer(429, text), nil).List(t.Context(), first)
		if got, _ := quota.ParseLimit(failure(t, err).Limits); got != want {
			t.Errorf("%s: got %+v", text, got)
		}
	}
	_, err := newTest(t, answer(429, strings.Repeat(" per ", 10000)), nil).List(t.Context(), first)
	if e := failure(t, err); len(e.Limits) > 2000 {
		t.Errorf("%d bytes", len(e.Limits))
	}
}

// TestPageOfAGateway: the scripts of an error page say nothing of throttling.
func TestPageOfAGateway(t *testing.T) {
	for body, want := range map[string]reason.Reason{
		" <html><script>var throttled = false</script>": reason.Server,
		"quota exceeded": reason.Throttled,
		`{"error":{"code":"x","message":"<b>Too many requests</b>"}}`: reason.Throttled,
	} {
		_, err := newTest(t, answer(502, body), nil).List(t.Context(), first)
		if e := failure(t, err); e.Reason != want {
			t.Errorf("%s: got %s, want %s", body, e.Reason, want)
		}
	}
}

// TestErrorByAnotherName: an error beside the rows says that some are missing, whatever it
// is called.
func TestErrorByAnotherName(t *testing.T) {
	for name, want := range map[string]bool{"Error": true, "ERROR": true, "@odata.error": true, "odata.Error": true, "errors": false, "xerror": false, "@odata.terror": false} {
		_, err := newTest(t, answer(200, `{"value":[],"`+name+`":{"code":"InternalServerError","message":"backend timed out"}}`), nil).List(t.Context(), first)
		if partial := err != nil && failure(t, err).Reason == reason.Partial; partial != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestIdentity: content codings have no case, and the one that is none may be named.
func TestIdentity(t *testing.T) {
	for coding, want := range map[string]bool{"Identity": true, "identity, IDENTITY": true, "identity,": true, "identity, br": false, "Br": false} {
		_, err := newTest(t, answer(200, `{"value":[{"incidentId":1}]}`, "Content-Encoding", coding), nil).List(t.Context(), first)
		if (err == nil) != want {
			t.Errorf("%s: %v", coding, err)
		}
	}
}

// TestWarningAtTheEnd: that rows are missing may be known only then.
func TestWarningAtTheEnd(t *testing.T) {
	addr := rawtest.Serve(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Warning\r\nConnection: close\r\n\r\n"+
				"c\r\n{\"value\":[]}\r\n0\r\nWarning: 199 - \"a provider did not answer\"\r\n\r\n")
		}
	})
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	_, err := newTest(t, tr, func(o *Options) { o.BaseURL = "http://" + addr }).List(t.Context(), first)
	if e := failure(t, err); e.Reason != reason.Partial || !strings.Contains(e.Message, "a provider did not answer") {
		t.Errorf("got %+v", e)
	}
}

// TestWeakPassword: a password of a proxy that is an everyday word changes no count.
func TestWeakPassword(t *testing.T) {
	const body = `{"value":[{"incidentId":7,"status":"Resolved","severity":"Informational","classification":"TruePositive","determination":"MaliciousUserActivity",
		"alerts":[{"serviceSource":"MicrosoftDefenderForEndpoint","detectionSource":"WindowsDefenderAtp"}]}]}`
	read := func(password string) string {
		c := newTest(t, answer(200, body), func(o *Options) {
			o.Scrubber = new(scrub.Scrubber)
			o.Scrubber.Secret("proxy", password)
		})
		page, err := c.List(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%+v", page.Rows[0])
	}
	want := read("Kq8#vX!0pz-other")
	for _, password := range []string{"user", "info", "resolved", "defender", "true", "endpoint"} {
		if got := read(password); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", password, got, want)
		}
	}
}
