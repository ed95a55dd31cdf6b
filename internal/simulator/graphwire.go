package simulator

import "strconv"

// appendGraph writes a page of the Graph flavour.
func (p *page) appendGraph(b []byte) []byte {
	b = append(b, `{"@odata.context":`...)
	b = appendText(b, p.base+"/v1.0/$metadata#security/incidents")
	b = appendPadding(b, p.padding)
	b = append(b, `,"value":[`...)
	for i, e := range p.rows {
		if i > 0 {
			b = append(b, ',')
		}
		s := plain
		if p.odd {
			s = oddShape(&e.Record)
		}
		b = append(b, '{')
		b = appendGraphIncident(b, &e.Record, s, p.expand, p.prefer)
		b = append(b, '}')
		if p.odd && i == len(p.rows)/2 {
			ghost := e.clone()
			ghost.Status, ghost.Severity = active, "High"
			b = append(b, `,"this row is not an incident",{`...)
			b = appendGraphIncident(b, &ghost, shape{noID: true}, p.expand, p.prefer)
			b = append(b, '}')
		}
	}
	b = append(b, ']')
	if p.next != "" {
		b = append(b, `,"@odata.nextLink":`...)
		b = appendText(b, p.next)
	}
	return append(b, '}')
}

// appendGraphSingle writes the answer to a call by id.
func appendGraphSingle(b []byte, c *call, r *Record) []byte {
	b = append(b, `{"@odata.context":`...)
	b = appendText(b, c.base+"/v1.0/$metadata#security/incidents/$entity")
	b = append(b, ',')
	b = appendGraphIncident(b, r, plain, c.query != "", prefers(c))
	return append(b, '}')
}

func appendGraphIncident(b []byte, r *Record, s shape, expand, prefer bool) []byte {
	if !s.noID {
		b = append(b, `"id":"`...)
		b = strconv.AppendInt(b, r.ID, 10)
		b = append(b, '"', ',')
	}
	b = append(b, `"tenantId":"`+DefaultTenantID+`"`...)
	b = appendMember(b, "status", "", graphStatus(r.Status, prefer))
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
	b = append(b, `,"assignedTo":`...)
	b = appendTextOrNull(b, r.AssignedTo)
	b = appendMember(b, "classification", s.classification, graphWord(r.Classification, prefer))
	b = appendMember(b, "determination", "", graphWord(r.Determination, prefer))
	b = appendMember(b, "severity", s.severity, graphWord(r.Severity, prefer))
	b = append(b, `,"customTags":`...)
	b = appendTagList(b, r, s)
	b = append(b, `,"systemTags":[],"description":null,"lastModifiedBy":"simulated","resolvingComment":null,"summary":null,"priorityScore":null,"comments":`...)
	if s.comments != "" {
		b = append(b, s.comments...)
	} else {
		b = append(b, "[]"...)
	}
	if !expand || s.noAlerts {
		return b
	}
	b = append(b, `,"alerts":`...)
	if s.alerts != "" {
		return append(b, s.alerts...)
	}
	b = append(b, '[')
	for i := range r.Alerts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendGraphAlert(b, r, &r.Alerts[i], prefer)
	}
	return append(b, ']')
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
