package collector

import (
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"m365_defender_exporter/internal/incident"
)

// Source collects some metrics of the table. All collectors of this package
// are Sources.
type Source interface {
	prometheus.Collector
	// metrics are those that it collects; no other Source has them.
	metrics() []*Metric
	// version is equal to an earlier one only if the samples are; nil: it is
	// not known.
	version() any
	samples(*sink)
}

// sink takes samples: for a registry, or encoded at once.
type sink struct {
	ch chan<- prometheus.Metric // nil: encode
	// start is since when the counters and histograms that come next are counted.
	// Zero: it is not known.
	start time.Time

	encoder encoder
	tenant  string
	labels  []string // of the sample at hand
	out     [][]byte // by index of the metric
	err     error
}

// value takes one sample. Its label values are ours, never a user's, so that a
// mistake in them is a mistake in this package.
func (s *sink) value(m *Metric, v float64, labels ...string) {
	if s.ch == nil {
		s.labels = append(s.labels[:0], labels...) // copied, so that the caller's stay on the stack
		start := s.start
		if m.Type != Counter {
			start = time.Time{}
		}
		s.out[m.index] = s.encoder.sample(s.out[m.index], m, s.tenant, v, start, s.labels)
		return
	}
	labels = slices.Clone(labels)
	switch {
	case m.Type != Counter:
		s.ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, v, labels...)
	case s.start.IsZero():
		s.ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, v, labels...)
	default:
		s.ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(m.desc, prometheus.CounterValue, v, s.start, labels...)
	}
}

// histogram takes one sample, with classic buckets that end at these bounds.
func (s *sink) histogram(m *Metric, h *incident.Histogram, bounds []float64, labels ...string) {
	if _, text := s.encoder.(textEncoder); !text {
		s.metric(m, m.constHistogram(h, bounds, s.start, slices.Clone(labels)...))
		return
	}
	// Text has no place for native buckets, nor for what is wrong with them.
	d := &dto.Metric{Histogram: &dto.Histogram{SampleCount: &h.Count, SampleSum: &h.Sum, Bucket: classicBuckets(h, bounds), CreatedTimestamp: timestamp(s.start)}}
	for i, name := range m.layout.names {
		d.Label = append(d.Label, &dto.LabelPair{Name: &name, Value: new(m.layout.value(i, s.tenant, labels))})
	}
	var err error
	s.out[m.index], err = s.encoder.metric(s.out[m.index], m, d)
	s.err = errors.Join(s.err, err)
}

// metric takes what the library made.
func (s *sink) metric(m *Metric, made prometheus.Metric) {
	if s.ch != nil {
		s.ch <- made
		return
	}
	var d dto.Metric
	err := made.Write(&d)
	if err == nil {
		s.out[m.index], err = s.encoder.metric(s.out[m.index], m, named(&d, s.tenant))
	}
	s.err = errors.Join(s.err, err)
}
