package fleet

import (
	"log/slog"
	"m365_defender_exporter/internal/config"
	"testing"
	"time"
)

// TestReloadUnchanged changes nothing and succeeds.
func TestReloadUnchanged(t *testing.T) {
	inFleet(t, func(f *many) {
		configs := []config.Tenant{f.Tenant("a")}
		r, err := NewReloader(f.set, configs, func() ([]config.Tenant, error) { return configs, nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		before := f.of("a")
		f.wait(time.Minute)
		if err := r.Reload(); err != nil || f.of("a") != before {
			t.Errorf("%v, or the tenant was made anew", err)
		}
	})
}
