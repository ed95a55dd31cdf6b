package simulator

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Handler serves the incidents API and the token endpoint.
func (t *Tenant) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/incidents", t.list)
	mux.HandleFunc("GET /api/incidents/{$}", t.list)
	mux.HandleFunc("GET /api/incidents/{id}", t.get)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", t.token)
	return mux
}

// answer is what a call is going to get.
type answer struct {
	status     int
	code, text string // of an error
	retryAfter string
	body       []byte
}

func (t *Tenant) list(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	t.advance()
	f := t.strike()
	now := t.now()
	t.meter.Lists++
	t.meter.Calls = append(t.meter.Calls, Received{At: now, Query: r.URL.RawQuery})
	a := t.answerList(r, f, now)
	t.meter.Calls[len(t.meter.Calls)-1].Status = a.status
	switch a.status {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		t.meter.Throttled++
	default:
		t.meter.Refused++
	}
	t.mu.Unlock()
	if f.Redirect != "" {
		http.Redirect(w, r, f.Redirect, http.StatusFound)
		return
	}
	t.send(w, r, f, a)
}

func (t *Tenant) get(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	t.advance()
	f := t.faults
	t.meter.Gets++
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	a := t.gate(r, f)
	if record := t.byID[id]; a.status == http.StatusOK && record != nil {
		a.body = appendRecord(nil, record, t.opts.Light)
	} else if a.status == http.StatusOK {
		a = answer{status: http.StatusNotFound, code: "NotFound", text: fmt.Sprintf("Incident %d was not found", id)}
	}
	t.mu.Unlock()
	t.send(w, r, f, a)
}

// gate decides whether the caller gets in at all.
func (t *Tenant) gate(r *http.Request, f Faults) answer {
	switch {
	case f.Status != 0:
		return answer{status: f.Status, code: http.StatusText(f.Status), text: "as ordered", retryAfter: f.RetryAfter}
	case f.Unauthorized || !t.authorized(r):
		return answer{status: http.StatusUnauthorized, code: "Unauthorized", text: "The token is invalid or has expired"}
	case f.Forbidden || f.NoRoles:
		return answer{status: http.StatusForbidden, code: "Forbidden", text: "Missing application roles. API required roles: Incident.Read.All"}
	}
	return answer{status: http.StatusOK}
}

func (t *Tenant) answerList(r *http.Request, f Faults, now time.Time) answer {
	if limit, wait, over := t.throttled(now); over {
		a := answer{status: http.StatusTooManyRequests, code: "429", text: fmt.Sprintf(
			"API calls quota exceeded! maximum allowed %d per %s", limit.Calls, clock(limit.Period))}
		if !f.NoRetryAfter {
			a.retryAfter = strconv.Itoa(int(wait/time.Second) + 1)
		}
		return a
	}
	if a := t.gate(r, f); a.status != http.StatusOK {
		return a
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest(err)
	}
	skip, top := 0, 100
	for name, values := range query {
		switch name {
		case "$filter":
		case "$top":
			if top, err = strconv.Atoi(values[0]); err != nil || top < 1 || top > 100 {
				return badRequest(fmt.Errorf("the limit of '100' for Top query has been exceeded"))
			}
		case "$skip":
			if skip, err = strconv.Atoi(values[0]); err != nil || skip < 0 || f.SkipCap > 0 && skip > f.SkipCap {
				return badRequest(fmt.Errorf("$skip %s is out of range", values[0]))
			}
		default:
			return badRequest(fmt.Errorf("query option %s is not allowed", name))
		}
	}
	terms, err := parseFilter(query.Get("$filter"), f)
	if err != nil {
		return badRequest(err)
	}
	found := t.search(terms, skip, top)
	return answer{status: http.StatusOK, body: t.page(found, t.nextLink(r, query, skip, top, len(found) == top), f)}
}

func badRequest(err error) answer {
	return answer{status: http.StatusBadRequest, code: "ODataError", text: err.Error()}
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// nextLink is the server's link to the next page, empty if it gives none.
func (t *Tenant) nextLink(r *http.Request, query url.Values, skip, top int, full bool) string {
	scheme := "https"
	if r.TLS == nil {
		scheme = "http"
	}
	base := scheme + "://" + r.Host + "/api/incidents"
	switch {
	case t.opts.NextLink == LinkAbsent, !full && t.opts.NextLink != LinkAlways:
		return ""
	case t.opts.NextLink == LinkForeign:
		return "https://elsewhere.example/api/incidents?$skip=" + strconv.Itoa(skip+top)
	case t.opts.NextLink == LinkFull:
		query.Set("$skip", strconv.Itoa(skip+top))
		return base + "?" + query.Encode()
	}
	return base + "/?$skip=" + strconv.Itoa(skip+top)
}

// send writes the answer, with what is wrong with it.
func (t *Tenant) send(w http.ResponseWriter, r *http.Request, f Faults, a answer) {
	if !pause(r, f.Delay) {
		return
	}
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	if a.status != http.StatusOK {
		w.WriteHeader(a.status)
		if a.status != http.StatusMethodNotAllowed {
			fmt.Fprintf(w, `{"error":{"code":%q,"message":%q,"target":"6f1f7b9c-0000-4000-8000-000000000000"}}`, a.code, a.text)
		}
		return
	}
	body := a.body
	switch {
	case f.NotJSON:
		body = []byte("<!DOCTYPE html>\n<html><body>Sign in to the proxy</body></html>")
	case f.Torn:
		body = body[:len(body)/2]
	}
	var out io.Writer = w
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && !f.DropBody {
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		defer z.Close()
		out = z
	}
	if f.Padding > 0 {
		_, _ = io.WriteString(out, strings.Repeat(" ", f.Padding))
	}
	if f.DropBody {
		_, _ = out.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if f.Drip > 0 {
		const parts = 10
		for range parts - 1 {
			n := len(a.body) / parts
			_, _ = out.Write(body[:n])
			_ = http.NewResponseController(w).Flush()
			if body = body[n:]; !pause(r, f.Drip/parts) {
				return
			}
		}
	}
	_, _ = out.Write(body)
}
