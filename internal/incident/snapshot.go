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
	// Older counts open incidents by severity, owner (0 none, 1 assigned) and index
	// of Thresholds, Idle by severity and index of IdleThresholds.
	Thresholds []time.Duration
	Older      [NumSeverities][2][]int32
	Idle       [NumSeverities][len(IdleThresholds)]int32
	// ByPriority counts open incidents; nil where the API has no priorities.
	ByPriority *[NumSeverities][NumPriorities]int32
	// OldestOpen is when the oldest open incident was created, zero if none is.
	OldestOpen [NumSeverities]time.Time

	Resolved   []ResolvedCount
	BySource   []LabelCount
	ByCategory []LabelCount
	Alerts     []AlertCount
	// ByDetection counts resolved incidents, one for each source of its alerts.
	ByDetection []DetectionCount
	// Investigations counts the alerts of open incidents.
	Investigations []InvestigationCount

	// Dimensions were asked for; the zero value: none were.
	Dimensions DimensionCounts

	// Objectives are those that Flows counts by.
	Objectives Objectives
	Flows      Flows
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

// DetectionCount is the number of resolved incidents of one verdict that one
// source has detected.
type DetectionCount struct {
	Source         string
	Classification Classification
	Count          int32
}

// InvestigationCount is the number of alerts whose investigation is in a state.
type InvestigationCount struct {
	State Investigation
	Count int32
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
		Objectives:      m.opts.Objectives,
		Flows:           m.flows.clone(),
	}
	for sev := range Severity(NumSeverities) {
		s.Redirected += int(c.incidents[sev][StatusRedirected][0] + c.incidents[sev][StatusRedirected][1])
		for assigned := range s.Older[sev] {
			s.Older[sev][assigned] = make([]int32, len(m.opts.Thresholds))
			cumulate(s.Older[sev][assigned], c.older[sev][assigned][:])
		}
		cumulate(s.Idle[sev][:], c.idle[sev][:])
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
	s.ByDetection = m.detectionCounts()
	for state := range Investigation(NumInvestigations) {
		if n := c.investigations[state]; n != 0 || m.seen.investigations[state] {
			m.seen.investigations[state] = true
			s.Investigations = append(s.Investigations, InvestigationCount{state, n})
		}
	}
	if m.dimensions != nil {
		s.Dimensions = m.dimensions.snapshot()
	}
	if m.opts.Priorities {
		priorities := c.priorities
		s.ByPriority = &priorities
	}
	return s
}

// seen remembers which combinations of labels were counted.
type seen struct {
	resolved            [NumSeverities][NumClassifications][NumDeterminations]bool
	sources, categories [NumSeverities][NumLabels]bool
	alerts              [numAlertKeys]bool
	detections          [NumLabels][NumClassifications]bool
	investigations      [NumInvestigations]bool
}

// cumulate sums up from the oldest class down, of which the first has passed no
// threshold: who is older than a week is older than a day.
func cumulate(older, classes []int32) {
	var sum int32
	for i := len(older); i > 0; i-- {
		sum += classes[i]
		older[i-1] = sum
	}
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

func (m *Mirror) detectionCounts() (dst []DetectionCount) {
	for i := range m.counts.detections {
		for class, n := range m.counts.detections[i] {
			if n != 0 || m.seen.detections[i][class] {
				m.seen.detections[i][class] = true
				dst = append(dst, DetectionCount{m.detections.name(i), Classification(class), n})
			}
		}
	}
	return dst
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
