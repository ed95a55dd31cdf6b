package simulator

import (
	"fmt"
	"math"
	"slices"
	"time"
)

var (
	severities = []string{"High", "Medium", "Low", "Informational"}
	sources    = []string{
		"MicrosoftDefenderATP", "OfficeATP", "MicrosoftCloudAppSecurity", "AADIdentityProtection",
		"MicrosoftDefenderForEndpoint", "MicrosoftDefenderForCloud", "MicrosoftApplicationProtection",
	}
	categories = []string{
		"InitialAccess", "Malware", "SuspiciousActivity", "CredentialAccess", "Execution", "CommandAndControl",
		"LateralMovement", "Exfiltration", "Persistence", "Impact", "DefenseEvasion", "UnwantedSoftware",
	}
	verdicts = [][2]string{
		{"TruePositive", "Malware"}, {"TruePositive", "Phishing"}, {"TruePositive", "MultiStagedAttack"},
		{"TruePositive", "CompromisedUser"}, {"FalsePositive", "Clean"}, {"FalsePositive", "InsufficientData"},
		{"InformationalExpectedActivity", "SecurityTesting"}, {"InformationalExpectedActivity", "ConfirmedUserActivity"},
		{"InformationalExpectedActivity", "LineOfBusinessApplication"}, {"TruePositive", "Apt"},
	}
	alertStatuses = []string{"New", "New", "InProgress", "Resolved"}
)

func pick[T any](t *Tenant, from []T) T { return from[t.rand.IntN(len(from))] }

// skewed picks the first ones more often than the last ones.
func skewed[T any](t *Tenant, from []T) T {
	return from[int(math.Pow(t.rand.Float64(), 2)*float64(len(from)))]
}

// history fills the tenant with what has happened before it was looked at.
func (t *Tenant) history() {
	now := t.now()
	const tick = 100 * time.Nanosecond
	for i := range t.opts.Incidents {
		created := now.Add(-time.Duration(t.rand.Float64() * float64(t.opts.History))).Truncate(tick)
		r := t.fresh(created)
		// Incidents come to rest within days of their creation.
		r.Updated = created.Add(time.Duration(t.rand.ExpFloat64() * float64(24*time.Hour))).Truncate(tick)
		if r.Updated.After(now) {
			r.Updated = created.Add(time.Duration(t.rand.Float64() * float64(now.Sub(created)))).Truncate(tick)
		}
		switch x := t.rand.Float64(); {
		case x < t.opts.Redirected && i > 0:
			r.Status, r.Redirect, r.Alerts = "Redirected", t.order[t.rand.IntN(i)].ID, nil
		case x < t.opts.Redirected+t.opts.Open:
			if t.rand.IntN(3) == 0 {
				r.Status, r.AssignedTo = "InProgress", t.analyst()
			}
		default:
			t.resolve(r)
		}
		t.order = append(t.order, r)
		t.file(r)
	}
	slices.SortFunc(t.order, byUpdate)
}

// fresh is a new active incident that is not in the tenant yet.
func (t *Tenant) fresh(at time.Time) *Record {
	t.nextID++
	r := &Record{
		ID: t.nextID, Created: at, Updated: at, Status: "Active",
		// Many are low, few are high.
		Severity:       severities[3-int(math.Pow(t.rand.Float64(), 1.5)*4)],
		Classification: "Unknown", Determination: "NotAvailable",
	}
	n := 1 + int(t.rand.ExpFloat64()*7)
	switch {
	case t.opts.Light:
		n = 1 + t.rand.IntN(3)
	case t.rand.IntN(300) == 0:
		n = 150 // looks like a cap
	}
	for range min(n, 150) {
		r.Alerts = append(r.Alerts, Alert{
			Severity: r.Severity, Status: pick(t, alertStatuses),
			Source: skewed(t, sources), Category: skewed(t, categories), Entities: 1 + t.rand.IntN(2),
		})
	}
	return r
}

func (t *Tenant) create(at time.Time) *Record {
	r := t.fresh(at)
	t.link(r)
	return r
}

func (t *Tenant) analyst() string { return fmt.Sprintf("analyst%d@contoso.example", 1+t.rand.IntN(9)) }

func (t *Tenant) resolve(r *Record) {
	r.Status = "Resolved"
	if t.rand.IntN(3) > 0 {
		v := pick(t, verdicts)
		r.Classification, r.Determination = v[0], v[1]
	}
	if r.AssignedTo == "" && t.rand.IntN(2) == 0 {
		r.AssignedTo = t.analyst()
	}
	for i := range r.Alerts {
		r.Alerts[i].Status = "Resolved"
	}
}

func (t *Tenant) merge(src, dst *Record, at time.Time) {
	moved := src.Alerts
	t.change(src, at, func(r *Record) { r.Status, r.Redirect, r.Alerts = "Redirected", dst.ID, nil })
	t.change(dst, at, func(r *Record) {
		r.Alerts = append(slices.Clone(r.Alerts), moved...)
		r.Alerts = r.Alerts[:min(150, len(r.Alerts))]
	})
}

func (t *Tenant) live(r Rates) {
	t.rates, t.nextAt = r, time.Time{}
	if total := r.total(); total > 0 {
		t.nextAt = t.now().Add(t.pause(total))
	}
}

func (r Rates) total() float64 {
	return r.Create + r.Assign + r.Change + r.Merge + r.Resolve + r.Reopen
}

func (t *Tenant) pause(total float64) time.Duration {
	return time.Duration(t.rand.ExpFloat64() / total * float64(time.Hour))
}

// advance lets everything happen that is due, each at its own instant, so
// that the tenant's life does not depend on when it is looked at.
func (t *Tenant) advance() {
	now := t.now()
	for !t.nextAt.IsZero() && !t.nextAt.After(now) {
		t.event(t.nextAt.Truncate(100 * time.Nanosecond))
		t.nextAt = t.nextAt.Add(t.pause(t.rates.total()))
	}
	t.late = slices.DeleteFunc(t.late, func(l lateChange) bool {
		if l.visible.After(now) {
			return false
		}
		if r, ok := t.byID[l.id]; ok && r.Updated.Before(l.at) {
			t.change(r, l.at, l.f)
		}
		return true
	})
}

func (t *Tenant) event(at time.Time) {
	x := t.rand.Float64() * t.rates.total()
	for _, kind := range []struct {
		rate float64
		do   func(time.Time)
	}{
		{t.rates.Create, func(at time.Time) { t.create(at) }},
		{t.rates.Assign, t.someAssigned},
		{t.rates.Change, t.someChanged},
		{t.rates.Merge, t.someMerged},
		{t.rates.Resolve, t.someResolved},
		{t.rates.Reopen, t.someReopened},
	} {
		if x -= kind.rate; x < 0 {
			kind.do(at)
			return
		}
	}
}

func (t *Tenant) someAssigned(at time.Time) {
	if len(t.open) > 0 {
		t.change(pick(t, t.open), at, func(r *Record) { r.Status, r.AssignedTo = "InProgress", t.analyst() })
	}
}

func (t *Tenant) someChanged(at time.Time) {
	if len(t.open) == 0 {
		return
	}
	t.change(pick(t, t.open), at, func(r *Record) {
		switch t.rand.IntN(3) {
		case 0:
			r.Severity = pick(t, severities)
		case 1:
			r.AssignedTo, r.Status = "", "Active"
		default:
			for i := range r.Alerts {
				r.Alerts[i].Status = pick(t, alertStatuses)
			}
		}
	})
}

func (t *Tenant) someMerged(at time.Time) {
	if len(t.open) > t.normal/2 {
		if a, b := pick(t, t.open), pick(t, t.open); a != b {
			t.merge(a, b, at)
		}
	}
}

// someResolved tends towards the number of open incidents of the beginning.
func (t *Tenant) someResolved(at time.Time) {
	for range 1 + len(t.open)/(2*t.normal) {
		if len(t.open) > t.normal/2 {
			t.change(pick(t, t.open), at, t.resolve)
		}
	}
}

func (t *Tenant) someReopened(at time.Time) {
	if len(t.resolved) > 0 {
		t.change(pick(t, t.resolved), at, func(r *Record) { r.Status = "Active" })
	}
}
