package tenanttest

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// Hosts are many simulated tenants, each behind the host that is its name.
type Hosts struct {
	t    *testing.T
	mu   sync.Mutex // of what follows, for RoundTrip
	Sims map[string]*simulator.Tenant
	held chan struct{} // nil: requests are answered
}

// NewHosts are none as yet.
func NewHosts(t *testing.T) *Hosts { return &Hosts{t: t, Sims: map[string]*simulator.Tenant{}} }

// RoundTrip implements http.RoundTripper.
func (h *Hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _, _ := strings.Cut(r.URL.Host, ".")
	h.mu.Lock()
	sim, held := h.Sims[name], h.held
	h.mu.Unlock()
	if held != nil {
		<-held
	}
	return sim.RoundTripper().RoundTrip(r)
}

// Tenant is a configuration whose app registration is named after it. Unless its
// simulator is there already it is a small one.
func (h *Hosts) Tenant(name string) config.Tenant {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Sims[name] == nil {
		h.Sims[name] = simulator.New(simulator.Options{Seed: 1, Incidents: 300, Light: true, TenantID: "id-" + name, ClientID: "app-" + name})
	}
	cfg := Config()
	cfg.Name, cfg.TenantID, cfg.ClientID = name, "id-"+name, "app-"+name
	cfg.APIURL = "https://" + name + ".example"
	cfg.AuthURL, cfg.AuthScope = cfg.APIURL, cfg.APIURL+"/.default"
	if err := cfg.Complete(); err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// Hold makes all requests hang, whatever their contexts say, until release.
func (h *Hosts) Hold() (release func()) {
	held := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held = nil
		close(held)
	}
}
