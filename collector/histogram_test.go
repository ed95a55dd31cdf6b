package collector

import (
	"testing"

	dto "github.com/prometheus/client_model/go"

	"m365_defender_exporter/internal/incident"
)

// TestEmptyHistogramIsNative: Prometheus 2.42 takes a histogram without
// observations for a classic one unless it has a zero threshold.
func TestEmptyHistogramIsNative(t *testing.T) {
	var got dto.Metric
	if err := timeToAssign.constHistogram(&incident.Histogram{}, incident.DurationBuckets[:], epoch, "high").Write(&got); err != nil {
		t.Fatal(err)
	}
	h := got.GetHistogram()
	if h.Schema == nil || h.GetZeroThreshold() <= 0 {
		t.Errorf("schema %v, zero threshold %v: not recognisable as native", h.Schema, h.GetZeroThreshold())
	}
	if got, want := len(h.GetBucket()), len(incident.DurationBuckets); got != want {
		t.Errorf("%d classic buckets, want %d", got, want)
	}
}
