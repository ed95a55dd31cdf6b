package incident

import "math/bits"

// counts holds the current number of everything that is counted.
type counts struct {
	incidents  [NumSeverities][NumStatuses][2]int32
	resolved   [NumSeverities][NumClassifications][NumDeterminations]int32
	sources    [NumSeverities][NumLabels]int32
	categories [NumSeverities][NumLabels]int32
	alerts     [numAlertKeys]int32
	// older counts open incidents per number of thresholds passed.
	older [NumSeverities][maxThresholds + 1]int32
	open  [NumSeverities]int32
	// noAlerts counts the rows that count but whose alerts are not known.
	noAlerts int32
}

// maxThresholds bounds the ages that can be asked for.
const maxThresholds = 32

// add counts the row n times: +1 or -1.
func (c *counts) add(r *row, n int32) {
	assigned := 0
	if r.has(flagAssigned) {
		assigned = 1
	}
	c.incidents[r.severity][r.status][assigned] += n
	if r.status == StatusRedirected {
		return
	}
	if r.has(flagNoAlerts) {
		c.noAlerts += n
	}
	eachAlert(r.alerts.Value(), func(key uint16, count int) {
		c.alerts[key] += n * int32(count)
	})
	if r.status == StatusResolved {
		c.resolved[r.severity][r.classification][r.determination] += n
		return
	}
	c.open[r.severity] += n
	if r.created != noTime {
		c.older[r.severity][r.age] += n
	}
	addSet(&c.sources[r.severity], r.sources, n)
	addSet(&c.categories[r.severity], r.categories, n)
}

func addSet(to *[NumLabels]int32, set uint64, n int32) {
	for ; set != 0; set &= set - 1 {
		to[bits.TrailingZeros64(set)] += n
	}
}
