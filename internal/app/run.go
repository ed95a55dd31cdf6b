package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // to redirect what libraries say by it
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/prometheus/common/promslog"

	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/preflight"
	"m365_defender_exporter/internal/winservice"
)

// Exit codes.
const (
	// ExitOK: it did what it was told and, if it served, was told to stop.
	ExitOK = iota
	// ExitRuntime: it failed, or a check has found something wrong.
	ExitRuntime
	// ExitUsage: the command line, the environment or a file is not right.
	ExitUsage
)

// Run is the program: it does what the arguments, less the program's name, and
// the environment say, until that is done or ctx ends. It returns the exit code.
// SIGHUP, which would end the process, is taken from the first statement on, and
// not given back: one that comes as the program ends must not be how it ends.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	if slices.Contains(args, "--service.install") || slices.Contains(args, "--service.uninstall") {
		return manageService(args, winservice.System, stdout, stderr)
	}
	o, code := parse(args, stdout, stderr)
	if o == nil {
		return code
	}
	logger := promslog.New(o.log)
	logLibraries(logger)
	if o.command == demoHistory {
		if err := writeHistory(ctx, o, historyLength, logger, stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "m365_defender_exporter: error:", err)
			return ExitRuntime
		}
		return ExitOK
	}
	if o.command == "check" {
		signal.Stop(hangups) // the terminal that started it is gone
		return check(ctx, o, logger, stdout)
	}
	return serve(ctx, o, logger, func() {}, hangups)
}

// parse is Parse with the exit code, if there is nothing more to do.
func parse(args []string, stdout, stderr io.Writer) (*Options, int) {
	o, err := Parse(args, stdout, stderr)
	if errors.Is(err, ErrDone) {
		return nil, ExitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "m365_defender_exporter: error:", err)
		return nil, ExitUsage
	}
	if o.configCheck {
		if err := fleet.Possible(o.tenants); err != nil {
			_, _ = fmt.Fprintln(stderr, "m365_defender_exporter: error:", err)
			return nil, ExitUsage
		}
		_, _ = fmt.Fprintln(stdout, "configuration is valid")
		return nil, ExitOK
	}
	return o, ExitOK
}

// serve runs until ctx ends or something fails. It calls started when the
// metrics are served, and reads the configuration again whenever reload says so.
func serve(ctx context.Context, o *Options, logger *slog.Logger, started func(), reload <-chan os.Signal) int {
	if err := serveUntil(ctx, New(o, logger), logger, started, reload); err != nil {
		logger.Error("Stopped by an error", "err", err)
		return ExitRuntime
	}
	return ExitOK
}

func serveUntil(ctx context.Context, a *App, logger *slog.Logger, started func(), reload <-chan os.Signal) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	defer a.Stop()
	started()
	for {
		select {
		case err := <-a.Failed():
			return err
		case <-reload:
			_ = a.Reload() // which has told the log
		case <-ctx.Done():
			logger.Info("Stopping")
			return nil
		}
	}
}

// check is the command: it tries every tenant and writes what it found.
func check(ctx context.Context, o *Options, logger *slog.Logger, stdout io.Writer) int {
	if o.log.Level.String() != "debug" {
		// The report says it all.
		logger = slog.New(slog.DiscardHandler)
	}
	tenants := o.tenants
	if o.demo {
		simulated, stop, err := startDemo(ctx, o.tenants[0], o.demoTenants, logger)
		if err != nil {
			_, _ = fmt.Fprintln(stdout, "start the demo:", err)
			return ExitRuntime
		}
		defer stop()
		tenants = simulated
	}
	store, _, err := o.openState(logger)
	if err != nil {
		_, _ = fmt.Fprintln(stdout, err)
		return ExitUsage
	}
	defer func() { _ = store.Close() }()
	var shared fleet.Transports
	if !preflight.Run(ctx, preflight.Options{
		Tenants: tenants, Store: store, Transport: shared.Of, Logger: logger, JSON: o.checkFormat == "json",
	}, stdout) {
		return ExitRuntime
	}
	return ExitOK
}

// logLibraries has what libraries say by package log go where everything else goes.
func logLibraries(logger *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(libraryLog{logger})
}

// libraryLog takes what libraries say of their own accord for what it is worth, and not what
// they quote: net/http shows bytes that a server has sent unasked, which may repeat a request,
// and with it a credential.
type libraryLog struct{ logger *slog.Logger }

// Write implements io.Writer.
func (l libraryLog) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(line)), "starting with")
	l.logger.Debug("A library says", "text", strings.TrimSpace(text))
	return len(line), nil
}
