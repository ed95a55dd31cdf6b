package simulator

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"slices"
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
	hang        bool // nothing comes, ever
	wire        Wire
	raw         raw

	written appender // to be written into body without the lock
	page    *page    // the same, of the list
	torn    bool
	bom     bool
	graph   bool // the flavour
}

// appender writes the JSON of an answer that was decided on.
type appender interface{ appendTo(b []byte) []byte }

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
	var body []byte
	if rep.bom {
		body = append(body, "\ufeff"...)
	}
	switch {
	case rep.page != nil:
		rep.fill(rep.status, jsonType, rep.page.appendTo(slices.Grow(body, rep.page.size())))
	case rep.written != nil:
		rep.fill(rep.status, jsonType, rep.written.appendTo(body))
	}
	if rep.torn {
		rep.body = rep.body[:len(rep.body)/2]
	}
	if len(rep.body) > 0 && strings.Contains(c.accept, "gzip") {
		rep.compress()
		if rep.wire.BadChecksum {
			rep.body = spoil(rep.body)
		}
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
	if !t.faults.NoDate {
		rep.header.Set("Date", now.Add(t.faults.DateOff).Format(http.TimeFormat))
	}
	line := Request{At: now, Method: c.method, Path: c.path, Query: c.query, Status: rep.status}
	t.meter.log(line)
	return &rep
}

func (t *Tenant) route(c *call, now time.Time) reply {
	rest, native := below(c.path, nativeFlavour.path)
	graphRest, graph := below(c.path, graphPath)
	switch {
	case graph:
		return t.answerGraph(c, now, graphRest)
	case strings.HasSuffix(c.path, tokenPath):
		t.meter.Tokens++
		return t.answerToken(c, now)
	case c.path == metadataPath, c.path == appServicePath:
		t.meter.Tokens++
		return t.answerIdentity(c, now)
	case native:
		operation, right := t.operation(c, now, rest)
		if operation == "list" {
			t.meter.Calls++
			t.meter.list.received(now, t.opts.Limits)
			return t.answerAPI(c, now, operation, right, &t.meter.list, t.opts.Limits)
		}
		t.meter.Gets++
		t.meter.get.received(now, t.opts.GetLimits)
		return t.answerAPI(c, now, operation, right, &t.meter.get, t.opts.GetLimits)
	}
	t.meter.Other++
	rep := reply{header: make(http.Header)}
	rep.refuse(http.StatusNotFound, "NotFound", "No such resource.", t.traceID())
	return rep
}

// below is what follows the path of a list, and whether there is anything.
func below(path, list string) (rest string, exists bool) {
	rest, exists = strings.CutPrefix(path, list)
	if !exists || rest == "" {
		return "", exists
	}
	rest, exists = strings.CutPrefix(rest, "/")
	return rest, exists && !strings.Contains(strings.TrimSuffix(rest, alertsPath), "/")
}

// operation is what a call of either flavour asks for, and how it is answered
// where nothing is in the way. The path is what follows that of the list.
func (t *Tenant) operation(c *call, now time.Time, path string) (string, func(*reply)) {
	if path == "" {
		return "list", func(rep *reply) { t.answerList(rep, c, now) }
	}
	if id, alerts := strings.CutSuffix(path, alertsPath); alerts {
		return "get", func(rep *reply) { t.answerAlerts(rep, c, id) }
	}
	return "get", func(rep *reply) { t.answerGet(rep, c, path) }
}

// answerAPI is what all calls of the API have in common.
func (t *Tenant) answerAPI(c *call, now time.Time, operation string, right func(*reply), calls *window, limits []Limit) reply {
	fault, hit := t.hit(operation)
	rep := reply{header: make(http.Header), delay: fault.Delay, drip: fault.Drip, graph: c.graph, wire: fault.Wire}
	switch {
	case hit && fault.Hang:
		rep.hang = true
		return rep
	case hit && fault.Drop == DropBeforeHeaders:
		return rep
	case hit && fault.Redirect != "":
		rep.header.Set("Location", fault.Redirect)
		rep.status = http.StatusFound
		return rep
	case hit && fault.Echo.Form != EchoNone:
		t.echo(&rep, &fault, c)
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
		rep.page.padding, rep.page.flood = fault.Padding, fault.Flood
	}
	rep.dropMidBody = fault.Drop == DropMidBody
	if rep.status == http.StatusOK || rep.status == http.StatusPartialContent {
		rep.torn, rep.bom = fault.Torn, t.faults.BOM
		if fault.NotJSON {
			rep.page, rep.written = nil, nil
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
		t.retryAfter(rep, wait)
		return
	}
	right(rep)
}

func (t *Tenant) refuseByFault(rep *reply, f *Faults, limits []Limit) {
	switch {
	case f.Status == http.StatusSwitchingProtocols:
		rep.status = f.Status
		rep.header.Set("Connection", "Upgrade")
		rep.header.Set("Upgrade", "simulated")
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

// refuseStatus answers with the documented body of a status.
func (t *Tenant) refuseStatus(rep *reply, status int) {
	code, message := http.StatusText(status), "A made up error."
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
	case http.StatusNotFound:
		code, message = "ResourceNotFound", "The incident was not found."
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
