package listing

import (
	"time"

	"m365_defender_exporter/internal/incident"
)

// Order is an order of rows by their last update.
type Order uint8

// The orders.
const (
	Unordered Order = iota
	Ascending
	Descending
)

// Bound is the operator of an upper bound.
type Bound uint8

// The operators. Microsoft documents ge alone for the native API; lt and le
// are undocumented there, and either may be missing.
const (
	Lt Bound = iota // last update lt Before
	Le              // last update le the last instant before Before
)

// Request is what one call of the incidents list asks for. An API's client
// translates it into a URL, and decides nothing.
type Request struct {
	// Since and Before select last updates in [Since, Before), in whole seconds,
	// so that a server that compares in seconds or milliseconds selects the same
	// rows as one that compares in 100 ns. Zero: no bound.
	Since, Before time.Time
	// Bound is the operator that Before is sent with.
	Bound Bound
	// Status selects one status; StatusUnknown selects all.
	Status incident.Status
	// Top is the most rows to send; 0: as many as the server likes.
	Top int
	// Order to ask for; Unordered asks for none.
	Order Order
	// Skip leaves out that many rows of the answer.
	Skip int
	// Alerts asks for the incidents' alerts, where they come only when asked for.
	Alerts bool
	// Count asks for the number of rows that meet the conditions.
	Count bool
	// Link is a link of the server's to follow, absolute and as the server sent
	// it. Nothing else is then sent. The client refuses another scheme or host.
	Link string
	// AlertsOf is set when Link leads to more alerts of the incident with this id.
	AlertsOf int64
}

// drop takes an option out of a request.
func (r *Request) drop(o Option) {
	switch o {
	case OptionOrder:
		r.Order = Unordered
	case OptionUpperBound:
		r.Before = time.Time{}
	case OptionLowerBound:
		r.Since = time.Time{}
	case OptionStatus:
		r.Status = incident.StatusUnknown
	case OptionAlerts:
		r.Alerts = false
	case OptionPageSize:
		r.Top = 0
	case OptionCount:
		r.Count = false
	case OptionSkip:
		r.Skip = 0
	}
}

// carries tells whether a request has an option.
func (r *Request) carries(o Option) bool {
	bare := *r
	bare.drop(o)
	return bare != *r
}

// form is the list that a request reads, whichever part of it: its conditions and
// its order. It is never zero.
func (r *Request) form() Request {
	return Request{Since: r.Since, Before: r.Before, Bound: r.Bound, Status: r.Status, Order: r.Order, Top: 1}
}

// Page is what one call brought.
type Page struct {
	// Rows in the server's order. A row that cannot be used has the ID 0.
	Rows []incident.Incident
	// Link is the server's link to the next page, empty if there is none.
	Link string
	// Count is the number of rows that meet the request's conditions, however
	// many of them were sent; -1 if the server did not say.
	Count int
	// Date is the server's clock when it answered, zero if it did not say.
	Date time.Time
	// MoreAlerts are the links to further alerts of rows, by the incident's id:
	// what the row has is a part.
	MoreAlerts map[int64]string
	// Alerts are those of the answer to a request with AlertsOf.
	Alerts []incident.Alert
}

// Offer is what an API is documented to take. What it really takes is seen when
// it is asked, see [Server].
type Offer struct {
	MaxTop int  // rows of a page
	Order  bool // rows come ordered by last update when asked for
	Count  bool // the number of rows comes when asked for
	Expand bool // alerts come only when asked for
	Skip   bool // rows can be left out by their number
}
