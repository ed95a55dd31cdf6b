package collector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var delimited = expfmt.NewFormat(expfmt.TypeProtoDelim)

// seriesOf are those of one tenant, without the counters of its calls, whose
// start is that of the test.
func seriesOf(t *Tenant) []*Series {
	failures := NewFunc(StateSaveFailures, func(emit func(float64, ...string)) { emit(2) }).Since(epoch.Add(-time.Second))
	return []*Series{NewSeries("contoso", t, failures)}
}

// TestExpositionWithStartTimes compares whole expositions in the formats that
// have a place for start times: protobuf, and OpenMetrics with them and without.
func TestExpositionWithStartTimes(t *testing.T) {
	for file, wanted := range map[string]Wanted{
		"complete.openmetrics": {Format: expfmt.FmtOpenMetrics_1_0_0},
		"created.openmetrics":  {Format: expfmt.FmtOpenMetrics_1_0_0, CreatedLines: true},
		"complete.protobuf":    {Format: delimited},
	} {
		t.Run(file, func(t *testing.T) {
			var got bytes.Buffer
			write(t, &got, wanted, nil, seriesOf(tenantIn(complete, true, epoch)))
			if wanted.Format == delimited {
				compare(t, file, protoText(t, &got))
			} else {
				compare(t, file, got.Bytes())
			}
		})
	}
}

// readFamilies reads delimited protocol buffers.
func readFamilies(t *testing.T, from io.Reader) (families []*dto.MetricFamily) {
	t.Helper()
	decoder := expfmt.NewDecoder(from, delimited)
	for {
		family := &dto.MetricFamily{}
		if err := decoder.Decode(family); errors.Is(err, io.EOF) {
			return families
		} else if err != nil {
			t.Fatal(err)
		}
		families = append(families, family)
	}
}

// protoText writes delimited protocol buffers as text, a line for each metric.
func protoText(t *testing.T, from io.Reader) []byte {
	t.Helper()
	var text bytes.Buffer
	spaces := regexp.MustCompile(" +") // whose number the library does not promise
	for _, family := range readFamilies(t, from) {
		metrics := family.Metric
		family.Metric = nil
		fmt.Fprintln(&text, spaces.ReplaceAllString(prototext.MarshalOptions{}.Format(family), " "))
		for _, m := range metrics {
			line := prototext.MarshalOptions{}.Format(&dto.MetricFamily{Metric: []*dto.Metric{m}})
			fmt.Fprintln(&text, spaces.ReplaceAllString(line, " "))
		}
	}
	return text.Bytes()
}

// startOf is the start time of a counter or histogram; false for anything else.
func startOf(m *dto.Metric) (*timestamppb.Timestamp, bool) {
	switch {
	case m.Counter != nil:
		return m.Counter.CreatedTimestamp, true
	case m.Histogram != nil:
		return m.Histogram.CreatedTimestamp, true
	}
	return nil, false
}

// TestStart: every counter and histogram has a start time, unless it is of a
// state that has none: what is not known is not told, for a start after the
// first increment would be wrong.
func TestStart(t *testing.T) {
	api := NewAPI()
	api.Token("timeout")
	for _, known := range []bool{true, false} {
		tenant := tenantIn(complete, true, epoch)
		if !known {
			refresher := tenant.opts.Refresher.(fixed)
			refresher.snapshot.Flows.Start, refresher.status.Start = time.Time{}, time.Time{}
		}
		all := append(seriesOf(tenant), NewSeries("calls", api))
		var out bytes.Buffer
		write(t, &out, Wanted{Format: delimited}, nil, all)
		encoded, found := readFamilies(t, &out), map[string]bool{}
		registered := gathered(t, all, prometheus.NewRegistry())
		for _, family := range append(encoded, registered...) {
			saved := strings.HasPrefix(family.GetName(), Namespace+"_incident") || family.GetName() == unrecognized.Name ||
				family.GetName() == sweepCorrections.Name || family.GetName() == rowsSkipped.Name
			for _, m := range family.Metric {
				start, counts := startOf(m)
				found[family.GetName()] = true
				if want := counts && (known || !saved); (start != nil) != want {
					t.Errorf("known=%v: %s %v: start %v", known, family.GetName(), m.Label, start)
				}
			}
		}
		for _, m := range table {
			if ofProcess := strings.HasSuffix(m.Help, "Without the label tenant."); m.Type != Gauge && !ofProcess && !found[m.Name] {
				t.Errorf("%s is not there", m.Name)
			}
		}
	}
}
