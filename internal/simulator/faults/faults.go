// Package faults is everything that a tenant's service was ever reported to do
// wrong, and what can be. [Faults] are all of it, [Switches] and [Weather] name
// each for tests that try them all.
package faults

import (
	"fmt"
	"slices"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/service"
)

// day is for reading: the API's retention is told in days.
const day = 24 * time.Hour

// Foreign is a base URL that the tenant does not answer for. Faults may point
// there; the RoundTripper counts calls that follow and lets the connection fail. Its
// top-level domain never resolves.
const Foreign = "https://foreign.invalid"

// Drop is a way to lose a connection.
type Drop int

// The ways to lose a connection.
const (
	DropNone Drop = iota
	// DropBeforeHeaders closes it without a byte of an answer. Mind that
	// http.Transport repeats a GET whose reused connection was closed so; the
	// meter counts both.
	DropBeforeHeaders
	// DropMidBody closes it after headers that promise a whole body and half of
	// that.
	DropMidBody
)

// Faults are what is wrong with a tenant. They combine, can be changed at any
// time by [Misbehaviour.Fault], and hold for both APIs but for Retired, which comes
// before all others; the zero value is a healthy tenant. [Switches] and [Weather] have a name for each.
//
// Where several could decide about the same answer, the first of these does:
//
//  1. The first group below, which hits single calls chosen by Operation, Share
//     and Count: Hang, Drop before headers, Redirect, Echo, Status. The rest of
//     the group changes an answer that was found otherwise.
//  2. The token and the limits of calls.
//  3. Takes, in the order of its fields, and with them RefuseStatusValues,
//     Retention, Window, SkipCap and TopLimit.
//  4. Heavy, by what was asked for.
//  5. What lists show at all: Lag, Stale, Hide. Then Precision and the filter,
//     the order, $skip, and Pages, whose empty ones come before anything else
//     that a page may hold.
//  6. Poison, by the rows that the page would have, then Links, then Partial,
//     which takes rows away without a change to links and counts.
//  7. What rows look like: OddRows first, which the others overrule.
//
// The truth is the tenant's own: what lists hide, show late or show with ids
// that cannot be read is counted; where an update time is ahead or went back,
// the look-back goes by it.
type Faults struct {
	// Operation limits the first group to "list" or "get"; empty: both.
	Operation string
	// Share is the chance of a call to be hit; 0 means 1. Count ends the first
	// group after so many hits; 0: never.
	Share float64
	Count int

	// Hang takes the call and never answers.
	Hang bool
	// Drop loses the connection.
	Drop Drop
	// Redirect answers 302 to this location.
	Redirect string
	// Echo answers with the request's own token.
	Echo Echo
	// Status is answered instead, with the documented error body, or none if
	// EmptyBody is set, and this Retry-After header unless empty: seconds, an
	// HTTP date, or nonsense. 401 and 403 come with right tokens, too; 429 has a
	// body as ThrottleBody says and counts as throttled. After 101 the
	// connection stays open and silent.
	Status     int
	RetryAfter string
	EmptyBody  bool
	// Torn cuts the JSON in half and NotJSON sends HTML instead, both with 200
	// and a right Content-Length.
	Torn, NotJSON bool
	// Padding makes the body so many bytes longer; the JSON stays right.
	Padding int
	// Flood makes it longer by what has to be kept.
	Flood Flood
	// Delay passes before the headers, Drip while the body trickles. What is
	// answered is as of the arrival of the call.
	Delay, Drip time.Duration
	// Wire is what is wrong below the JSON.
	Wire Wire

	// NoRetryAfter leaves Retry-After out when the tenant's limits are exceeded.
	// ThrottleText is what those answers say instead of the limit, where
	// ThrottleBody lets them say something.
	NoRetryAfter bool
	ThrottleBody ThrottleBody
	ThrottleText string
	// NoDate leaves the header Date out, DateOff moves it.
	NoDate  bool
	DateOff time.Duration
	// BOM puts a byte order mark before the JSON of right answers.
	BOM bool

	// Takes are how the options of a query are taken.
	Takes odata.Takes
	// RefuseStatusValues answers 400 to filters with these values, in the native
	// API's words, as if the enum did not have them. (Without it an unknown
	// status matches nothing.)
	RefuseStatusValues []string
	// SkipCap answers 400 to a $skip above it; 0: no cap. TopLimit is the most
	// rows that may be asked for, and are given unasked; 0: 100, of Graph 50.
	SkipCap, TopLimit int
	// Retention answers 400 to a lower bound of the last update that is further
	// back; 0: all are taken. A filter without one is.
	Retention time.Duration
	// Window is what is listed where no lower bound of the last update is asked for, or
	// taken; 0: everything.
	Window time.Duration
	// Precision is the unit in which times are compared, by filters and where
	// rows are ordered; both sides are cut. 0: 100 ns.
	Precision time.Duration

	// Order is that of rows which no option orders.
	Order odata.Order
	Pages Pages
	Links Links

	Heavy   Heavy
	Poison  Poison
	Partial Partial

	// Hide is the share of incidents that lists do not show, and do not count.
	Hide float64
	// Lag is how long lists go on to show the version before a change. A change
	// keeps its update time.
	Lag   time.Duration
	Stale Stale
	// Ahead lets changes happen in the future of the server's clock, Back before
	// the incident's last update. Ahead comes first.
	Ahead, Back Drift

	IDs    IDs
	Alerts Alerts
	// NumericEnums is the share of incidents that show status, severity,
	// classification and determination as numbers.
	NumericEnums float64
	// Unassigned lets rows say "Unassigned" where they are not assigned.
	Unassigned bool
	// OddRows gives every page that has rows the odd shapes that were seen in
	// other people's data. Variations of real rows: alerts missing, null or an
	// object, a malformed createdTime or an unknown severity on redirected ones;
	// an unknown classification, a lastUpdateTime without zone, zero-width
	// characters in the name or an unknown kind of entity on open ones; tags as
	// objects, a lastUpdateTime without zone or null comments on resolved ones.
	// In addition, two rows in the middle of the page that are no incidents: a
	// text, and one without incidentId. None of it changes the truth.
	OddRows bool

	Lookups Lookups
	// Retired is that the native API is no more.
	Retired Retired
	// Token is what is wrong with the token endpoint.
	Token TokenFaults
}

// Retired is how the native API is missing: its calls are answered with Status, 404
// or 410 perhaps, after Delay, or its host has no address, which is seen without a network only.
type Retired struct {
	Status int
	NoHost bool
}

// TokenFaults are what is wrong with the token endpoint. Status comes before
// Redirect, Redirect before Code.
type TokenFaults struct {
	// Count ends them after so many token requests; 0: never.
	Count int
	// Code answers this AADSTS error to right requests, too; 7000215, the wrong
	// secret, for example. 90033 is the transient one.
	Code int
	// Echo lets the description of errors show the request's secret or
	// assertion in this form.
	Echo EchoForm
	// Redirect answers RedirectStatus (0: 307) to this location.
	Redirect       string
	RedirectStatus int
	// Status is answered instead, with a body that is not JSON.
	Status int
	// RetryAfter header unless empty.
	RetryAfter string
	Delay      time.Duration
}

// Misbehaviour is what is wrong with a service. All methods may be called
// concurrently.
type Misbehaviour struct {
	*service.Service
	faults Faults

	shown   map[int64]*life.Entry // what lists show of incidents of which a version waits
	waiting []version             // oldest first
	changes []change              // of lists, oldest first
}

// Install makes it possible that the service misbehaves.
func Install(s *service.Service) *Misbehaviour {
	m := &Misbehaviour{Service: s, shown: make(map[int64]*life.Entry)}
	s.Tenant.Hooks = life.Hooks{Publish: m.publish, Settle: m.settle, Stamp: m.stamp}
	s.Hooks = service.Hooks{Call: m.call, Throttle: m.throttle, Token: m.token, Answered: m.answered}
	m.Fault(Faults{})
	return m
}

// Fault sets the faults from now on, in place of those that were.
func (m *Misbehaviour) Fault(f Faults) {
	f.RefuseStatusValues = slices.Clone(f.RefuseStatusValues)
	m.Do(func(now time.Time) {
		m.Index.SetUnit(f.Precision)
		if f.Stale.Age == 0 {
			m.changes = nil
		}
		m.faults = f
		m.Incidents.Rules = odata.Rules{
			Takes: f.Takes, Top: f.TopLimit, Skip: f.SkipCap, Order: f.Order, Refuse: f.refuses, Window: f.Window, Alerts: f.Alerts.Page,
		}
		hooks := &m.Incidents.Hooks
		*hooks = odata.Hooks{List: m.list, LookUp: m.lookUp, Shape: f.shape}
		if f.Hide > 0 {
			hooks.Hidden = func(id int64) bool { return chosen(id, f.Hide, saltHide) }
		}
		if f.Stale.Age > 0 {
			hooks.Visible = m.visible
		}
		m.Incidents.Forget()
		m.settle(now)
	})
}

// refuses says why a condition is not taken.
func (f *Faults) refuses(c *odata.Condition, now time.Time) string {
	switch {
	case c.Field == "status" && slices.Contains(f.RefuseStatusValues, c.Text):
		return fmt.Sprintf("the string '%s' is not a valid enumeration type constant", c.Text)
	case c.Since() && f.Retention > 0 && c.At.Before(now.Add(-f.Retention)):
		return fmt.Sprintf("the start of the time range is before the %d days that are kept", int(f.Retention/day))
	}
	return ""
}

// strike decides about one call by chance and counts it.
func (m *Misbehaviour) strike(share float64, count *int) bool {
	if *count < 0 || share > 0 && m.Incidents.Chance.Float64() >= share {
		return false
	}
	return countDown(count)
}

// countDown counts a hit. Zero is for ever, and what is used up is negative.
func countDown(count *int) bool {
	switch {
	case *count < 0:
		return false
	case *count == 1:
		*count = -1
	case *count > 1:
		*count--
	}
	return true
}
