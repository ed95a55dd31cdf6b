package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"m365_defender_exporter/internal/state"
)

// Exit codes.
const (
	exitOK = iota
	exitRuntime
	exitUsage
)

// drain bounds how long open scrapes may take after the order to stop.
const drain = 10 * time.Second

// gcPercent is how much garbage the heap may hold, in percent of what is in use,
// unless GOGC says otherwise. Nearly all that is in use is mirrors, which stay,
// and little becomes garbage: collecting twice as often as is usual costs next
// to nothing and saves a quarter of the memory.
const gcPercent = 50

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout, stderr)
	if errors.Is(err, errDone) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "m365_defender_exporter: error:", err)
		return exitUsage
	}
	if o.configCheck {
		_, _ = fmt.Fprintln(stdout, "configuration is valid")
		return exitOK
	}
	logger := promslog.New(o.log)
	if o.command == "check" {
		return check(ctx, o, logger, stdout)
	}
	if err := serve(ctx, o, logger); err != nil {
		logger.Error("Stopped by an error", "err", err)
		return exitRuntime
	}
	return exitOK
}

// serve runs until ctx ends or something fails. What was started last is
// stopped first: the listeners, the open scrapes, the tenants, the demo.
func serve(ctx context.Context, o *options, logger *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger.Info("Starting m365_defender_exporter", "version", version.Info(), "build_context", version.BuildContext())
	if o.demo {
		stopDemo, err := startDemo(ctx, o, logger)
		if err != nil {
			return fmt.Errorf("start the demo: %w", err)
		}
		defer stopDemo()
	}
	store, err := state.New(o.stateURL())
	if err != nil {
		return fmt.Errorf("--state.url is %w", err)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	set := newTenants(ctx, store, logger)
	defer set.stop(drain)
	reload, err := newReloader(o, set, logger)
	if err != nil {
		return err
	}
	handler := newHandler(o, set, reload, logger)
	failed := make(chan error, 2)
	server := newServer(ctx, handler, logger)
	go func() { failed <- web.ListenAndServe(server, o.web, logger) }()
	defer shutDown(ctx, server, logger)
	if o.probeAddress != "" {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.probeAddress)
		if err != nil {
			return fmt.Errorf("--web.probe-listen-address: %w", err)
		}
		probes := newServer(ctx, probeHandler(set), logger)
		logger.Info("Listening for probes", "address", listener.Addr().String())
		go func() { failed <- probes.Serve(listener) }()
		defer shutDown(ctx, probes, logger)
	}
	for {
		select {
		case err := <-failed:
			return err
		case <-hangups:
			_ = reload.run() // which has told the log
		case <-ctx.Done():
			logger.Info("Stopping")
			return nil
		}
	}
}

func newServer(ctx context.Context, handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
}

// shutDown lets open scrapes end, for a while.
func shutDown(ctx context.Context, server *http.Server, logger *slog.Logger) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		logger.Warn("Scrapes were cut off", "err", err)
		_ = server.Close()
	}
}
