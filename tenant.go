package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/version"
	"golang.org/x/oauth2"

	"m365_defender_exporter/client"
	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
)

// tenant is one tenant with everything that belongs to it alone.
type tenant struct {
	config     config.Tenant
	loop       *refresh.Loop
	ledger     *quota.Ledger
	api        *collector.API
	credential *auth.Secret
	logger     *slog.Logger
}

// newTenant makes no call. All its requests go through the transport.
func newTenant(cfg config.Tenant, transport http.RoundTripper, logger *slog.Logger) (*tenant, error) {
	t := &tenant{config: cfg, api: collector.NewAPI(), logger: logger.With("tenant", cfg.Name)}
	var err error
	if t.ledger, err = quota.New(quota.Options{Windows: windows(cfg), Share: cfg.QuotaShare}); err != nil {
		return nil, err
	}
	limiter := &limiter{ledger: t.ledger, waited: t.api.Waited}
	t.credential = t.newCredential(transport)
	source, err := t.newSource(transport, limiter)
	if err != nil {
		return nil, err
	}
	t.loop = refresh.New(refresh.Options{
		Source:        source,
		Budget:        limiter,
		Interval:      cfg.Interval,
		SweepInterval: cfg.SweepInterval,
		Overlap:       cfg.Overlap,
		Lookback:      cfg.Lookback,
		Ascending:     cfg.API == config.Graph,
		Thresholds:    cfg.AgeThresholds,
		Logger:        t.logger,
	})
	return t, nil
}

// newCredential is what the tenant's calls are authorised with.
func (t *tenant) newCredential(transport http.RoundTripper) *auth.Secret {
	cfg := t.config
	return auth.ClientSecret(auth.Options{
		TokenURL: cfg.AuthURL + "/" + cfg.TenantID + "/oauth2/v2.0/token",
		ClientID: cfg.ClientID,
		Scope:    cfg.AuthScope,
		Secret:   secretOf(cfg),
		HTTP:     &http.Client{Transport: transport, Timeout: cfg.Timeout},
		Observe:  t.observeToken,
	})
}

// newSource is the API that the tenant's incidents are read from.
func (t *tenant) newSource(transport http.RoundTripper, limiter *limiter) (refresh.Source, error) {
	cfg := t.config
	options := client.Options{
		BaseURL:          cfg.APIURL,
		HTTP:             &http.Client{Transport: &oauth2.Transport{Source: t.credential, Base: transport}},
		Limiter:          limiter,
		Timeout:          cfg.Timeout,
		MaxResponseBytes: cfg.MaxResponseBytes,
		Observe:          t.observeCall,
		Logger:           t.logger,
		Renew:            t.credential.Renew,
		UserAgent:        "m365_defender_exporter/" + version.Version,
	}
	if cfg.API == config.Graph {
		return client.NewGraph(options)
	}
	return client.NewDefender(options)
}

// run refreshes until ctx ends.
func (t *tenant) run(ctx context.Context) {
	if err := t.loop.Run(ctx); err != nil && ctx.Err() == nil {
		t.logger.Error("Refreshing ended", "err", err)
	}
}

// register adds what the tenant exposes, under its name.
func (t *tenant) register(to prometheus.Registerer) error {
	named := prometheus.WrapRegistererWith(prometheus.Labels{"tenant": t.config.Name}, to)
	for _, c := range []prometheus.Collector{
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
	} {
		if err := named.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (t *tenant) quotaGauge(m *collector.Metric, value func(quota.Usage) int) prometheus.Collector {
	return collector.NewFunc(m, func(emit func(float64, ...string)) {
		for _, u := range t.ledger.Usage(time.Now()) {
			emit(float64(value(u)), windowName(u.Window.Period))
		}
	})
}

// healthy is false when the loop shows no sign of life although it should
// have: three of its intervals and a minute.
func (t *tenant) healthy(now time.Time) bool {
	return now.Sub(t.loop.LastSign()) <= 3*t.loop.Status().Interval+time.Minute
}

func (t *tenant) observeCall(c client.Call) {
	t.api.Request(c.Operation, c.Code, c.Duration, c.Bytes)
	t.logger.Debug("Called the API", "operation", c.Operation, "code", c.Code, "took", c.Duration, "bytes", c.Bytes, "err", c.Err)
}

func (t *tenant) observeToken(took time.Duration, err error) {
	if err == nil {
		t.api.Token("")
		t.logger.Debug("Got an access token", "took", took)
		return
	}
	t.api.Token(auth.Reason(err))
	if hint := auth.Hint(err); hint != "" {
		t.logger.Warn("No access token", "hint", hint)
	}
}

func secretOf(cfg config.Tenant) func() (string, error) {
	if cfg.ClientSecretFile != "" {
		return auth.SecretFile(cfg.ClientSecretFile)
	}
	return func() (string, error) { return string(cfg.ClientSecret), nil }
}

// newTransport is the standard one with a floor for TLS and without its pool
// being shared with anything else in the process.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.MaxIdleConnsPerHost = 2
	return t
}
