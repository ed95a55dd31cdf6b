package simulator

import (
	"fmt"
	"net/http"
	"time"
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

// throttle answers that there were too many calls, in the style that the faults
// say.
func (t *Tenant) throttle(rep *reply, over Limit) {
	const status = http.StatusTooManyRequests
	switch {
	case t.faults.ThrottleBody == ThrottleBodyEmpty:
		rep.status = status
	case t.faults.ThrottleBody == ThrottleBodyHTML:
		rep.fill(status, "text/html", []byte("<html><head><title>429 Too Many Requests</title></head></html>"))
	case t.faults.ThrottleBody == ThrottleBody500:
		t.meter.Throttled++ // answers 429 are counted where they leave
		rep.refuse(http.StatusInternalServerError, "InternalServerError", "Rate limit reached because of too many requests", t.traceID())
	case t.faults.ThrottleText != "":
		rep.refuse(status, throttleCode(rep.graph), t.faults.ThrottleText, t.traceID())
	case t.faults.ThrottleBody == ThrottleBodyPlain:
		rep.refuse(status, throttleCode(true), "Too many requests. Please retry later.", t.traceID())
	case rep.graph:
		rep.refuse(status, throttleCode(true), "Too Many Requests", t.traceID())
	default:
		p := over.Period
		text := fmt.Sprintf("API calls quota exceeded! maximum allowed %d per %02d:%02d:%02d. You can send requests again when the quota resets.",
			over.Calls, int(p.Hours()), int(p.Minutes())%60, int(p.Seconds())%60)
		rep.refuse(status, throttleCode(false), text, t.traceID())
	}
}

func throttleCode(graph bool) string {
	if graph {
		return "TooManyRequests"
	}
	return "429"
}

// retryAfter is the header of a call that is over the limits for so long.
func (t *Tenant) retryAfter(rep *reply, wait time.Duration) {
	if !t.faults.NoRetryAfter {
		rep.header.Set("Retry-After", fmt.Sprint(int((wait+time.Second-1)/time.Second)))
	}
}
