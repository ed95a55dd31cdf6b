package odata

import (
	"fmt"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// What an alert shows besides what is counted is made up from its number, so
// that it is the same in every answer and takes no memory.

// UUID looks like one that was drawn by chance.
func UUID(h uint64) string {
	return fmt.Sprintf("%08x-%04x-4%03x-9%03x-%012x", uint32(h), h>>48, h&0xfff, h>>20&0xfff, h>>16)
}

// AlertText describes every alert, in JSON.
const AlertText = "An activity was observed that is unusual for this account and this device, and that resembles what is seen before " +
	"data is taken or damaged. It might also be the work of an administrator.\\n\\nReview the timeline of the device and the recent " +
	"sign-ins of the account. If nobody can explain the activity, isolate the device, reset the credentials, and look for the same " +
	"pattern elsewhere in the organisation. Simulated text of about the usual length; nothing has happened to anybody."

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

// AppendEntity writes one of an alert's entities.
func AppendEntity(b []byte, h uint64, at time.Time) []byte {
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
			b = AppendTime(b, at)
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
	hash := fmt.Sprintf(`"%016x%016x%08x"`, h, life.Spread(h+1), uint32(h))
	long := fmt.Sprintf(`"%016x%016x%016x%016x"`, h, life.Spread(h+1), life.Spread(h+2), life.Spread(h+3))
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
		{"aadUserId", `"` + UUID(h) + `"`},
		{"userPrincipalName", `"user` + account + `@example.com"`},
	}
}
