package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
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
	openOlder, oldestOpen, alerts, alertsAvailable, created, resolved, reopened, timeToAssign, timeToResolve,
	unrecognized, up, firstSyncComplete, refreshInterval, lastSuccess, lastAttempt, lastDuration, refreshes,
	refreshFailures, sweepCorrections,
}

// Describe implements prometheus.Collector.
func (t *Tenant) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range tenantMetrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (t *Tenant) Collect(ch chan<- prometheus.Metric) {
	collectStatus(ch, t.opts.Refresher.Status())
	s := t.opts.Refresher.Snapshot()
	if s == nil {
		return
	}
	if s.Coverage.All {
		// What was counted stays true however old it is.
		collectFlows(ch, &s.Flows)
	}
	if t.opts.MaxAge > 0 && t.opts.Now().Sub(s.At) > t.opts.MaxAge {
		return
	}
	collectOpen(ch, s)
	if s.Coverage.All {
		collectAll(ch, s)
	}
}

func collectStatus(ch chan<- prometheus.Metric, s *refresh.Status) {
	ch <- up.value(number(s.Up))
	ch <- firstSyncComplete.value(number(s.Coverage.Open), "open")
	ch <- firstSyncComplete.value(number(s.Coverage.All), "all")
	ch <- refreshInterval.value(s.Interval.Seconds())
	for i, kind := range refresh.Kinds {
		k := &s.Kinds[i]
		if !k.LastSuccess.IsZero() {
			ch <- lastSuccess.value(seconds(k.LastSuccess), kind)
		}
		if !k.LastAttempt.IsZero() {
			ch <- lastAttempt.value(seconds(k.LastAttempt), kind)
		}
		ch <- refreshes.value(float64(k.Refreshes), kind)
		if k.Refreshes > 0 {
			ch <- lastDuration.value(k.LastDuration.Seconds(), kind)
		}
		for reason, n := range k.Failures {
			ch <- refreshFailures.value(float64(n), kind, refresh.Reasons[reason])
		}
	}
	for i, kind := range refresh.Corrections {
		ch <- sweepCorrections.value(float64(s.Corrections[i]), kind)
	}
}

// collectOpen shows what is known once the open incidents are.
func collectOpen(ch chan<- prometheus.Metric, s *incident.Snapshot) {
	ch <- incidentsCached.value(float64(s.Rows))
	ch <- alertsAvailable.value(number(s.AlertsAvailable))
	for sev := range incident.Severity(incident.NumSeverities) {
		severity := sev.String()
		for status := range incident.Status(incident.NumStatuses) {
			if status == incident.StatusRedirected || !s.Coverage.Statuses[status] {
				continue
			}
			ch <- incidents.value(float64(s.Incidents[sev][status][0]), severity, status.String(), "false")
			ch <- incidents.value(float64(s.Incidents[sev][status][1]), severity, status.String(), "true")
		}
		for i, threshold := range s.Thresholds {
			ch <- openOlder.value(float64(s.Older[sev][i]), severity, Threshold(threshold))
		}
		if at := s.OldestOpen[sev]; !at.IsZero() {
			ch <- oldestOpen.value(seconds(at), severity)
		}
	}
	if !s.AlertsAvailable {
		return
	}
	for _, c := range s.BySource {
		ch <- openBySource.value(float64(c.Count), c.Severity.String(), c.Label)
	}
	for _, c := range s.ByCategory {
		ch <- openByCategory.value(float64(c.Count), c.Severity.String(), c.Label)
	}
}

// collectAll shows what also depends on resolved incidents.
func collectAll(ch chan<- prometheus.Metric, s *incident.Snapshot) {
	ch <- incidentsRedirected.value(float64(s.Redirected))
	for _, c := range s.Resolved {
		ch <- resolvedIncidents.value(float64(c.Count), c.Severity.String(), c.Classification.String(), c.Determination.String())
	}
	if !s.AlertsAvailable {
		return
	}
	for _, c := range s.Alerts {
		ch <- alerts.value(float64(c.Count), c.Severity.String(), c.Status.String(), c.Source)
	}
}

func collectFlows(ch chan<- prometheus.Metric, f *incident.Flows) {
	for sev := range incident.Severity(incident.NumSeverities) {
		severity := sev.String()
		ch <- created.value(float64(f.Created[sev]), severity)
		ch <- reopened.value(float64(f.Reopened[sev]), severity)
		for class := range incident.Classification(incident.NumClassifications) {
			ch <- resolved.value(float64(f.Resolved[sev][class]), severity, class.String())
		}
		ch <- timeToAssign.histogram(&f.TimeToAssign[sev], severity)
		ch <- timeToResolve.histogram(&f.TimeToResolve[sev], severity)
	}
	for i, field := range incident.FieldNames {
		ch <- unrecognized.value(float64(f.Unrecognized[i]), field)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
