package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"m365_defender_exporter/internal/incident"
)

// histogram is a constant histogram with classic and native buckets. The
// library has constant ones of either kind, not of both.
type histogram struct {
	prometheus.Metric // the native one
	classic           []*dto.Bucket
	start             *timestamppb.Timestamp
}

// constHistogram makes one sample. A zero threshold other than 0 tells a Prometheus
// that keeps native histograms that this is one, even as long as it is empty;
// otherwise an older one (2.42) would begin with classic buckets.
func (m *Metric) constHistogram(h *incident.Histogram, bounds []float64, start time.Time, labels ...string) prometheus.Metric {
	native, err := prometheus.NewConstNativeHistogram(m.desc, h.Count, h.Sum, h.Native, nil, h.Zero,
		incident.NativeSchema, prometheus.DefNativeHistogramZeroThreshold, start, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(m.desc, err)
	}
	return histogram{native, classicBuckets(h, bounds), timestamp(start)}
}

// timestamp is nil for the zero time, of which the library would make the year 1.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
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
	out.Histogram.CreatedTimestamp = h.start
	return nil
}
