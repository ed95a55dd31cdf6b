package client

import (
	"net/http"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// The words of Microsoft Graph (microsoftgraph/microsoft-graph-docs-contrib,
// security-list-incidents.md; the largest page is measured).
var graph = api{
	path: "/v1.0/security/incidents",
	// Without it the members that enums have got since read unknownFutureValue.
	header:  http.Header{"Accept": {"application/json"}, "Prefer": {"include-unknown-enum-members"}},
	list:    "value",
	id:      "id",
	created: "createdDateTime",
	updated: "lastUpdateDateTime",
	// systemTags are Microsoft's own, and no sign of anybody's work.
	tags: "customTags",

	alertID:     "id",
	firstActive: "firstActivityDateTime",
	devices:     "evidence",
	statuses: map[incident.Status]string{
		incident.StatusActive:         "active",
		incident.StatusInProgress:     "inProgress",
		incident.StatusAwaitingAction: "awaitingAction",
		incident.StatusResolved:       "resolved",
		incident.StatusRedirected:     "redirected",
	},
	// More rows a page were answered with "The limit of '50' for Top query has been
	// exceeded".
	offer: listing.Offer{MaxTop: 50, Order: true, Count: true, Skip: true, Expand: true},
}

// NewGraph is a client of Microsoft Graph. Its error says which setting is
// wrong; it makes no call.
func NewGraph(opts Options) (*Client, error) { return newClient(opts, &graph) }
