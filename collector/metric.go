// Package collector turns a tenant's snapshot and status into metrics. Every
// metric is described once, in the table in table.go, from which METRICS.md is
// generated. A scrape reads memory: nothing here can block or call anything.
package collector

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Namespace begins every metric's name.
const Namespace = "m365_defender"

// Type of a metric.
type Type string

// The types.
const (
	Gauge     Type = "gauge"
	Counter   Type = "counter"
	Histogram Type = "histogram"
)

// Metric describes one metric. It says nothing of the tenant: the registry
// that a collector is put into adds that label.
type Metric struct {
	Name   string
	Type   Type
	Help   string
	Labels []string
	desc   *prometheus.Desc
	index  int    // in the table
	layout layout // of its samples
}

// table lists all metrics in the order in which they are documented.
var table []*Metric

// Metrics lists all metrics in the order in which they are documented.
func Metrics() []*Metric { return slices.Clone(table) }

// ageHint ends the help of everything that is served from the cache.
const ageHint = " Cached: as of " + Namespace + `_refresh_last_success_timestamp_seconds{kind="delta"}.`

func define(name string, typ Type, help string, labels ...string) *Metric {
	m := &Metric{Name: Namespace + "_" + name, Type: typ, Help: help, Labels: labels}
	m.desc = prometheus.NewDesc(m.Name, m.Help, labels, nil)
	m.index, m.layout = len(table), newLayout(labels)
	table = append(table, m)
	return m
}

func cached(name string, typ Type, help string, labels ...string) *Metric {
	return define(name, typ, help+ageHint, labels...)
}

// Func exposes a metric whose values are computed at scrape time, because they
// depend on the clock. The function must not block.
type Func struct {
	metric *Metric
	start  time.Time // since when a counter is counted
	values func(emit func(v float64, labels ...string))
}

// NewFunc returns a collector of one metric of the table.
func NewFunc(m *Metric, values func(emit func(v float64, labels ...string))) *Func {
	return &Func{metric: m, values: values}
}

// Since says when a counter was at zero, for all of its values.
func (f *Func) Since(start time.Time) *Func {
	f.start = start
	return f
}

// Describe implements prometheus.Collector.
func (f *Func) Describe(ch chan<- *prometheus.Desc) { ch <- f.metric.desc }

// Collect implements prometheus.Collector.
func (f *Func) Collect(ch chan<- prometheus.Metric) { f.samples(&sink{ch: ch}) }

func (f *Func) metrics() []*Metric { return []*Metric{f.metric} }

func (f *Func) version() any { return nil }

func (f *Func) samples(to *sink) {
	to.start = f.start
	f.values(func(v float64, labels ...string) { to.value(f.metric, v, labels...) })
}

// WriteMarkdown writes the reference of all metrics.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Metrics

Generated from the table in ` + "`collector/table.go`" + `; do not edit. What belongs to a tenant also carries the label
` + "`tenant`" + `: its configured name, by default its id. What belongs to the exporter itself does not, and says so; nor do ` + "`go_*`, `process_*` and `promhttp_*`" + `.

A series whose value is not known yet, or not any more, is absent: nothing is shown as zero that is not known to be zero.

Every histogram has classic and native buckets; every counter and histogram has a start time, of what happens to incidents the end of the first
sync: [histograms and start times](docs/configuration.md#histograms-and-start-times).

What the times, shares and verdicts mean, what n is, and what moves them: [what each number means](docs/numbers.md).

| name | type | labels | meaning |
|---|---|---|---|
`)
	for _, m := range table {
		labels := strings.Join(m.Labels, ", ")
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, strings.ReplaceAll(m.Help, "|", `\|`))
	}
	b.WriteString("| `" + Namespace + "_exporter_build_info` | gauge | version, revision, branch, goversion, goos, goarch, tags | Constant 1, labeled by what is running. Without the label tenant. |\n")
	_, err := io.WriteString(w, b.String())
	return err
}
