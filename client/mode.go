package client

import (
	"log/slog"
	"sync"

	"m365_defender_exporter/internal/incident"
)

// mode is the present way to ask.
type mode struct {
	ordered bool // $orderby was seen to be kept
	noOrder bool // $orderby is refused or ignored
	noUntil bool // an upper bound of lastUpdateDateTime is: links are followed
	noSince bool // a lower bound, too: everything is read
	size    int  // of a full page, where that is less than asked for; 0: as asked for
}

// modes is what the server was seen to be able to do, with and without a
// filter on the status. What it refuses is not tried again.
type modes struct {
	mu  sync.Mutex
	now [2]mode
}

func (m *modes) of(q incident.Query) *mode {
	if q.Status != incident.StatusUnknown {
		return &m.now[1]
	}
	return &m.now[0]
}

func (m *modes) load(q incident.Query) mode {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.of(q)
}

// learn remembers a way that has just worked.
func (m *modes) learn(q incident.Query, is mode, logger *slog.Logger) {
	m.mu.Lock()
	was := *m.of(q)
	*m.of(q) = is
	m.mu.Unlock()
	status := q.Status != incident.StatusUnknown
	if is.noOrder && !was.noOrder {
		logger.Info("The server does not order by lastUpdateDateTime, reading stretch by stretch", "by_status", status)
	}
	if is.noUntil && !was.noUntil {
		logger.Warn("The server does not select by an upper bound of lastUpdateDateTime, following its links", "by_status", status)
	}
	if is.noSince && !was.noSince {
		logger.Warn("The server does not select by lastUpdateDateTime, reading everything each time", "by_status", status)
	}
}
