package client

import (
	"context"
	"net/http"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/simulator"
)

// TestSimulator: what is sent is understood, and what comes is read, by a
// tenant that was written without a look at this package.
func TestSimulator(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const n = 230
	tenant := simulator.New(simulator.Options{
		Seed: 1, Incidents: n, Light: true, Now: func() time.Time { return now },
		Limits: []simulator.Limit{}, GetLimits: []simulator.Limit{}, GraphLimits: []simulator.Limit{},
	})
	tenant.SetRoles(simulator.DefaultRole, simulator.DefaultGraphRole)
	hc := &http.Client{Transport: tenant.RoundTripper()}
	for name, of := range map[string]func(Options) (*Client, error){"native": NewDefender, "graph": NewGraph} {
		t.Run(name, func(t *testing.T) {
			login := clientcredentials.Config{
				ClientID: simulator.DefaultClientID, ClientSecret: simulator.DefaultClientSecret, AuthStyle: oauth2.AuthStyleInParams,
				TokenURL: "https://simulated.example/" + simulator.DefaultTenantID + "/oauth2/v2.0/token", Scopes: []string{"https://simulated.example/.default"},
			}
			c := newTestOf(t, of, hc.Transport, func(o *Options) {
				o.BaseURL = "https://simulated.example"
				o.Tokens = login.TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, hc))
			})
			if err := c.Authorize(t.Context()); err != nil {
				t.Fatal(err)
			}
			offer := c.Offer()
			whole := listing.Request{Top: offer.MaxTop, Count: offer.Count, Alerts: true}
			seen := map[int64]incident.Incident{}
			for req, pages := whole, 0; pages < 10; pages++ {
				page, err := c.List(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, in := range page.Rows {
					seen[in.ID] = in
				}
				if page.Count != n && page.Count != -1 || page.Date.IsZero() {
					t.Errorf("count %d at %v", page.Count, page.Date)
				}
				if page.Link == "" {
					break
				}
				req = listing.Request{Link: page.Link, Alerts: true}
			}
			if name == "native" { // whose links leave out how many rows to send
				for skip := 0; skip < n; skip += offer.MaxTop {
					page, err := c.List(t.Context(), listing.Request{Top: offer.MaxTop, Skip: skip})
					if err != nil {
						t.Fatal(err)
					}
					for _, in := range page.Rows {
						seen[in.ID] = in
					}
				}
			}
			if len(seen) != n {
				t.Errorf("%d incidents of %d", len(seen), n)
			}
			for id, in := range seen {
				if in.AlertsUnknown || in.Unrecognized != 0 || in.Updated.IsZero() || in.Created.IsZero() || in.Status == incident.StatusUnknown {
					t.Fatalf("not read whole: %+v", in)
				}
				got, err := c.Incident(t.Context(), id)
				if err != nil || got.Status != in.Status || !got.Updated.Equal(in.Updated) || len(got.Alerts) != len(in.Alerts) {
					t.Fatalf("%d: got %+v, %v, want %+v", id, got, err, in)
				}
			}
			since, before := now.Add(-40*24*time.Hour), now.Add(-20*24*time.Hour)
			for _, bound := range []listing.Bound{listing.Lt, listing.Le} {
				want := 0
				for _, in := range seen {
					if in.Status == incident.StatusResolved && !in.Updated.Before(since) && in.Updated.Before(before) {
						want++
					}
				}
				page, err := c.List(t.Context(), listing.Request{Top: offer.MaxTop, Since: since, Before: before, Bound: bound, Status: incident.StatusResolved})
				if err != nil || len(page.Rows) != want || want == 0 {
					t.Errorf("%d resolved within 20 days, want %d, %v", len(page.Rows), want, err)
				}
			}
		})
	}
}
