package client

import (
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// api is what the two APIs say differently.
type api struct {
	// path of the list; an incident's is below it.
	path string
	// prefer is a header of every request.
	prefer string
	// list, id, created and updated are names of members in an answer, and updated
	// in a condition, too.
	list, id, created, updated string

	statuses map[incident.Status]string
	offer    listing.Offer
}

// The words of the native API (MicrosoftDocs/defender-docs,
// defender-xdr/api-list-incidents.md and api-incident.md). $orderby, $count and
// $select are not documented.
var defender = api{
	path: "/api/incidents",
	// It was observed in place of value.
	list:    "incidents",
	id:      "incidentId",
	created: "createdTime",
	updated: "lastUpdateTime",
	statuses: map[incident.Status]string{
		incident.StatusActive:         "Active",
		incident.StatusInProgress:     "InProgress",
		incident.StatusAwaitingAction: "AwaitingAction",
		incident.StatusResolved:       "Resolved",
		incident.StatusRedirected:     "Redirected",
	},
	offer: listing.Offer{MaxTop: 100, Skip: true},
}

// NewDefender is a client of the native API. Its error says which setting is
// wrong; it makes no call.
func NewDefender(opts Options) (*Client, error) { return newClient(opts, &defender) }

// The words of Microsoft Graph (microsoftgraph/microsoft-graph-docs-contrib,
// security-list-incidents.md; the largest page is measured).
var graph = api{
	path: "/v1.0/security/incidents",
	// Without it the members that enums have got since read unknownFutureValue.
	prefer:  "include-unknown-enum-members",
	list:    "value",
	id:      "id",
	created: "createdDateTime",
	updated: "lastUpdateDateTime",
	statuses: map[incident.Status]string{
		incident.StatusActive:         "active",
		incident.StatusInProgress:     "inProgress",
		incident.StatusAwaitingAction: "awaitingAction",
		incident.StatusResolved:       "resolved",
		incident.StatusRedirected:     "redirected",
	},
	offer: listing.Offer{MaxTop: 50, Order: true, Count: true, Skip: true, Expand: true},
}

// NewGraph is a client of Microsoft Graph. Its error says which setting is
// wrong; it makes no call.
func NewGraph(opts Options) (*Client, error) { return newClient(opts, &graph) }
