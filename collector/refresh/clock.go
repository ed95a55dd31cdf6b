package refresh

import (
	"time"

	"m365_defender_exporter/internal/incident"
)

const (
	// dateSlack is how far the header Date may be ahead of our clock without more
	// ado.
	dateSlack = 5 * time.Minute
	// dateWitnesses is how many incidents have to be updated between the two for it
	// to be believed beyond that.
	dateWitnesses = 3
	// manyWitnesses is how many it takes for it not to be believed because it is
	// behind: to believe it costs calls, not to believe it may cost changes.
	manyWitnesses = 20
	// maxDateOff is when it is not believed at all, or, if it is behind, as soon as
	// as many incidents were updated since.
	maxDateOff = 24 * time.Hour
	// tolerance is how far two clocks of the server may be apart: one writes the
	// rows, the other the header Date, in whole seconds.
	tolerance = 2 * time.Second
)

// clock is the server's.
type clock struct {
	skew time.Duration // against ours, when it was last believed
	// beyondOurs are a few incidents whose last update lies in the future by our
	// clock and not by the server's, beyondServers such by the server's and not by
	// ours.
	beyondOurs, beyondServers map[int64]bool
}

// at is the server's clock at an instant of ours: what its header Date says, as
// far as that can be believed, because one that is ahead would move the
// watermark past what the server has shown. Otherwise it is as far from ours as
// when it was last believed. The rows that came with it tell which clock to
// believe next time.
func (c *clock) at(now, date time.Time, rows []incident.Incident) time.Time {
	if date.IsZero() {
		return now.Add(c.skew).Round(0)
	}
	off := date.Sub(now)
	switch {
	case off > maxDateOff, off < -maxDateOff && len(c.beyondServers) >= manyWitnesses:
		c.skew = 0
	case off <= dateSlack, len(c.beyondOurs) >= dateWitnesses:
		c.skew = off
	}
	for i := range rows {
		switch at := rows[i].Updated; {
		case at.After(now.Add(dateSlack)) && !at.After(date) && len(c.beyondOurs) < dateWitnesses:
			c.beyondOurs[rows[i].ID] = true
		case at.After(date.Add(dateSlack)) && !at.After(now) && len(c.beyondServers) < manyWitnesses:
			c.beyondServers[rows[i].ID] = true
		}
	}
	return now.Add(c.skew).Round(0)
}

// present is the instant, of ours, by which incidents age and leave the look-back. It
// is the server's where ours is ahead of that by more than a day, for what has left
// does not come back: a machine may begin with a wrong clock. Rows that are newer than
// the header Date says tell that the Date is wrong.
func (c *clock) present(now time.Time) time.Time {
	if c.skew < -maxDateOff && len(c.beyondServers) < dateWitnesses {
		return now.Add(c.skew).Round(0)
	}
	return now
}

// watermark is up to when the changes are known, by the server's clock: those
// that were visible when the last complete delta began.
type watermark struct {
	At time.Time `json:"at,omitzero"`
	// asOf is when, by our clock, the server's clock had reached it; zero: it is not
	// known since a restart.
	asOf time.Time
}

// since is where the next delta begins, zero as long as nothing is known.
func (w *watermark) since(overlap time.Duration) time.Time {
	if w.At.IsZero() {
		return w.At
	}
	return w.At.Add(-overlap)
}

// move takes in a complete delta that was begun and ended at instants of ours. The
// server's clock has gone on as ours has; the newest last update that it has
// shown may say that it is further. It was shown by the end: a delta that has rested
// through an outage ends long after its beginning, which the watermark is of.
func (w *watermark) move(began, ended, newest time.Time) {
	if passed := began.Sub(w.asOf); !w.asOf.IsZero() && passed > 0 {
		w.At = w.At.Add(passed)
	}
	w.At, w.asOf = later(w.At, newest.Add(-max(0, ended.Sub(began)))), began
}

// start begins from the server's clock at the first page of the first sync, or
// ours if that is behind. If it tells none, or one that is far behind and not
// believed, ours is not trusted by a day, nor where that is past all that the
// page has.
func (w *watermark) start(clock, date, newest, now time.Time) {
	if date.Before(clock) { // as one that is not told is
		if clock = clock.Add(-24 * time.Hour); !newest.IsZero() {
			clock = earlier(clock, newest)
		}
	}
	w.At, w.asOf = clock, now
}
