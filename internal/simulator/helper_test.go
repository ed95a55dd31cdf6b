package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// start is where hand-driven clocks begin.
var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// day is for reading.
const day = 24 * time.Hour

// unlimited is for tests that are not about limits.
var unlimited = []Limit{}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: start} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// caller is a client as simple as possible.
type caller struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

func inProcess(t *testing.T, tenant *Tenant) *caller {
	t.Helper()
	return newCaller(t, &http.Client{Transport: tenant.RoundTripper()}, "https://simulated.example")
}

func loopback(t *testing.T, tenant *Tenant) *caller {
	t.Helper()
	server := httptest.NewServer(tenant.Handler())
	t.Cleanup(server.Close)
	return newCaller(t, server.Client(), server.URL)
}

func newCaller(t *testing.T, client *http.Client, base string) *caller {
	t.Helper()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &caller{t: t, http: client, base: base}
	c.login()
	return c
}

// everywhere runs a test over a real port and in a bubble.
func everywhere(t *testing.T, name string, opts Options, test func(*testing.T, *Tenant, *caller)) {
	t.Helper()
	t.Run(name+"/loopback", func(t *testing.T) {
		tenant := New(opts)
		test(t, tenant, loopback(t, tenant))
	})
	t.Run(name+"/bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tenant := New(opts)
			test(t, tenant, inProcess(t, tenant))
		})
	})
}

func form() url.Values {
	return url.Values{
		"client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret},
		"scope": {"https://simulated.example/.default"}, "grant_type": {"client_credentials"},
	}
}

func (c *caller) login() {
	c.t.Helper()
	status, body := c.post(DefaultTenantID, form())
	text, ok := body["access_token"].(string)
	if status != http.StatusOK || !ok {
		c.t.Fatalf("login: got %d %v", status, body)
	}
	c.token = text
}

func (c *caller) post(tenant string, form url.Values) (int, map[string]any) {
	c.t.Helper()
	resp, err := c.http.PostForm(c.base+"/"+tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		body = map[string]any{"unreadable": err.Error()}
	}
	return resp.StatusCode, body
}

// answer is a response that was read to its end, or why it was not.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
	took   time.Duration
}

func (c *caller) do(ctx context.Context, pathAndQuery string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+pathAndQuery, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err, took: time.Since(began)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), err, time.Since(began)}
}

func (c *caller) get(pathAndQuery string) answer {
	c.t.Helper()
	return c.do(c.t.Context(), pathAndQuery)
}

type pageRead struct {
	Context string           `json:"@odata.context"`
	Next    string           `json:"@odata.nextLink"`
	Value   []map[string]any `json:"value"`
}

// page reads a page that must be right. The options are not escaped yet, such
// as "$filter=status eq 'Active'&$top=5".
func (c *caller) page(options string) pageRead {
	c.t.Helper()
	path := "/api/incidents?" + strings.ReplaceAll(options, " ", "%20")
	a := c.get(path)
	if a.status == http.StatusUnauthorized {
		c.login() // the clock went on
		a = c.get(path)
	}
	if a.err != nil || a.status != http.StatusOK {
		c.t.Fatalf("%s: got %d %v %.300s", options, a.status, a.err, a.body)
	}
	var p pageRead
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// all reads everything that matches by $skip.
func (c *caller) all(options string) []map[string]any {
	c.t.Helper()
	var rows []map[string]any
	for {
		p := c.page(fmt.Sprintf("%s&$skip=%d", options, len(rows)))
		rows = append(rows, p.Value...)
		if p.Next == "" {
			return rows
		}
	}
}

func ids(rows []map[string]any) []int64 {
	var out []int64
	for _, row := range rows {
		out = append(out, int64(row["incidentId"].(float64)))
	}
	return out
}

func errorCode(t *testing.T, a answer) (code, message string) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("error body: %v in %.200q", err, a.body)
	}
	return body.Error.Code, body.Error.Message
}
