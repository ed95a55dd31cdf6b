// Package defender is the native incidents API of Microsoft 365 Defender: how
// it words rows, filters, links and errors.
package defender

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

// Role is the application role that the API asks for.
const Role = "Incident.Read.All"

// Face is the API as a face of the tenant's incidents.
func Face() *odata.Face {
	return &odata.Face{
		Path: "/api/incidents", Context: "/api/$metadata#Incidents", Top: 100, Updated: "lastUpdateTime", BadQuery: "ODataError", Lenient: true,
		Roles:  []string{Role, "Incident.ReadWrite.All"},
		Takes:  odata.Takes{OrderBy: odata.Refused, Count: odata.Refused, Alerts: odata.Refused},
		Filter: odata.ParseFilter, Link: odata.LossyLink, Incident: appendIncident,
		Alert: func(b []byte, r *life.Record, a *life.Alert, _ bool) []byte { return appendAlert(b, r, a, "") },
		Error: func(code, message, trace string) any {
			return map[string]any{"code": code, "message": message, "target": "|" + trace + "."}
		},
		Refusal: refusal, Throttled: throttled,
	}
}

// refusal words a status, and adds the header that belongs to it.
func refusal(status int, header http.Header) (code, message string) {
	switch status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return "Unauthorized", "Missing or invalid authorization token."
	case http.StatusForbidden:
		return "Forbidden", "Missing application roles. API required roles: Incident.Read.All,Incident.ReadWrite.All"
	case http.StatusInternalServerError:
		return "InternalServerError", "An error has occurred."
	case http.StatusNotFound:
		return "ResourceNotFound", "The incident was not found."
	}
	return strings.ReplaceAll(http.StatusText(status), " ", ""), "A made up error."
}

// throttled names the limit in the text and nowhere else.
func throttled(over odata.Limit) (code, message string) {
	p := over.Period
	return "429", fmt.Sprintf("API calls quota exceeded! maximum allowed %d per %02d:%02d:%02d. You can send requests again when the quota resets.",
		over.Calls, int(p.Hours()), int(p.Minutes())%60, int(p.Seconds())%60)
}

func appendIncident(b []byte, r *life.Record, s *odata.Shape) []byte {
	switch {
	case s.NoID:
	case s.ID != "":
		b = append(b, `"incidentId":`+s.ID+`,`...)
	default:
		b = append(b, `"incidentId":`...)
		b = strconv.AppendInt(b, r.ID, 10)
		b = append(b, ',')
	}
	b = append(b, `"incidentUri":"https://security.microsoft.com/incidents/`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = append(b, `","redirectIncidentId":`...)
	if r.RedirectID != 0 {
		b = strconv.AppendInt(b, r.RedirectID, 10)
	} else {
		b = append(b, "null"...)
	}
	b = odata.AppendMember(b, "incidentName", s.Name, r.Name)
	b = odata.AppendTimeMember(b, "createdTime", s.Created, r.Created)
	b = odata.AppendTimeMember(b, "lastUpdateTime", s.Updated, r.Updated)
	b = odata.AppendAssigned(b, r, s)
	b = odata.AppendMember(b, "classification", s.Classification, r.Classification)
	b = odata.AppendMember(b, "determination", s.Determination, r.Determination)
	b = odata.AppendMember(b, "status", s.Status, r.Status)
	b = odata.AppendMember(b, "severity", s.Severity, r.Severity)
	b = odata.AppendTags(b, "tags", r, s)
	b = odata.AppendComments(b, r, s)
	return odata.AppendAlerts(b, r, s, func(b []byte, a *life.Alert) []byte { return appendAlert(b, r, a, s.Entity) })
}

// appendAlert writes an alert; extra is one more entity.
func appendAlert(b []byte, r *life.Record, a *life.Alert, extra string) []byte {
	h := life.Spread(uint64(a.Number))
	b = append(b, `{"alertId":"da`...)
	b = strconv.AppendUint(b, h, 10)
	b = append(b, '_')
	b = strconv.AppendInt(b, a.Number, 10)
	b = append(b, `","providerAlertId":"`...)
	b = strconv.AppendInt(b, a.Number, 10)
	b = append(b, `","incidentId":`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = odata.AppendMember(b, "serviceSource", "", a.ServiceSource)
	b = odata.AppendTimeMember(b, "creationTime", "", a.Created)
	b = odata.AppendTimeMember(b, "lastUpdatedTime", "", a.Updated)
	if a.Status == life.Resolved {
		b = odata.AppendTimeMember(b, "resolvedTime", "", a.Updated)
	} else {
		b = append(b, `,"resolvedTime":null`...)
	}
	b = odata.AppendTimeMember(b, "firstActivity", "", a.FirstActivity())
	b = odata.AppendTimeMember(b, "lastActivity", "", a.Created.Add(-time.Duration(h%60)*time.Second))
	b = append(b, `,"title":"Unusual `...)
	b = append(b, a.Category...)
	b = append(b, ` on one endpoint","description":"`+odata.AlertText+`"`...)
	b = odata.AppendMember(b, "category", "", a.Category)
	b = odata.AppendMember(b, "status", "", a.Status)
	b = odata.AppendMember(b, "severity", "", a.Severity)
	b = append(b, `,"investigationId":null`...)
	b = odata.AppendMember(b, "investigationState", "", a.InvestigationState())
	b = append(b, `,"classification":`...)
	// Alerts often have a verdict where their incident has none.
	if h%2 == 0 {
		b = append(b, `"TruePositive"`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"determination":null`...)
	b = odata.AppendMember(b, "detectionSource", "", a.DetectionSource())
	b = odata.AppendAssigned(b, r, &odata.Shape{})
	b = append(b, `,"actorName":null,"threatFamilyName":null`...)
	b = odata.AppendMade(b, a)
	b = odata.AppendList(b, "devices", "", int(a.Devices), func(b []byte, i int) []byte {
		return appendDevice(b, life.Spread(h+uint64(i)), a.DeviceGroup(i), a.Created)
	})
	n := int(a.Entities)
	if extra != "" {
		n++
	}
	b = odata.AppendList(b, "entities", "", n, func(b []byte, i int) []byte {
		if i == int(a.Entities) {
			return append(b, extra...)
		}
		return odata.AppendEntity(b, life.Spread(h-uint64(i)), a.Created)
	})
	return append(b, '}')
}

func appendDevice(b []byte, h uint64, group string, at time.Time) []byte {
	b = fmt.Appendf(b, `{"mdatpDeviceId":"%016x%016x%08x","aadDeviceId":null,"deviceDnsName":"host%d.corp.example.com",`,
		h, life.Spread(h), uint32(h), h%5000)
	b = append(b, `"osPlatform":"Windows11","version":"24H2","osProcessor":"x64","osBuild":26100,"healthStatus":"Active",`...)
	b = append(b, `"riskScore":"Medium","rbacGroupId":7`...)
	b = odata.AppendMember(b, "rbacGroupName", "", group)
	b = odata.AppendTimeMember(b, "firstSeen", "", at.AddDate(0, 0, -int(h%200)))
	return append(b, `,"tags":[],"defenderAvStatus":"NotSupported","onboardingStatus":"Onboarded","vmMetadata":null,"loggedOnUsers":[]}`...)
}
