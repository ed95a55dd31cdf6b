package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// TestTroubleComesFirst: whoever is paged sees what is wrong without looking
// for it, and can hide the rest.
func TestTroubleComesFirst(t *testing.T) {
	inFleet(t, func(f *fleet) {
		configs := []config.Tenant{f.tenant("well"), f.tenant("refused"), f.tenant("slow"), f.tenant("fine")}
		f.sims["refused"].SetClientSecret("another")
		reload, err := newReloader(&options{configFile: "config.yaml", tenants: configs}, f.set, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		f.wait(2 * time.Minute)
		f.sims["slow"].Fault(simulator.Faults{Delay: time.Hour})
		f.wait(10 * time.Minute)
		show := func(query string) string {
			w := httptest.NewRecorder()
			statusPage("/metrics", f.set, reload).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+query, nil))
			return w.Body.String()
		}
		order := func(text string) (names []string) {
			for _, part := range strings.Split(text, "<strong>")[1:] {
				name, _, _ := strings.Cut(part, "<")
				names = append(names, name)
			}
			return names
		}
		all := show("")
		if got, want := fmt.Sprint(order(all)), "[refused slow well fine]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, want := range []string{"<b>2</b> up", "<b>2</b> down", "invalid_client", "only trouble", "of 40 per minute", "of 1200 per hour"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not on the page", want)
			}
		}
		if got, want := fmt.Sprint(order(show("?show=trouble"))), "[refused slow]"; got != want {
			t.Errorf("trouble: got %s, want %s", got, want)
		}
	})
}
