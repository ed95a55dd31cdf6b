package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
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
	"m365_defender_exporter/internal/incident"
)

// tenant is one tenant with everything that belongs to it alone.
type tenant struct {
	config config.Tenant
	loop   *refresh.Loop
	ledger *quota.Ledger
	api    *collector.API
	secret *auth.Secret
	logger *slog.Logger
}

// newTenant makes no call. All its requests go through the transport.
func newTenant(cfg config.Tenant, transport http.RoundTripper, logger *slog.Logger) (*tenant, error) {
	t := &tenant{config: cfg, api: collector.NewAPI(), logger: logger.With("tenant", cfg.Name)}
	var err error
	if t.ledger, err = quota.New(quota.Options{Windows: windows(cfg), Share: cfg.QuotaShare}); err != nil {
		return nil, err
	}
	limiter := &limiter{ledger: t.ledger, waited: t.api.Waited}
	t.secret = auth.ClientSecret(auth.Options{
		TokenURL: cfg.AuthURL + "/" + cfg.TenantID + "/oauth2/v2.0/token",
		ClientID: cfg.ClientID,
		Scope:    cfg.AuthScope,
		Secret:   secretOf(cfg),
		HTTP:     &http.Client{Transport: transport, Timeout: cfg.Timeout},
		Observe:  t.observeToken,
	})
	source, err := client.NewDefender(client.Options{
		BaseURL:          cfg.APIURL,
		HTTP:             &http.Client{Transport: &oauth2.Transport{Source: t.secret, Base: transport}},
		Limiter:          limiter,
		Timeout:          cfg.Timeout,
		MaxResponseBytes: cfg.MaxResponseBytes,
		Observe:          t.observeCall,
		Logger:           t.logger,
		Renew:            t.secret.Renew,
		UserAgent:        "m365_defender_exporter/" + version.Version,
	})
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
		Thresholds:    cfg.AgeThresholds,
		Logger:        t.logger,
	})
	return t, nil
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
			if expiry := t.secret.Expiry(); !expiry.IsZero() {
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

func windows(cfg config.Tenant) []quota.Window {
	w := []quota.Window{{Period: time.Minute, Limit: cfg.QuotaPerMinute}}
	if cfg.QuotaPerHour > 0 {
		w = append(w, quota.Window{Period: time.Hour, Limit: cfg.QuotaPerHour})
	}
	return w
}

func windowName(period time.Duration) string {
	if period <= time.Minute {
		return "minute"
	}
	return "hour"
}

// limiter is the ledger as the client and the schedule see it. It also tells
// how long they had to wait for it.
type limiter struct {
	ledger *quota.Ledger
	waited func(reason string, d time.Duration)

	mu      sync.Mutex
	waiting [incident.NumPasses]wait
}

type wait struct {
	since  time.Time
	reason string
}

// Take implements client.Limiter.
func (l *limiter) Take(now time.Time, pass incident.Pass) (uint64, time.Time) {
	d := l.ledger.Take(now, quota.Priority(pass))
	l.note(now, pass, d, d.Grant != 0)
	return uint64(d.Grant), d.At
}

// Settle implements client.Limiter.
func (l *limiter) Settle(id uint64, now time.Time) { l.ledger.Settle(quota.Grant(id), now) }

// Succeeded implements client.Limiter.
func (l *limiter) Succeeded() { l.ledger.Succeeded() }

// Refused implements client.Limiter.
func (l *limiter) Refused(now time.Time, status int, retryAfter, message string) time.Time {
	return l.ledger.Refused(now, quota.Refusal{Status: status, RetryAfter: retryAfter, Message: message})
}

// Ready implements refresh.Budget.
func (l *limiter) Ready(now time.Time, pass incident.Pass) time.Time {
	d := l.ledger.Peek(now, quota.Priority(pass))
	l.note(now, pass, d, false)
	return d.At
}

// Pace implements refresh.Budget.
func (l *limiter) Pace(now time.Time, calls int) (pace time.Duration) {
	for _, u := range l.ledger.Usage(now) {
		pace = max(pace, time.Duration(calls)*u.Window.Period/time.Duration(u.Effective))
	}
	return pace
}

// Reserve implements refresh.Budget.
func (l *limiter) Reserve(calls int, interval time.Duration) {
	usage := l.ledger.Usage(time.Now())
	reserve := make([]int, len(usage))
	for i, u := range usage {
		reserve[i] = int((time.Duration(calls)*u.Window.Period + interval - 1) / interval)
	}
	l.ledger.SetReserve(reserve)
}

// note keeps the time from the first time a pass was told to wait to the grant.
func (l *limiter) note(now time.Time, pass incident.Pass, d quota.Decision, granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.waiting[pass]
	switch {
	case granted && w.reason != "":
		l.waited(w.reason, now.Sub(w.since))
		*w = wait{}
	case !granted && d.At.After(now) && w.reason == "":
		*w = wait{now, d.Reason.String()}
	}
}
