// Package app is the exporter as a whole: it reads the command line, puts the
// rooms together, and takes them apart again in reverse order.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/web"
)

// After the order to stop open scrapes may take as long as drain, and then tenants,
// before both an open probe as long as drainProbes, and after both the state as long as
// drainState: together less than the half minute after which platforms kill.
const (
	drain       = 10 * time.Second
	drainProbes = time.Second
	drainState  = 5 * time.Second
)

// How much garbage the heap may hold, in percent of what is in use, unless GOGC says
// otherwise. Nearly all that is in use is mirrors, which stay, and little becomes
// garbage: collecting five times as often as is usual costs next to nothing and saves
// a third of the memory. At first, when saved states are read and everything is
// encoded for the first scrape, it would cost time that somebody waits.
const (
	gcPercent   = 20
	gcStarting  = 50 // for startingFor
	startingFor = 30 * time.Second
)

// paceGarbage sets how much that is, now and later.
func paceGarbage() (stop func()) {
	debug.SetGCPercent(gcStarting)
	later := time.AfterFunc(startingFor, func() { debug.SetGCPercent(gcPercent) })
	return func() { later.Stop() }
}

// App is the exporter. Start it once, and stop it once.
type App struct {
	opts     *Options
	logger   *slog.Logger
	reloader *fleet.Reloader

	addr, probeAddr net.Addr
	failed          chan error
	cleanups        []cleanup
}

// cleanup undoes one step of setup.
type cleanup struct {
	what string
	undo func()
}

// New returns an exporter that does nothing yet.
func New(o *Options, logger *slog.Logger) *App {
	return &App{opts: o, logger: logger, failed: make(chan error, 2)}
}

// Start returns when the exporter listens: the tenants have their saved counts
// and refresh on their own from then on. It makes no call of an API and does not
// wait for one. An error says which setting cannot be used; then everything that
// was begun is undone. That ctx ends does not stop the exporter: Stop does.
func (a *App) Start(ctx context.Context) error {
	err := a.setup(ctx)
	if err != nil {
		a.Stop()
	}
	return err
}

// setup is everything there is, in the order in which one thing needs another.
func (a *App) setup(ctx context.Context) error {
	o, started := a.opts, time.Now()
	if os.Getenv("GOGC") == "" {
		a.cleanup("garbage collector", paceGarbage())
	}
	a.logger.Info("Starting m365_defender_exporter", "version", version.Info(), "build_context", version.BuildContext())

	tenants := o.tenants
	if o.demo {
		// Before the tenants, which ask it, and stopped after them.
		simulated, stop, err := startDemo(ctx, o.tenants[0], o.demoTenants, a.logger)
		if err != nil {
			return fmt.Errorf("start the demo: %w", err)
		}
		a.cleanup("demo", stop)
		tenants = simulated
	}

	store, measured, err := o.openState(a.logger)
	if err != nil {
		return err
	}
	a.cleanup("state", func() { a.closeState(store) })
	a.warnOfOthers(o.stateURL())

	// The tenants before the listeners: the first scrape has the saved counts.
	replicas := a.replicas(store)
	tenantSet := fleet.New(ctx, fleet.Options{Store: store, Logger: a.logger, Replicas: replicas})
	a.cleanup("tenants", func() { tenantSet.Stop(drain) })
	read := func() ([]config.Tenant, error) { return tenants, nil }
	if len(o.configFiles) > 0 {
		read = func() ([]config.Tenant, error) { return readConfig(o.configFiles) }
	}
	if a.reloader, err = fleet.NewReloader(tenantSet, tenants, read, a.logger); err != nil {
		return err
	}
	if replicas != nil {
		replicas.Start(tenantSet)
		a.cleanup("replica", func() { replicas.Stop(drain) })
	}

	a.addr, err = a.listen(ctx, "metrics", web.New(web.Options{
		Fleet: tenantSet, Reloader: a.reloader, Logger: a.logger, State: measured,
		TelemetryPath: o.telemetryPath, Lifecycle: o.lifecycle, Profiles: o.pprof,
		CreatedLines: o.createdLines, Started: started,
	}), drain, func(s *http.Server) error { return toolkit.ListenAndServe(s, o.web, a.logger) })
	if err != nil {
		return err
	}
	if *o.web.WebConfigFile != "" {
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		a.cleanup("web configuration", stop)
		go a.watchWebConfig(watching)
	}
	if o.probeAddress == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.probeAddress)
	if err != nil {
		return fmt.Errorf("--web.probe-listen-address: %w", err)
	}
	a.logger.Info("Listening for probes", "address", listener.Addr().String())
	a.probeAddr, err = a.listen(ctx, "probes", web.Probes(tenantSet), drainProbes, func(s *http.Server) error { return s.Serve(listener) })
	return err
}

// replicas are those that share the store; nil: it is not shared.
func (a *App) replicas(store state.Store) *fleet.Replicas {
	shared, ok := store.(state.Shared)
	if !ok {
		return nil
	}
	return fleet.NewReplicas(fleet.ReplicaOptions{
		Store: shared, Name: a.opts.replicaName, Patience: a.opts.patience, Version: version.Version, Logger: a.logger,
	})
}

// closeState closes the store, and does not wait long for a disk that does not answer: what
// was saved is in the database, or in its log, and what hangs may be lost. The kernel may
// keep the process until the disk is back all the same.
func (a *App) closeState(store state.Store) {
	closed := make(chan error, 1)
	go func() { closed <- store.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			a.logger.Error("The state was not closed", "err", err)
		}
	case <-time.After(drainState):
		a.logger.Error("The state was not closed in time", "waited", drainState)
	}
}

// warnOfOthers says so if the directory of the state may be written by any user
// of the machine: such a user can lose a ledger, or put another in its place.
func (a *App) warnOfOthers(stateURL string) {
	scheme, dir, _ := strings.Cut(stateURL, ":")
	if scheme != "file" || runtime.GOOS == "windows" { // where the mode tells nothing
		return
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o002 != 0 {
		a.logger.Warn("The directory of the state may be written by any user of this machine; take that right away", "directory", dir, "mode", info.Mode().String())
	}
}

// listen serves, and returns the first address once that has begun. What is open at the
// end may take so long.
func (a *App) listen(ctx context.Context, what string, handler http.Handler, within time.Duration, serve func(*http.Server) error) (net.Addr, error) {
	began, once := make(chan net.Addr, 1), sync.Once{}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(&serverLog{Handler: a.logger.Handler()}, slog.LevelDebug),
		BaseContext: func(l net.Listener) context.Context {
			once.Do(func() { began <- l.Addr() })
			return context.WithoutCancel(ctx)
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(server) }()
	select {
	case err := <-ended:
		return nil, err
	case addr := <-began:
		go func() { a.failed <- <-ended }()
		a.cleanup(what+" listener", func() { a.shutDown(ctx, server, within) })
		return addr, nil
	}
}

// serverLog is what a server says of its connections. That of single ones is of scanners as
// a rule. That it can take none at all, because no file descriptor is left, is said each
// minute.
type serverLog struct {
	slog.Handler
	said time.Time
}

func (l *serverLog) Enabled(context.Context, slog.Level) bool { return true } // see Handle

func (l *serverLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: Accept error") && r.Time.Sub(l.said) >= time.Minute {
		r.Level, l.said = slog.LevelError, r.Time
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// shutDown lets open requests end, for a while.
func (a *App) shutDown(ctx context.Context, server *http.Server, within time.Duration) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		a.logger.Warn("Requests were cut off", "err", err)
		_ = server.Close()
	}
}

func (a *App) cleanup(what string, undo func()) {
	a.cleanups = append(a.cleanups, cleanup{what, undo})
}

// Addr is where the metrics are served, the first of several addresses;
// ProbeAddr is the port for probes alone, nil if there is none. Both are known
// once Start has returned.
func (a *App) Addr() net.Addr { return a.addr }

// ProbeAddr see Addr.
func (a *App) ProbeAddr() net.Addr { return a.probeAddr }

// Failed receives why a listener has ended of its own accord.
func (a *App) Failed() <-chan error { return a.failed }

// Reload reads the configuration again. If anything is wrong with it the old one
// goes on and the error, which is in the log by then, says what. It may be called
// by anyone between Start and Stop.
func (a *App) Reload() error { return a.reloader.Reload() }

// Stop undoes what Start did, the last first: the listeners and the open
// scrapes, the tenants, whose states are saved, the demo. It returns within half a
// minute, whatever hangs.
func (a *App) Stop() {
	for len(a.cleanups) > 0 {
		last := a.cleanups[len(a.cleanups)-1]
		a.cleanups = a.cleanups[:len(a.cleanups)-1]
		a.logger.Debug("Stopping", "what", last.what)
		last.undo()
	}
}
