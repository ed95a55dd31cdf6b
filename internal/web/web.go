// Package web is everything that is served: the metrics, the status page, health
// and readiness. A request reads memory; it never reaches the API.
package web

import (
	"context"
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
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/tenant"
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

// Fleet are the tenants that are served.
type Fleet interface {
	// Tenants are in the order of the configuration. The slice is not changed.
	Tenants() []*tenant.Tenant
	// Census counts those of the configuration, those that are served, and how often
	// one could not be opened.
	Census() (configured, owned int, openFailures uint64)
	// Replicas tells of the exporters that share the state; ok is false if none do.
	Replicas() (s fleet.ReplicaStatus, ok bool)
	// Unserved are the tenants of the configuration that are not served here, with
	// their owners, unless err says that these are not known.
	Unserved(ctx context.Context) (all []fleet.Unserved, err error)
}

// Reloader applies the configuration.
type Reloader interface {
	// Reload reads it again. Its error says what is wrong; the old one goes on.
	Reload() error
	// LastReload is when it was last applied, and what was wrong with it since.
	LastReload() (at time.Time, err error)
}

// Options are what is served.
type Options struct {
	Fleet    Fleet
	Reloader Reloader
	Logger   *slog.Logger
	// State is what was measured of the store of the state; nil: nothing.
	State *collector.StateStore
	// TelemetryPath is one that CheckTelemetryPath accepts.
	TelemetryPath string
	// Lifecycle allows reloads over HTTP, Profiles serves those of the process.
	Lifecycle, Profiles bool
	// CreatedLines writes start times into OpenMetrics, as lines _created. A server
	// that does not know them would keep them as series.
	CreatedLines bool
	// Started is when the process was, at the latest; zero: it is not known, and not
	// told.
	Started time.Time
}

// CheckTelemetryPath refuses what the mux would not take, would take for a
// pattern, or serves something else at. Its error is the end of a sentence and begins with the path.
func CheckTelemetryPath(p string) error {
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

// New is everything that is served, on a mux of its own.
func New(o Options) http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector(collector.Namespace+"_exporter"),
	)
	process.MustRegister(reloadCollectors(o.Reloader)...)
	process.MustRegister(censusCollectors(o.Fleet)...)
	if _, shared := o.Fleet.Replicas(); shared {
		process.MustRegister(replicaCollectors(o.Fleet)...)
	}
	if o.State != nil {
		process.MustRegister(o.State)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+o.TelemetryPath, promhttp.InstrumentMetricHandler(process, newScrape(o, process)))
	page := statusPage(o.TelemetryPath, o.Fleet, o.Reloader)
	mux.Handle("GET "+rootPath+"{$}", page)
	mux.Handle("GET "+statusPath, page)
	addProbes(mux, o.Fleet)
	// A page of another origin must not make a browser reload us.
	reload := http.NewCrossOriginProtection().Handler(reloadHandler(o.Lifecycle, o.Reloader))
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		mux.Handle(method+" "+reloadPath, reload)
	}
	if o.Profiles {
		mux.HandleFunc("GET "+pprofPath, pprof.Index)
		mux.HandleFunc("GET "+pprofPath+"cmdline", pprof.Cmdline)
		mux.HandleFunc("GET "+pprofPath+"profile", pprof.Profile)
		mux.HandleFunc("GET "+pprofPath+"symbol", pprof.Symbol)
		mux.HandleFunc("GET "+pprofPath+"trace", pprof.Trace)
	}
	return mux
}

// Probes is all that the probe port serves.
func Probes(f Fleet) http.Handler {
	mux := http.NewServeMux()
	addProbes(mux, f)
	return mux
}

func addProbes(mux *http.ServeMux, f Fleet) {
	mux.HandleFunc("GET "+healthyPath, func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		for _, t := range f.Tenants() {
			if !t.Healthy(now) {
				http.Error(w, fmt.Sprintf("tenant %s: the refresh loop has had no heartbeat for %s",
					t, now.Sub(t.Status(now).Heartbeat).Round(time.Second)), http.StatusServiceUnavailable)
				return
			}
		}
		if s, shared := f.Replicas(); shared && now.Sub(s.Heartbeat) > longestBeat {
			http.Error(w, fmt.Sprintf("the replica has had no heartbeat for %s", now.Sub(s.Heartbeat).Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "healthy")
	})
	// Ready does not depend on the API: an outage there must not take the
	// diagnosis away from Prometheus. Nor does it on a shared state, once that was in
	// reach: before, a rollout must not go on.
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if s, shared := f.Replicas(); shared && !s.Joined {
			http.Error(w, "the shared state was not in reach yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ready")
	})
}

// longestBeat is how long the loop of the beats may take for a turn, which is
// bounded by seconds.
const longestBeat = 2 * time.Minute

// reloadHandler answers as Prometheus does.
func reloadHandler(enabled bool, reload Reloader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !enabled {
			http.Error(w, "Lifecycle API is not enabled.", http.StatusForbidden)
			return
		}
		if err := reload.Reload(); err != nil {
			http.Error(w, "failed to reload config: "+err.Error(), http.StatusInternalServerError)
		}
	})
}

// censusCollectors tell how many tenants are served.
func censusCollectors(f Fleet) []prometheus.Collector {
	return []prometheus.Collector{
		collector.NewFunc(collector.Tenants, func(emit func(float64, ...string)) {
			configured, owned, _ := f.Census()
			emit(float64(configured), "configured")
			emit(float64(owned), "owned")
		}),
		collector.NewFunc(collector.TenantOpenFailures, func(emit func(float64, ...string)) {
			_, _, failures := f.Census()
			emit(float64(failures))
		}),
	}
}

// replicaCollectors tell what this exporter knows of those that it shares the
// state with.
func replicaCollectors(f Fleet) []prometheus.Collector {
	number := func(m *collector.Metric, of func(fleet.ReplicaStatus) float64) prometheus.Collector {
		return collector.NewFunc(m, func(emit func(float64, ...string)) {
			s, _ := f.Replicas()
			emit(of(s))
		})
	}
	return []prometheus.Collector{
		number(collector.Replicas, func(s fleet.ReplicaStatus) float64 { return float64(len(s.Names)) }),
		number(collector.TenantsLost, func(s fleet.ReplicaStatus) float64 { return float64(s.Lost) }),
		number(collector.ReplicaNameConflicts, func(s fleet.ReplicaStatus) float64 { return float64(s.Conflicts) }),
		collector.NewFunc(collector.TenantTakeovers, func(emit func(float64, ...string)) {
			s, _ := f.Replicas()
			for reason, n := range s.Takeovers {
				emit(float64(n), reason)
			}
		}),
	}
}

// reloadCollectors tell how the last reload went.
func reloadCollectors(r Reloader) []prometheus.Collector {
	return []prometheus.Collector{
		collector.NewFunc(collector.ReloadSuccessful, func(emit func(float64, ...string)) {
			if _, err := r.LastReload(); err == nil {
				emit(1)
			} else {
				emit(0)
			}
		}),
		collector.NewFunc(collector.ReloadTimestamp, func(emit func(float64, ...string)) {
			at, _ := r.LastReload()
			emit(float64(at.UnixMilli()) / 1000)
		}),
	}
}
