package incident

import (
	"slices"
	"time"
)

// Coverage says how much of a tenant is known.
type Coverage struct {
	// Statuses of which every incident is known.
	Statuses [NumStatuses]bool
	// Open tells that the counts of open incidents are complete, All that those
	// of everything within the look-back are.
	Open, All bool
}

// Snapshot is the immutable state of a tenant's counts at one instant.
type Snapshot struct {
	At       time.Time
	Coverage Coverage
	// AlertsAvailable is false when the server could not deliver alerts and the
	// counts of them are not to be trusted.
	AlertsAvailable bool

	Rows       int
	Redirected int
	// Incidents by severity, status and owner (0 none, 1 assigned).
	Incidents [NumSeverities][NumStatuses][2]int32
	// Older counts open incidents by severity and index of Thresholds.
	Thresholds []time.Duration
	Older      [NumSeverities][]int32
	// OldestOpen is when the oldest open incident was created, zero if none is.
	OldestOpen [NumSeverities]time.Time

	Resolved   []ResolvedCount
	BySource   []LabelCount
	ByCategory []LabelCount
	Alerts     []AlertCount

	Flows Flows
}

// ResolvedCount is the number of resolved incidents of one verdict.
type ResolvedCount struct {
	Severity       Severity
	Classification Classification
	Determination  Determination
	Count          int32
}

// LabelCount is the number of open incidents with one open-ended label value.
type LabelCount struct {
	Severity Severity
	Label    string
	Count    int32
}

// AlertCount is the number of alerts of one kind.
type AlertCount struct {
	Severity Severity
	Status   AlertStatus
	Source   string
	Count    int32
}

// Snapshot lets time pass up to now and returns the counts. A combination of
// labels that was counted once stays in the snapshots, with 0 if need be, so
// that its series does not end.
func (m *Mirror) Snapshot(now time.Time) *Snapshot {
	m.Advance(now)
	if m.flows.Start.After(now) {
		m.flows.Start = time.Time{} // a clock was wrong: what was counted may be older
	}
	c := &m.counts
	s := &Snapshot{
		At:              now,
		AlertsAvailable: m.AlertsMissing() == 0,
		Rows:            m.Len(),
		Incidents:       c.incidents,
		Thresholds:      m.opts.Thresholds,
		Flows:           m.flows.clone(),
	}
	for sev := range Severity(NumSeverities) {
		s.Redirected += int(c.incidents[sev][StatusRedirected][0] + c.incidents[sev][StatusRedirected][1])
		s.Older[sev] = c.olderThan(sev, len(m.opts.Thresholds))
		s.OldestOpen[sev] = fromNano(m.oldestOpen(sev))
		for class := range Classification(NumClassifications) {
			for det := range Determination(NumDeterminations) {
				if n := c.resolved[sev][class][det]; n != 0 || m.seen.resolved[sev][class][det] {
					m.seen.resolved[sev][class][det] = true
					s.Resolved = append(s.Resolved, ResolvedCount{sev, class, det, n})
				}
			}
		}
		s.BySource = m.sources.counts(s.BySource, sev, &c.sources[sev], &m.seen.sources[sev])
		s.ByCategory = m.categories.counts(s.ByCategory, sev, &c.categories[sev], &m.seen.categories[sev])
	}
	s.Alerts = m.alertCounts()
	return s
}

// seen remembers which combinations of labels were counted.
type seen struct {
	resolved            [NumSeverities][NumClassifications][NumDeterminations]bool
	sources, categories [NumSeverities][NumLabels]bool
	alerts              [numAlertKeys]bool
}

// olderThan sums up from the oldest age class down: who is older than a week
// is older than a day.
func (c *counts) olderThan(sev Severity, thresholds int) []int32 {
	older := make([]int32, thresholds)
	var sum int32
	for i := thresholds; i > 0; i-- {
		sum += c.older[sev][i]
		older[i-1] = sum
	}
	return older
}

func (l *labels) counts(dst []LabelCount, sev Severity, n *[NumLabels]int32, seen *[NumLabels]bool) []LabelCount {
	for i := range n {
		if n[i] != 0 || seen[i] {
			seen[i] = true
			dst = append(dst, LabelCount{sev, l.name(i), n[i]})
		}
	}
	return dst
}

func (l *labels) name(i int) string {
	if i < len(l.names) {
		return l.names[i]
	}
	return "other"
}

func (m *Mirror) alertCounts() []AlertCount {
	dst := make([]AlertCount, 0, 32)
	for key := range m.counts.alerts {
		n := m.counts.alerts[key]
		if n == 0 && !m.seen.alerts[key] {
			continue
		}
		m.seen.alerts[key] = true
		group, source := key/NumLabels, key%NumLabels
		dst = append(dst, AlertCount{
			Severity: Severity(group / NumAlertStatuses),
			Status:   AlertStatus(group % NumAlertStatuses),
			Source:   m.sources.name(source),
			Count:    n,
		})
	}
	return slices.Clip(dst)
}
