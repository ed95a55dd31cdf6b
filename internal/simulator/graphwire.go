package simulator

import "strconv"

// How the Graph flavour writes things.

func appendGraphIncident(b []byte, r *Record, s shape, expand, prefer bool) []byte {
	if !s.noID {
		b = append(b, `"id":`...)
		if s.id != "" {
			b = append(b, s.id...)
		} else {
			b = append(b, '"')
			b = strconv.AppendInt(b, r.ID, 10)
			b = append(b, '"')
		}
		b = append(b, ',')
	}
	b = append(b, `"tenantId":"`+DefaultTenantID+`"`...)
	b = appendMember(b, "status", s.status, graphStatus(r.Status, prefer))
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
	b = appendMember(b, "displayName", s.name, r.Name)
	b = appendTimes(b, r, s, `,"createdDateTime":`, `,"lastUpdateDateTime":`)
	b = appendAssigned(b, r, s)
	b = appendMember(b, "classification", s.classification, graphWord(r.Classification, prefer))
	b = appendMember(b, "determination", s.determination, graphWord(r.Determination, prefer))
	b = appendMember(b, "severity", s.severity, graphWord(r.Severity, prefer))
	b = append(b, `,"customTags":`...)
	b = appendTagList(b, r, s)
	b = append(b, `,"systemTags":[],"description":null,"lastModifiedBy":"simulated","resolvingComment":null,"summary":null,"priorityScore":null,"comments":`...)
	if s.comments != "" {
		b = append(b, s.comments...)
	} else {
		b = append(b, "[]"...)
	}
	if !expand {
		return b
	}
	return appendAlertList(b, r, s, true, func(b []byte, a *Alert) []byte { return appendGraphAlert(b, r, a, prefer) })
}

// graphStatus: an incident has no status New there.
func graphStatus(status string, prefer bool) string {
	if status == alertNew {
		status = active
	}
	return graphWord(status, prefer)
}

func appendGraphAlert(b []byte, r *Record, a *Alert, prefer bool) []byte {
	b = append(b, `{"id":"da`...)
	b = strconv.AppendUint(b, mix(uint64(a.Number)), 10)
	b = append(b, `_1","incidentId":"`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = append(b, '"')
	b = appendMember(b, "status", "", graphWord(a.Status, prefer))
	b = appendMember(b, "severity", "", graphWord(a.Severity, prefer))
	b = append(b, `,"classification":null,"determination":null`...)
	b = appendMember(b, "serviceSource", "", graphWord(a.ServiceSource, prefer))
	b = append(b, `,"detectionSource":"customDetection","productName":"simulated","title":"Unusual `...)
	b = append(b, a.Category...)
	b = append(b, ` on one endpoint","description":"`...)
	b = append(b, alertText...)
	b = append(b, '"')
	b = appendMember(b, "category", "", a.Category)
	b = append(b, `,"assignedTo":null,"mitreTechniques":["T1078"],"createdDateTime":`...)
	b = appendTime(b, a.Created)
	b = append(b, `,"lastUpdateDateTime":`...)
	b = appendTime(b, a.Updated)
	b = append(b, `,"resolvedDateTime":null,"evidence":[`...)
	for i := range uint64(a.Entities) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"@odata.type":"#microsoft.graph.security.processEvidence","createdDateTime":`...)
		b = appendTime(b, a.Created)
		b = append(b, `,"verdict":"suspicious","remediationStatus":"none","roles":[],"tags":[],"severity":"high","status":"new","detail":`...)
		b = appendEntity(b, mix(uint64(a.Number)-i), a.Created)
		b = append(b, '}')
	}
	return append(b, `],"additionalData":{}}`...)
}
