// Package simulator is a Microsoft 365 Defender tenant in memory that behaves
// and misbehaves: the tests and the benchmarks use it. It puts these together:
//
//   - life: the tenant's incidents and what happens to them;
//   - odata: how calls for them are answered, by queries and pages, of which
//     defender and graph are the two faces;
//   - entra: the token endpoint;
//   - service: all of that, metered and throttled, as it should be. It is what
//     the demo serves;
//   - workload: how a client proves itself without a secret;
//   - faults: what can be wrong, down to the wire.
//
// None of them imports anything of this module besides: a mistake in a JSON tag
// or in the meaning of a value that both sides shared would pass every test.
package simulator

import (
	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/service"
	"m365_defender_exporter/internal/simulator/workload"
)

// Tenant is a simulated tenant. All methods may be called concurrently.
type Tenant struct {
	*faults.Misbehaviour
	*workload.Workload
}

// New makes a tenant with its backlog. It is healthy.
func New(opts Options) *Tenant {
	s := service.New(opts)
	return &Tenant{faults.Install(s), workload.Install(s)}
}

// What tests name most, under the names that it has where it is told.
type (
	Options = service.Options
	Meter   = service.Meter
	Limit   = odata.Limit
	Takes   = odata.Takes

	Mix   = life.Mix
	Rates = life.Rates
	Spec  = life.Spec
	Alert = life.Alert
	Truth = life.Truth

	Faults = faults.Faults
	Pages  = faults.Pages
	Links  = faults.Links
	Heavy  = faults.Heavy
	Switch = faults.Switch
	APIs   = faults.APIs

	Identity            = workload.Identity
	FederatedCredential = workload.FederatedCredential
)

// The same of constants.
const (
	DefaultTenantID     = service.DefaultTenantID
	DefaultClientID     = service.DefaultClientID
	DefaultClientSecret = service.DefaultClientSecret
	DefaultRole         = service.DefaultRole
	DefaultGraphRole    = service.DefaultGraphRole
	FederatedAudience   = workload.FederatedAudience
	AppServiceSecret    = workload.AppServiceSecret

	Native, Graph     = faults.Native, faults.Graph
	Exact, Incomplete = faults.Exact, faults.Incomplete

	Ignored, Refused  = odata.Ignored, odata.Refused
	OldestUpdate      = odata.OldestUpdate
	NewestCreated     = odata.NewestCreated
	NoOrder           = odata.NoOrder
	LinkFull          = faults.LinkFull
	Foreign           = faults.Foreign
	DropMidBody       = faults.DropMidBody
	DropBeforeHeaders = faults.DropBeforeHeaders
)

// Switches are the ways in which lists misbehave for as long as they are set.
func Switches() []Switch { return faults.Switches() }

// Weather are the faults that come and go.
func Weather() []Switch { return faults.Weather() }

// Knowable is what the best of clients can do about several switches at once.
func Knowable(api APIs, switches ...Switch) faults.Kind { return faults.Knowable(api, switches...) }
