package client

import (
	"log/slog"
	"sync"
	"time"
)

// ability is what the server was seen to be able to do. What it refuses is
// not tried again.
type ability struct {
	mu  sync.Mutex
	now paging
	// places are the last rows of pages read by position, so that the next page
	// can be seen to join on even if the row itself has moved away.
	places [8]place
	used   int
}

type place struct {
	id int64
	at time.Time
}

// paging is the present way to ask for pages.
type paging struct {
	op        borderOp
	opWorked  bool
	exactness exactness
	noSince   bool // a lower bound of lastUpdateTime is refused
	noSkip    bool // $skip is refused together with a border
	links     bool // $skip is refused: the server's own links are followed
	linkNoise bool // a short page is the last one even if it carries a link
}

// borderOp is how the upper end of a page is asked for.
type borderOp uint8

const (
	borderLe borderOp = iota
	borderLt
	borderNone // $skip alone
)

// exactness says whether a border can be trusted to the tick.
type exactness uint8

const (
	// unproven: the next page has to begin with the last row of this one.
	unproven exactness = iota
	exact
	// slack: the server compares times more precisely than it shows them, so
	// that pages have to overlap.
	slack
)

// slackTime is what a border is widened by where it is not exact.
const slackTime = time.Second

func (a *ability) load() paging {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// learn remembers a way that has just worked, and says once what it does
// without. A way that failed is not remembered for that alone: the failure may
// have been about something else, and pass.
func (a *ability) learn(is paging, logger *slog.Logger) {
	a.mu.Lock()
	was := a.now
	a.now = is
	a.mu.Unlock()
	warn := func(changed bool, message string) {
		if changed {
			logger.Warn(message)
		}
	}
	warn(is.op > was.op && is.op == borderLt, "The server does not select by lastUpdateTime le, paging by lt")
	warn(is.op > was.op && is.op == borderNone, "The server does not select by an upper bound of lastUpdateTime, paging by $skip")
	warn(is.exactness == slack && was.exactness != slack, "The server compares times more precisely than it shows them, pages overlap by a second from now on")
	warn(is.noSince && !was.noSince, "The server refuses lastUpdateTime ge, reading from the newest down")
	warn(is.noSkip && !was.noSkip, "The server refuses $skip, rows of one instant are read again")
	warn(is.links && !was.links, "The server refuses $skip, following its own links")
}

// remember notes where a page ended.
func (a *ability) remember(id int64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.places[a.used%len(a.places)] = place{id, at}
	a.used++
}

// placeOf is the time of a row that a page ended with, zero if that was
// forgotten.
func (a *ability) placeOf(id int64) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.places {
		if p.id == id && id != 0 {
			return p.at
		}
	}
	return time.Time{}
}
