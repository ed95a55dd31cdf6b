package collector

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StateStore counts what the store of the state is asked. Its methods are safe for
// concurrent use.
type StateStore struct {
	duration *prometheus.HistogramVec
	down     atomic.Bool
}

// NewStateStore returns the metrics of a store that was asked nothing yet, for one
// of the operations each.
func NewStateStore(operations ...string) *StateStore {
	s := &StateStore{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            stateDuration.Name,
		Help:                            stateDuration.Help,
		Buckets:                         []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, stateDuration.Labels)}
	for _, operation := range operations {
		s.duration.WithLabelValues(operation)
	}
	return s
}

// Exchange counts one; failed says that the store did not do what it is there for.
func (s *StateStore) Exchange(operation string, took time.Duration, failed bool) {
	s.duration.WithLabelValues(operation).Observe(took.Seconds())
	s.down.Store(failed)
}

// Describe implements prometheus.Collector.
func (s *StateStore) Describe(ch chan<- *prometheus.Desc) {
	s.duration.Describe(ch)
	ch <- stateUp.desc
}

// Collect implements prometheus.Collector.
func (s *StateStore) Collect(ch chan<- prometheus.Metric) {
	s.duration.Collect(ch)
	up := 1.
	if s.down.Load() {
		up = 0
	}
	ch <- prometheus.MustNewConstMetric(stateUp.desc, prometheus.GaugeValue, up)
}
