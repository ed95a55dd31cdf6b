package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator/service"
)

// demoInterval is the default of --refresh.interval in a demo: a person is
// watching.
const demoInterval = 10 * time.Second

// startDemo starts a simulated tenant on loopback, and returns the one that the
// command line describes with the simulated one in its place. Everything from
// there on is real: the token, HTTP, throttling.
func startDemo(ctx context.Context, cfg config.Tenant, logger *slog.Logger) (tenant config.Tenant, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return tenant, nil, err
	}
	tenant = demoTenant(cfg, "http://"+listener.Addr().String())
	if err := tenant.Complete(); err != nil {
		_ = listener.Close()
		return tenant, nil, fmt.Errorf("settings: %w", err)
	}
	sim := service.New(service.Demo(uint64(time.Now().UnixNano())))
	if tenant.API == config.Graph {
		sim.SetRoles(service.DefaultGraphRole)
	}
	server := &http.Server{Handler: sim.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	logger.Info("Demo: a simulated tenant of about 5,000 incidents, metered and throttled like the real API", "api", tenant.API, "url", tenant.APIURL)
	return tenant, func() { _ = server.Close() }, nil
}

// demoTenant is the tenant of the command line, with the simulated one at url
// in its place.
func demoTenant(t config.Tenant, url string) config.Tenant {
	t.Name = "demo"
	t.TenantID, t.ClientID = service.DefaultTenantID, service.DefaultClientID
	t.ClientSecret, t.ClientSecretFile = service.DefaultClientSecret, ""
	t.SecretExpires = time.Time{} // that of another secret
	t.ClientCertificateFile, t.ClientCertificatePasswordFile, t.FederatedTokenFile, t.ManagedIdentity = "", "", "", false
	t.APIURL, t.AuthURL, t.AuthScope = url, url, url+"/.default"
	return t
}
