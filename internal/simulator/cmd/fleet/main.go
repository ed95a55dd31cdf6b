// Command fleet serves simulated tenants on loopback and writes a configuration
// file for an exporter of them: for what has to be tried with many tenants and
// a process of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/service"
)

// growth is how many incidents come in an hour where nothing else happens: one a
// second, so that a short look sees some.
const growth = 3600

func main() {
	dir := flag.String("dir", ".", "where config.yaml is written, last")
	tenants := flag.Int("tenants", 200, "number of tenants")
	incidents := flag.Int("incidents", 300, "incidents of each")
	backends := flag.Int("backends", 10, "simulators that they share")
	broken := flag.Int("broken", 0, "how many of the tenants have a wrong secret")
	still := flag.Int("still", 0, "at how many of the simulators, the first ones, nothing happens")
	growing := flag.Int("growing", 0, "at how many of the others, the next ones, incidents only come")
	flag.Parse()
	if err := serve(*dir, *tenants, *incidents, *backends, *broken, *still, *growing); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// serve shares a few simulators among all tenants, without their limits: each
// tenant has an app and a quota of its own, which the exporter keeps. It ends
// with a signal.
func serve(dir string, tenants, incidents, backends, broken, still, growing int) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	urls := make([]string, backends)
	for i := range urls {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		o := service.Options{
			Seed: uint64(i + 1), Incidents: incidents, Light: true,
			Limits: []odata.Limit{}, GetLimits: []odata.Limit{},
			Rates: life.Rates{Create: 20, Assign: 20, Change: 40, Resolve: 20, Merge: 5, Reopen: 2},
		}
		switch {
		case i < still:
			o.Rates = life.Rates{}
		case i < still+growing:
			o.Rates = life.Rates{Create: growth}
		}
		server := &http.Server{Handler: anyTenant(service.New(o).Handler()), ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(listener) }()
		defer func() { _ = server.Close() }()
		urls[i] = "http://" + listener.Addr().String()
	}
	for name, secret := range map[string]string{"secret": service.DefaultClientSecret, "wrong": "open sesame"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config(urls, tenants, broken)), 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func config(urls []string, tenants, broken int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  auth: {client_id: %s, client_secret_file: secret}\ntenants:\n", service.DefaultClientID)
	for i := range tenants {
		url := urls[i%len(urls)]
		secret := ""
		if i >= tenants-broken {
			secret = ", client_secret_file: wrong"
		}
		fmt.Fprintf(&b, "  - name: tenant-%04d\n    tenant_id: tenant-%04d.example\n    api_url: %s\n    auth: {url: %s, scope: %s/.default%s}\n",
			i, i, url, url, url, secret)
	}
	return b.String()
}

// anyTenant takes every tenant's id for the simulator's.
func anyTenant(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tenant, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/oauth2/"); ok && tenant != "" {
			r.URL.Path = "/" + service.DefaultTenantID + "/oauth2/" + rest
		}
		next.ServeHTTP(w, r)
	})
}
