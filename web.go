package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"

	"m365_defender_exporter/collector"
)

// newHandler is everything that is served, on a mux of its own.
func newHandler(o *options, tenants []*tenant, logger *slog.Logger) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector(collector.Namespace+"_exporter"),
	)
	for _, t := range tenants {
		if err := t.register(registry); err != nil {
			return nil, fmt.Errorf("tenant %s: %w", t.config.Name, err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+o.telemetryPath, promhttp.InstrumentMetricHandler(registry,
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelError),
			EnableOpenMetrics: true,
			Registry:          registry,
		})))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		for _, t := range tenants {
			if now := time.Now(); !t.healthy(now) {
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
	mux.Handle("GET /{$}", statusPage(o.telemetryPath, tenants))
	mux.Handle("GET /status", statusPage(o.telemetryPath, tenants))
	if o.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux, nil
}

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Parse(statusHTML))

// statusPage shows how every tenant is doing, to a person or as JSON.
func statusPage(telemetryPath string, tenants []*tenant) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := struct {
			Version     string         `json:"version"`
			MetricsPath string         `json:"metrics_path"`
			Tenants     []tenantStatus `json:"tenants"`
		}{Version: version.Version, MetricsPath: telemetryPath}
		now := time.Now()
		for _, t := range tenants {
			page.Tenants = append(page.Tenants, t.status(now))
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Query().Get("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(page)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = statusTemplate.Execute(w, page)
	})
}
