package preflight

import (
	"context"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/tenant"
)

// checkAuto checks both APIs of a tenant that may be read by either, says which one
// it is read by, and tells whether one works.
func (o *Options) checkAuto(ctx context.Context, cfg config.Tenant) (both []Result, ok bool) {
	for _, api := range config.APIs() {
		both = append(both, o.check(ctx, cfg.By(api)))
	}
	native, graph := &both[0], &both[1]
	graphReads := graph.step("permission").Status == OK
	const reads, idle = "with api auto the tenant is read by this API", "with api auto the tenant is not read by this API"
	switch {
	case native.ok() && graphReads:
		native.add("choice", OK, reads)
		graph.add("choice", Skipped, idle+", but would be if the native one were gone")
	case native.ok():
		native.add("choice", OK, reads)
		graph.add("choice", Skipped, idle+", and could not be if the native one were gone")
	case native.refusal == tenant.Role && graphReads && native.step("permission").Status == OK:
		native.add("choice", Skipped, idle+": it refuses the application, and Graph does not")
		graph.add("choice", OK, reads+" once the native one has refused the application for 10 minutes")
	case native.refusal == tenant.Role && graphReads:
		native.add("choice", Skipped, idle+": it gives the application no role, and Graph does")
		graph.add("choice", OK, reads+": the native one gives the application no role")
	case native.refusal == tenant.Gone && graphReads:
		native.add("choice", Skipped, idle+": it is gone")
		graph.add("choice", OK, reads+" once the native one has been gone for 10 minutes")
	case graphReads:
		native.add("choice", OK, reads)
		graph.add("choice", Skipped, idle+": an outage of the native one is no reason for that")
	default:
		native.add("choice", OK, reads)
		graph.add("choice", Skipped, idle+": it cannot be read either")
	}
	return both, native.ok() || graph.ok()
}

// step is one step of a result.
func (c *Result) step(name string) Step {
	for _, s := range c.Steps {
		if s.Step == name {
			return s
		}
	}
	return Step{}
}
