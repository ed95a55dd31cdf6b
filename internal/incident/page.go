package incident

import (
	"errors"
	"time"
)

// Pass says for which part of the schedule a call is made. Its order is the
// order of priority, most urgent first.
type Pass uint8

// The passes.
const (
	PassDelta Pass = iota // what changed since the last refresh
	PassFirst             // first sync
	PassSweep             // background re-reading of everything
	NumPasses = int(iota)
)

// String is the label value.
func (p Pass) String() string { return [...]string{"delta", "first", "sweep"}[p] }

// Query selects incidents.
type Query struct {
	// Since selects incidents whose last update is at or after it; zero selects
	// all.
	Since time.Time
	// Status selects one status; StatusUnknown selects all.
	Status Status
	Pass   Pass
}

// Cursor is a place in the answer to a query. The zero Cursor is its start.
// It is a plain value that can be saved and resumed from.
type Cursor struct {
	// Border is the time boundary that the next page starts from: its rows'
	// last update is at or before it where the newest come first, at or after it
	// where the oldest do. Zero means no boundary.
	Border time.Time
	// Until is the other end of the stretch of time that is being read: last
	// updates before it. Zero means no end. Peak is the newest last update that
	// is known to lie beyond.
	Until, Peak time.Time
	// Skip counts the rows to leave out at the start.
	Skip int
	// Anchor is the id of the row that the next page has to start with, so that
	// the border is known to be exact. 0 means that nothing is expected.
	Anchor int64
	// Link is the server's own link to the next page, where neither boundaries
	// nor skipping work.
	Link string
	// Seen counts the rows of all pages before.
	Seen int
	// Short: the page before was not full but had a link to another one.
	Short bool
	// Steps counts the links of the server's that were followed in a row, Empty
	// those of them that led to nothing, and Mark is one of them, hashed: links
	// that lead in a circle are found out.
	Steps, Empty int
	Mark         uint64
}

// Passes tells that rows at the border are left out or read by position, so
// that one that moves away meanwhile may cost another one.
func (c Cursor) Passes() bool { return !c.Border.IsZero() && (c.Skip > 0 || c.Link != "") }

// Page is one answer.
type Page struct {
	Incidents []Incident
	// Unusable counts the rows that could not be read.
	Unusable int
	// Next is the cursor of the next page, meaningless when Last.
	Next Cursor
	Last bool
	// AlertsUnknown is set when the server could not deliver the alerts of the
	// page, which was then asked for without them.
	AlertsUnknown bool
}

// What a source of incidents can answer besides incidents and failures.
var (
	// ErrNotFound: no incident has this id.
	ErrNotFound = errors.New("no such incident")
	// ErrFilterRefused: the server cannot select by status, or does not do so.
	ErrFilterRefused = errors.New("the server does not select by status")
	// ErrCursorRefused: the server does not take its own link to the next page
	// (any more). Whoever reads goes back to the border of the cursor.
	ErrCursorRefused = errors.New("the server no longer takes its own link to the next page")
)
