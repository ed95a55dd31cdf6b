package web

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/fleet"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/statetest"
	"m365_defender_exporter/internal/tenanttest"
)

// TestReplicas: one of two that share the tenants says who there is and who has
// what; it is ready once it was a member, and healthy whatever the state does.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, board := tenanttest.NewHosts(t), statetest.NewBoard()
		var configs []config.Tenant
		for _, name := range []string{"t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"} {
			configs = append(configs, hosts.Tenant(name))
		}
		board.Away(true)
		logger := slog.New(slog.DiscardHandler)
		begin := func(name string) (*fleet.Fleet, http.Handler) {
			store := board.Store()
			replicas := fleet.NewReplicas(fleet.ReplicaOptions{Store: store, Name: name, Logger: logger})
			f := fleet.New(t.Context(), fleet.Options{
				Store: store, Logger: logger, Replicas: replicas,
				NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return hosts, nil },
			})
			reload, err := fleet.NewReloader(f, configs, func() ([]config.Tenant, error) { return configs, nil }, logger)
			if err != nil {
				t.Fatal(err)
			}
			replicas.Start(f)
			t.Cleanup(func() { replicas.Stop(time.Minute) })
			return f, New(Options{Fleet: f, Reloader: reload, Logger: logger, TelemetryPath: "/metrics"})
		}
		ask := func(h http.Handler, path string, code int, want ...string) string {
			t.Helper()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			text := w.Body.String()
			if w.Code != code {
				t.Errorf("%s: got %d, want %d", path, w.Code, code)
			}
			for _, part := range want {
				if !strings.Contains(text, part) {
					t.Errorf("%s: %q is not in\n%s", path, part, text)
				}
			}
			return text
		}
		a, page := begin("a")
		begin("b")
		time.Sleep(5 * time.Minute)
		ask(page, "/-/ready", http.StatusServiceUnavailable, "not in reach")
		ask(page, "/-/healthy", http.StatusOK)
		ask(page, "/metrics", http.StatusOK, "m365_defender_replicas 0\n", "m365_defender_tenants{state=\"owned\"} 0\n")
		ask(page, "/", http.StatusOK, "not joined yet")
		board.Away(false)
		time.Sleep(5 * time.Second)
		ask(page, "/-/ready", http.StatusOK)
		if n := len(a.Tenants()); n == 0 || n == 8 {
			t.Fatalf("a serves %d of 8", n)
		}
		ask(page, "/metrics", http.StatusOK, "m365_defender_replicas 2\n", `m365_defender_tenant_takeovers_total{reason="new"}`,
			`m365_defender_tenant_takeovers_total{reason="silent"} 0`, "m365_defender_tenants_lost_total 0\n", "m365_defender_replica_name_conflicts_total 0\n")
		ask(page, "/", http.StatusOK, "replicas: a (this), b<", "served by b", "Owner since", "s ago</td>")
		var got struct {
			Replica  string   `json:"replica"`
			Replicas []string `json:"replicas"`
			Tenants  []struct {
				OwnedSince *time.Time `json:"owned_since"`
			}
			Elsewhere []struct{ Tenant, Owner string } `json:"tenants_elsewhere"`
		}
		if err := json.Unmarshal([]byte(ask(page, "/status?format=json", http.StatusOK)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Replica != "a" || len(got.Replicas) != 2 || len(got.Tenants)+len(got.Elsewhere) != 8 || got.Elsewhere[0].Owner != "b" || got.Tenants[0].OwnedSince == nil {
			t.Errorf("got %+v", got)
		}
		if text := ask(page, "/?show=problems", http.StatusOK); strings.Contains(text, "served by b") {
			t.Error("what another has is no problem")
		}
		board.Away(true)
		time.Sleep(10 * time.Minute)
		ask(page, "/-/ready", http.StatusOK)
		ask(page, "/-/healthy", http.StatusOK)
		ask(page, "/", http.StatusOK, "the owners of the other tenants are not known", "its owner is not known", state.ErrOutOfReach.Error())
		board.Away(false)
		time.Sleep(10 * time.Second)
	})
}
