package fleet

import (
	"fmt"
	"log/slog"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/tenant"
)

// Possible tells what would keep tenants from being put together, as a start and
// [Fleet.Replace] do it: it reads the files that are read then, which those of
// credentials are not. It opens nothing and makes no call.
func Possible(tenants []config.Tenant) error {
	var transports Transports
	for i := range tenants {
		cfg := tenants[i].By(config.APIs()[0])
		transport, err := transports.Of(cfg.HTTP)
		if err == nil {
			_, err = tenant.New(cfg, tenant.Dependencies{Transport: transport, Logger: slog.New(slog.DiscardHandler)})
		}
		if err != nil {
			return fmt.Errorf("tenant %s: %w", cfg.Name, err)
		}
	}
	return nil
}
