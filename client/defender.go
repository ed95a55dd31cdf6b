package client

import (
	"net/http"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// The words of the native API (MicrosoftDocs/defender-docs,
// defender-xdr/api-list-incidents.md and api-incident.md). $orderby, $count and
// $select are not documented.
var defender = api{
	path:    "/api/incidents",
	header:  http.Header{"Accept": {"application/json"}},
	list:    "incidents", // observed
	id:      "incidentId",
	created: "createdTime",
	updated: "lastUpdateTime",
	tags:    "tags",

	alertID:     "alertId",
	firstActive: "firstActivity",
	devices:     "devices",
	statuses: map[incident.Status]string{
		incident.StatusActive:         "Active",
		incident.StatusInProgress:     "InProgress",
		incident.StatusAwaitingAction: "AwaitingAction",
		incident.StatusResolved:       "Resolved",
		incident.StatusRedirected:     "Redirected",
	},
	// More rows a page are answered with 400
	// (MicrosoftDocs/defender-docs, defender-xdr/api-list-incidents.md).
	offer: listing.Offer{MaxTop: 100, Skip: true},
}

// NewDefender is a client of the native API. Its error says which setting is
// wrong; it makes no call.
func NewDefender(opts Options) (*Client, error) { return newClient(opts, &defender) }
