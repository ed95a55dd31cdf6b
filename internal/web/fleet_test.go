package web

import (
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/tenant"
	"m365_defender_exporter/internal/tenanttest"
)

// served is a fleet of the tenants of the hosts in a bubble.
type served struct {
	*tenanttest.Hosts
	*fleet.Fleet
	t *testing.T
}

func inFleet(t *testing.T, logger *slog.Logger, test func(*served)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &served{t: t, Hosts: tenanttest.NewHosts(t)}
		f.Fleet = fleet.New(t.Context(), fleet.Options{
			Store: tenanttest.InMemory(t), Logger: logger,
			NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return f, nil },
		})
		test(f)
		f.Stop(time.Minute)
	})
}

// reloader begins with the tenants and finds them unchanged ever after.
func (f *served) reloader(logger *slog.Logger, configs ...config.Tenant) *fleet.Reloader {
	f.t.Helper()
	r, err := fleet.NewReloader(f.Fleet, configs, func() ([]config.Tenant, error) { return configs, nil }, logger)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *served) replace(configs ...config.Tenant) {
	f.t.Helper()
	if _, err := f.Replace(configs); err != nil {
		f.t.Fatal(err)
	}
}

func (f *served) of(name string) *tenant.Tenant {
	f.t.Helper()
	for _, t := range f.Tenants() {
		if t.String() == name {
			return t
		}
	}
	f.t.Fatalf("there is no tenant %s", name)
	return nil
}

func (f *served) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
