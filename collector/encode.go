package collector

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// An encoder writes the samples of one metric of one tenant so that they can
// be strung together after the metric's head. Gauges and counters are written
// here, for which the library would take several microseconds each; a test
// compares them with what it writes. Everything else it writes itself.
type encoder interface {
	// head begins a metric.
	head(*Metric) ([]byte, error)
	// sample appends a gauge or a counter; of the latter also the start, unless it is
	// zero.
	sample(dst []byte, m *Metric, tenant string, v float64, start time.Time, labels []string) []byte
	// metric appends anything; its labels are complete and sorted.
	metric(dst []byte, m *Metric, d *dto.Metric) ([]byte, error)
}

// Encodes tells whether the format is one that Series can be written in.
func Encodes(format expfmt.Format) bool { return encoderOf(format, false) >= 0 }

// The encoders, by index.
var encoders = [...]encoder{
	textEncoder{}, textEncoder{openMetrics: true}, textEncoder{openMetrics: true, created: true}, protoEncoder{},
}

// encoderOf is the index of an encoder, which writes the lines _created if it is
// one of OpenMetrics and they are asked for.
func encoderOf(format expfmt.Format, created bool) int {
	switch format.FormatType() {
	case expfmt.TypeTextPlain:
		return 0
	case expfmt.TypeOpenMetrics:
		if version := string(format); !strings.Contains(version, "version=0.0.1") && !strings.Contains(version, "version=1.0.0") {
			return -1
		}
		if created {
			return 2
		}
		return 1
	case expfmt.TypeProtoDelim:
		return 3
	}
	return -1
}

// layout is the order of a metric's labels with the tenant's among them:
// sorted by name. What is negative is the tenant.
type layout struct {
	names []string
	from  []int
}

func newLayout(labels []string) layout {
	l := layout{names: slices.Sorted(slices.Values(append([]string{"tenant"}, labels...)))}
	for _, name := range l.names {
		l.from = append(l.from, slices.Index(labels, name))
	}
	return l
}

func (l *layout) value(i int, tenant string, labels []string) string {
	if from := l.from[i]; from >= 0 {
		return labels[from]
	}
	return tenant
}

// named adds the tenant to the labels of what the library made.
func named(d *dto.Metric, tenant string) *dto.Metric {
	d.Label = append(d.Label, &dto.LabelPair{Name: new("tenant"), Value: &tenant})
	slices.SortFunc(d.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return d
}

var types = map[Type]dto.MetricType{
	Gauge: dto.MetricType_GAUGE, Counter: dto.MetricType_COUNTER, Histogram: dto.MetricType_HISTOGRAM,
}

func (m *Metric) family(metrics ...*dto.Metric) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: types[m.Type].Enum(), Metric: metrics}
}

// protoEncoder writes delimited protocol buffers, without their length. The
// numbers are those of the fields in io.prometheus.client.
type protoEncoder struct{}

func (protoEncoder) head(m *Metric) ([]byte, error) { return proto.Marshal(m.family()) }

func (protoEncoder) metric(dst []byte, _ *Metric, d *dto.Metric) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(dst, &dto.MetricFamily{Metric: []*dto.Metric{d}})
}

func (protoEncoder) sample(dst []byte, m *Metric, tenant string, v float64, start time.Time, labels []string) []byte {
	const (
		familyMetric          = 4
		label, gauge, counter = 1, 2, 3
		pairName, pairValue   = 1, 2
		value, created        = 1, 3
	)
	number, kind := make([]byte, 0, 32), protowire.Number(gauge)
	if m.Type == Counter {
		kind = counter
	}
	number = protowire.AppendTag(number, value, protowire.Fixed64Type)
	number = binary.LittleEndian.AppendUint64(number, math.Float64bits(v))
	if !start.IsZero() {
		instant := appendTimestamp(make([]byte, 0, 16), start)
		number = protowire.AppendTag(number, created, protowire.BytesType)
		number = protowire.AppendBytes(number, instant)
	}
	pair := func(i int) int {
		return protowire.SizeTag(pairName) + protowire.SizeBytes(len(m.layout.names[i])) +
			protowire.SizeTag(pairValue) + protowire.SizeBytes(len(m.layout.value(i, tenant, labels)))
	}
	size := protowire.SizeTag(kind) + protowire.SizeBytes(len(number))
	for i := range m.layout.names {
		size += protowire.SizeTag(label) + protowire.SizeBytes(pair(i))
	}
	dst = protowire.AppendTag(dst, familyMetric, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	for i, name := range m.layout.names {
		dst = protowire.AppendTag(dst, label, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(pair(i)))
		dst = protowire.AppendTag(dst, pairName, protowire.BytesType)
		dst = protowire.AppendString(dst, name)
		dst = protowire.AppendTag(dst, pairValue, protowire.BytesType)
		dst = protowire.AppendString(dst, m.layout.value(i, tenant, labels))
	}
	dst = protowire.AppendTag(dst, kind, protowire.BytesType)
	return protowire.AppendBytes(dst, number)
}

// appendTimestamp writes a google.protobuf.Timestamp.
func appendTimestamp(dst []byte, t time.Time) []byte {
	const seconds, nanos = 1, 2
	dst = protowire.AppendTag(dst, seconds, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(t.Unix()))
	if ns := t.Nanosecond(); ns != 0 {
		dst = protowire.AppendTag(dst, nanos, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(ns))
	}
	return dst
}
