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
	// last update is at or before it. Zero means no boundary.
	Border time.Time
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
	// Steps counts the steps back that were taken to find the anchor.
	Steps int
}

// Page is one answer.
type Page struct {
	Incidents []Incident
	// Unusable counts the rows that could not be read.
	Unusable int
	// Next is the cursor of the next page, meaningless when Last.
	Next Cursor
	Last bool
}

// What a source of incidents can answer besides incidents and failures.
var (
	// ErrNotFound: no incident has this id.
	ErrNotFound = errors.New("no such incident")
	// ErrFilterRefused: the server cannot select by status, or does not do so.
	ErrFilterRefused = errors.New("the server does not select by status")
)
