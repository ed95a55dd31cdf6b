package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"m365_defender_exporter/internal/incident"
)

// histogram is a constant histogram with classic and native buckets. The
// library has constant ones of either kind, not of both.
type histogram struct {
	prometheus.Metric // the native one
	classic           []*dto.Bucket
}

// constHistogram makes one sample. A zero threshold other than 0 tells a Prometheus
// that keeps native histograms that this is one, even as long as it is empty;
// otherwise an older one (2.42) would begin with classic buckets.
func (m *Metric) constHistogram(h *incident.Histogram, bounds []float64, labels ...string) prometheus.Metric {
	native, err := prometheus.NewConstNativeHistogram(m.desc, h.Count, h.Sum, h.Native, nil, h.Zero,
		incident.NativeSchema, prometheus.DefNativeHistogramZeroThreshold, time.Time{}, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(m.desc, err)
	}
	return histogram{native, classicBuckets(h, bounds)}
}

// classicBuckets are cumulative.
func classicBuckets(h *incident.Histogram, bounds []float64) []*dto.Bucket {
	classic := make([]*dto.Bucket, len(bounds))
	var sum uint64
	for i := range bounds {
		sum += h.Classic[i]
		classic[i] = &dto.Bucket{UpperBound: &bounds[i], CumulativeCount: new(sum)}
	}
	return classic
}

// Write implements prometheus.Metric.
func (h histogram) Write(out *dto.Metric) error {
	if err := h.Metric.Write(out); err != nil {
		return err
	}
	out.Histogram.Bucket = h.classic
	// It goes on over restarts; there is no instant at which it began.
	out.Histogram.CreatedTimestamp = nil
	return nil
}
