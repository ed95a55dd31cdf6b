package refresh

import (
	"time"

	"m365_defender_exporter/internal/incident"
)

const (
	// dateSlack is how far the header Date may be ahead of our clock and be believed.
	dateSlack = 5 * time.Minute
	// maxDateOff is how far it may be behind without more ado.
	maxDateOff = 24 * time.Hour
	// dateWitnesses is how many incidents, updated between the two, tell that one that is
	// further behind is wrong, and manyWitnesses how many it takes for it not to be
	// believed at all: to believe it costs calls, not to believe it may cost changes.
	dateWitnesses = 3
	manyWitnesses = 20
	// tolerance is how far two clocks of the server may be apart: one writes the
	// rows, the other the header Date, in whole seconds.
	tolerance = 2 * time.Second
)

// clock is the server's.
type clock struct {
	skew time.Duration // against ours, by the last header Date, zero if that is not believed
	// beyond are a few incidents whose last update lies in the future by the server's
	// clock and not by ours, farBeyond tells that one does by more than a row was ever
	// seen to be wrong.
	beyond    map[int64]bool
	farBeyond bool
}

// at is the server's clock at an instant of ours: what its header Date has said last,
// as far as that can be believed.
func (c *clock) at(now time.Time) time.Time { return now.Add(c.skew).Round(0) }

// learn takes in the header Date of an answer, zero if there was none. By one that is
// ahead, rows that are ahead would seem to be right. The rows that came with it tell
// which clock to believe next time.
func (c *clock) learn(now, date time.Time, rows []incident.Incident) {
	if date.IsZero() {
		return
	}
	c.skew = date.Sub(now)
	if c.skew > dateSlack || c.skew < -maxDateOff && len(c.beyond) >= manyWitnesses {
		c.skew = 0
	}
	for i := range rows {
		if at := rows[i].Updated; at.After(date.Add(dateSlack)) && !at.After(now) && len(c.beyond) < manyWitnesses {
			c.beyond[rows[i].ID] = true
			c.farBeyond = c.farBeyond || at.After(date.Add(maxDateOff))
		}
	}
}

// date stands for a header Date at an instant of ours: none that is ahead, nor one that
// is far behind and contradicted by rows.
func (c *clock) date(now time.Time) time.Time {
	if c.skew < -maxDateOff {
		return c.present(now)
	}
	return c.at(now)
}

// present is the instant, of ours, by which incidents age and leave the look-back. It
// is the server's where ours is ahead of that by more than a day, for what has left
// does not come back: a machine may begin with a wrong clock. Rows that are newer than
// the header Date says tell that the Date is wrong.
func (c *clock) present(now time.Time) time.Time {
	if c.skew < -maxDateOff && len(c.beyond) < dateWitnesses && !c.farBeyond {
		return c.at(now)
	}
	return now
}

// watermark is up to when the changes are known, by the server's clock: those
// that were visible when the last complete delta began.
type watermark struct {
	At time.Time `json:"at,omitzero"`
	// Held is where deltas begin as long as that is earlier, zero if they begin by the
	// watermark alone, see [recent].
	Held time.Time `json:"held,omitzero"`
	// asOf is when, by our clock, the server's clock had reached it; zero: it is not
	// known since a restart.
	asOf time.Time
}

// begin is where the next delta begins, zero as long as nothing is known.
func (w *watermark) begin(overlap time.Duration) time.Time {
	if since := w.since(overlap); w.Held.IsZero() || since.Before(w.Held) {
		return since
	}
	return w.Held
}

// since is from when on deltas look for changes, as a rule.
func (w *watermark) since(overlap time.Duration) time.Time {
	if w.At.IsZero() {
		return w.At
	}
	return w.At.Add(-overlap)
}

// move takes in a complete delta that was begun and ended at instants of ours. The
// server's clock has gone on as ours has; the newest last update that it has
// shown may say that it is further, but not past our clock: rows and header Dates may
// be ahead, and what is changed then would lie behind it. It was shown by the end: a
// delta that has rested through an outage ends long after its beginning, which the
// watermark is of.
func (w *watermark) move(began, ended, newest time.Time) {
	if passed := began.Sub(w.asOf); !w.asOf.IsZero() && passed > 0 {
		w.At = w.At.Add(passed)
	}
	w.At, w.asOf = later(w.At, earlier(newest, ended).Add(-max(0, ended.Sub(began)))), began
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
