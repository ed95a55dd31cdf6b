// Package history writes what an exporter of simulated tenants would have exposed
// over some days, as OpenMetrics with timestamps, for promtool to make blocks of.
// Everything but the network and the clock is as it is in the exporter: the loop,
// the client, the ledger and the series of each tenant. Their clock leaps from one
// thing that happens to the next, so that two weeks take seconds.
package history

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator/wire"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// lead is how long before the first sample the tenants begin: by then everything
// is read.
const lead = 30 * time.Minute

// Tenant is a configuration, and what answers its requests.
type Tenant struct {
	Config config.Tenant
	// Server makes it, by the given clock.
	Server func(now func() time.Time) Server
}

// Server answers requests at once.
type Server interface {
	Answer(*wire.Call) *wire.Reply
}

// Options say what is written. All are required.
type Options struct {
	Tenants []Tenant
	// Samples are written at whole multiples of Step from Begin to End.
	Begin, End time.Time
	Step       time.Duration
	// Job and Instance are the labels that Prometheus adds to what it scrapes.
	Job, Instance string
	Logger        *slog.Logger
}

// Write runs the tenants and writes their history. It ends with the context.
func Write(ctx context.Context, w io.Writer, o Options) error {
	recorders, errs := make([]*recorder, len(o.Tenants)), make(chan error, len(o.Tenants))
	process, err := o.process()
	if err != nil {
		return err
	}
	for i := range o.Tenants {
		if recorders[i] = newRecorder(); i == 0 {
			recorders[i].process = process
		}
		go func() { errs <- o.live(ctx, &o.Tenants[i], recorders[i]) }()
	}
	for range o.Tenants {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	out := writer{Writer: buffered, begin: o.first().Unix(), step: int64(o.Step / time.Second)}
	out.labels = fmt.Sprintf(`instance=%q,job=%q`, o.Instance, o.Job)
	out.scraped(o.samples())
	out.families(recorders)
	out.recordings(recorders)
	out.text("# EOF\n")
	return errors.Join(ctx.Err(), buffered.Flush())
}

// first is when the first sample is taken.
func (o *Options) first() time.Time {
	first := o.Begin.Truncate(o.Step)
	if first.Before(o.Begin) {
		first = first.Add(o.Step)
	}
	return first.UTC()
}

// samples is how many are taken.
func (o *Options) samples() int { return int(o.End.Sub(o.first())/o.Step) + 1 }

// process is what the exporter's process exposes of itself, as far as it would be
// the same now.
func (o *Options) process() ([]*dto.MetricFamily, error) {
	started := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start_time_seconds", Help: "Start time of the process since unix epoch in seconds."})
	started.Set(float64(o.Begin.Add(-lead).Unix()))
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		started, versioncollector.NewCollector(collector.Namespace + "_exporter"),
		collector.NewFunc(collector.Tenants, func(emit func(float64, ...string)) {
			emit(float64(len(o.Tenants)), "configured")
			emit(float64(len(o.Tenants)), "owned")
		}),
		collector.NewFunc(collector.TenantOpenFailures, func(emit func(float64, ...string)) { emit(0) }),
		collector.NewFunc(collector.ReloadSuccessful, func(emit func(float64, ...string)) { emit(1) }),
		collector.NewFunc(collector.ReloadTimestamp, func(emit func(float64, ...string)) { emit(float64(o.Begin.Add(-lead).Unix())) }),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry.Gather()
}

// live runs a tenant from some time before Begin to End.
func (o *Options) live(ctx context.Context, of *Tenant, r *recorder) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	c := newClock(o.Begin.Add(-lead))
	network := &network{clock: c, server: of.Server(c.Now)}
	store, err := state.New("memory:", state.Options{Logger: o.Logger})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // has nothing to lose
	t, err := tenant.New(of.Config, tenant.Dependencies{Store: store, Transport: network, Logger: o.Logger, Clock: c})
	if err != nil {
		return err
	}
	var failed error
	next := o.first()
	c.due, c.ring = next, func() {
		if failed = r.scrape(t.Series()); failed != nil || next.Add(o.Step).After(o.End) {
			c.due = time.Time{}
			stop()
			return
		}
		next = next.Add(o.Step)
		c.due = next
	}
	if err := t.Open(nil, c.Now()); err != nil {
		return err
	}
	t.Run(running)
	if failed != nil {
		return fmt.Errorf("tenant %s: %w", t, failed)
	}
	return nil
}

// scrape takes one sample of each of the tenant's series.
func (r *recorder) scrape(series *collector.Series) error {
	exposition, err := collector.Encode(collector.Wanted{Format: expfmt.FmtOpenMetrics_1_0_0}, r.process, []*collector.Series{series})
	if err != nil {
		return err
	}
	if err := errors.Join(exposition.LeftOut...); err != nil {
		return err
	}
	r.text.Reset()
	if _, err := exposition.WriteTo(&r.text); err != nil {
		return err
	}
	r.record(r.text.Bytes())
	return nil
}
