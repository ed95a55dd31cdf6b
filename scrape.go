package main

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/collector"
)

// scrape serves the metrics of the process and of all tenants. It answers as
// promhttp would, from series that are kept encoded, and leaves to promhttp
// what is out of the ordinary: errors, rare formats, weighted encodings.
type scrape struct {
	tenants  *tenants
	process  prometheus.Gatherer
	promhttp http.Handler
	failures prometheus.Counter
	logger   *slog.Logger
	zips     sync.Pool
}

// newScrape registers with the process what promhttp tells of itself.
func newScrape(set *tenants, process *prometheus.Registry, logger *slog.Logger) *scrape {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "promhttp_metric_handler_errors_total",
		Help: "Total number of internal errors encountered by the promhttp metric handler.",
	}, []string{"cause"})
	process.MustRegister(failures) // promhttp takes it for its own
	s := &scrape{tenants: set, process: process, failures: failures.WithLabelValues("encoding"), logger: logger}
	s.promhttp = promhttp.HandlerFor(prometheus.GathererFunc(s.gather), promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelError),
		EnableOpenMetrics: true,
		Registry:          process,
	})
	s.zips.New = func() any {
		// A fleet's exposition is tens of megabytes of much the same. The standard
		// library's gzip would take twice as long.
		zip, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			return gzip.NewWriter(nil)
		}
		return zip
	}
	return s
}

// gather is the same without any short cut.
func (s *scrape) gather() ([]*dto.MetricFamily, error) {
	registry := prometheus.NewRegistry()
	for _, t := range s.tenants.all() {
		named := prometheus.WrapRegistererWith(prometheus.Labels{"tenant": t.config.Name}, registry)
		for _, source := range t.series.Sources() {
			if err := named.Register(source); err != nil {
				return nil, err
			}
		}
	}
	return prometheus.Gatherers{s.process, registry}.Gather()
}

func (s *scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	zipped, plain := acceptEncoding(r.Header)
	families, err := s.process.Gather()
	if err != nil || !plain || !collector.Encodes(format) {
		s.promhttp.ServeHTTP(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", string(format))
	header["Vary"] = []string{"Accept", "Accept-Encoding"}
	out := io.Writer(w)
	if zipped {
		header.Set("Content-Encoding", "gzip")
		zip := s.zips.Get().(*gzip.Writer)
		defer s.zips.Put(zip)
		zip.Reset(w)
		defer func() { _ = zip.Close() }() // fails if the connection has failed
		out = zip
	}
	all := s.tenants.all()
	series := make([]*collector.Series, len(all))
	for i, t := range all {
		series[i] = t.series
	}
	if err := collector.Write(out, format, families, series, wanted(r)); err != nil {
		s.failures.Inc()
		s.logger.Debug("A scrape was not sent to its end", "err", err)
	}
}

// wanted is the filter that the query names, nil if it names none.
func wanted(r *http.Request) func(string) bool {
	names := r.URL.Query()["name[]"]
	if len(names) == 0 {
		return nil
	}
	return func(name string) bool { return slices.Contains(names, name) }
}

// acceptEncoding tells whether the answer is to be zipped, if that is plain:
// nobody weighs encodings or accepts just any.
func acceptEncoding(h http.Header) (zipped, plain bool) {
	identity := false
	for _, line := range h["Accept-Encoding"] {
		for name := range strings.SplitSeq(line, ",") {
			switch name = strings.TrimSpace(name); {
			case strings.ContainsAny(name, ";*"):
				return false, false
			case name == "gzip":
				zipped = true
			case name == "identity":
				identity = true
			}
		}
	}
	return zipped && !identity, true
}
