package collector

import (
	"bytes"
	"io"
	"math"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/internal/incident"
)

// textEncoder writes the text format of Prometheus or of OpenMetrics.
type textEncoder struct{ openMetrics bool }

// head is what the library writes before any sample.
func (e textEncoder) head(m *Metric) ([]byte, error) {
	write := expfmt.MetricFamilyToText
	if e.openMetrics {
		write = func(w io.Writer, f *dto.MetricFamily) (int, error) { return expfmt.MetricFamilyToOpenMetrics(w, f) }
	}
	var b bytes.Buffer
	_, err := write(&b, m.family(&dto.Metric{Gauge: &dto.Gauge{}, Counter: &dto.Counter{}, Histogram: &dto.Histogram{}}))
	text, n := b.Bytes(), 0
	for n < len(text) && text[n] == '#' {
		n += bytes.IndexByte(text[n:], '\n') + 1
	}
	return text[:n], err
}

func (e textEncoder) sample(dst []byte, m *Metric, tenant string, v float64, labels []string) []byte {
	dst = append(append(dst, m.Name...), '{')
	dst = appendLabels(dst, m, tenant, labels)
	return e.number(append(dst, "} "...), v, '\n')
}

// appendLabels writes the label pairs without what is around them.
func appendLabels(dst []byte, m *Metric, tenant string, labels []string) []byte {
	for i, name := range m.layout.names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name...), '=', '"')
		dst = append(appendEscaped(dst, m.layout.value(i, tenant, labels)), '"')
	}
	return dst
}

// histogram leaves the native buckets out: text has no place for them.
func (e textEncoder) histogram(dst []byte, m *Metric, tenant string, h *incident.Histogram, labels []string) ([]byte, error) {
	var space [128]byte
	pairs := appendLabels(space[:0], m, tenant, labels)
	var sum uint64
	for i, n := range h.Classic {
		sum += n
		dst = e.bucket(dst, m, pairs, incident.DurationBuckets[i], sum)
	}
	return e.total(dst, m, pairs, h.Sum, h.Count), nil
}

func (e textEncoder) metric(dst []byte, m *Metric, d *dto.Metric) ([]byte, error) {
	var space [128]byte
	pairs := space[:0]
	for i, l := range d.Label {
		if i > 0 {
			pairs = append(pairs, ',')
		}
		pairs = append(append(pairs, l.GetName()...), '=', '"')
		pairs = append(appendEscaped(pairs, l.GetValue()), '"')
	}
	if m.Type == Histogram {
		for _, b := range d.Histogram.Bucket {
			dst = e.bucket(dst, m, pairs, b.GetUpperBound(), b.GetCumulativeCount())
		}
		return e.total(dst, m, pairs, d.Histogram.GetSampleSum(), d.Histogram.GetSampleCount()), nil
	}
	dst = append(append(append(dst, m.Name...), '{'), pairs...)
	return e.number(append(dst, "} "...), d.GetGauge().GetValue()+d.GetCounter().GetValue(), '\n'), nil
}

func (e textEncoder) bucket(dst []byte, m *Metric, pairs []byte, bound float64, n uint64) []byte {
	dst = append(append(dst, m.Name...), "_bucket{"...)
	dst = append(append(dst, pairs...), `,le="`...)
	dst = append(e.number(dst, bound, '"'), "} "...)
	return append(strconv.AppendUint(dst, n, 10), '\n')
}

// total writes the bucket of everything, the sum and the count.
func (e textEncoder) total(dst []byte, m *Metric, pairs []byte, sum float64, count uint64) []byte {
	dst = e.bucket(dst, m, pairs, math.Inf(1), count)
	dst = append(append(dst, m.Name...), "_sum{"...)
	dst = e.number(append(append(dst, pairs...), "} "...), sum, '\n')
	dst = append(append(dst, m.Name...), "_count{"...)
	dst = append(append(dst, pairs...), "} "...)
	return append(strconv.AppendUint(dst, count, 10), '\n')
}

// number writes a value and what follows it.
func (e textEncoder) number(dst []byte, v float64, end byte) []byte {
	start := len(dst)
	switch {
	case math.IsInf(v, 1):
		return append(dst, '+', 'I', 'n', 'f', end)
	case v == math.Trunc(v) && math.Abs(v) < 1e6:
		dst = strconv.AppendInt(dst, int64(v), 10) // as %g would, but faster
		if e.openMetrics {
			dst = append(dst, '.', '0')
		}
	default:
		dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
		if e.openMetrics && !bytes.ContainsAny(dst[start:], "e.IN") {
			dst = append(dst, '.', '0')
		}
	}
	return append(dst, end)
}

func appendEscaped(dst []byte, s string) []byte {
	if !special(s) {
		return append(dst, s...)
	}
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// special tells whether something has to be escaped. It is asked a million
// times a scrape, and strings.ContainsAny would take half of the encoder's time.
func special(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '\\' || c == '"' || c == '\n' {
			return true
		}
	}
	return false
}
