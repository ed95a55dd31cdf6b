package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
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

// graphServer is a list of incidents as Microsoft Graph would show it. Its
// links are opaque, and positions behind them.
type graphServer struct {
	mu       sync.Mutex
	rows     map[int64]row
	requests []*http.Request
	before   func(n int) // before every list call, with its number
	// answer, if it is not nil, is asked first; nil from it means go on.
	answer func(*http.Request) *http.Response

	// order of the rows where none is asked for: newest, oldest, created or none.
	order                                           string
	refuseOrder, ignoreOrder, refuseLt, ignoreUpper bool
	skipCap, pageCap                                int
	emptyFirst, noLinks                             bool
	expandFails                                     func(top int) bool
	noAlerts                                        bool // $expand is ignored
}

func newGraphServer(n int, gap time.Duration) *graphServer {
	return &graphServer{rows: newServer(n, gap).rows}
}

var graphOperator = regexp.MustCompile(`lastUpdateDateTime (\w+) (\S+)`)

const graphError = `{"error":{"code":"BadRequest","message":"no","innerError":{"date":"2026-11-24T00:00:00","request-id":"r"}}}`

func (s *graphServer) RoundTrip(r *http.Request) (*http.Response, error) {
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
	resp := s.list(r.URL.Query())
	resp.Request = r
	return resp, nil
}

func (s *graphServer) list(q url.Values) *http.Response {
	top := 50
	link := q.Get("$skiptoken") != ""
	if link {
		inner, _ := url.ParseQuery(strings.TrimPrefix(q.Get("$skiptoken"), "opaque:"))
		q = inner
	}
	if text := q.Get("$top"); text != "" {
		top, _ = strconv.Atoi(text)
	}
	skip, _ := strconv.Atoi(q.Get("$skip"))
	order, filter := q.Get("$orderby"), q.Get("$filter")
	if top > 50 || s.skipCap > 0 && skip > s.skipCap || order != "" && s.refuseOrder || strings.Contains(filter, " lt ") && s.refuseLt {
		return response(400, graphError)
	}
	if q.Get("$expand") != "" && s.expandFails != nil && s.expandFails(top) {
		return response(500, `{"error":{"code":"InternalServerError","message":"","innererror":{}}}`)
	}
	ids := s.selected(filter, order)
	empty := s.emptyFirst && q.Get("seen") == ""
	size := top
	if s.pageCap > 0 {
		size = min(size, s.pageCap)
	}
	if empty {
		size = 0
	}
	ids = ids[min(skip, len(ids)):]
	more := len(ids) > size || empty
	ids = ids[:min(len(ids), size)]
	value := []any{}
	for _, id := range ids {
		row := map[string]any{"id": strconv.FormatInt(id, 10), "lastUpdateDateTime": s.rows[id].updated.Format(time.RFC3339Nano), "status": s.rows[id].status}
		if q.Get("$expand") != "" && !s.noAlerts {
			row["alerts"] = []any{map[string]any{"id": "a", "serviceSource": "microsoftDefenderForEndpoint", "severity": "high", "status": "new"}}
		}
		value = append(value, row)
	}
	body := map[string]any{"@odata.context": "c", "value": value}
	if more && !s.noLinks {
		q.Set("$skip", strconv.Itoa(skip+len(ids)))
		q.Set("seen", "1")
		if len(ids) > 0 {
			q.Del("seen")
		}
		body["@odata.nextLink"] = "https://graph.example/v1.0/security/incidents?$skiptoken=" + url.QueryEscape("opaque:"+q.Encode())
	}
	text, _ := json.Marshal(body)
	return response(200, string(text))
}

func (s *graphServer) selected(filter, order string) (ids []int64) {
	var since, until time.Time
	for _, m := range graphOperator.FindAllStringSubmatch(filter, -1) {
		at, _ := time.Parse(time.RFC3339Nano, m[2])
		switch {
		case m[1] == "ge":
			since = at
		case m[1] == "lt" && !s.ignoreUpper:
			until = at
		}
	}
	_, status, _ := strings.Cut(filter, "status eq ")
	for id, r := range s.rows {
		if !r.updated.Before(since) && (until.IsZero() || r.updated.Before(until)) &&
			(status == "" || strings.EqualFold("'"+r.status+"'", status)) {
			ids = append(ids, id)
		}
	}
	hash := func(id int64) uint32 {
		h := fnv.New32a()
		_, _ = fmt.Fprint(h, id)
		return h.Sum32()
	}
	slices.SortFunc(ids, func(a, b int64) int {
		x, y := s.rows[a].updated, s.rows[b].updated
		switch {
		case order != "" && !s.ignoreOrder, s.order == "oldest":
			return cmp.Or(x.Compare(y), cmp.Compare(a, b))
		case s.order == "created":
			return cmp.Compare(a, b)
		case s.order == "none":
			return cmp.Or(cmp.Compare(hash(a), hash(b)), cmp.Compare(a, b))
		}
		return cmp.Or(y.Compare(x), cmp.Compare(b, a))
	})
	return ids
}

func newGraphClient(t *testing.T, via http.RoundTripper, change func(*Options)) (*Graph, *limiter) {
	t.Helper()
	l := &limiter{wait: 10 * time.Second}
	o := Options{BaseURL: "https://graph.example/", HTTP: &http.Client{Transport: via}, Limiter: l}
	if change != nil {
		change(&o)
	}
	g, err := NewGraph(o)
	if err != nil {
		t.Fatal(err)
	}
	return g, l
}

// source is what both flavours are to those who read.
type source interface {
	Page(ctx contextOf, q incident.Query, c incident.Cursor) (incident.Page, error)
}
