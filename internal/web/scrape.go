package web

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/tenant"
)

// scrape serves the metrics of the process and of all tenants. It answers as
// promhttp would, from series that are kept encoded, and leaves to promhttp
// what is out of the ordinary: errors, rare formats, weighted encodings.
type scrape struct {
	fleet    Fleet
	process  prometheus.Gatherer
	created  bool // lines _created in OpenMetrics
	promhttp http.Handler
	failures prometheus.Counter
	told     atomic.Pointer[string] // who was left out last
	logger   *slog.Logger
	zips     sync.Pool
}

// newScrape registers with the process what promhttp tells of itself.
func newScrape(o Options, process *prometheus.Registry) *scrape {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "promhttp_metric_handler_errors_total",
		Help: "Total number of internal errors encountered by the promhttp metric handler.",
	}, []string{"cause"})
	process.MustRegister(failures) // promhttp takes it for its own
	s := &scrape{
		fleet: o.Fleet, process: countedSince(o.Started, process), created: o.CreatedLines,
		failures: failures.WithLabelValues("encoding"), logger: o.Logger,
	}
	s.promhttp = promhttp.HandlerFor(prometheus.GathererFunc(s.gather), promhttp.HandlerOpts{
		ErrorLog:                            slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: o.CreatedLines,
		Registry:                            process,
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

// countedSince gives the process's start to what counts without a start time of
// its own: the metrics of Go and of the process, which do so from there on.
func countedSince(started time.Time, process prometheus.Gatherer) prometheus.Gatherer {
	if started.IsZero() {
		return process
	}
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := process.Gather()
		start := timestamppb.New(started)
		for _, family := range families {
			for _, m := range family.Metric {
				switch {
				case m.Counter != nil && m.Counter.CreatedTimestamp == nil:
					m.Counter.CreatedTimestamp = start
				case m.Histogram != nil && m.Histogram.CreatedTimestamp == nil:
					m.Histogram.CreatedTimestamp = start
				case m.Summary != nil && m.Summary.CreatedTimestamp == nil:
					m.Summary.CreatedTimestamp = start
				}
			}
		}
		return families, err
	})
}

// gather is the same without any short cut: a tenant whose series are not right
// is left out here, too.
func (s *scrape) gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{s.process}
	var left []error
	for _, t := range s.fleet.Tenants() {
		families, err := gatherTenant(t)
		if err != nil {
			left = append(left, fmt.Errorf("tenant %s: %w", t, err))
			continue
		}
		all = append(all, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	}
	s.leftOut(left)
	return all.Gather()
}

func gatherTenant(t *tenant.Tenant) ([]*dto.MetricFamily, error) {
	registry := prometheus.NewRegistry()
	named := prometheus.WrapRegistererWith(prometheus.Labels{"tenant": t.String()}, registry)
	for _, source := range t.Series().Sources() {
		if err := named.Register(source); err != nil {
			return nil, err
		}
	}
	return registry.Gather()
}

// leftOut counts the tenants that are not in a scrape, and says so when others
// are than before.
func (s *scrape) leftOut(why []error) {
	s.failures.Add(float64(len(why)))
	text := fmt.Sprint(errors.Join(why...))
	if before := s.told.Swap(&text); len(why) > 0 && (before == nil || *before != text) {
		s.logger.Error("Tenants are left out of scrapes", "tenants", len(why), "err", why[0])
	}
}

func (s *scrape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	zipped, plain := acceptEncoding(r.Header)
	families, err := s.process.Gather()
	if err != nil || !plain || !collector.Encodes(format) {
		s.promhttp.ServeHTTP(w, r)
		return
	}
	all := s.fleet.Tenants()
	series := make([]*collector.Series, len(all))
	for i, t := range all {
		series[i] = t.Series()
	}
	exposition, err := collector.Encode(collector.Wanted{Format: format, CreatedLines: s.created, Metric: wanted(r)}, families, series)
	if err != nil {
		s.failures.Inc()
		s.logger.Error("A scrape was not answered", "err", err)
		http.Error(w, "An error has occurred while serving metrics:\n\n"+err.Error(), http.StatusInternalServerError)
		return
	}
	s.leftOut(exposition.LeftOut)
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
	if _, err := exposition.WriteTo(out); err != nil {
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
// no encoding has a weight and not just any will do.
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
