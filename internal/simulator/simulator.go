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

// What tests name most is here, too.
type (
	// Options describe a tenant.
	Options = service.Options
	// Meter is the server's own account of what reached it.
	Meter = service.Meter
	// Limit allows so many calls in a period.
	Limit = odata.Limit
	// Takes are how the options of a query are taken.
	Takes = odata.Takes

	// Mix says what the backlog is made of.
	Mix = life.Mix
	// Rates are how often something happens in a tenant.
	Rates = life.Rates
	// Spec describes an incident to create.
	Spec = life.Spec
	// Alert is what the tenant keeps of an alert.
	Alert = life.Alert
	// Truth is what a perfect observer counts.
	Truth = life.Truth

	// Faults are what is wrong with a tenant.
	Faults = faults.Faults
	// Pages are how rows are spread over pages.
	Pages = faults.Pages
	// Links are what is wrong with the links to next pages.
	Links = faults.Links
	// Heavy are pages that are too much for the service.
	Heavy = faults.Heavy
	// Retired is how the native API is missing.
	Retired = faults.Retired
	// Switch is a fault with a name.
	Switch = faults.Switch
	// APIs are those that a switch concerns.
	APIs = faults.APIs

	// Identity is what a machine can prove itself as without a secret.
	Identity = workload.Identity
	// FederatedCredential says whose tokens the application trusts.
	FederatedCredential = workload.FederatedCredential
)

// Likewise.
const (
	DefaultTenantID     = service.DefaultTenantID
	DefaultClientID     = service.DefaultClientID
	DefaultClientSecret = service.DefaultClientSecret
	DefaultRole         = service.DefaultRole
	DefaultGraphRole    = service.DefaultGraphRole
	FederatedAudience   = workload.FederatedAudience
	AppServiceSecret    = workload.AppServiceSecret

	Native            = faults.Native
	Graph             = faults.Graph
	Exact             = faults.Exact
	Incomplete        = faults.Incomplete
	Unknowable        = faults.Unknowable
	Ignored           = odata.Ignored
	Emptied           = odata.Emptied
	Refused           = odata.Refused
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
