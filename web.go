package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"m365_defender_exporter/collector"
)

// What is served besides the metrics. /debug/pprof/ is taken whether profiles
// are served or not, and so is everything below it.
const (
	rootPath    = "/"
	statusPath  = "/status"
	healthyPath = "/-/healthy"
	readyPath   = "/-/ready"
	reloadPath  = "/-/reload"
	pprofPath   = "/debug/pprof/"
)

// checkTelemetryPath refuses what the mux would not take, would take for a
// pattern, or serves something else at. Its error begins with the path.
func checkTelemetryPath(p string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/"
	switch {
	case p == rootPath || p == statusPath || p == healthyPath || p == readyPath || p == reloadPath || strings.HasPrefix(p+"/", pprofPath):
		return fmt.Errorf("%q, where something else is served; it must be another path such as /metrics", p)
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%q; it must be a path such as /metrics, which begins with a slash", p)
	case path.Clean(p) != p:
		return fmt.Errorf("%q; it must be a path such as /metrics, without empty parts, dots for parts, or a slash at its end", p)
	case strings.ContainsFunc(p, func(r rune) bool { return !strings.ContainsRune(letters, r) }):
		return fmt.Errorf("%q; it must be a path such as /metrics, of letters, digits and -._~ between slashes", p)
	}
	return nil
}

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
	mux.Handle("GET "+rootPath+"{$}", statusPage(o.telemetryPath, set, reload))
	mux.Handle("GET "+statusPath, statusPage(o.telemetryPath, set, reload))
	addProbes(mux, set)
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		mux.Handle(method+" "+reloadPath, reloadHandler(o.lifecycle, reload))
	}
	if o.pprof {
		mux.HandleFunc("GET "+pprofPath, pprof.Index)
		mux.HandleFunc("GET "+pprofPath+"cmdline", pprof.Cmdline)
		mux.HandleFunc("GET "+pprofPath+"profile", pprof.Profile)
		mux.HandleFunc("GET "+pprofPath+"symbol", pprof.Symbol)
		mux.HandleFunc("GET "+pprofPath+"trace", pprof.Trace)
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
	mux.HandleFunc("GET "+healthyPath, func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		for _, t := range set.all() {
			if !t.healthy(now) {
				http.Error(w, fmt.Sprintf("tenant %s: the refresh loop shows no sign of life for %s",
					t.config.Name, now.Sub(t.loop.Heartbeat()).Round(time.Second)), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "healthy")
	})
	// Ready does not depend on the API: an outage there must not take the
	// diagnosis away from Prometheus.
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ready") })
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
