package simulator

import (
	"slices"
	"time"
)

// Foreign is a base URL that the tenant does not answer for. Faults may point
// there; the RoundTripper counts who follows and lets the connection fail. Its
// top-level domain never resolves.
const Foreign = "https://foreign.invalid"

// Drop is a way to lose a connection.
type Drop int

// The ways to lose a connection.
const (
	DropNone Drop = iota
	// DropBeforeHeaders closes it without a byte of an answer.
	DropBeforeHeaders
	// DropMidBody closes it after headers that promise a whole body and half of
	// that.
	DropMidBody
)

// ThrottleBody is a style of body for 429 answers.
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
)

// Faults are what is wrong with a tenant. They combine; the zero value is a
// healthy tenant.
//
// The first group hits single calls of the API, chosen by Operation, Share and
// Count; within the group Drop before headers comes before Redirect before
// Status before the rest, which changes an answer that is otherwise right.
// The second group is how the service is, for every call.
type Faults struct {
	// Operation limits the first group to "list" or "get"; empty: both.
	Operation string
	// Share is the chance of a call to be hit; 0 means 1. Count ends the first
	// group after so many hits; 0: never.
	Share float64
	Count int

	// Drop loses the connection.
	Drop Drop
	// Redirect answers 302 to this location.
	Redirect string
	// Status is answered instead, with the documented error body, or none if
	// EmptyBody is set, and this Retry-After header unless empty: seconds, an
	// HTTP date, or nonsense. 401 and 403 come with right tokens, too; 429 has a
	// body as ThrottleBody says and counts as throttled.
	Status     int
	RetryAfter string
	EmptyBody  bool
	// Torn cuts the JSON in half and NotJSON sends HTML instead, both with 200
	// and a right Content-Length.
	Torn, NotJSON bool
	// Padding makes the body so many bytes longer; the JSON stays right.
	Padding int
	// Delay passes before the headers, Drip while the body trickles. What is
	// answered is as of the arrival of the call.
	Delay, Drip time.Duration

	// NoRetryAfter leaves Retry-After out when the tenant's limits are exceeded.
	NoRetryAfter bool
	ThrottleBody ThrottleBody

	// RefuseLe and RefuseLt answer 400 to filters with that operator, RefuseSince
	// to ge and gt on lastUpdateTime, RefuseStatusFilter to any filter on status, RefuseStatusValues to these
	// values as if the enum did not have them. (Without it an unknown status
	// matches nothing.)
	RefuseLe, RefuseLt, RefuseSince, RefuseStatusFilter bool
	RefuseStatusValues                                  []string
	// IgnoreLe and IgnoreLt behave as if the conditions with that operator were
	// not there, IgnoreSince those with ge and gt on lastUpdateTime,
	// IgnoreStatus those on status.
	IgnoreLe, IgnoreLt, IgnoreSince, IgnoreStatus bool
	// SkipCap answers 400 to a $skip above it; 0: no cap.
	SkipCap int
	// ForeignNext is the scheme and host of next links, for example [Foreign].
	ForeignNext string
	// OddRows gives every page that has rows the odd shapes that were seen in
	// other people's data. Variations of real rows: alerts missing, null or an
	// object, a malformed createdTime or an unknown severity on redirected ones;
	// an unknown classification, a lastUpdateTime without zone, zero-width
	// characters in the name or an unknown kind of entity on open ones; tags as
	// objects, a lastUpdateTime without zone or null comments on resolved ones.
	// In addition, two rows in the middle of the page that are no incidents: a
	// text, and one without incidentId. None of it changes the truth.
	OddRows bool

	// Graph is what is wrong with the Graph flavour alone.
	Graph GraphFaults
	// Token is what is wrong with the token endpoint.
	Token TokenFaults
}

// GraphFaults are what is wrong with the Graph flavour, for every call.
type GraphFaults struct {
	// RefuseOrderBy answers 400 to $orderby, IgnoreOrderBy does without. Order is
	// that of rows which nobody ordered.
	RefuseOrderBy, IgnoreOrderBy bool
	Order                        GraphOrder
	// EmptyPages puts an empty one with a link before every page that has rows.
	EmptyPages bool
	// ExpandStatus is answered to every $expand, with a $top above ExpandTop.
	ExpandStatus, ExpandTop int
	// Partial answers 206 with a Warning, although nothing is missing.
	Partial bool
}

// GraphOrder is an order of rows.
type GraphOrder int

// The orders.
const (
	NewestUpdate GraphOrder = iota
	OldestUpdate
	NewestIncident
	NoOrder
)

// TokenFaults are what is wrong with the token endpoint.
type TokenFaults struct {
	// Count ends them after so many token requests; 0: never.
	Count int
	// Code answers this AADSTS error to right requests, too; 7000215, the wrong
	// secret, for example. 90033 is the transient one.
	Code int
	// Status is answered instead, with a body that is not JSON.
	Status int
	// RetryAfter header unless empty.
	RetryAfter string
	Delay      time.Duration
}

// Fault sets the faults from now on, in place of those that were.
func (t *Tenant) Fault(f Faults) {
	f.RefuseStatusValues = slices.Clone(f.RefuseStatusValues)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = f
}

// hit decides whether the first group hits this call and counts it.
func (t *Tenant) hit(operation string) (Faults, bool) {
	f := &t.faults
	if f.Count < 0 || f.Operation != "" && f.Operation != operation {
		return Faults{}, false
	}
	if f.Share > 0 && t.chance.Float64() >= f.Share {
		return Faults{}, false
	}
	hit := *f
	switch f.Count {
	case 0: // for ever
	case 1:
		f.Count = -1 // used up
	default:
		f.Count--
	}
	return hit, true
}

// hitToken is the same for the token endpoint.
func (t *Tenant) hitToken() TokenFaults {
	f := &t.faults.Token
	hit := *f
	switch f.Count {
	case -1:
		return TokenFaults{}
	case 0: // for ever
	case 1:
		f.Count = -1 // used up
	default:
		f.Count--
	}
	return hit
}
