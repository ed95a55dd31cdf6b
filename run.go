package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
)

// Exit codes.
const (
	exitOK = iota
	exitRuntime
	exitUsage
)

// drain bounds how long open scrapes may take after the order to stop.
const drain = 10 * time.Second

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
// stopped first: the listener, the open scrapes, the tenants, the demo.
func serve(ctx context.Context, o *options, logger *slog.Logger) error {
	logger.Info("Starting m365_defender_exporter", "version", version.Info(), "build_context", version.BuildContext())
	if o.demo {
		stopDemo, err := startDemo(ctx, o, logger)
		if err != nil {
			return fmt.Errorf("start the demo: %w", err)
		}
		defer stopDemo()
	}
	t, err := newTenant(o.tenant, newTransport(), logger)
	if err != nil {
		return err
	}
	var tenants sync.WaitGroup
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	tenants.Go(func() { t.run(loops) })
	defer tenants.Wait()
	defer stopLoops()

	handler, err := newHandler(o, []*tenant{t}, logger)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	failed := make(chan error, 1)
	go func() { failed <- web.ListenAndServe(server, o.web, logger) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	logger.Info("Stopping")
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		logger.Warn("Scrapes were cut off", "err", err)
		_ = server.Close()
	}
	return nil
}
