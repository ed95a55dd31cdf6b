package faults

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/defender"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/service"
	"m365_defender_exporter/internal/simulator/wire"
)

// ThrottleBody is a style of answers to calls that are one too many.
type ThrottleBody int

// The styles.
const (
	// ThrottleBodyLimit names the limit in the text and nowhere else, the code
	// being a string: "429", "API calls quota exceeded! maximum allowed 50 per
	// 00:01:00". A forced 429 names the first limit.
	ThrottleBodyLimit ThrottleBody = iota
	// ThrottleBodyPlain has the same form, but names no limit.
	ThrottleBodyPlain
	// ThrottleBodyEmpty is no body at all.
	ThrottleBodyEmpty
	// ThrottleBodyHTML is a proxy's page.
	ThrottleBodyHTML
	// ThrottleBody500 is no 429 at all, but a 500 whose text tells.
	ThrottleBody500
)

// Lookups are what is wrong with calls by id.
type Lookups struct {
	// Status is the answer to all of them; 0: the usual.
	Status int
	// Missing is the answer where there is no such incident; 0: 404.
	Missing int
}

// call answers a call of an API, in the order that [Faults] tells.
func (m *Misbehaviour) call(x *odata.Exchange, operation string, limits []odata.Limit, next func()) {
	f := m.faults
	if x.Face.Path == nativePath && m.retired(x, f.Retired) {
		return
	}
	if f.Operation != "" && f.Operation != operation || !m.strike(m.faults.Share, &m.faults.Count) {
		f = Faults{}
	}
	l := &line{hit: f, hang: f.Hang}
	x.Reply.Line = l
	switch {
	case f.Hang, f.Drop == DropBeforeHeaders:
		return
	case f.Redirect != "":
		x.Reply.Header.Set("Location", f.Redirect)
		x.Reply.Status = http.StatusFound
		return
	case f.Echo.Form != EchoNone:
		f.echo(x, &l.raw)
	case f.Status != 0:
		m.refuse(x, &f, limits)
	default:
		next()
	}
	if x.Reply.Status == http.StatusOK || x.Reply.Status == http.StatusPartialContent {
		m.spoil(x.Reply, &f)
	}
}

var nativePath = defender.Face().Path

// retired answers for an API that is no more.
func (m *Misbehaviour) retired(x *odata.Exchange, f Retired) bool {
	switch {
	case f.NoHost:
		host := strings.TrimPrefix(x.Call.Base, "https://")
		x.Reply.Status = http.StatusNotFound
		x.Reply.Line = &line{raw: raw{err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}}
	case f.Status != 0:
		x.Reply.Line = &line{hit: Faults{Delay: m.faults.Delay}}
		x.RefuseStatus(f.Status)
	}
	return f.NoHost || f.Status != 0
}

// spoil changes a right answer.
func (m *Misbehaviour) spoil(rep *wire.Reply, f *Faults) {
	if f.NotJSON {
		rep.Fill(rep.Status, "text/html; charset=utf-8", []byte("<!DOCTYPE html>\n<html><body>We are sorry, something went wrong.</body></html>\n"))
	}
	if bom := m.faults.BOM; rep.Write != nil && (bom || f.Torn) {
		write := rep.Write
		rep.Write = func(b []byte) []byte {
			if bom {
				b = append(b, "\ufeff"...)
			}
			b = write(b)
			if f.Torn {
				b = b[:len(b)/2]
			}
			return b
		}
	} else if f.Torn {
		rep.Body = rep.Body[:len(rep.Body)/2]
	}
}

// refuse answers with Faults.Status.
func (m *Misbehaviour) refuse(x *odata.Exchange, f *Faults, limits []odata.Limit) {
	switch {
	case f.Status == http.StatusSwitchingProtocols:
		x.Reply.Status = f.Status
		x.Reply.Header.Set("Connection", "Upgrade")
		x.Reply.Header.Set("Upgrade", "simulated")
	case f.EmptyBody:
		x.Reply.Status = f.Status
	case f.Status == http.StatusTooManyRequests:
		over := odata.Limit{Period: time.Minute, Calls: 50}
		if len(limits) > 0 {
			over = limits[0]
		}
		m.refuseThrottled(x, over)
	default:
		x.RefuseStatus(f.Status)
	}
	if f.RetryAfter != "" {
		x.Reply.Header.Set("Retry-After", f.RetryAfter)
	}
}

// throttle answers a call that is over a limit.
func (m *Misbehaviour) throttle(x *odata.Exchange, over odata.Limit, wait time.Duration) {
	m.refuseThrottled(x, over)
	if !m.faults.NoRetryAfter {
		x.Reply.Header.Set("Retry-After", service.RetryAfter(wait))
	}
}

// refuseThrottled tells that there were too many calls, in the style that the
// faults say.
func (m *Misbehaviour) refuseThrottled(x *odata.Exchange, over odata.Limit) {
	const status = http.StatusTooManyRequests
	code, text := x.Face.Throttled(over)
	switch {
	case m.faults.ThrottleBody == ThrottleBodyEmpty:
		x.Reply.Status = status
	case m.faults.ThrottleBody == ThrottleBodyHTML:
		fillHTML(x.Reply, status, "<head><title>429 Too Many Requests</title></head>")
	case m.faults.ThrottleBody == ThrottleBody500:
		m.Account.Throttled++ // answers 429 are counted where they leave
		x.Refuse(http.StatusInternalServerError, "InternalServerError", "Rate limit reached because of too many requests")
	case m.faults.ThrottleText != "":
		x.Refuse(status, code, m.faults.ThrottleText)
	case m.faults.ThrottleBody == ThrottleBodyPlain:
		x.Refuse(status, "TooManyRequests", "Too many requests. Please retry later.")
	default:
		x.Refuse(status, code, text)
	}
}

// fillHTML is what is sent where something else than the service answers.
func fillHTML(rep *wire.Reply, status int, text string) {
	rep.Fill(status, "text/html", []byte("<html>"+text+"</html>"))
}

// lookUp answers a call by id that is not answered as usual.
func (m *Misbehaviour) lookUp(x *odata.Exchange, exists bool) bool {
	status := m.faults.Lookups.Status
	if missing := m.faults.Lookups.Missing; status == 0 && !exists && missing != http.StatusNotFound {
		status = missing
	}
	if status != 0 {
		x.RefuseStatus(status)
	}
	return status != 0
}

// token answers a request for a token.
func (m *Misbehaviour) token(c *wire.Call, now time.Time) *wire.Reply {
	fault := m.faults.Token
	if !countDown(&m.faults.Token.Count) {
		fault = TokenFaults{}
	}
	rep, identity, code := wire.NewReply(), m.Identity[c.Path], fault.Code
	if identity == nil && fault.Status == 0 && code == 0 {
		code = m.Entra.Check(c, now)
	}
	switch {
	case fault.Status != 0:
		fillHTML(rep, fault.Status, "<body>Service Unavailable</body>")
	case identity != nil:
		rep = identity(c, now)
	case fault.Redirect != "":
		rep.Status = cmp.Or(fault.RedirectStatus, http.StatusTemporaryRedirect)
		rep.Header.Set("Location", fault.Redirect)
	default:
		rep = m.Entra.AnswerCode(c, code, fault.detail(c), now)
	}
	if fault.RetryAfter != "" {
		rep.Header.Set("Retry-After", fault.RetryAfter)
	}
	rep.Line = &line{hit: Faults{Delay: fault.Delay}}
	return rep
}

// detail shows what was received.
func (f *TokenFaults) detail(c *wire.Call) string {
	if f.Echo == EchoNone {
		return ""
	}
	form, _ := url.ParseQuery(c.Body) // without effect if it cannot be read
	return " Received: '" + f.Echo.Of(cmp.Or(form.Get("client_secret"), form.Get("client_assertion"))) + "'."
}

// answered changes the header Date.
func (m *Misbehaviour) answered(rep *wire.Reply, now time.Time) {
	rep.Header.Set("Date", now.Add(m.faults.DateOff).Format(http.TimeFormat))
	if m.faults.NoDate {
		rep.Header.Del("Date")
	}
}
