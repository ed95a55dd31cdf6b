package life

import (
	"fmt"
	"time"
)

// What an incident or an alert shows besides what happens to it is made up from
// its number, so that it is the same in every answer and takes no memory. The
// words are the native API's.

// Spread spreads a number over 64 bits (the finaliser of splitmix64).
func Spread(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func (a *Alert) made() uint64 { return Spread(uint64(a.Number)) }

// FirstActivity is when what the alert tells of began: within the hour before it.
func (a *Alert) FirstActivity() time.Time {
	return a.Created.Add(-time.Duration(a.made()%3600) * time.Second)
}

var (
	detections = []string{
		"WindowsDefenderAtp", "WindowsDefenderAv", "MTP", "MCAS", "OfficeATP", "AzureATP", "CustomDetection", "CustomerTI", "AutomatedInvestigation", "DefenderForDatabases",
	}
	openStates     = []string{"UnsupportedAlertType", "UnsupportedAlertType", "UnsupportedAlertType", "UnsupportedOs", "Queued", "Running", "PendingApproval", "Failed"}
	resolvedStates = []string{"UnsupportedAlertType", "UnsupportedAlertType", "SuccessfullyRemediated", "Benign", "PartiallyRemediated", "TerminatedByUser"}
)

// DetectionSource is what raised the alert.
func (a *Alert) DetectionSource() string { return of(detections, a.made()>>8) }

// InvestigationState is how far its automated investigation has come.
func (a *Alert) InvestigationState() string {
	if a.Status == Resolved {
		return of(resolvedStates, a.made()>>16)
	}
	return of(openStates, a.made()>>16)
}

var (
	techniques = []string{"T1078", "T1059.001", "T1059.003", "T1566.002", "T1055", "T1110", "T1021.001"}
	groups     = []string{"Workstations", "Servers", "Domain controllers", "Kiosk devices"}
)

// Techniques are none, one or two.
func (a *Alert) Techniques() []string {
	n := int(a.made() % 3)
	first := int(a.made() >> 24 % uint64(len(techniques)-1))
	return techniques[first : first+n][:n:n]
}

// DeviceGroup is that of one of the alert's devices.
func (a *Alert) DeviceGroup(device int) string { return of(groups, a.made()>>32+uint64(device)) }

// DetectorID is that of the rule that raised the alert; some have none.
func (a *Alert) DetectorID() string {
	n := a.made() >> 40 % 30
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%08x-6a4c-4f0e-9d2b-1f3b5c7d9e01", uint32(Spread(n)))
}

func of(words []string, n uint64) string { return words[n%uint64(len(words))] }

// Priority is the score that Graph shows of the incident; false: none.
func (r *Record) Priority() (score int, ok bool) {
	n := Spread(uint64(r.ID))
	return int((n >> 8) % 101), n%5 > 0 && r.Status != Redirected
}
