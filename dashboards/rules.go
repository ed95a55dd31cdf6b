package dashboards

import (
	"slices"
	"strings"
)

// Rule is a recording rule, named level:metric:operations.
type Rule struct {
	Record string
	Expr   string
}

// assignBudget is the share of incidents of high severity that may be assigned
// later than the objective says: one of ten. The objective itself is a setting of
// the exporter, --incidents.objective, which counts how often it was met; where
// there is none there is nothing to record.
const assignBudget = "0.1"

// assigns are those that were assigned, and among them those that were assigned too
// late, as [perDay] records counters and for the same reasons.
func assigns() []Rule {
	const of = `m365_defender_incidents_objective_total{severity="high", objective="assign"`
	return []Rule{
		{assignedHigh, "sum by (tenant) (max by (tenant, met) (" + of + "}))"},
		{assignedLate, "max by (tenant) (" + of + `, met="false"})`},
	}
}

const (
	assignedHigh = "tenant:m365_defender_high_incidents_assigned:max"
	assignedLate = "tenant:m365_defender_high_incidents_assigned_late:max"
)

// late is the share of incidents of high severity that were assigned too late,
// of those that were assigned within a time.
func late(within string) Rule {
	return Rule{
		"tenant:m365_defender_high_incidents_assigned_late:ratio_rate" + within,
		"rate(" + assignedLate + "[" + within + "])\n/ on (tenant)\nrate(" + assignedHigh + "[" + within + "])",
	}
}

// assigned counts incidents of high severity that were assigned within a time.
// A ratio of next to none says nothing.
func assigned(within string) Rule {
	return Rule{
		"tenant:m365_defender_high_incidents_assigned:increase" + within,
		"increase(" + assignedHigh + "[" + within + "])",
	}
}

// perDay is what a counter increased by in a day, of what was recorded of it: a
// counter goes on under another instance when a pod gets another name or another
// exporter takes the tenant, and the largest increase of any instance would be
// that since then. Two exporters of one tenant count once. The largest value is
// the newest owner's, for it goes on from what was saved; and it hides that the
// first value of a new owner may be read before the last one of the old.
func perDay(what, by string) []Rule {
	metric := "m365_defender_incidents_" + what
	recorded := "tenant_" + strings.ReplaceAll(by, ", ", "_") + ":" + metric + ":max"
	return []Rule{
		{recorded, "max by (tenant, " + by + ") (" + metric + "_total)"},
		{increasePerDay(what), "sum by (tenant) (increase(" + recorded + "[1d]))"},
	}
}

// increasePerDay is what the second of these is recorded as.
func increasePerDay(what string) string {
	return "tenant:m365_defender_incidents_" + what + ":increase1d"
}

const (
	// gap is how long a value holds although no target shows it: while a tenant goes
	// from one exporter to another, or an exporter starts again, there is no scrape
	// of it. It is five times the usual interval of scrapes at most.
	gap = "[5m]"

	ownedSince = "m365_defender_tenant_owned_since_timestamp_seconds"
)

// owner is the exporter that has owned each tenant for the shortest time: where
// several show its counts, which is so as long as one of them has not learned that
// it lost the tenant, this one's are right.
func owner() Rule {
	recent := "last_over_time(" + ownedSince + gap + ")"
	return Rule{
		"tenant_instance:" + ownedSince + ":newest",
		"max by (tenant, instance) (" + recent + ")\n== on (tenant) group_left ()\nmax by (tenant) (" + recent + ")",
	}
}

// newest is what the newest owner of each tenant counts, the largest value by the
// given labels: two exporters that share nothing may have begun at the same time.
func newest(by, selector string) string {
	return "max by (" + by + ") (last_over_time(" + selector + gap + ") and on (tenant, instance) " + owner().Record + ")"
}

// RuleGroup is a group of recording rules that are evaluated together: as often as
// alerts are, if it has no interval of its own.
type RuleGroup struct {
	Name     string
	Interval string
	Rules    []Rule
	empty    string // why a rule of it may record nothing
}

// RuleGroups lists the recording rules: what alerts build on, and what panels ask
// over hours, days and weeks.
func RuleGroups() []RuleGroup {
	const nothing = "histograms are native or classic, and of some kinds there is nothing yet"
	return []RuleGroup{
		{"m365_defender_recording", "", recordingRules(), ""},
		{"m365_defender_panels", every(panelsEvery), panelsRules(), ""},
		{"m365_defender_review", every(reviewEvery), reviewRules(), nothing},
		{"m365_defender_times", every(timesEvery), timesRules(), nothing},
	}
}

// Rules are those of all groups.
func Rules() (all []Rule) {
	for _, g := range RuleGroups() {
		all = append(all, g.Rules...)
	}
	return all
}

// recordingRules are what is asked by several alerts.
func recordingRules() []Rule {
	counts := []Rule{owner(), openIncidents.rule(), unassignedIncidents.rule()}
	rates := []Rule{late("1h"), late("6h"), late("3d"), assigned("6h"), assigned("3d")}
	return slices.Concat(counts, assigns(), rates, perDay("created", "severity"), perDay("resolved", "severity, classification, handled"), perDay("reopened", "severity"))
}

// inline replaces the names of recording rules by what they stand for.
func inline(expr string) string {
	// A rule is built on those before it. A range of one becomes a subquery.
	for _, r := range slices.Backward(Rules()) {
		written := "(" + strings.ReplaceAll(r.Expr, "\n", " ") + ")"
		for _, window := range []string{"1h", "6h", "1d", "3d"} {
			expr = strings.ReplaceAll(expr, r.Record+"["+window+"]", written+"["+window+":"+resolution(window)+"]")
		}
		expr = strings.ReplaceAll(expr, r.Record, written)
	}
	return expr
}

// resolution is how far apart the values of a subquery are, each of which costs as
// much as asking once.
func resolution(window string) string {
	if window == "1h" {
		return "1m"
	}
	return "5m"
}
