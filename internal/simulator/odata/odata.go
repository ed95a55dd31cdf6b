// Package odata answers calls for a tenant's incidents as the OData services of
// Microsoft do. What each of the two APIs words in its own way is a [Face], how
// queries are taken are [Rules].
//
// A call for a list goes through query.go (its options), list.go (which rows,
// in which order) and page.go, a call by id through lookup.go.
package odata

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/wire"
)

// Face is what an API words in its own way.
type Face struct {
	// Path is that of the list, Context what answers name as their type.
	Path, Context string
	// Top is the size of a page, and the most rows that may be asked for.
	Top int
	// Updated is the name of the last update, BadQuery the code of an error
	// about a query.
	Updated, BadQuery string
	// Lenient services ignore options that OData leaves to them, whose names
	// have no $.
	Lenient bool
	// TextIDs are in quotes.
	TextIDs bool
	// Roles are the application roles of which a token needs one.
	Roles []string
	// Takes are how options are taken; Usual is Honoured here.
	Takes Takes
	// Filter reads a filter.
	Filter func(text string) ([]Condition, error)
	// Link is the path and options that lead to the query's page.
	Link func(path string, q *Query) string
	// Incident appends the members of an incident without the braces, Alert an
	// alert; prefer shows the newer members of enums.
	Incident func(b []byte, r *life.Record, s *Shape) []byte
	Alert    func(b []byte, r *life.Record, a *life.Alert, prefer bool) []byte
	// Error is an error in JSON. Refusal words one by its status, and Throttled
	// that there were too many calls.
	Error     func(code, message, trace string) any
	Refusal   func(status int, header http.Header) (code, message string)
	Throttled func(over Limit) (code, message string)
}

// ShowsAlerts tells whether rows have alerts: some APIs need not be asked.
func (f *Face) ShowsAlerts(expand bool) bool { return expand || f.Takes.Alerts == Refused }

// Limit allows so many calls in any Period. A call counts from its instant on
// for less than a period: one that is exactly that old does not any more.
// Refused calls count, too: ignoring a 429 keeps the rate high for longer.
type Limit struct {
	Period time.Duration
	Calls  int
}

// Incidents are a tenant's incidents as calls see them. It is used within
// [life.Tenant.Do].
type Incidents struct {
	Tenant *life.Tenant
	Rules  Rules
	Hooks  Hooks
	// Chance is that of ids of calls, and of what hits a call.
	Chance *rand.Rand

	arranged arranged
}

// Hooks are where answers can be made to differ; nil ones do nothing.
type Hooks struct {
	// Visible are the rows that a list call knows, by last update, and Hidden
	// are left out of them.
	Visible func(now time.Time) []*life.Entry
	Hidden  func(id int64) bool
	// List answers a query that is taken.
	List func(x *Exchange, q *Query)
	// LookUp answers a call by id instead; false: it does not.
	LookUp func(x *Exchange, exists bool) bool
	// Shape is what a row shows otherwise than usually, in a list or by id. It is
	// called when the tenant has moved on.
	Shape func(x *Exchange, r *life.Record, listed bool) Shape
}

// Forget makes the next call look at everything anew, after a change of Rules
// or Hooks.
func (in *Incidents) Forget() { in.arranged = arranged{} }

// Trace is an id for an answer.
func (in *Incidents) Trace() string { return UUID(in.Chance.Uint64()) }

// Exchange is a call and the answer to it.
type Exchange struct {
	*Incidents
	Face  *Face
	Call  *wire.Call
	Reply *wire.Reply
	Now   time.Time
}

// Refuse answers with an error.
func (x *Exchange) Refuse(status int, code, message string) {
	x.Reply.JSON(status, map[string]any{"error": x.Face.Error(code, message, x.Trace())})
}

// RefuseStatus answers with the documented error of a status.
func (x *Exchange) RefuseStatus(status int) {
	code, message := x.Face.Refusal(status, x.Reply.Header)
	x.Refuse(status, code, message)
}

// Operation is what the path below that of the list asks for, and how it is
// answered where nothing is in the way.
func (x *Exchange) Operation(path string) (name string, answer func()) {
	if path == "" {
		return "list", x.list
	}
	if id, alerts := strings.CutSuffix(path, alertsPath); alerts {
		return "get", func() { x.alerts(id) }
	}
	return "get", func() { x.one(path) }
}

// Below is what follows the path of a list, and whether there is anything.
func Below(path, list string) (rest string, exists bool) {
	rest, exists = strings.CutPrefix(path, list)
	if !exists || rest == "" {
		return "", exists
	}
	rest, exists = strings.CutPrefix(rest, "/")
	return rest, exists && !strings.Contains(strings.TrimSuffix(rest, alertsPath), "/")
}
