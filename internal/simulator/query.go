package simulator

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
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
	// Refused is the refusal with the usual status.
	Refused Take = http.StatusBadRequest
)

// Takes are how the service takes each option. Usually everything is honoured
// but $orderby, $count and $expand by the native flavour, which refuses them.
type Takes struct {
	// OrderBy is $orderby on the time of the last update, ascending or
	// descending; what it asks for otherwise is refused in any case.
	OrderBy Take
	// Since are the filter's conditions ge and gt on the last update, Lt and Le
	// those with that operator on any time, and Status those on the status.
	Since, Lt, Le, Status Take
	// Alerts is $expand=alerts. Rows of the native flavour have alerts anyway.
	Alerts Take
	// Count is $count=true, answered by @odata.count: how many rows match.
	Count Take
	// Skip and Top are the options of that name. Links with a token do not carry
	// them, those of other shapes do.
	Skip, Top Take
}

// flavour is what the two APIs do differently with a query.
type flavour struct {
	top     int    // the size of a page, and the most that may be asked for
	updated string // the name of the last update
	code    string // of the error about a query
	path    string
	takes   Takes // where Usual is not Honoured
}

var (
	nativeFlavour = flavour{100, "lastUpdateTime", "ODataError", "/api/incidents", Takes{OrderBy: Refused, Count: Refused, Alerts: Refused}}
	graphFlavour  = flavour{50, "lastUpdateDateTime", "BadRequest", graphPath, Takes{}}
)

func (c *call) flavour() *flavour {
	if c.graph {
		return &graphFlavour
	}
	return &nativeFlavour
}

// query is what a list call asks for, in either flavour.
type query struct {
	graph           bool
	filter, orderBy string // as they came
	where           []condition
	order           Order
	top, skip       int
	hasTop          bool // by an option of its own, not by a token
	expand, count   bool
	afterGap        bool // this page is the one behind an empty one
}

// refusal is the answer to a query that is not taken.
type refusal struct {
	status int
	text   string
}

func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// parseQuery reads the options and decides about each, the first that is not
// taken in the order of Takes.
func (t *Tenant) parseQuery(c *call, now time.Time) (query, *refusal) {
	fl, f := c.flavour(), &t.faults
	q := query{graph: c.graph, top: fl.top}
	if f.TopLimit > 0 {
		q.top = f.TopLimit
	}
	values, err := url.ParseQuery(c.query)
	if err != nil {
		return q, badRequest("the query string is malformed")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		given := values[name]
		switch name {
		case "$filter", "$top", "$skip", "$expand", "$orderby", "$count", "$skiptoken":
		default:
			if !strings.HasPrefix(name, "$") && !c.graph {
				continue // OData leaves such names to the service, which ignores them
			}
			return q, badRequest("query option '%s' is not allowed", name)
		}
		if len(given) > 1 {
			return q, badRequest("query option '%s' was specified more than once", name)
		}
	}
	q.filter, q.orderBy, q.expand = values.Get("$filter"), values.Get("$orderby"), values.Has("$expand")
	if count := values.Get("$count"); count != "" && count != "true" && count != "false" {
		return q, badRequest("invalid value '%s' for $count", count)
	}
	q.count = values.Get("$count") == "true"
	limit := q.top
	if token := values.Get("$skiptoken"); token != "" {
		if err := q.resume(token); err != nil {
			return q, badRequest("%v", err)
		}
		q.top = min(q.top, limit)
	}
	if values.Has("$filter") || q.filter != "" {
		if q.where, err = c.parseFilter(q.filter); err != nil {
			return q, badRequest("%v", err)
		}
	}
	if bad := f.takeOrder(fl, &q); bad != nil {
		return q, bad
	}
	if bad := f.takeConditions(&q, now); bad != nil {
		return q, bad
	}
	if bad := f.takeExpand(fl, values.Get("$expand"), &q); bad != nil {
		return q, bad
	}
	return q, f.takeNumbers(fl, values, &q)
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
	return is != Ignored, nil
}

func (f *Faults) takeOrder(fl *flavour, q *query) *refusal {
	q.order = f.Order
	if q.orderBy == "" {
		return nil
	}
	honoured, bad := take(f.Takes.OrderBy, fl.takes.OrderBy, "$orderby '"+q.orderBy+"'")
	if bad != nil || !honoured {
		return bad
	}
	switch q.orderBy {
	case fl.updated, fl.updated + " asc":
		q.order = OldestUpdate
	case fl.updated + " desc":
		q.order = NewestUpdate
	default:
		return badRequest("the query specified in the URI is not valid: $orderby '%s' is not supported", q.orderBy)
	}
	return nil
}

func (f *Faults) takeConditions(q *query, now time.Time) *refusal {
	var kept []condition
	for _, c := range q.where {
		is := Usual
		since := c.field == "lastUpdateTime" && (c.operator == "ge" || c.operator == "gt")
		switch {
		case c.field == "status":
			is = f.Takes.Status
		case since:
			is = f.Takes.Since
		case c.operator == "le":
			is = f.Takes.Le
		case c.operator == "lt":
			is = f.Takes.Lt
		}
		honoured, bad := take(is, Honoured, fmt.Sprintf("operator '%s' for %s", c.operator, c.field))
		switch {
		case bad != nil:
			return bad
		case c.field == "status" && slices.Contains(f.RefuseStatusValues, c.text):
			return badRequest("the string '%s' is not a valid enumeration type constant", c.text)
		case since && f.Retention > 0 && c.at.Before(now.Add(-f.Retention)):
			return badRequest("the start of the time range is before the %d days that are kept", int(f.Retention/day))
		case honoured:
			kept = append(kept, c)
		}
	}
	q.where = kept
	return nil
}

func (f *Faults) takeExpand(fl *flavour, expand string, q *query) *refusal {
	if !q.expand {
		return nil
	}
	honoured, bad := take(f.Takes.Alerts, fl.takes.Alerts, "$expand")
	if bad != nil {
		return bad
	}
	if expand != "" && expand != "alerts" {
		return badRequest("could not find a property named '%s' on type 'microsoft.graph.security.incident'", expand)
	}
	q.expand = honoured
	return nil
}

func (f *Faults) takeNumbers(fl *flavour, values url.Values, q *query) *refusal {
	if q.count {
		honoured, bad := take(f.Takes.Count, fl.takes.Count, "$count")
		if bad != nil {
			return bad
		}
		q.count = honoured
	}
	if values.Has("$skip") {
		honoured, bad := take(f.Takes.Skip, Honoured, "$skip")
		if bad != nil {
			return bad
		}
		if honoured {
			limit := int(^uint(0) >> 1)
			if f.SkipCap > 0 {
				limit = f.SkipCap
			}
			if q.skip, bad = number("Skip", values.Get("$skip"), limit); bad != nil {
				return bad
			}
		}
	}
	if values.Has("$top") {
		honoured, bad := take(f.Takes.Top, Honoured, "$top")
		if bad != nil {
			return bad
		}
		if honoured {
			if q.top, bad = number("Top", values.Get("$top"), q.top); bad != nil {
				return bad
			}
			q.hasTop = true
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

// token is the query as an opaque link carries it: what it holds is nobody's
// business.
func (q *query) token() string {
	inner := url.Values{"f": {q.filter}, "o": {q.orderBy}, "t": {strconv.Itoa(q.top)}, "s": {strconv.Itoa(q.skip)}}
	for name, is := range map[string]bool{"e": q.expand, "g": q.afterGap, "c": q.count} {
		if is {
			inner.Set(name, "1")
		}
	}
	return base64.RawURLEncoding.EncodeToString([]byte(inner.Encode()))
}

func (q *query) resume(token string) error {
	malformed := errors.New("the skip token is malformed")
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return malformed
	}
	inner, err := url.ParseQuery(string(text))
	if err != nil {
		return malformed
	}
	q.filter, q.orderBy = inner.Get("f"), inner.Get("o")
	q.expand, q.afterGap, q.count = inner.Has("e"), inner.Has("g"), inner.Has("c")
	if q.top, err = strconv.Atoi(inner.Get("t")); err != nil || q.top < 0 {
		return malformed
	}
	if q.skip, err = strconv.Atoi(inner.Get("s")); err != nil || q.skip < 0 {
		return malformed
	}
	return nil
}
