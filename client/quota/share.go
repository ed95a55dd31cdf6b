package quota

import "time"

const (
	// halveEvery is how often the share is halved at most: one outburst of another
	// tool is seen by many of our calls.
	halveEvery = 30 * time.Second

	// regain is added to the effective share for each regainEvery without a
	// refusal.
	regain      = 0.05
	regainEvery = 5 * time.Minute

	// minShare is the least share that is used, whatever other tools do, so that
	// the mirror still moves.
	minShare = 0.1
)

// share is the fraction of the limits that is used: halved when another tool
// spends, regained slowly. What was regained is computed when it is asked for.
type share struct {
	full        float64 // as configured
	current     float64 // at the instant of the last refusal
	lastRefusal time.Time
	lastHalving time.Time
}

// at is the effective share.
func (s *share) at(now time.Time) float64 {
	if s.current >= s.full {
		return s.full
	}
	return min(s.full, s.current+regain*float64(s.steps(now)))
}

// next is when the share grows again, zero if it is whole.
func (s *share) next(now time.Time) time.Time {
	if s.at(now) >= s.full {
		return time.Time{}
	}
	return s.lastRefusal.Add(time.Duration(s.steps(now)+1) * regainEvery)
}

func (s *share) steps(now time.Time) int64 {
	return int64(max(0, now.Sub(s.lastRefusal)/regainEvery))
}

// refused records a refusal. It restarts the wait for the next regain.
func (s *share) refused(now time.Time, halve bool) {
	s.current = s.at(now)
	s.lastRefusal = later(s.lastRefusal, now)
	if !halve || (!s.lastHalving.IsZero() && now.Sub(s.lastHalving) < halveEvery) {
		return
	}
	s.current = max(s.least(), s.current/2)
	s.lastHalving = now
}

// least is the floor: a configured share below it is never lowered.
func (s *share) least() float64 { return min(minShare, s.full) }

// merge takes over the stricter of two shares.
func (s *share) merge(now time.Time, saved share) {
	if saved.at(now) < s.at(now) {
		s.current, s.lastRefusal = saved.current, saved.lastRefusal
	}
	s.lastHalving = later(s.lastHalving, saved.lastHalving)
}
