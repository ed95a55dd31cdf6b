// Command m365_defender_exporter keeps an exact, near-live count of a tenant's
// Microsoft 365 Defender incidents for Prometheus, within the quota of the API.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"m365_defender_exporter/internal/app"
)

func main() {
	if code, isService := app.RunService(os.Args[1:]); isService {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// A second signal does not wait for the drain.
	context.AfterFunc(ctx, stop)
	os.Exit(app.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
