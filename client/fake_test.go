package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

var epoch = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// server is a list of incidents behind a RoundTripper, which can do less than
// the real API or do it differently.
type server struct {
	mu       sync.Mutex
	rows     map[int64]row
	requests []*http.Request
	// answer, if it is not nil, is asked first; nil from it means go on.
	answer func(*http.Request) *http.Response
	// before is called before every list call with its number.
	before func(n int)

	refuseLe, refuseLt, ignoreUpper, refuseSince, refuseSkip bool
	skipCap, pageCap                                         int
	shown                                                    time.Duration // times are shown no finer than that
	links                                                    string        // full, bare or always
}

type row struct {
	updated time.Time
	status  string
}

func newServer(n int, gap time.Duration) *server {
	s := &server{rows: map[int64]row{}}
	for i := range n {
		s.rows[int64(i+1)] = row{epoch.Add(-time.Duration(i) * gap), "Active"}
	}
	return s
}

var operator = regexp.MustCompile(`lastUpdateTime (\w+) (\S+)`)

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.before != nil {
		s.before(len(s.requests))
	}
	if s.answer != nil {
		if resp := s.answer(r); resp != nil {
			resp.Request = r
			return resp, nil
		}
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return response(400, err.Error()), nil
	}
	filter := q.Get("$filter")
	skip, _ := strconv.Atoi(q.Get("$skip"))
	if skip > 0 && (s.refuseSkip || s.skipCap > 0 && skip > s.skipCap) {
		return response(400, `{"error":{"code":"InvalidInput","message":"$skip"}}`), nil
	}
	keep := func(row) bool { return true }
	for _, m := range operator.FindAllStringSubmatch(filter, -1) {
		at, err := time.Parse(time.RFC3339Nano, m[2])
		if err != nil || m[1] == "le" && s.refuseLe || m[1] == "lt" && s.refuseLt || m[1] == "ge" && s.refuseSince {
			return response(400, `{"error":{"code":"ODataError","message":"operator"}}`), nil
		}
		before, op := keep, m[1]
		keep = func(r row) bool {
			ok := op == "le" && !r.updated.After(at) || op == "lt" && r.updated.Before(at) || op == "ge" && !r.updated.Before(at)
			return before(r) && (ok || s.ignoreUpper && op != "ge")
		}
	}
	if m := regexp.MustCompile(`status eq '(\w+)'`).FindStringSubmatch(filter); m != nil {
		before := keep
		keep = func(r row) bool { return before(r) && r.status == m[1] }
	}
	var ids []int64
	for id, r := range s.rows {
		if keep(r) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int64) int {
		return cmp.Or(s.rows[b].updated.Compare(s.rows[a].updated), cmp.Compare(b, a))
	})
	ids = ids[min(skip, len(ids)):]
	size := 100
	if s.pageCap > 0 {
		size = s.pageCap
	}
	full := len(ids) >= size
	ids = ids[:min(len(ids), size)]
	body := map[string]any{"@odata.context": "c"}
	value := []any{}
	for _, id := range ids {
		updated := s.rows[id].updated
		if s.shown > 0 {
			updated = updated.Truncate(s.shown)
		}
		value = append(value, map[string]any{"incidentId": id, "lastUpdateTime": updated.Format(time.RFC3339Nano), "status": s.rows[id].status, "alerts": nil})
	}
	body["value"] = value
	next := url.Values{"$skip": {strconv.Itoa(skip + size)}, "$filter": {filter}, "via": {"link"}}
	switch {
	case s.links == "full" && full:
		q := next.Encode()
		body["@odata.nextLink"] = "https://api.example/api/incidents?" + q
	case s.links == "always", s.links == "bare" && full:
		body["@odata.nextLink"] = fmt.Sprintf("https://api.example/api/incidents/?$skip=%d", skip+size)
	}
	text, _ := json.Marshal(body)
	return response(200, string(text)), nil
}

func response(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// limiter counts what a client does with its grants.
type limiter struct {
	mu                        sync.Mutex
	taken, settled, succeeded int
	block                     time.Time
	refusals                  []string
	wait                      time.Duration // what a refusal costs
}

func (l *limiter) Take(now time.Time, _ incident.Pass) (uint64, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.block.After(now) {
		return 0, l.block
	}
	l.taken++
	return uint64(l.taken), now
}

func (l *limiter) Settle(uint64, time.Time) { l.mu.Lock(); l.settled++; l.mu.Unlock() }

func (l *limiter) Succeeded() { l.mu.Lock(); l.succeeded++; l.mu.Unlock() }

func (l *limiter) Refused(now time.Time, status int, retryAfter, message string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals = append(l.refusals, fmt.Sprint(status, " ", retryAfter, " ", message))
	l.block = now.Add(l.wait)
	return l.block
}

func newClient(t *testing.T, via http.RoundTripper, change func(*Options)) (*Defender, *limiter) {
	t.Helper()
	l := &limiter{wait: 10 * time.Second}
	o := Options{BaseURL: "https://api.example/", HTTP: &http.Client{Transport: via}, Limiter: l}
	if change != nil {
		change(&o)
	}
	d, err := NewDefender(o)
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}
