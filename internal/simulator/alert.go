package simulator

import (
	"fmt"
	"strconv"
	"time"
)

// Everything about an alert that nobody counts is made up from its number, so
// that it is the same in every answer and takes no memory.

// mix spreads a number over 64 bits (the finaliser of splitmix64).
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

const alertText = "An activity was observed that is unusual for this account and this device, and that resembles what is seen before " +
	"data is taken or damaged. It might also be the work of an administrator.\\n\\nReview the timeline of the device and the recent " +
	"sign-ins of the account. If nobody can explain the activity, isolate the device, reset the credentials, and look for the same " +
	"pattern elsewhere in the organisation. Simulated text of about the usual length; nothing has happened to anybody."

func appendAlert(b []byte, r *Record, a *Alert, extraEntity string) []byte {
	h := mix(uint64(a.Number))
	b = append(b, `{"alertId":"da`...)
	b = strconv.AppendUint(b, h, 10)
	b = append(b, '_')
	b = strconv.AppendInt(b, a.Number, 10)
	b = append(b, `","providerAlertId":"`...)
	b = strconv.AppendInt(b, a.Number, 10)
	b = append(b, `","incidentId":`...)
	b = strconv.AppendInt(b, r.ID, 10)
	b = appendMember(b, "serviceSource", "", a.ServiceSource)
	b = append(b, `,"creationTime":`...)
	b = appendTime(b, a.Created)
	b = append(b, `,"lastUpdatedTime":`...)
	b = appendTime(b, a.Updated)
	b = append(b, `,"resolvedTime":`...)
	var end time.Time
	if a.Status == resolved {
		end = a.Updated
	}
	b = appendTimeOrNull(b, end)
	b = append(b, `,"firstActivity":`...)
	b = appendTime(b, a.Created.Add(-time.Duration(h%3600)*time.Second))
	b = append(b, `,"lastActivity":`...)
	b = appendTime(b, a.Created.Add(-time.Duration(h%60)*time.Second))
	b = append(b, `,"title":"Unusual `...)
	b = append(b, a.Category...)
	b = append(b, ` on one endpoint","description":"`...)
	b = append(b, alertText...)
	b = append(b, '"')
	b = appendMember(b, "category", "", a.Category)
	b = appendMember(b, "status", "", a.Status)
	b = appendMember(b, "severity", "", a.Severity)
	b = append(b, `,"investigationId":null,"investigationState":"UnsupportedAlertType","classification":`...)
	// Alerts often have a verdict where their incident has none.
	if h%2 == 0 {
		b = append(b, `"TruePositive"`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"determination":null,"detectionSource":"CustomDetection","detectorId":null,"assignedTo":`...)
	b = appendTextOrNull(b, r.AssignedTo)
	b = append(b, `,"actorName":null,"threatFamilyName":null,"mitreTechniques":[`...)
	if h%3 > 0 {
		b = append(b, `"T1078","T1059.001"`...)
	}
	b = append(b, `],"devices":[`...)
	for i := range uint64(a.Devices) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendDevice(b, mix(h+i), a.Created)
	}
	b = append(b, `],"entities":[`...)
	for i := range uint64(a.Entities) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEntity(b, mix(h-i), a.Created)
	}
	if extraEntity != "" {
		if a.Entities > 0 {
			b = append(b, ',')
		}
		b = append(b, extraEntity...)
	}
	return append(b, ']', '}')
}

func appendDevice(b []byte, h uint64, at time.Time) []byte {
	b = fmt.Appendf(b, `{"mdatpDeviceId":"%016x%016x%08x","aadDeviceId":null,"deviceDnsName":"host%d.corp.example.com",`,
		h, mix(h), uint32(h), h%5000)
	b = append(b, `"osPlatform":"Windows11","version":"24H2","osProcessor":"x64","osBuild":26100,"healthStatus":"Active",`...)
	b = append(b, `"riskScore":"Medium","rbacGroupName":"Workstations","rbacGroupId":7,"firstSeen":`...)
	b = appendTime(b, at.Add(-time.Duration(h%200)*day))
	return append(b, `,"tags":[],"defenderAvStatus":"NotSupported","onboardingStatus":"Onboarded","vmMetadata":null,"loggedOnUsers":[]}`...)
}

// entityMembers are all the members of an entity, in the API's order. Every
// entity has them all, most of them null: that is what makes a page heavy.
var entityMembers = []string{
	"entityType", "evidenceCreationTime", "verdict", "remediationStatus",
	"sha1", "sha256", "fileName", "filePath", "processId", "processCommandLine", "processCreationTime",
	"parentProcessId", "parentProcessCreationTime", "parentProcessFileName", "parentProcessFilePath", "ipAddress", "url",
	"registryKey", "registryHive", "registryValueType", "registryValue", "deviceId",
	"accountName", "domainName", "userSid", "aadUserId", "userPrincipalName", "mailboxDisplayName", "mailboxAddress",
	"clusterBy", "sender", "recipient", "subject", "deliveryAction", "securityGroupId", "securityGroupName",
}

// member of an entity, in raw JSON.
type member struct{ name, value string }

func appendEntity(b []byte, h uint64, at time.Time) []byte {
	b = append(b, '{')
	set := entity(h)
	for i, name := range entityMembers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, name...)
		b = append(b, '"', ':')
		switch {
		case name == "evidenceCreationTime":
			b = appendTime(b, at)
		case len(set) > 0 && set[0].name == name:
			b = append(b, set[0].value...)
			set = set[1:]
		default:
			b = append(b, "null"...)
		}
	}
	return append(b, '}')
}

// entity returns the members that are not null, in the order of entityMembers.
func entity(h uint64) []member {
	account := fmt.Sprintf("%d", h%900)
	hash := fmt.Sprintf(`"%016x%016x%08x"`, h, mix(h+1), uint32(h))
	long := fmt.Sprintf(`"%016x%016x%016x%016x"`, h, mix(h+1), mix(h+2), mix(h+3))
	switch h % 6 {
	case 0:
		return []member{
			{"entityType", `"File"`}, {"verdict", `"Suspicious"`}, {"sha1", hash}, {"sha256", long},
			{"fileName", `"setup-` + account + `.exe"`}, {"filePath", `"C:\\Users\\Public\\Downloads"`},
		}
	case 1:
		return []member{
			{"entityType", `"Process"`}, {"verdict", `"Malicious"`}, {"sha1", hash}, {"sha256", long}, {"fileName", `"powershell.exe"`},
			{"filePath", `"C:\\Windows\\System32\\WindowsPowerShell\\v1.0"`}, {"processId", account},
			{"processCommandLine", `"powershell.exe -NoProfile -File C:\\Scripts\\job` + account + `.ps1"`},
			{"parentProcessId", account + "0"}, {"deviceId", hash},
		}
	case 2:
		return []member{{"entityType", `"Ip"`}, {"verdict", `"Suspicious"`}, {"ipAddress", fmt.Sprintf(`"198.51.100.%d"`, h%256)}}
	case 3:
		return []member{{"entityType", `"Url"`}, {"verdict", `"Malicious"`}, {"url", `"https://landing.example.net/` + account + `"`}}
	case 4:
		return []member{
			{"entityType", `"MailBox"`}, {"userPrincipalName", `"user` + account + `@example.com"`},
			{"mailboxDisplayName", `"User ` + account + `"`}, {"mailboxAddress", `"user` + account + `@example.com"`},
		}
	}
	return []member{
		{"entityType", `"User"`}, {"verdict", `"Suspicious"`}, {"accountName", `"user` + account + `"`}, {"domainName", `"corp.example.com"`},
		{"userSid", fmt.Sprintf(`"S-1-5-21-%d-%d"`, uint32(h), h%9999)},
		{"aadUserId", fmt.Sprintf(`"%08x-%04x-4%03x-9%03x-%012x"`, uint32(h), h>>48, h&0xfff, h>>20&0xfff, h>>16)},
		{"userPrincipalName", `"user` + account + `@example.com"`},
	}
}
