package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"m365_defender_exporter/collector"
)

// newHandler is everything that is served, on a mux of its own.
func newHandler(o *options, set *tenants, reload *reloader, logger *slog.Logger) http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector(collector.Namespace+"_exporter"),
	)
	process.MustRegister(reload.collectors()...)
	mux := http.NewServeMux()
	mux.Handle("GET "+o.telemetryPath, promhttp.InstrumentMetricHandler(process, newScrape(set, process, logger)))
	mux.Handle("GET /{$}", statusPage(o.telemetryPath, set, reload))
	mux.Handle("GET /status", statusPage(o.telemetryPath, set, reload))
	addProbes(mux, set)
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		mux.Handle(method+" /-/reload", reloadHandler(o.lifecycle, reload))
	}
	if o.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// probeHandler is all that the probe port serves.
func probeHandler(set *tenants) http.Handler {
	mux := http.NewServeMux()
	addProbes(mux, set)
	return mux
}

func addProbes(mux *http.ServeMux, set *tenants) {
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		for _, t := range set.all() {
			if !t.healthy(now) {
				http.Error(w, fmt.Sprintf("tenant %s: the refresh loop shows no sign of life for %s",
					t.config.Name, now.Sub(t.loop.LastSign()).Round(time.Second)), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "healthy")
	})
	// Ready does not depend on the API: an outage there must not take the
	// diagnosis away from Prometheus.
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ready") })
}

// reloadHandler answers as Prometheus does.
func reloadHandler(enabled bool, reload *reloader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !enabled {
			http.Error(w, "Lifecycle API is not enabled.", http.StatusForbidden)
			return
		}
		if err := reload.run(); err != nil {
			http.Error(w, "failed to reload config: "+err.Error(), http.StatusInternalServerError)
		}
	})
}
