package tenant

import (
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/config"
)

// sources are all that the tenant exposes. What needs the clock at the time of
// a scrape is here and not in package collector.
func (t *Tenant) sources() []collector.Source {
	return []collector.Source{
		collector.NewTenant(collector.Options{Refresher: t.loop, MaxAge: t.config.MaxAge, Hangs: func() bool { return !t.Healthy(t.now()) }, Now: t.now}),
		t.api,
		t.quotaGauge(collector.QuotaLimit, func(u quota.Usage) int { return u.Window.Limit }),
		t.quotaGauge(collector.QuotaEffectiveLimit, func(u quota.Usage) int { return u.Effective }),
		t.quotaGauge(collector.QuotaUsed, func(u quota.Usage) int { return u.Used }),
		collector.NewFunc(collector.BlockedUntil, func(emit func(float64, ...string)) {
			if until := t.ledger.log.BlockedUntil(); until.After(t.now()) {
				emit(float64(until.Unix()))
			} else {
				emit(0)
			}
		}),
		collector.NewFunc(collector.APIActive, func(emit func(float64, ...string)) {
			for _, api := range config.APIs() {
				emit(truth(api == t.config.API), api)
			}
		}),
		collector.NewFunc(collector.APIFallback, func(emit func(float64, ...string)) {
			if t.choice == nil {
				return
			}
			for _, why := range []Fallback{Gone, Role} {
				emit(truth(why == t.Fallback()), string(why))
			}
		}),
		instantGauge(collector.TokenExpiry, t.credential.Expiry),
		instantGauge(collector.CredentialExpiry, t.credential.CredentialExpiry),
		collector.NewFunc(collector.OwnedSince, func(emit func(float64, ...string)) {
			if ms := t.ownedSince.Load(); ms != 0 {
				emit(float64(ms) / 1e3)
			}
		}),
		collector.NewFunc(collector.StateSaveFailures, func(emit func(float64, ...string)) { emit(float64(t.state.failures.Load())) }).Since(t.now()),
		collector.NewFunc(collector.StateSize, func(emit func(float64, ...string)) { emit(float64(t.state.size.Load())) }),
		collector.NewFunc(collector.StateLastSave, func(emit func(float64, ...string)) {
			if at := t.state.lastSave.Load(); at != 0 {
				emit(float64(at/1e6) / 1e3)
			}
		}),
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (t *Tenant) quotaGauge(m *collector.Metric, value func(quota.Usage) int) collector.Source {
	return collector.NewFunc(m, func(emit func(float64, ...string)) {
		for _, u := range t.ledger.Usage(t.now()) {
			emit(float64(value(u)), u.Window.Rule().String())
		}
	})
}

// instantGauge shows an instant in whole seconds, and nothing for the zero one.
func instantGauge(m *collector.Metric, at func() time.Time) collector.Source {
	return collector.NewFunc(m, func(emit func(float64, ...string)) {
		if at := at(); !at.IsZero() {
			emit(float64(at.Unix()))
		}
	})
}
