package life

import (
	"math"
	"math/rand/v2"
	"time"
)

// A working day, in UTC. From Monday to Friday the whole team is there between
// these hours; at any other time only the people on call.
const (
	shiftBegins = 7
	shiftEnds   = 19
)

// shift tells whether the whole team is at work, and until when that does not
// change. It may be called again at that instant.
func shift(at time.Time) (atWork bool, until time.Time) {
	midnight := at.Truncate(day)
	begins, ends := midnight.Add(shiftBegins*time.Hour), midnight.Add(shiftEnds*time.Hour)
	switch {
	case weekend(at), !at.Before(ends):
		return false, midnight.Add(day)
	case at.Before(begins):
		return false, begins
	}
	return true, ends
}

func weekend(at time.Time) bool {
	return at.Weekday() == time.Saturday || at.Weekday() == time.Sunday
}

// worked is when work that was begun at an instant is done. It takes so long
// while the team is there; at other times it goes on at the pace onCall, above 0
// and at most 1.
func worked(from time.Time, work time.Duration, onCall float64) time.Time {
	for {
		pace := onCall
		atWork, until := shift(from)
		if atWork {
			pace = 1
		}
		done := time.Duration(float64(until.Sub(from)) * pace)
		if done >= work {
			return from.Add(time.Duration(float64(work) / pace))
		}
		work -= done
		from = until
	}
}

// demand is how many times as many incidents are created in the hour that begins
// at an instant as in an average one. Machines do not rest, but what they report
// is for the most part what people do.
func (t *Tenant) demand(hour time.Time) float64 {
	demand := 0.45
	switch h := hour.Hour(); {
	case h >= shiftBegins && h < shiftEnds-1:
		demand = 1.5
	case h >= shiftBegins-2 && h < shiftEnds+3:
		demand = 0.8
	}
	if weekend(hour) {
		demand /= 2
	}
	return demand * t.wave(hour)
}

// wave is by how much a campaign multiplies what is created in an hour; 1 where
// there is none. On one day of six there is one, for a few hours.
func (t *Tenant) wave(hour time.Time) float64 {
	today := hour.Truncate(day)
	rng := t.chance(chanceWave, today.Unix())
	if rng.IntN(6) > 0 {
		return 1
	}
	begins := today.Add(time.Duration(6+rng.IntN(11)) * time.Hour)
	hours, factor := 2+rng.IntN(3), 4+3*rng.Float64()
	if hour.Before(begins) || !hour.Before(begins.Add(time.Duration(hours)*time.Hour)) {
		return 1
	}
	return factor
}

// What is decided by chance each time anew, whenever the tenant was made.
const (
	chanceWave = iota + 16
	chanceHour
	chanceIncident
)

// chance is the source of chance of one thing.
func (t *Tenant) chance(kind uint64, of int64) *rand.Rand {
	// The multiplier, of the golden ratio, puts neighbours far apart.
	return rand.New(rand.NewPCG(t.opts.Seed<<8|kind, uint64(of)*0x9E3779B97F4A7C15))
}

// poisson draws how many of many rare things happen, where so many are expected.
func poisson(rng *rand.Rand, expected float64) int {
	n := 0
	for at := rng.ExpFloat64(); at < expected; at += rng.ExpFloat64() {
		n++
	}
	return n
}

// around draws a duration whose median is given. One in ten is longer than 3.6 times
// the median, and one in ten shorter than a 3.6th.
func around(rng *rand.Rand, median time.Duration) time.Duration {
	return time.Duration(float64(median) * math.Exp(rng.NormFloat64()))
}

// within draws a duration of the given mean that is never longer than the bound.
func within(rng *rand.Rand, mean, bound time.Duration) time.Duration {
	return min(time.Duration(rng.ExpFloat64()*float64(mean)), bound)
}
