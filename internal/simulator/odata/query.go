package odata

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Take is how the service takes an option of a query: the usual way, honoured,
// ignored as if it were not there, or refused with a status. Every status from
// 400 on is such a refusal, which lasts exactly as long as requests carry the
// option: Take(501).
type Take int

// The ways to take an option.
const (
	Usual Take = iota
	Honoured
	Ignored
	// Emptied: a list that is asked for with it has no rows.
	Emptied
	// Refused is the refusal with the usual status.
	Refused Take = http.StatusBadRequest
)

// Takes are how the service takes each option. Usually everything is honoured
// but $orderby, $count and $expand by the native API, which refuses them.
type Takes struct {
	// OrderBy is $orderby on the time of the last update, ascending or
	// descending; what it asks for otherwise is refused in any case.
	OrderBy Take
	// Since are the filter's conditions ge and gt on the last update, Lt and Le
	// those with that operator on any time, and Status those on the status.
	Since, Lt, Le, Status Take
	// Alerts is $expand=alerts. Rows of the native API have alerts anyway.
	Alerts Take
	// Count is $count=true, answered by @odata.count: how many rows match.
	Count Take
	// Skip and Top are the options of that name. Links with a token do not carry
	// them, those of other shapes do.
	Skip, Top Take
}

// Rules are how a service takes queries, where that is not as its face has it.
type Rules struct {
	Takes Takes
	// Top is the most rows that may be asked for, and are given unasked; Skip is
	// the largest $skip. 0: as the face has it, and any.
	Top, Skip int
	// Order is that of rows which no option orders.
	Order Order
	// Refuse says what is wrong with a condition, empty: nothing.
	Refuse func(c *Condition, now time.Time) string
	// Window is what is listed where no lower bound of the last update is asked for, or
	// taken; 0: everything.
	Window time.Duration
	// Alerts is the most alerts of an answer to the link for them; 0: all.
	Alerts int
}

// Query is what a list call asks for.
type Query struct {
	Filter, OrderBy string // as they came
	Top, Skip       int
	HasTop          bool // by an option of its own, not by a token
	Expand, Count   bool
	AfterGap        bool // this page is the one behind an empty one

	where []Condition
	order Order
}

// refusal is the answer to a query that is not taken.
type refusal struct {
	status int
	text   string
}

func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// refuseQuery answers to a query that is not taken.
func (x *Exchange) refuseQuery(bad *refusal) {
	if bad.status != http.StatusBadRequest {
		x.RefuseStatus(bad.status)
		return
	}
	x.Refuse(bad.status, x.Face.BadQuery, bad.text)
}

// parse reads the options and decides about each, the first that is not
// taken in the order of Takes.
func (x *Exchange) parse() (Query, *refusal) {
	q := Query{Top: cmp.Or(x.Rules.Top, x.Face.Top)}
	values, err := url.ParseQuery(x.Call.Query)
	if err != nil {
		return q, badRequest("the query string is malformed")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		given := values[name]
		switch name {
		case "$filter", "$top", "$skip", "$expand", "$orderby", "$count", "$skiptoken":
		default:
			if !strings.HasPrefix(name, "$") && x.Face.Lenient {
				continue // OData leaves such names to the service, which ignores them
			}
			return q, badRequest("query option '%s' is not allowed", name)
		}
		if len(given) > 1 {
			return q, badRequest("query option '%s' was specified more than once", name)
		}
	}
	q.Filter, q.OrderBy, q.Expand = values.Get("$filter"), values.Get("$orderby"), values.Has("$expand")
	if count := values.Get("$count"); count != "" && count != "true" && count != "false" {
		return q, badRequest("invalid value '%s' for $count", count)
	}
	q.Count = values.Get("$count") == "true"
	limit := q.Top
	if token := values.Get("$skiptoken"); token != "" {
		if err := q.resume(token); err != nil {
			return q, badRequest("%v", err)
		}
		q.Top = min(q.Top, limit)
	}
	if values.Has("$filter") || q.Filter != "" {
		if q.where, err = x.Face.Filter(q.Filter); err != nil {
			return q, badRequest("%v", err)
		}
	}
	if bad := x.takeOrder(&q); bad != nil {
		return q, bad
	}
	if bad := x.takeConditions(&q); bad != nil {
		return q, bad
	}
	if bad := x.takeExpand(values.Get("$expand"), &q); bad != nil {
		return q, bad
	}
	return q, x.takeNumbers(values, &q)
}

// take settles what becomes of an option that the request carries: it is
// honoured, or not, or refused.
func take(is, usual Take, option string) (bool, *refusal) {
	if is == Usual {
		is = usual
	}
	if is >= Refused {
		return false, &refusal{int(is), "the query specified in the URI is not valid: " + option + " is not supported"}
	}
	if is == Emptied {
		return false, &refusal{status: http.StatusOK}
	}
	return is != Ignored, nil
}

func (x *Exchange) takeOrder(q *Query) *refusal {
	q.order = x.Rules.Order
	if q.OrderBy == "" {
		return nil
	}
	honoured, bad := take(x.Rules.Takes.OrderBy, x.Face.Takes.OrderBy, "$orderby '"+q.OrderBy+"'")
	if bad != nil || !honoured {
		return bad
	}
	switch q.OrderBy {
	case x.Face.Updated, x.Face.Updated + " asc":
		q.order = OldestUpdate
	case x.Face.Updated + " desc":
		q.order = NewestUpdate
	default:
		return badRequest("the query specified in the URI is not valid: $orderby '%s' is not supported", q.OrderBy)
	}
	return nil
}

func (x *Exchange) takeConditions(q *Query) *refusal {
	var kept []Condition
	for _, c := range q.where {
		is := Usual
		switch {
		case c.Field == "status":
			is = x.Rules.Takes.Status
		case c.Since():
			is = x.Rules.Takes.Since
		case c.Operator == "le":
			is = x.Rules.Takes.Le
		case c.Operator == "lt":
			is = x.Rules.Takes.Lt
		}
		honoured, bad := take(is, Honoured, fmt.Sprintf("operator '%s' for %s", c.Operator, c.Field))
		switch {
		case bad != nil:
			return bad
		case x.Rules.Refuse != nil:
			if text := x.Rules.Refuse(&c, x.Now); text != "" {
				return badRequest("%s", text)
			}
		}
		if honoured {
			kept = append(kept, c)
		}
	}
	if x.Rules.Window > 0 && !slices.ContainsFunc(kept, func(c Condition) bool { return c.Since() }) {
		kept = append(kept, Condition{Field: "lastUpdateTime", Operator: "ge", At: x.Now.Add(-x.Rules.Window)})
	}
	q.where = kept
	return nil
}

func (x *Exchange) takeExpand(expand string, q *Query) *refusal {
	if !q.Expand {
		return nil
	}
	honoured, bad := take(x.Rules.Takes.Alerts, x.Face.Takes.Alerts, "$expand")
	if bad != nil {
		return bad
	}
	if expand != "" && expand != "alerts" {
		return badRequest("could not find a property named '%s' on type 'microsoft.graph.security.incident'", expand)
	}
	q.Expand = honoured
	return nil
}

func (x *Exchange) takeNumbers(values url.Values, q *Query) *refusal {
	if q.Count {
		honoured, bad := take(x.Rules.Takes.Count, x.Face.Takes.Count, "$count")
		if bad != nil {
			return bad
		}
		q.Count = honoured
	}
	if values.Has("$skip") {
		honoured, bad := take(x.Rules.Takes.Skip, Honoured, "$skip")
		if bad != nil {
			return bad
		}
		if honoured {
			if q.Skip, bad = number("Skip", values.Get("$skip"), cmp.Or(x.Rules.Skip, math.MaxInt)); bad != nil {
				return bad
			}
		}
	}
	if values.Has("$top") {
		honoured, bad := take(x.Rules.Takes.Top, Honoured, "$top")
		if bad != nil {
			return bad
		}
		if honoured {
			if q.Top, bad = number("Top", values.Get("$top"), q.Top); bad != nil {
				return bad
			}
			q.HasTop = true
		}
	}
	return nil
}

// number is how both APIs say that a number is too large.
func number(name, value string, limit int) (int, *refusal) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, badRequest("Invalid value '%s' for %s query.", value, name)
	}
	if n > limit {
		return 0, badRequest("The limit of '%d' for %s query has been exceeded. The value from the incoming request is '%d'.", limit, name, n)
	}
	return n, nil
}

// LossyLink is what the native API was seen to send: a slash before the
// question mark, a raw $skip, and neither filter nor $top nor anything else.
func LossyLink(path string, q *Query) string { return path + "/?$skip=" + strconv.Itoa(q.Skip) }

// OpaqueLink has a token that stands for the query and the position.
func OpaqueLink(path string, q *Query) string { return path + "?$skiptoken=" + q.token() }

func (q *Query) token() string {
	inner := url.Values{"f": {q.Filter}, "o": {q.OrderBy}, "t": {strconv.Itoa(q.Top)}, "s": {strconv.Itoa(q.Skip)}}
	for name, is := range map[string]bool{"e": q.Expand, "g": q.AfterGap, "c": q.Count} {
		if is {
			inner.Set(name, "1")
		}
	}
	return base64.RawURLEncoding.EncodeToString([]byte(inner.Encode()))
}

func (q *Query) resume(token string) error {
	malformed := errors.New("the skip token is malformed")
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return malformed
	}
	inner, err := url.ParseQuery(string(text))
	if err != nil {
		return malformed
	}
	q.Filter, q.OrderBy = inner.Get("f"), inner.Get("o")
	q.Expand, q.AfterGap, q.Count = inner.Has("e"), inner.Has("g"), inner.Has("c")
	if q.Top, err = strconv.Atoi(inner.Get("t")); err != nil || q.Top < 0 {
		return malformed
	}
	if q.Skip, err = strconv.Atoi(inner.Get("s")); err != nil || q.Skip < 0 {
		return malformed
	}
	return nil
}
