package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/common/version"

	"m365_defender_exporter/client"
	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
)

// tenant is one tenant with everything that belongs to it alone.
type tenant struct {
	config     config.Tenant
	loop       *refresh.Loop
	ledger     *quota.Ledger
	api        *collector.API
	limiter    *limiter
	credential *auth.Source
	warned     time.Time // when it was last said that the credential expires
	transport  *sharedTransport
	series     *collector.Series
	state      *keeper
	logger     *slog.Logger
}

// String is the name and nothing else: a tenant holds secrets.
func (t *tenant) String() string { return t.config.Name }

// GoString is String.
func (t *tenant) GoString() string { return t.config.Name }

// newTenant makes no call and opens nothing. All its requests go through the
// transport. What it has to go on from waits for open.
func newTenant(cfg config.Tenant, e environment) (*tenant, error) {
	t := &tenant{config: cfg, api: e.api, transport: e.transport, logger: e.logger.With("tenant", cfg.Name)}
	if t.api == nil {
		t.api = collector.NewAPI()
	}
	var err error
	if t.ledger, err = quota.New(quota.Options{Windows: windows(cfg), Share: cfg.QuotaShare}); err != nil {
		return nil, err
	}
	t.state = &keeper{store: e.store, key: state.Key{Tenant: cfg.TenantID, API: cfg.API}, logger: t.logger}
	t.limiter = &limiter{ledger: t.ledger, waited: t.api.Waited, save: t.state.saveLedger, logger: t.logger}
	if t.credential, err = t.newCredential(); err != nil {
		return nil, err
	}
	source, err := t.newSource()
	if err != nil {
		return nil, err
	}
	t.loop = refresh.New(refresh.Options{
		Source:        source,
		Ledger:        t.limiter,
		Interval:      cfg.Interval,
		SweepInterval: cfg.SweepInterval,
		Overlap:       cfg.Overlap,
		Lookback:      cfg.Lookback,
		Thresholds:    cfg.AgeThresholds,
		Store:         t.state,
		Stagger:       e.stagger,
		Logger:        t.logger,
	})
	t.series = collector.NewSeries(cfg.Name, t.sources()...)
	return t, nil
}

// newSource is the API that the tenant's incidents are read from.
func (t *tenant) newSource() (*client.Client, error) {
	cfg := t.config
	options := client.Options{
		BaseURL:          cfg.APIURL,
		HTTP:             &http.Client{Transport: t.transport},
		Tokens:           t.credential,
		Timeout:          cfg.Timeout,
		MaxResponseBytes: cfg.MaxResponseBytes,
		Observe:          t.observeCall,
		Logger:           t.logger,
		Renew:            t.credential.Renew,
		Scrubber:         t.credential.Scrubber(),
		UserAgent:        "m365_defender_exporter/" + version.Version,
	}
	if cfg.API == config.Graph {
		return client.NewGraph(options)
	}
	return client.NewDefender(options)
}

// run refreshes until ctx ends, saves the state and closes it.
func (t *tenant) run(ctx context.Context) {
	defer t.close()
	// Requests for tokens know of no context but their source's.
	defer context.AfterFunc(ctx, t.credential.Close)()
	if err := t.loop.Run(ctx); err != nil && ctx.Err() == nil {
		t.logger.Error("Refreshing ended", "err", err)
	}
	t.state.saveLedger(t.ledger.Final(time.Now()))
}

// open makes the saved state this tenant's and goes on from it: the counts are
// there before the first call. It goes on with the saved ledger, too, unless
// that of a predecessor in this process is at hand, who must have stopped. A
// tenant that was opened and is not going to be run has to be closed.
func (t *tenant) open(before *quota.Ledger, now time.Time) error {
	err := t.state.open()
	if err == nil {
		t.loop.Load(now)
	}
	if before != nil {
		t.ledger.Restore(now, before.Final(now))
	} else if err == nil {
		t.state.restoreLedger(t.ledger, now)
	}
	return err
}

func (t *tenant) close() { t.state.close() }

// sources are all that the tenant exposes.
func (t *tenant) sources() []collector.Source {
	return []collector.Source{
		collector.NewTenant(collector.Options{Refresher: t.loop, MaxAge: t.config.MaxAge, Now: time.Now}),
		t.api,
		t.quotaGauge(collector.QuotaLimit, func(u quota.Usage) int { return u.Window.Limit }),
		t.quotaGauge(collector.QuotaEffectiveLimit, func(u quota.Usage) int { return u.Effective }),
		t.quotaGauge(collector.QuotaUsed, func(u quota.Usage) int { return u.Used }),
		collector.NewFunc(collector.BlockedUntil, func(emit func(float64, ...string)) {
			if until := t.ledger.BlockedUntil(); until.After(time.Now()) {
				emit(float64(until.Unix()))
			} else {
				emit(0)
			}
		}),
		collector.NewFunc(collector.TokenExpiry, func(emit func(float64, ...string)) {
			if expiry := t.credential.Expiry(); !expiry.IsZero() {
				emit(float64(expiry.Unix()))
			}
		}),
		collector.NewFunc(collector.CredentialExpiry, func(emit func(float64, ...string)) {
			if expiry := t.credential.CredentialExpiry(); !expiry.IsZero() {
				emit(float64(expiry.Unix()))
			}
		}),
		collector.NewFunc(collector.StateSaveFailures, func(emit func(float64, ...string)) { emit(float64(t.state.failures.Load())) }),
		collector.NewFunc(collector.StateSize, func(emit func(float64, ...string)) { emit(float64(t.state.size.Load())) }),
		collector.NewFunc(collector.StateLastSave, func(emit func(float64, ...string)) {
			if at := t.state.lastSave.Load(); at != 0 {
				emit(float64(at/1e6) / 1e3)
			}
		}),
	}
}

func (t *tenant) quotaGauge(m *collector.Metric, value func(quota.Usage) int) collector.Source {
	return collector.NewFunc(m, func(emit func(float64, ...string)) {
		for _, u := range t.ledger.Usage(time.Now()) {
			emit(float64(value(u)), windowName(u.Window.Period))
		}
	})
}

// healthy is false when the loop has not turned for two minutes, or for as long
// as a token and a call may take if that is longer. That the API fails, or the
// quota is used up, does not keep it from turning.
func (t *tenant) healthy(now time.Time) bool {
	return now.Sub(t.loop.Heartbeat()) <= max(2*time.Minute, 3*t.config.Timeout)
}

func (t *tenant) observeCall(c client.Call) {
	t.api.Request(c.Operation, c.Code, c.Duration, c.Bytes)
	if c.Code == http.StatusForbidden {
		// Roles are written into a token: once consent is granted, only the next
		// one has them.
		t.credential.Renew()
	}
	t.logger.Debug("Called the API", "operation", c.Operation, "code", c.Code, "took", c.Duration, "bytes", c.Bytes, "err", c.Err)
}
