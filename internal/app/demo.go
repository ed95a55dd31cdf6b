package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator/service"
)

// demoInterval is the default of --refresh.interval in a demo: a person is
// watching.
const demoInterval = 10 * time.Second

// demoNames are those of the tenants, in the order of their numbers.
var demoNames = [service.MaxDemo]string{
	"demo", "fabrikam", "northwind", "tailspin", "adatum", "litware", "proseware", "wingtip", "woodgrove", "lamna",
}

// demoTenantsFlag takes the number of tenants.
func demoTenantsFlag(app *kingpin.Application, to *int) {
	app.Flag("demo.tenants", fmt.Sprintf("Number of simulated tenants, up to %d. The third one is in trouble.", service.MaxDemo)).
		Default("1").SetValue(&value{name: "demo.tenants", set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > service.MaxDemo {
			return fmt.Errorf("a number from 1 to %d", service.MaxDemo)
		}
		*to = n
		return nil
	}, text: func() string { return strconv.Itoa(*to) }})
}

// demoDefaults are those that differ in a demo, as far as the command line does not
// say otherwise.
func demoDefaults(tenant *config.Tenant, o *Options, given []string) {
	if !slices.Contains(given, "refresh.interval") {
		if tenant.Interval = demoInterval; o.command == demoHistory {
			tenant.Interval = o.history.step // what is between two samples is not seen
		}
	}
	if o.command == demoHistory && !slices.Contains(given, "refresh.sweep-interval") {
		tenant.SweepInterval = historySweeps
	}
	if !slices.Contains(given, "incidents.lookback") {
		tenant.Lookback = service.DemoHistory // there are no older ones
	}
}

// startDemo starts simulated tenants on loopback, and returns the one that the
// command line describes with each of them in its place. Everything from there on
// is real: the token, HTTP, throttling.
func startDemo(ctx context.Context, cfg config.Tenant, number int, logger *slog.Logger) (tenants []config.Tenant, stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, server := range servers {
			_ = server.Close()
		}
	}
	for n := range number {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			stop()
			return nil, nil, err
		}
		tenant := demoTenant(cfg, n, "http://"+listener.Addr().String())
		if err := tenant.Complete(); err != nil {
			_ = listener.Close()
			stop()
			return nil, nil, fmt.Errorf("settings: %w", err)
		}
		server := &http.Server{Handler: simulated(n, tenant.API, false, time.Now).Handler(), ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(listener) }()
		servers, tenants = append(servers, server), append(tenants, tenant)
		logger.Info("Demo: a simulated tenant, metered and throttled like the real API", "tenant", tenant.Name, "api", tenant.API, "url", tenant.APIURL)
	}
	return tenants, stop, nil
}

// simulated is what serves the demo tenant of a number, bare or with what no metric
// is made of.
func simulated(number int, api string, bare bool, now func() time.Time) *service.Service {
	o := service.Demo(number)
	o.Now, o.Bare = now, bare
	simulated := service.New(o)
	switch api {
	case config.Graph:
		simulated.SetRoles(service.DefaultGraphRole)
	case config.Auto:
		simulated.SetRoles(service.DefaultRole, service.DefaultGraphRole)
	}
	return simulated
}

// demoTenant is the tenant of the command line, with the simulated one of a number
// at url in its place.
func demoTenant(t config.Tenant, number int, url string) config.Tenant {
	t.Name = demoNames[number]
	t.TenantID, t.ClientID = service.Demo(number).TenantID, service.DefaultClientID
	t.ClientSecret, t.ClientSecretFile = service.DefaultClientSecret, ""
	t.SecretExpires = time.Time{} // that of another secret
	t.ClientCertificateFile, t.ClientCertificatePasswordFile, t.FederatedTokenFile, t.ManagedIdentity = "", "", "", false
	t.APIURL, t.AuthURL, t.AuthScope = url, url, url+"/.default"
	return t
}
