package simulator

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is a request as either entrance reads it.
type call struct {
	method, path, query, base   string
	authorization, accept, body string
	header                      http.Header
	prefer                      string
	graph                       bool // the flavour
}

// reply is an answer before it is on its way.
type reply struct {
	status      int // 0: the connection is dropped without one
	header      http.Header
	body        []byte
	delay, drip time.Duration
	dropMidBody bool

	page   *page  // to be written into body without the lock
	single *entry // the same
	torn   bool
	graph  bool // the flavour
}

func (r *reply) fill(status int, contentType string, body []byte) {
	r.status, r.body = status, body
	if len(body) > 0 {
		r.header.Set("Content-Type", contentType)
	}
}

func (r *reply) json(status int, v any) {
	r.fill(status, "application/json; charset=utf-8", mustJSON(v))
}

// answer decides on an answer with the lock held, and writes it without.
func (t *Tenant) answer(c *call) *reply {
	rep := t.decide(c)
	switch {
	case rep.page != nil && rep.graph:
		rep.fill(rep.status, jsonType, rep.page.appendGraph(make([]byte, 0, rep.page.size())))
	case rep.single != nil && rep.graph:
		rep.fill(rep.status, jsonType, appendGraphSingle(nil, c, &rep.single.Record))
	case rep.page != nil:
		rep.fill(rep.status, jsonType, rep.page.appendTo(make([]byte, 0, rep.page.size())))
	case rep.single != nil:
		rep.fill(rep.status, jsonType, appendSingle(nil, c.base, &rep.single.Record, 0))
	}
	if rep.torn {
		rep.body = rep.body[:len(rep.body)/2]
	}
	if len(rep.body) > 0 && strings.Contains(c.accept, "gzip") {
		rep.compress()
	}
	return rep
}

const jsonType = "application/json; odata.metadata=minimal; charset=utf-8"

func (r *reply) compress() {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil { // the level is a constant
		return
	}
	_, _ = w.Write(r.body) // a bytes.Buffer takes everything
	_ = w.Close()
	r.body = b.Bytes()
	r.header.Set("Content-Encoding", "gzip")
}

func (t *Tenant) decide(c *call) *reply {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.advance(now)
	rep := t.route(c, now)
	rep.header.Set("Date", now.Format(http.TimeFormat))
	line := Request{At: now, Method: c.method, Path: c.path, Query: c.query, Status: rep.status}
	t.meter.log(line)
	return &rep
}

func (t *Tenant) route(c *call, now time.Time) reply {
	id, byID := strings.CutPrefix(c.path, "/api/incidents/")
	graphID, graphByID := strings.CutPrefix(c.path, graphPath+"/")
	switch {
	case c.path == graphPath:
		return t.answerGraph(c, now, "")
	case graphByID && !strings.Contains(graphID, "/"):
		return t.answerGraph(c, now, graphID)
	case strings.HasSuffix(c.path, tokenPath):
		t.meter.Tokens++
		return t.answerToken(c, now)
	case c.path == metadataPath, c.path == appServicePath:
		t.meter.Tokens++
		return t.answerIdentity(c, now)
	case c.path == "/api/incidents", byID && id == "":
		t.meter.Calls++
		t.meter.list.received(now, t.opts.Limits)
		return t.answerAPI(c, now, "list", func(rep *reply) { t.answerList(rep, c) }, &t.meter.list, t.opts.Limits)
	case byID && !strings.Contains(id, "/"):
		t.meter.Gets++
		t.meter.get.received(now, t.opts.GetLimits)
		return t.answerAPI(c, now, "get", func(rep *reply) { t.answerGet(rep, id) }, &t.meter.get, t.opts.GetLimits)
	}
	t.meter.Other++
	rep := reply{header: make(http.Header)}
	rep.refuse(http.StatusNotFound, "NotFound", "No such resource.", t.traceID())
	return rep
}

// answerAPI is what both calls of the API have in common.
func (t *Tenant) answerAPI(c *call, now time.Time, operation string, right func(*reply), calls *window, limits []Limit) reply {
	fault, hit := t.hit(operation)
	rep := reply{header: make(http.Header), delay: fault.Delay, drip: fault.Drip, graph: c.graph}
	switch {
	case hit && fault.Drop == DropBeforeHeaders:
		return rep
	case hit && fault.Redirect != "":
		rep.header.Set("Location", fault.Redirect)
		rep.status = http.StatusFound
		return rep
	case hit && fault.Status != 0:
		t.refuseByFault(&rep, &fault, limits)
	case c.method != http.MethodGet:
		rep.status = http.StatusMethodNotAllowed
		rep.header.Set("Allow", http.MethodGet)
	default:
		t.answerHealthy(&rep, c, now, right, calls, limits)
	}
	if rep.status == http.StatusTooManyRequests {
		t.meter.Throttled++
	}
	if rep.page != nil {
		rep.page.padding = fault.Padding
	}
	rep.dropMidBody = fault.Drop == DropMidBody
	if rep.status == http.StatusOK || rep.status == http.StatusPartialContent {
		rep.torn = fault.Torn
		if fault.NotJSON {
			rep.page, rep.single = nil, nil
			rep.fill(rep.status, "text/html; charset=utf-8", []byte("<!DOCTYPE html>\n<html><body>We are sorry, something went wrong.</body></html>\n"))
		}
	}
	return rep
}

func (t *Tenant) answerHealthy(rep *reply, c *call, now time.Time, right func(*reply), calls *window, limits []Limit) {
	switch status := t.authorize(c, now); status {
	case http.StatusUnauthorized, http.StatusForbidden:
		t.refuseStatus(rep, status)
		return
	}
	if over, wait := calls.exceeded(limits); wait > 0 {
		t.throttle(rep, over)
		if !t.faults.NoRetryAfter {
			seconds := (wait + time.Second - 1) / time.Second
			rep.header.Set("Retry-After", strconv.Itoa(int(seconds)))
		}
		return
	}
	right(rep)
}

func (t *Tenant) answerList(rep *reply, c *call) {
	q, err := t.faults.parseQuery(c.query)
	if err != nil {
		rep.refuse(http.StatusBadRequest, "ODataError", err.Error(), t.traceID())
		return
	}
	rows, more := t.list(q)
	rep.status = http.StatusOK
	rep.page = &page{base: c.base, rows: rows, odd: t.faults.OddRows}
	if more || t.opts.NextLink == NextLinkAlways {
		rep.page.next = t.nextLink(c.base, q)
	}
}

func (t *Tenant) answerGet(rep *reply, id string) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		rep.refuse(http.StatusBadRequest, "BadRequest", "The incident id is not a number.", t.traceID())
		return
	}
	if rep.single = t.records[n]; rep.single == nil {
		rep.refuse(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("Incident %d was not found.", n), t.traceID())
		return
	}
	rep.status = http.StatusOK
}

func (t *Tenant) refuseByFault(rep *reply, f *Faults, limits []Limit) {
	switch {
	case f.EmptyBody:
		rep.status = f.Status
	case f.Status == http.StatusTooManyRequests:
		over := Limit{time.Minute, 50}
		if len(limits) > 0 {
			over = limits[0]
		}
		t.throttle(rep, over)
	default:
		t.refuseStatus(rep, f.Status)
	}
	if f.RetryAfter != "" {
		rep.header.Set("Retry-After", f.RetryAfter)
	}
}

// throttle answers 429 in the style that the faults say.
func (t *Tenant) throttle(rep *reply, over Limit) {
	const status = http.StatusTooManyRequests
	switch t.faults.ThrottleBody {
	case ThrottleBodyEmpty:
		rep.status = status
	case ThrottleBodyHTML:
		rep.fill(status, "text/html", []byte("<html><head><title>429 Too Many Requests</title></head></html>"))
	case ThrottleBodyPlain:
		rep.refuse(status, "TooManyRequests", "Too many requests. Please retry later.", t.traceID())
	default:
		if rep.graph {
			rep.refuse(status, "TooManyRequests", "Too Many Requests", t.traceID())
			return
		}
		p := over.Period
		text := fmt.Sprintf("API calls quota exceeded! maximum allowed %d per %02d:%02d:%02d. You can send requests again when the quota resets.",
			over.Calls, int(p.Hours()), int(p.Minutes())%60, int(p.Seconds())%60)
		rep.refuse(status, "429", text, t.traceID())
	}
}

// refuseStatus answers with the documented body of a status.
func (t *Tenant) refuseStatus(rep *reply, status int) {
	code, message := http.StatusText(status), "Simulated error."
	switch {
	case rep.graph && status == http.StatusUnauthorized:
		code, message = "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."
	case rep.graph && status == http.StatusForbidden:
		code, message = "Forbidden", "Missing application roles. API required roles: SecurityIncident.Read.All,SecurityIncident.ReadWrite.All, application roles: ."
	}
	if rep.graph {
		rep.refuse(status, strings.ReplaceAll(code, " ", ""), message, t.traceID())
		return
	}
	switch status {
	case http.StatusUnauthorized:
		code, message = "Unauthorized", "Missing or invalid authorization token."
		rep.header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case http.StatusForbidden:
		code, message = "Forbidden", "Missing application roles. API required roles: Incident.Read.All,Incident.ReadWrite.All"
	case http.StatusInternalServerError:
		code, message = "InternalServerError", "An error has occurred."
	}
	rep.refuse(status, strings.ReplaceAll(code, " ", ""), message, t.traceID())
}

// refuse answers with the API's form of error.
func (r *reply) refuse(status int, code, message, trace string) {
	if r.graph {
		inner := map[string]any{"date": "2026-11-24T00:00:00", "request-id": trace, "client-request-id": trace}
		r.json(status, map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": inner}})
		return
	}
	r.json(status, map[string]any{"error": map[string]any{"code": code, "message": message, "target": "|" + trace + "."}})
}
