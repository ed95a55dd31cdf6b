// Package graph is the incidents API of Microsoft Graph: how it words rows,
// filters, links and errors.
package graph

import (
	"net/http"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

// Role is the application role that the API asks for.
const Role = "SecurityIncident.Read.All"

// Face is the API as a face of the tenant's incidents; id is that of the
// tenant in its rows.
func Face(id string) *odata.Face {
	return &odata.Face{
		Path: "/v1.0/security/incidents", Context: "/v1.0/$metadata#security/incidents", Top: 50, Updated: "lastUpdateDateTime", BadQuery: "BadRequest",
		TextIDs: true,
		Roles:   []string{Role, "SecurityIncident.ReadWrite.All"},
		Filter:  parseFilter, Link: odata.OpaqueLink, Alert: appendAlert,
		Incident: func(b []byte, r *life.Record, s *odata.Shape) []byte { return appendIncident(b, id, r, s) },
		Error: func(code, message, trace string) any {
			inner := map[string]any{"date": "2026-11-24T00:00:00", "request-id": trace, "client-request-id": trace}
			return map[string]any{"code": code, "message": message, "innerError": inner}
		},
		Refusal:   refusal,
		Throttled: func(odata.Limit) (code, message string) { return "TooManyRequests", "Too Many Requests" },
	}
}

func refusal(status int, _ http.Header) (code, message string) {
	switch status {
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."
	case http.StatusForbidden:
		return "Forbidden", "Missing application roles. API required roles: SecurityIncident.Read.All,SecurityIncident.ReadWrite.All, application roles: ."
	}
	return strings.ReplaceAll(http.StatusText(status), " ", ""), "A made up error."
}

func appendIncident(b []byte, id string, r *life.Record, s *odata.Shape) []byte {
	switch {
	case s.NoID:
	case s.ID != "":
		b = append(b, `"id":`+s.ID+`,`...)
	default:
		b = append(b, `"id":"`...)
		b = strconv.AppendInt(b, r.ID, 10)
		b = append(b, `",`...)
	}
	b = append(b, `"tenantId":"`+id+`"`...)
	b = odata.AppendMember(b, "status", s.Status, status(r.Status, s.Prefer))
	b = append(b, `,"incidentWebUrl":"https://security.microsoft.com/incident2/`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = append(b, `/overview","redirectIncidentId":`...)
	if r.RedirectID != 0 {
		b = append(b, '"')
		b = strconv.AppendInt(b, r.RedirectID, 10)
		b = append(b, '"')
	} else {
		b = append(b, "null"...)
	}
	b = odata.AppendMember(b, "displayName", s.Name, r.Name)
	b = odata.AppendTimeMember(b, "createdDateTime", s.Created, r.Created)
	b = odata.AppendTimeMember(b, "lastUpdateDateTime", s.Updated, r.Updated)
	b = odata.AppendAssigned(b, r, s)
	b = odata.AppendMember(b, "classification", s.Classification, translate(r.Classification, s.Prefer))
	b = odata.AppendMember(b, "determination", s.Determination, translate(r.Determination, s.Prefer))
	b = odata.AppendMember(b, "severity", s.Severity, translate(r.Severity, s.Prefer))
	b = odata.AppendTags(b, "customTags", r, s)
	b = append(b, `,"systemTags":[],"description":null,"lastModifiedBy":"simulated","resolvingComment":null,"summary":null,"priorityScore":`...)
	if score, ok := r.Priority(); ok {
		b = strconv.AppendInt(b, int64(score), 10)
	} else {
		b = append(b, "null"...)
	}
	b = odata.AppendComments(b, r, s)
	if !s.Expand {
		return b
	}
	return odata.AppendAlerts(b, r, s, func(b []byte, a *life.Alert) []byte { return appendAlert(b, r, a, s.Prefer) })
}

func appendAlert(b []byte, r *life.Record, a *life.Alert, prefer bool) []byte {
	h := life.Spread(uint64(a.Number))
	b = append(b, `{"id":"da`...)
	b = strconv.AppendUint(b, h, 10)
	b = append(b, `_1","incidentId":"`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = append(b, '"')
	b = odata.AppendMember(b, "status", "", translate(a.Status, prefer))
	b = odata.AppendMember(b, "severity", "", translate(a.Severity, prefer))
	b = append(b, `,"classification":null,"determination":null`...)
	b = odata.AppendMember(b, "serviceSource", "", translate(a.ServiceSource, prefer))
	b = odata.AppendMember(b, "detectionSource", "", translate(a.DetectionSource(), prefer))
	b = odata.AppendMember(b, "investigationState", "", translate(a.InvestigationState(), prefer))
	b = append(b, `,"productName":"simulated","title":"Unusual `...)
	b = append(b, a.Category...)
	b = append(b, ` on one endpoint","description":"`+odata.AlertText+`"`...)
	b = odata.AppendMember(b, "category", "", a.Category)
	b = append(b, `,"assignedTo":null`...)
	b = odata.AppendMade(b, a)
	b = odata.AppendTimeMember(b, "createdDateTime", "", a.Created)
	b = odata.AppendTimeMember(b, "lastUpdateDateTime", "", a.Updated)
	b = odata.AppendTimeMember(b, "firstActivityDateTime", "", a.FirstActivity())
	b = append(b, `,"resolvedDateTime":null`...)
	b = odata.AppendList(b, "evidence", "", int(a.Entities)+int(a.Devices), func(b []byte, i int) []byte {
		if device := i - int(a.Entities); device >= 0 {
			b = append(b, `{"@odata.type":"#microsoft.graph.security.deviceEvidence"`...)
			b = odata.AppendTimeMember(b, "createdDateTime", "", a.Created)
			b = append(b, `,"verdict":"unknown","osPlatform":"Windows11","rbacGroupId":7`...)
			b = odata.AppendMember(b, "rbacGroupName", "", a.DeviceGroup(device))
			return append(b, '}')
		}
		b = append(b, `{"@odata.type":"#microsoft.graph.security.processEvidence"`...)
		b = odata.AppendTimeMember(b, "createdDateTime", "", a.Created)
		b = append(b, `,"verdict":"suspicious","remediationStatus":"none","roles":[],"tags":[],"severity":"high","status":"new","detail":`...)
		b = odata.AppendEntity(b, life.Spread(uint64(a.Number)-uint64(i)), a.Created)
		return append(b, '}')
	})
	return append(b, `,"additionalData":{}}`...)
}
