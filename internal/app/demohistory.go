package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/history"
)

// demoHistory is a command.
const demoHistory = "demo-history"

// historyLength is how much of the past it writes.
const historyLength = 14 * 24 * time.Hour

// historySweeps is how often everything is read again. At the usual pace that would be
// most of the work.
const historySweeps = 24 * time.Hour

// historyOptions are its flags.
type historyOptions struct {
	step          time.Duration
	job, instance string
	output        string
}

func historyFlags(command *kingpin.CmdClause, to *historyOptions) {
	to.step = 2 * time.Minute
	v := &value{name: "step", set: func(text string) error {
		// Prometheus takes a series for gone after five minutes.
		err := config.Set(&to.step, text)
		if err != nil || to.step < 10*time.Second || to.step >= 5*time.Minute || to.step%time.Second != 0 {
			return errors.New("a duration of whole seconds, from 10s to less than 5m")
		}
		return nil
	}, text: func() string { return config.Format(&to.step) }}
	command.Flag("step", "Time between samples.").Default(v.String()).SetValue(v)
	command.Flag("job", "Label job that the demo has in Prometheus.").Default("m365_defender").StringVar(&to.job)
	command.Flag("instance", "Label instance that the demo has in Prometheus.").Default("localhost:10058").StringVar(&to.instance)
	command.Flag("output", "File to write. Default: the standard output.").PlaceHolder("FILE").StringVar(&to.output)
}

// writeHistory is the command: it writes so much of the demo's past, up to now.
func writeHistory(ctx context.Context, o *Options, length time.Duration, logger *slog.Logger, stdout io.Writer) error {
	if o.log.Level.String() != "debug" {
		// What went wrong two weeks ago is in what is written.
		logger = slog.New(slog.DiscardHandler)
	}
	if os.Getenv("GOGC") == "" {
		// It ends soon, and makes garbage all the time.
		debug.SetGCPercent(400)
	}
	if o.history.output != "" {
		file, err := os.Create(o.history.output)
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		defer func() { _ = file.Close() }() // a second time after the one below
		if err := o.history.write(ctx, file, o, time.Now(), length, logger); err != nil {
			return err
		}
		return file.Close()
	}
	return o.history.write(ctx, stdout, o, time.Now(), length, logger)
}

func (h *historyOptions) write(ctx context.Context, w io.Writer, o *Options, end time.Time, length time.Duration, logger *slog.Logger) error {
	var tenants []history.Tenant
	for n := range o.demoTenants {
		cfg := demoTenant(o.tenants[0], n, "http://127.0.0.1")
		if err := cfg.Complete(); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		tenants = append(tenants, history.Tenant{
			Config: cfg.By(config.Defender), Server: func(now func() time.Time) history.Server { return simulated(n, cfg.API, true, now) },
		})
	}
	return history.Write(ctx, w, history.Options{
		Tenants: tenants, Begin: end.Add(-length), End: end, Step: h.step, Job: h.job, Instance: h.instance, Logger: logger,
	})
}
