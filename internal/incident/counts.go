package incident

import (
	"math/bits"
	"time"
)

// counts holds the current number of everything that is counted.
type counts struct {
	incidents  [NumSeverities][NumStatuses][2]int32
	resolved   [NumSeverities][NumClassifications][NumDeterminations]int32
	sources    [NumSeverities][NumLabels]int32
	categories [NumSeverities][NumLabels]int32
	alerts     [numAlertKeys]int32
	// detections counts resolved incidents, investigations alerts of open ones.
	detections     [NumLabels][NumClassifications]int32
	investigations [NumInvestigations]int32
	// older and idle count open incidents per number of thresholds passed.
	older      [NumSeverities][2][maxThresholds + 1]int32
	idle       [NumSeverities][len(IdleThresholds) + 1]int32
	priorities [NumSeverities][NumPriorities]int32
	open       [NumSeverities]int32
	// noAlerts counts the rows that count but whose alerts are not known.
	noAlerts int32
}

// maxThresholds bounds the ages that can be asked for.
const maxThresholds = 32

// IdleThresholds are the times without an update past which open incidents are
// counted.
var IdleThresholds = [...]time.Duration{24 * time.Hour, 72 * time.Hour, 168 * time.Hour}

// add counts the row n times: +1 or -1.
func (c *counts) add(r *row, n int32) {
	c.incidents[r.severity][r.status][r.assigned()] += n
	if r.status == StatusRedirected {
		return
	}
	if r.has(flagNoAlerts) {
		c.noAlerts += n
	}
	open := r.status.Open()
	eachAlert(r.alerts.Value(), func(key uint16, count int) {
		c.alerts[int(key)%numAlertKeys] += n * int32(count)
		if open {
			c.investigations[int(key)/numAlertKeys] += n * int32(count)
		}
	})
	if !open {
		c.resolved[r.severity][r.classification][r.determination] += n
		for set := r.detections; set != 0; set &= set - 1 {
			c.detections[bits.TrailingZeros64(set)][r.classification] += n
		}
		return
	}
	c.open[r.severity] += n
	c.priorities[r.severity][r.priority] += n
	c.idle[r.severity][r.idle] += n
	if r.created != noTime {
		c.older[r.severity][r.assigned()][r.age] += n
	}
	addSet(&c.sources[r.severity], r.sources, n)
	addSet(&c.categories[r.severity], r.categories, n)
}

func addSet(to *[NumLabels]int32, set uint64, n int32) {
	for ; set != 0; set &= set - 1 {
		to[bits.TrailingZeros64(set)] += n
	}
}
