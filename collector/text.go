package collector

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// textEncoder writes the text format of Prometheus or of OpenMetrics, the latter
// with or without the lines _created.
type textEncoder struct{ openMetrics, created bool }

// head is what the library writes before any sample.
func (e textEncoder) head(m *Metric) ([]byte, error) {
	text, head, err := e.library(nil, m, &dto.Metric{Gauge: &dto.Gauge{}, Counter: &dto.Counter{}, Histogram: &dto.Histogram{}})
	return text[:head], err
}

// metric is what the library writes after the head.
func (e textEncoder) metric(dst []byte, m *Metric, d *dto.Metric) ([]byte, error) {
	text, head, err := e.library(dst, m, d)
	return append(text[:len(dst)], text[len(dst)+head:]...), err
}

// library appends one metric with its head, of which it returns the length.
func (e textEncoder) library(dst []byte, m *Metric, d *dto.Metric) (text []byte, head int, err error) {
	b := bytes.NewBuffer(dst)
	if e.openMetrics {
		_, err = expfmt.MetricFamilyToOpenMetrics(b, m.family(d), createdLines(e.created)...)
	} else {
		_, err = expfmt.MetricFamilyToText(b, m.family(d))
	}
	text = b.Bytes()
	for rest := text[len(dst):]; head < len(rest) && rest[head] == '#'; {
		head += bytes.IndexByte(rest[head:], '\n') + 1
	}
	return text, head, err
}

// createdLines are the options of the library.
func createdLines(wanted bool) (options []expfmt.EncoderOption) {
	if wanted {
		options = append(options, expfmt.WithCreatedLines())
	}
	return options
}

func (e textEncoder) sample(dst []byte, m *Metric, tenant string, v float64, start time.Time, labels []string) []byte {
	begin := len(dst)
	dst = append(append(dst, m.Name...), '{')
	dst = append(appendLabels(dst, m, tenant, labels), "} "...)
	pairs := dst[begin+len(m.Name):]
	dst = e.number(dst, v, '\n')
	if e.created && !start.IsZero() {
		dst = append(append(dst, strings.TrimSuffix(m.Name, "_total")...), "_created"...)
		dst = append(dst, pairs...)
		dst = e.number(dst, float64(start.UnixNano())/1e9, '\n')
	}
	return dst
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
