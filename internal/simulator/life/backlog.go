package life

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Mix says what the backlog is made of. Shares need not sum up to one.
type Mix struct {
	// Shares of the Statuses. All zero: 60 % redirected, 30 % resolved and 10 %
	// open, two thirds of them Active and one third InProgress; a captured page
	// of a real tenant had 63 redirected rows in 100.
	Redirected, Resolved, Active, InProgress, AwaitingAction float64
	// Shares of the severities. All zero: a realistic mix with few high ones
	// and very few unspecified.
	UnSpecified, Informational, Low, Medium, High float64
	// Classified is the share of resolved incidents that carry a verdict. Zero:
	// a quarter; negative: none.
	Classified float64
}

func (m Mix) complete() Mix {
	if m.Redirected+m.Resolved+m.Active+m.InProgress+m.AwaitingAction == 0 {
		m.Redirected, m.Resolved, m.Active, m.InProgress = 0.60, 0.30, 0.10*2/3, 0.10/3
	}
	if m.UnSpecified+m.Informational+m.Low+m.Medium+m.High == 0 {
		m.UnSpecified, m.Informational, m.Low, m.Medium, m.High = 0.01, 0.27, 0.30, 0.30, 0.12
	}
	if m.Classified == 0 {
		m.Classified = 0.25
	}
	return m
}

func (m Mix) statuses() []float64 {
	return []float64{m.Redirected, m.Resolved, m.Active, m.InProgress, m.AwaitingAction}
}

func (m Mix) severities() []float64 {
	return []float64{m.UnSpecified, m.Informational, m.Low, m.Medium, m.High}
}

// What things are called, in the native API's spelling.
var (
	Statuses   = []string{Redirected, Resolved, Active, InProgress, AwaitingAction}
	Severities = []string{"UnSpecified", "Informational", "Low", "Medium", "High"}
	sources    = []string{
		"MicrosoftDefenderATP", "OfficeATP", "MicrosoftCloudAppSecurity", "AADIdentityProtection",
		"MicrosoftDefenderForEndpoint", "MicrosoftDefenderForCloud", "MicrosoftApplicationProtection",
	}
	sourceShares = []float64{35, 25, 12, 10, 6, 8, 4}
	categories   = []string{
		"InitialAccess", "SuspiciousActivity", "Malware", "CredentialAccess", "Execution", "Persistence",
		"DefenseEvasion", "LateralMovement", "CommandAndControl", "Exfiltration", "Impact", "Phishing",
		"Discovery", "Collection", "PrivilegeEscalation", "UnwantedSoftware", "Ransomware",
	}
	tagNames = []string{"priority", "vip user", "pentest", "needs review"}
	verdicts = map[string][]string{
		"TruePositive": {
			"Malware", "Phishing", "CompromisedUser", "MultiStagedAttack", "MaliciousUserActivity", "UnwantedSoftware", "Apt", "Other",
		},
		"FalsePositive":                 {"Clean", "InsufficientData", "Other"},
		"InformationalExpectedActivity": {"SecurityTesting", "ConfirmedUserActivity", "LineOfBusinessApplication", "SecurityPersonnel", "Other"},
	}
)

// backlog makes the incidents that exist from the start. Ids rise with the
// time of creation, as in a real tenant; update times do not.
func (t *Tenant) backlog(rng *rand.Rand, now time.Time) {
	ages := make([]time.Duration, t.opts.Incidents)
	for i := range ages {
		ages[i] = time.Duration(rng.Float64() * float64(t.opts.History))
	}
	slices.Sort(ages)
	slices.Reverse(ages)
	var targets []int64
	for _, age := range ages {
		created := ragged(rng, now.Add(-age))
		status := pick(rng, Statuses, t.opts.Mix.statuses())
		severity := pick(rng, Severities, t.opts.Mix.severities())
		r := t.invent(rng, status, severity, created, created)
		r.Updated = ragged(rng, created.Add(delay(rng, status, age)))
		switch n := len(targets); {
		case r.Status != Redirected:
			targets = append(targets, r.ID)
		case n > 0: // into one of the last few before it
			r.RedirectID = targets[n-1-rng.IntN(min(n, 20))]
		}
		t.put(r)
	}
}

// delay is the time from the creation of an incident to its last update. It
// ends before the present.
func delay(rng *rand.Rand, status string, age time.Duration) time.Duration {
	mean := map[string]time.Duration{Redirected: 2 * time.Hour, Resolved: 3 * day}[status]
	if mean == 0 {
		mean = day
	}
	if d := time.Duration(rng.ExpFloat64() * float64(mean)); d < age {
		return d
	}
	return time.Duration(rng.Float64() * float64(age))
}

// ragged cuts digits off a timestamp: the real API's have nought to seven.
func ragged(rng *rand.Rand, at time.Time) time.Time {
	units := []time.Duration{time.Second, 100 * time.Millisecond, 10 * time.Millisecond, time.Millisecond, time.Microsecond}
	if i := rng.IntN(2 * len(units)); i < len(units) {
		return at.Truncate(units[i])
	}
	return at.Truncate(Resolution)
}

// invent makes an incident with the next id.
func (t *Tenant) invent(rng *rand.Rand, status, severity string, created, updated time.Time) Record {
	t.lastID += 1 + rng.Int64N(3)
	r := Record{
		ID: t.lastID, Status: status, Severity: severity, Created: created, Updated: updated,
		Classification: "Unknown", Determination: "NotAvailable",
	}
	owned := map[string]float64{Redirected: 0.1, Resolved: 0.6, Active: 0.15}
	if p, ok := owned[status]; !ok || rng.Float64() < p {
		r.AssignedTo = analyst(rng)
	}
	if rng.IntN(12) == 0 {
		r.Tags = []string{choose(rng, tagNames)}
	}
	if status == Resolved {
		r.Classification, r.Determination = verdict(rng, t.opts.Mix.Classified)
	}
	n := 0
	if status != Redirected {
		n = t.alertCount(rng)
	}
	for range n {
		r.Alerts = append(r.Alerts, t.inventAlert(rng, &r, created))
	}
	r.Name = fmt.Sprintf("Multi-stage incident involving %s", choose(rng, categories))
	if n > 0 {
		r.Name = fmt.Sprintf("%s incident reported by one source", r.Alerts[0].Category)
	}
	return r
}

// alertCount: most incidents have one or a few alerts, some have many, rarely
// one has as many as the API shows. The mean is about six.
func (t *Tenant) alertCount(rng *rand.Rand) int {
	switch {
	case t.opts.Alerts > 0:
		return t.opts.Alerts
	case t.opts.Alerts < 0:
		return 0
	case t.opts.Light:
		return 1 + rng.IntN(3)
	}
	switch p := rng.Float64(); {
	case p < 0.35:
		return 1
	case p < 0.60:
		return 2 + rng.IntN(2)
	case p < 0.85:
		return 4 + rng.IntN(5)
	case p < 0.97:
		return 9 + rng.IntN(15)
	case p < 0.998:
		return 25 + rng.IntN(35)
	}
	return maxAlerts
}

// inventAlert makes an alert that suits its incident, of which the first one
// sets source and category of most others.
func (t *Tenant) inventAlert(rng *rand.Rand, r *Record, at time.Time) Alert {
	t.alerts++
	a := Alert{
		Number:        t.alerts,
		Category:      choose(rng, categories),
		ServiceSource: pick(rng, sources, sourceShares),
		Severity:      r.Severity,
		Status:        AlertNew,
		Created:       at.Add(-time.Duration(rng.Int64N(int64(5 * time.Second)))).Truncate(Resolution),
		Updated:       at,
	}
	if len(r.Alerts) > 0 && rng.IntN(3) > 0 {
		a.Category, a.ServiceSource = r.Alerts[0].Category, r.Alerts[0].ServiceSource
	}
	if rng.IntN(4) == 0 {
		a.Severity = choose(rng, Severities[1:])
	}
	switch {
	case r.Status == Resolved:
		a.Status = Resolved
	case rng.IntN(3) == 0:
		a.Status = InProgress
	}
	if !t.opts.Light {
		a.Entities, a.Devices = uint8(1+rng.IntN(4)), uint8(rng.IntN(2))
	}
	return a
}

// verdict is how an incident is classified when it is closed, if at all.
func verdict(rng *rand.Rand, share float64) (classification, determination string) {
	if rng.Float64() >= share {
		return "Unknown", "NotAvailable"
	}
	classification = pick(rng, []string{"TruePositive", "FalsePositive", "InformationalExpectedActivity"}, []float64{5, 3, 2})
	return classification, choose(rng, verdicts[classification])
}

func analyst(rng *rand.Rand) string { return fmt.Sprintf("analyst%d@example.com", 1+rng.IntN(12)) }

// pick draws one of the names by its share.
func pick(rng *rand.Rand, names []string, shares []float64) string {
	sum := 0.0
	for _, s := range shares {
		sum += s
	}
	p := rng.Float64() * sum
	for i, s := range shares {
		if p -= s; p < 0 {
			return names[i]
		}
	}
	return names[len(names)-1]
}
