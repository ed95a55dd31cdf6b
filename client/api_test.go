package client

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/reason"
)

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

// TestForeignLink: no token goes to another host, nothing is sent at all.
func TestForeignLink(t *testing.T) {
	for _, link := range []string{
		"https://elsewhere.example/v1.0/security/incidents", "http://api.example/x", "//elsewhere.example/x", "https://api.example:444/x",
		"https://api.example.elsewhere.example/", "https://api.example@elsewhere.example/", "ftp://api.example/", "https://api.example/" + strings.Repeat("x", maxLink), "https://%",
		// In lower case this is the same host, to the DNS it is xn--api-bec.example.
		"https://apİ.example/",
	} {
		for _, of := range []func(Options) (*Client, error){NewDefender, NewGraph} {
			c := newTestOf(t, of, roundTrip(func(r *http.Request) (*http.Response, error) {
				t.Errorf("a request went to %s", r.URL)
				return nil, io.EOF
			}), func(o *Options) { o.Observe = func(Call) { t.Error("told of a request") } })
			for _, req := range []listing.Request{{Link: link}, {Link: link, AlertsOf: 7}} {
				_, err := c.List(t.Context(), req)
				if e := failure(t, err); e.Reason != reason.Other || e.Request != req || e.Status != 0 || len(err.Error()) > 300 {
					t.Errorf("%.60s: got %+v", link, e)
				}
			}
		}
	}
	// User and password of a link are not sent, nor is another spelling of the host
	// looked up.
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.User != nil || r.URL.Host != "api.example" || r.Host != "api.example" || r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("got %s, %v", r.URL, r.Header)
		}
		return answer(200, `{"value":[]}`)(r)
	}), nil)
	for _, link := range []string{"https://a:b@api.example/", "https://API.example:443/"} {
		if _, err := c.List(t.Context(), listing.Request{Link: link}); err != nil {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://api.example": true, "https://api.example/": true, "http://127.0.0.1:1": true, "http://localhost": true, "http://[::1]:8": true, "https://api.example/a": true,
		"http://api.example": false, "ftp://api.example": false, "api.example": false, "": false, "https://": false, "http://10.0.0.1": false, "ftp://localhost": false,
		"https://api.example?": false, "https://api.example/#": false, "https://a:s3cr3t@api.example": false, "https://%": false,
		"a:s3cr3t@api.example": false, "https:a:s3cr3t@api.example": false, "https://a:s3cr3t/b@api.example": false,
	} {
		_, err := NewDefender(Options{BaseURL: address, HTTP: &http.Client{}, Tokens: token})
		if (err == nil) != ok || strings.Contains(fmt.Sprint(err), "s3cr3t") {
			t.Errorf("%q: got %v", address, err)
		}
	}
	if _, err := NewGraph(Options{BaseURL: "https://api.example", HTTP: &http.Client{}}); err == nil {
		t.Error("a client without tokens")
	}
	if _, err := NewGraph(Options{BaseURL: "https://api.example", Tokens: token}); err == nil {
		t.Error("a client without a transport")
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
