package simulator

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// page is the body of a list answer.
func (t *Tenant) page(found []*Record, next string, f Faults) []byte {
	b := make([]byte, 0, 4096+len(found)*9000)
	b = append(b, `{"@odata.context":"https://api.security.microsoft.com/api/$metadata#Incidents",`...)
	if next != "" {
		b = append(b, `"@odata.nextLink":`...)
		b = strconv.AppendQuote(b, next)
		b = append(b, ',')
	}
	b = append(b, `"value":[`...)
	for i, r := range found {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, r, t.opts.Light)
	}
	if f.OddRows {
		if len(found) > 0 {
			b = append(b, ',')
		}
		b = append(b, oddRows...)
	}
	return append(b, "]}"...)
}

func appendRecord(b []byte, r *Record, light bool) []byte {
	redirect, owner := "null", "null"
	if r.Redirect != 0 {
		redirect = strconv.FormatInt(r.Redirect, 10)
	}
	if r.AssignedTo != "" {
		owner = strconv.Quote(r.AssignedTo)
	}
	b = fmt.Appendf(b, `{"incidentId":%[1]d,"incidentUri":"https://security.microsoft.com/incidents/%[1]d","redirectIncidentId":%[2]s,`+
		`"incidentName":"Multi-stage incident %[1]d","createdTime":%[3]q,"lastUpdateTime":%[4]q,"assignedTo":%[5]s,"classification":%[6]q,`+
		`"determination":%[7]q,"status":%[8]q,"severity":%[9]q,"tags":[],"comments":[],"alerts":[`,
		r.ID, redirect, stamp(r.Created), stamp(r.Updated), owner, r.Classification, r.Determination, r.Status, r.Severity)
	for i := range r.Alerts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendAlert(b, r, &r.Alerts[i], i, light)
	}
	return append(b, `],"entities":[]}`...)
}

func appendAlert(b []byte, r *Record, a *Alert, i int, light bool) []byte {
	if light {
		return fmt.Appendf(b, `{"alertId":"da%d_%d","incidentId":%[1]d,"serviceSource":%[3]q,"category":%[4]q,"status":%[5]q,"severity":%[6]q}`,
			r.ID, i, a.Source, a.Category, a.Status, a.Severity)
	}
	created := stamp(r.Created.Add(time.Duration(i) * time.Second))
	resolved := "null"
	if a.Status == "Resolved" {
		resolved = strconv.Quote(stamp(r.Updated))
	}
	b = fmt.Appendf(b, `{"alertId":"da%d_%d","providerAlertId":"%[1]d_%[2]d","incidentId":%[1]d,"serviceSource":%[3]q,"creationTime":%[4]q,`+
		`"lastUpdatedTime":%[5]q,"resolvedTime":%[6]s,"firstActivity":%[4]q,"lastActivity":%[4]q,"title":"Suspicious process injection observed",`+
		`"description":%[7]q,"category":%[8]q,"status":%[9]q,"severity":%[10]q,"investigationId":null,"investigationState":"UnsupportedAlertType",`+
		`"classification":null,"determination":null,"detectionSource":"WindowsDefenderAtp","detectorId":"7f1c3609-a3ff-40e2-995b-c01770161d68",`+
		`"assignedTo":null,"actorName":null,"threatFamilyName":null,"mitreTechniques":["T1055","T1106"],"devices":[{"mdatpDeviceId":"24c222b0b60f",`+
		`"aadDeviceId":null,"deviceDnsName":"client%[11]d.contoso.example","osPlatform":"Windows11","version":"24H2","osProcessor":"x64",`+
		`"osBuild":26100,"healthStatus":"Active","riskScore":"High","rbacGroupName":"Workstations","firstSeen":%[4]q}],"entities":[`,
		r.ID, i, a.Source, created, stamp(r.Updated), resolved, description, a.Category, a.Status, a.Severity, r.ID%500)
	for n := range a.Entities {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, entities[n%len(entities)]...)
	}
	return append(b, "]}"...)
}

const description = "A process abnormally injected code into another process, causing unexpected code to run in the target process memory. " +
	"Injection is often used to hide malicious code execution within a trusted process. As a result, the target process may behave in " +
	"ways its author did not intend: opening network connections, reading credentials, or starting other processes."

// entities are mostly fields without a value, as in the real payload.
var entities = func() []string {
	nulls := func(except ...string) string {
		var b strings.Builder
		for _, name := range []string{
			"sha1", "sha256", "fileName", "filePath", "processId", "processCommandLine", "processCreationTime", "parentProcessId",
			"parentProcessCreationTime", "parentProcessFileName", "parentProcessFilePath", "ipAddress", "url", "registryKey",
			"registryHive", "registryValueType", "registryValue", "registryValueName", "deviceId", "accountName", "domainName",
			"userSid", "aadUserId", "userPrincipalName", "mailboxDisplayName", "mailboxAddress", "clusterBy", "sender", "recipient",
			"subject", "deliveryAction", "securityGroupId", "securityGroupName", "detectionStatus",
		} {
			if !strings.Contains(strings.Join(except, ","), `"`+name+`"`) {
				b.WriteString(`,"` + name + `":null`)
			}
		}
		return b.String() + "," + strings.Join(except, ",") + "}"
	}
	return []string{
		`{"entityType":"User","evidenceCreationTime":"2026-11-20T08:01:12.3566667Z","verdict":"Suspicious","remediationStatus":"None"` +
			nulls(`"accountName":"jdoe"`, `"domainName":"contoso"`, `"userSid":"S-1-5-21-1721254763-462695806-1538882281-4156657"`, `"userPrincipalName":"jdoe@contoso.example"`),
		`{"entityType":"Ip","evidenceCreationTime":"2026-11-20T08:01:12.3566667Z","verdict":"Suspicious","remediationStatus":"None"` +
			nulls(`"ipAddress":"192.0.2.17"`),
		`{"entityType":"Process","evidenceCreationTime":"2026-11-20T08:01:12.3566667Z","verdict":"Suspicious","remediationStatus":"None"` +
			nulls(`"sha1":"5de839186691aa96ee2ca6d74f0a38fb8d1bd6dd"`, `"fileName":"powershell.exe"`,
				`"filePath":"C:\\Windows\\System32\\WindowsPowerShell\\v1.0"`, `"processId":4460`, `"processCommandLine":"powershell.exe -nop -w hidden"`),
	}
}()

// stamp writes a time as the API does: up to seven digits, no zeros at the end.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

// oddRows have the shapes that were seen or must be feared. Two of them can be
// used: 900000001, open, and 900000002, resolved.
const oddRows = `"just a text",
{"incidentName":"no id","createdTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","status":"Active","severity":"High","alerts":[]},
{"incidentId":null,"status":"Active"},
{"incidentId":900000001,"incidentName":"zero\u200bwidth","createdTime":"2026-01-01T00:00:00.1234567","lastUpdateTime":"2026-01-02T00:00:00","assignedTo":"\u200b ",
 "classification":null,"determination":"SomethingNew","status":"Active","severity":"Critical","tags":[{"name":"x"}],"alerts":{},"comments":null},
{"incidentId":"900000002","redirectIncidentId":null,"createdTime":"yesterday","lastUpdateTime":"2026-13-45T99:00:00Z","status":"Resolved","severity":"Low",
 "classification":7,"alerts":[null,"text",{"alertId":1,"severity":5,"status":"Weird","serviceSource":null,"category":["a"],"entities":{"entityType":"Unheard"}}]}`
