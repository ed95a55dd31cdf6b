package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenanttest"
)

// TestRefusal: what shows that the API is not there, and what does not.
func TestRefusal(t *testing.T) {
	cfg := tenanttest.Config()
	made := newTenant(t, cfg, nil, nil)
	status := func(code int) error { return &listing.Error{Operation: listing.OperationList, Status: code} }
	network := func(err error) error {
		return &listing.Error{Reason: reason.Network, Err: fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: err})}
	}
	for _, test := range []struct {
		name string
		err  error
		want Fallback
	}{
		{"404", status(404), Gone},
		{"410", status(410), Gone},
		{"403", status(403), Role},
		{"401", status(401), None},
		{"400", status(400), None},
		{"429", status(429), None},
		{"500", status(500), None},
		{"503", status(503), None},
		{"a quota in words", &listing.Error{Status: 403, Reason: reason.Throttled}, None},
		{"no host", network(&net.DNSError{Name: "api.example", IsNotFound: true}), Gone},
		{"no host, with a dot", network(&net.DNSError{Name: "API.example.", IsNotFound: true}), Gone},
		{"no proxy", network(&net.DNSError{Name: "proxy.example", IsNotFound: true}), None},
		{"no name server", network(&net.DNSError{Name: "api.example", IsTimeout: true}), None},
		{"refused", network(errors.New("connection refused")), None},
		{"not in the directory", &listing.Error{Reason: reason.Auth, Err: &auth.Error{Status: 400, Codes: []int{500011}}}, Role},
		{"not subscribed to", &auth.Error{Status: 400, Codes: []int{650052}}, Role},
		{"wrong secret", &auth.Error{Status: 401, Codes: []int{7000215}}, None},
		{"no login", &auth.Error{Status: 404}, None},
		{"another", errors.New("404"), None},
		{"none", nil, None},
	} {
		if got := made.Refusal(test.err); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestRefusalByTheToken: an answer 401 shows nothing, unless the token shows that there
// is no role.
func TestRefusalByTheToken(t *testing.T) {
	refused := &listing.Error{Operation: listing.OperationList, Status: 401}
	for role, want := range map[string]Fallback{"Machine.Read.All": Role, simulator.DefaultRole: None, "Incident.ReadWrite.All": None} {
		inBubble(t, simulator.Options{}, nil, func(b *bubble) {
			b.sim.SetRoles(role)
			b.tenant.credential.Renew()
			if _, err := b.tenant.credential.Token(); err != nil {
				t.Fatal(err)
			}
			if got := b.tenant.Refusal(refused); got != want {
				t.Errorf("%s: got %q, want %q", role, got, want)
			}
		})
	}
}

// TestLastUse: what a ledger tells of when a tenant was read.
func TestLastUse(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	ledger := func(passes ...pass.Pass) state.Written {
		l, err := quota.New(quota.Options{Windows: []quota.Window{{Period: time.Hour, Limit: 100}}, Share: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range passes {
			now := at.Add(time.Duration(i) * time.Minute)
			l.Settle(l.Take(now, p).Grant, now)
		}
		data, err := l.Final(at.Add(30 * time.Minute)).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return state.Written{Packed: data, Age: -1}
	}
	for _, test := range []struct {
		name            string
		saved           state.Written
		defender, graph time.Duration // after at; negative: it is not known
	}{
		{"none", state.Written{}, -1, -1},
		{"damaged", state.Written{Packed: []byte{1}, Age: -1}, -1, -1},
		{"read", ledger(pass.Delta, pass.Delta, pass.Sweep), time.Minute, 2 * time.Minute},
		{"first sync", ledger(pass.First), 0, 0},
		{"tried alone", ledger(tried), -1, 0},
		{"forgotten", ledger(), 30 * time.Minute, 30 * time.Minute},
	} {
		for api, want := range map[string]time.Duration{config.Defender: test.defender, config.Graph: test.graph} {
			got := LastUse(api, test.saved, at.Add(time.Hour))
			if want < 0 && !got.IsZero() || want >= 0 && !got.Equal(at.Add(want)) {
				t.Errorf("%s, %s: got %v", test.name, api, got)
			}
		}
	}
	// By the store's clock, where it has one.
	saved := ledger(pass.Delta)
	saved.Age = 2 * time.Hour
	if got, want := LastUse(config.Defender, saved, at.Add(24*time.Hour)), at.Add(22*time.Hour-30*time.Minute); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAnew: what was saved of incidents is gone from the moment on in which the state is
// opened, whatever happens then; the ledger is not.
func TestAnew(t *testing.T) {
	for _, scheme := range []string{"memory:", "file:" + t.TempDir()} {
		synctest.Test(t, func(t *testing.T) {
			cfg := tenanttest.Config()
			if err := cfg.Complete(); err != nil {
				t.Fatal(err)
			}
			store, err := state.New(scheme, state.Options{Uptime: tenanttest.Uptime})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			sim := simulator.New(simulator.Options{Seed: 1, Incidents: 300, Light: true})
			open := func(anew bool) *Tenant {
				made, err := New(cfg, Dependencies{Store: store, Transport: sim.RoundTripper(), Logger: slog.New(slog.DiscardHandler), Anew: anew})
				if err != nil {
					t.Fatal(err)
				}
				if err := made.Open(nil, time.Now()); err != nil {
					t.Fatal(err)
				}
				return made
			}
			run := func(made *Tenant) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				made.Run(ctx)
			}
			first := open(false)
			run(first)
			spent := first.Ledger().Usage(time.Now())[1].Used
			for _, anew := range []bool{true, false} {
				made := open(anew)
				if s := made.Status(time.Now()); s.Snapshot != nil || s.Refresh.Coverage.Open || spent == 0 || s.Usage[1].Used < spent {
					t.Errorf("%s, anew %t: it knows something, or %d calls of %d", scheme, anew, s.Usage[1].Used, spent)
				}
				made.Close()
			}
			again := open(false)
			run(again)
			if s := again.Status(time.Now()); s.Snapshot == nil || s.Snapshot.Rows != 300 {
				t.Errorf("%s: nothing is read after that", scheme)
			}
		})
	}
}
