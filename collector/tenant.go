package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// Refresher holds the last results of refreshing. Neither method blocks.
type Refresher interface {
	// Snapshot is nil as long as nothing is known.
	Snapshot() *incident.Snapshot
	Status() *refresh.Status
}

// Options are the settings of a [Tenant].
type Options struct {
	Refresher Refresher
	// MaxAge is how long the last good snapshot is shown. 0: for ever.
	MaxAge time.Duration
	// Hangs tells that the status cannot change any more, whatever it says: refreshing
	// hangs. nil: it never does.
	Hangs func() bool
	// Now is the clock.
	Now func() time.Time
}

// Tenant collects the metrics of one tenant that the cache knows. It does not
// know its own name; register it wrapped with the label tenant.
type Tenant struct{ opts Options }

// NewTenant returns the collector of a tenant.
func NewTenant(opts Options) *Tenant { return &Tenant{opts} }

var tenantMetrics = []*Metric{
	incidents, incidentsRedirected, incidentsCached, resolvedIncidents, openBySource, openByCategory,
	openOlder, openIdle, openByPriority, oldestOpen, alerts, resolvedByDetection, alertsByInvestigation, alertsAvailable,
	openByTag, openByDeviceGroup, openByTechnique, resolvedByDetector, openAssignees, busiestAssignee, openByAssignee,
	created, resolved, reopened, merged, reassigned, timeToDetect, timeToFirstTouch, timeToAssign, timeInWork, timeToResolve, alertsOfIncident,
	objectiveSeconds, objectives, unrecognized, up, firstSyncComplete, refreshInterval, lastSuccess, lastAttempt, lastDuration, refreshes,
	refreshFailures, sweepCorrections, rowsSkipped, optionUnsupported,
}

// Describe implements prometheus.Collector.
func (t *Tenant) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range tenantMetrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (t *Tenant) Collect(ch chan<- prometheus.Metric) { t.samples(&sink{ch: ch}) }

func (t *Tenant) metrics() []*Metric { return tenantMetrics }

// tenantVersion changes with everything that samples depends on, the clock
// included.
type tenantVersion struct {
	snapshot *incident.Snapshot
	status   *refresh.Status
	shown    bool
	hangs    bool
}

func (t *Tenant) version() any {
	s := t.opts.Refresher.Snapshot()
	return tenantVersion{s, t.opts.Refresher.Status(), t.shown(s), t.hangs()}
}

func (t *Tenant) hangs() bool { return t.opts.Hangs != nil && t.opts.Hangs() }

// shown is false when the counts have become too old.
func (t *Tenant) shown(s *incident.Snapshot) bool {
	return s != nil && (t.opts.MaxAge <= 0 || t.opts.Now().Sub(s.At) <= t.opts.MaxAge)
}

func (t *Tenant) samples(to *sink) {
	// In this order: the status tells at least as much as the counts.
	s := t.opts.Refresher.Snapshot()
	status := t.opts.Refresher.Status()
	collectStatus(to, status, t.hangs())
	if s == nil {
		return
	}
	eachObjective(s, func(severity, objective string, bound time.Duration, _ [2]uint64) {
		to.value(objectiveSeconds, bound.Seconds(), severity, objective)
	})
	if s.Coverage.All {
		// What was counted stays true however old it is.
		to.start = s.Flows.Start
		collectFlows(to, &s.Flows)
		collectReassigned(to, s)
		collectObjectivesMet(to, s)
		to.start = status.Start
		for i, field := range incident.FieldNames {
			if is := incident.Fields(1) << i; is < incident.FieldDeviceGroup || s.Dimensions.Fields&is != 0 {
				to.value(unrecognized, float64(s.Flows.Unrecognized[i]), field)
			}
		}
	}
	if !t.shown(s) {
		return
	}
	collectOpen(to, s)
	if s.Coverage.All {
		collectAll(to, s)
	}
}

func collectStatus(to *sink, s *refresh.Status, hangs bool) {
	to.start = s.ProcessStart
	to.value(up, number(s.Up && !hangs))
	to.value(firstSyncComplete, number(s.Coverage.Open), "open")
	to.value(firstSyncComplete, number(s.Coverage.All), "all")
	to.value(refreshInterval, s.Interval.Seconds())
	for i, kind := range pass.Names {
		k := &s.Passes[i]
		if !k.LastSuccess.IsZero() {
			to.value(lastSuccess, seconds(k.LastSuccess), kind)
		}
		if !k.LastAttempt.IsZero() {
			to.value(lastAttempt, seconds(k.LastAttempt), kind)
		}
		to.value(refreshes, float64(k.Refreshes), kind)
		if k.Refreshes > 0 {
			to.value(lastDuration, k.LastDuration.Seconds(), kind)
		}
		for why, n := range k.Failures {
			to.value(refreshFailures, float64(n), kind, reason.Reason(why).String())
		}
	}
	to.start = s.Start
	for i, kind := range refresh.Corrections {
		to.value(sweepCorrections, float64(s.Corrections[i]), kind)
	}
	for i, why := range refresh.Skipped {
		to.value(rowsSkipped, float64(s.Skipped[i]), why)
	}
	for o := range listing.Option(listing.NumOptions) {
		if o != listing.OptionSkip {
			to.value(optionUnsupported, number(s.Unsupported[o]), o.String())
		}
	}
}

// collectOpen shows what is known once the open incidents are.
func collectOpen(to *sink, s *incident.Snapshot) {
	to.value(incidentsCached, float64(s.Rows))
	to.value(alertsAvailable, number(s.AlertsAvailable))
	for sev := range incident.Severity(incident.NumSeverities) {
		severity := sev.String()
		for status := range incident.Status(incident.NumStatuses) {
			if status == incident.StatusRedirected || !s.Coverage.Statuses[status] {
				continue
			}
			to.value(incidents, float64(s.Incidents[sev][status][0]), severity, status.String(), "false")
			to.value(incidents, float64(s.Incidents[sev][status][1]), severity, status.String(), "true")
		}
		for i, threshold := range s.Thresholds {
			to.value(openOlder, float64(s.Older[sev][0][i]), severity, "false", Threshold(threshold))
			to.value(openOlder, float64(s.Older[sev][1][i]), severity, "true", Threshold(threshold))
		}
		for i, threshold := range incident.IdleThresholds {
			to.value(openIdle, float64(s.Idle[sev][i]), severity, Threshold(threshold))
		}
		if s.ByPriority != nil {
			for priority, n := range s.ByPriority[sev] {
				to.value(openByPriority, float64(n), severity, incident.Priority(priority).String())
			}
		}
		if at := s.OldestOpen[sev]; !at.IsZero() {
			to.value(oldestOpen, seconds(at), severity)
		}
	}
	collectAssigned(to, &s.Dimensions)
	if !s.AlertsAvailable {
		return
	}
	for _, c := range s.Dimensions.DeviceGroups {
		to.value(openByDeviceGroup, float64(c.Count), c.Severity.String(), c.Label)
	}
	for _, c := range s.Dimensions.Techniques {
		to.value(openByTechnique, float64(c.Count), c.Severity.String(), c.Label)
	}
	for _, c := range s.BySource {
		to.value(openBySource, float64(c.Count), c.Severity.String(), c.Label)
	}
	for _, c := range s.ByCategory {
		to.value(openByCategory, float64(c.Count), c.Severity.String(), c.Label)
	}
	for _, c := range s.Investigations {
		to.value(alertsByInvestigation, float64(c.Count), c.State.String())
	}
}

// collectAssigned shows what was asked for and depends on no alert.
func collectAssigned(to *sink, d *incident.DimensionCounts) {
	for _, c := range d.Tags {
		to.value(openByTag, float64(c.Count), c.Severity.String(), c.Label)
	}
	if d.Assignees == nil {
		return
	}
	to.value(openAssignees, float64(d.Assignees.Persons))
	to.value(busiestAssignee, float64(d.Assignees.Most))
	for _, c := range d.Assignees.ByOwner {
		to.value(openByAssignee, float64(c.Count), c.Owner)
	}
}

func collectReassigned(to *sink, s *incident.Snapshot) {
	if !s.Dimensions.Reassigned {
		return
	}
	for sev, n := range s.Flows.Reassigned {
		to.value(reassigned, float64(n), incident.Severity(sev).String())
	}
}

// collectAll shows what also depends on resolved incidents.
func collectAll(to *sink, s *incident.Snapshot) {
	to.value(incidentsRedirected, float64(s.Redirected))
	for _, c := range s.Resolved {
		to.value(resolvedIncidents, float64(c.Count), c.Severity.String(), c.Classification.String(), c.Determination.String())
	}
	if !s.AlertsAvailable {
		return
	}
	for _, c := range s.Alerts {
		to.value(alerts, float64(c.Count), c.Severity.String(), c.Status.String(), c.Source)
	}
	for _, c := range s.Dimensions.Detectors {
		to.value(resolvedByDetector, float64(c.Count), c.Source, c.Classification.String())
	}
	for _, c := range s.ByDetection {
		to.value(resolvedByDetection, float64(c.Count), c.Source, c.Classification.String())
	}
}

func collectFlows(to *sink, f *incident.Flows) {
	for sev := range incident.Severity(incident.NumSeverities) {
		severity := sev.String()
		to.value(created, float64(f.Created[sev]), severity)
		to.value(reopened, float64(f.Reopened[sev]), severity)
		to.value(merged, float64(f.Merged[sev]), severity)
		for class := range incident.Classification(incident.NumClassifications) {
			to.value(resolved, float64(f.Resolved[sev][class][0]), severity, class.String(), "unassigned")
			to.value(resolved, float64(f.Resolved[sev][class][1]), severity, class.String(), "assigned")
			if h := &f.TimeToResolve[sev][class]; h.Count > 0 || class == incident.ClassificationUnknown {
				to.histogram(timeToResolve, h, incident.DurationBuckets[:], severity, class.String())
			}
		}
		to.histogram(timeToAssign, &f.TimeToAssign[sev], incident.DurationBuckets[:], severity)
		for _, h := range [...]struct {
			metric *Metric
			counts *incident.Histogram
			bounds []float64
		}{
			{timeToDetect, &f.TimeToDetect[sev], incident.DurationBuckets[:]},
			{timeToFirstTouch, &f.TimeToFirstTouch[sev], incident.DurationBuckets[:]},
			{timeInWork, &f.TimeInWork[sev], incident.DurationBuckets[:]},
			{alertsOfIncident, &f.Alerts[sev], incident.AlertBuckets[:]},
		} {
			if h.counts.Count > 0 {
				to.histogram(h.metric, h.counts, h.bounds, severity)
			}
		}
	}
}

// collectObjectives shows those that there are.
func collectObjectivesMet(to *sink, s *incident.Snapshot) {
	eachObjective(s, func(severity, objective string, _ time.Duration, met [2]uint64) {
		to.value(objectives, float64(met[0]), severity, objective, "false")
		to.value(objectives, float64(met[1]), severity, objective, "true")
	})
}

// eachObjective calls do for each objective that there is, with its setting and how
// often it was missed and met.
func eachObjective(s *incident.Snapshot, do func(severity, objective string, bound time.Duration, met [2]uint64)) {
	for sev, bounds := range s.Objectives {
		for o, bound := range bounds {
			if bound > 0 {
				do(incident.Severity(sev).String(), incident.Objective(o).String(), bound, s.Flows.Objectives[sev][o])
			}
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
