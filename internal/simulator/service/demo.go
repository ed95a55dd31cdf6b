package service

import (
	"fmt"
	"math/rand/v2"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// MaxDemo is how many tenants there are to demonstrate.
const MaxDemo = 10

// DemoHistory is how long incidents stay in a demo after their last update.
const DemoHistory = 14 * 24 * time.Hour

// demoDaily is how many incidents are created in each of the tenants on an average
// day, the first time; the others follow in the same order.
var demoDaily = [...]float64{400, 150, 250}

// DemoTroubled is the demo tenant that is in trouble, see [Demo].
const DemoTroubled = 2

// Demo is one of the tenants worth watching, from 0 to MaxDemo-1: as a security
// operations centre sees it, with a few hundred open incidents and some 5,000 within
// DemoHistory. It depends on its number and the clock alone: whenever it is made it
// is the same.
//
// The one of the number DemoTroubled is in trouble: another tool of its app
// registration uses the quota up for some minutes of each hour, and once a day
// its role is taken away for a while.
func Demo(number int) Options {
	o := Options{
		Seed:     uint64(number) + 1,
		History:  DemoHistory,
		Daily:    demoDaily[number%len(demoDaily)],
		Mix:      life.Mix{UnSpecified: 0.01, Informational: 0.33, Low: 0.32, Medium: 0.26, High: 0.08, Classified: 0.7},
		TenantID: DefaultTenantID,
	}
	if number > 0 {
		o.TenantID = fmt.Sprintf("%s%02d", DefaultTenantID[:len(DefaultTenantID)-2], 10+number)
	}
	if number == DemoTroubled {
		o.Trouble = demoTrouble
	}
	return o
}

// Trouble is why a service that is well does not answer as it should.
type Trouble int

// The troubles.
const (
	NoTrouble    Trouble = iota
	QuotaSpent           // others have spent the quota: HTTP 429
	RolesRevoked         // the application has lost its roles: HTTP 403
)

func demoTrouble(now time.Time) Trouble {
	const day = 24 * time.Hour
	// within tells whether one spell of each period is on, which begins anywhere
	// in the period and ends with it at the latest.
	within := func(period, shortest, longest time.Duration) bool {
		begin := now.Truncate(period)
		rng := rand.New(rand.NewPCG(uint64(period), uint64(begin.Unix())))
		length := shortest + time.Duration(rng.Int64N(int64(longest-shortest)))
		begin = begin.Add(time.Duration(rng.Int64N(int64(period - length))))
		return !now.Before(begin) && now.Before(begin.Add(length))
	}
	switch {
	case within(day, 20*time.Minute, 80*time.Minute):
		return RolesRevoked
	case within(time.Hour, 4*time.Minute, 15*time.Minute):
		return QuotaSpent
	}
	return NoTrouble
}

// trouble is what there is at an instant.
func (s *Service) trouble(now time.Time) Trouble {
	if s.Options.Trouble == nil {
		return NoTrouble
	}
	return s.Options.Trouble(now)
}

// untilNextMinute is when a quota that others have spent may be there again.
func untilNextMinute(now time.Time) time.Duration {
	return now.Truncate(time.Minute).Add(time.Minute).Sub(now)
}
