package tenant

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/tenanttest"
)

// observer counts by itself what happens to a tenant, from one look at all
// incidents to the next. It shares no word and no code with what it checks.
type observer struct {
	sim   *simulator.Tenant
	known map[int64]*observed
	// counters by name and labels, and of each histogram the observations.
	counters map[string]float64
	times    map[string][]float64
}

type observed struct {
	status, owner     string
	touched, hadOwner bool
	owned             time.Time
}

// objectivesOf are what the test's configuration says, in seconds.
var objectivesOf = map[string]map[string]float64{
	"high":   {"assign": 3 * 3600, "first_touch": 2 * 3600, "resolve": 8 * 3600},
	"medium": {"resolve": 2 * 86400},
}

func (o *observer) count(name, labels string) { o.counters["incidents_"+name+"_total{"+labels+"}"]++ }

func (o *observer) took(name, labels string, from, to time.Time) {
	key := "incident_" + name + "_seconds{" + labels + "}"
	o.times[key] = append(o.times[key], max(0, to.Sub(from).Seconds()))
}

func (o *observer) objective(objective, severity string, r *life.Record) {
	if bound := objectivesOf[severity][objective]; bound > 0 {
		o.count("objective", fmt.Sprintf("met=%v,objective=%s,severity=%s", r.Updated.Sub(r.Created).Seconds() <= bound, objective, severity))
	}
}

// look compares all incidents with what they were at the last look. The first one
// is history.
func (o *observer) look() {
	first := o.known == nil
	if first {
		o.known = map[int64]*observed{}
	}
	for _, id := range o.sim.IDs() {
		r, _ := o.sim.Record(id)
		was := o.known[id]
		fresh := was == nil
		if fresh {
			was = &observed{}
			o.known[id] = was
		}
		if !first {
			o.transitions(was, fresh, &r)
		}
		was.status, was.owner = r.Status, r.AssignedTo
		was.touched = was.touched || touched(&r)
		was.hadOwner = was.hadOwner || r.AssignedTo != ""
	}
}

func touched(r *life.Record) bool {
	return slices.Contains([]string{"InProgress", "AwaitingAction", "Resolved"}, r.Status) || r.AssignedTo != "" ||
		r.Comments+len(r.Tags) > 0 || r.Classification != "Unknown"
}

func (o *observer) transitions(was *observed, fresh bool, r *life.Record) {
	severity := map[string]string{"Informational": "informational", "Low": "low", "Medium": "medium", "High": "high", "UnSpecified": "unknown"}[r.Severity]
	labels := "severity=" + severity
	switch {
	case r.Status == "Redirected":
		if was.status != "Redirected" {
			o.count("merged", labels)
		}
		return
	case was.status == "Redirected":
		return
	case fresh:
		o.count("created", labels)
		if len(r.Alerts) > 0 {
			began := slices.MinFunc(r.Alerts, func(a, b life.Alert) int { return a.FirstActivity().Compare(b.FirstActivity()) })
			o.took("time_to_detect", labels, began.FirstActivity(), r.Created)
		}
	}
	if was.owner != "" && r.AssignedTo != "" && was.owner != r.AssignedTo && was.status != "Resolved" && r.Status != "Resolved" {
		o.count("reassigned", labels)
	}
	if touched(r) && !was.touched {
		o.took("time_to_first_touch", labels, r.Created, r.Updated)
		o.objective("first_touch", severity, r)
	}
	if r.AssignedTo != "" && !was.hadOwner {
		o.took("time_to_assign", labels, r.Created, r.Updated)
		o.objective("assign", severity, r)
		was.owned = r.Updated
	}
	if was.status == "Resolved" && r.Status != "Resolved" {
		o.count("reopened", labels)
	}
	if was.status == "Resolved" || r.Status != "Resolved" {
		return
	}
	class := map[string]string{"Unknown": "unknown", "FalsePositive": "false_positive", "TruePositive": "true_positive",
		"InformationalExpectedActivity": "informational_expected_activity"}[r.Classification]
	handled := "unassigned"
	if r.AssignedTo != "" {
		handled = "assigned"
	}
	o.count("resolved", fmt.Sprintf("classification=%s,handled=%s,severity=%s", class, handled, severity))
	o.took("time_to_resolve", "classification="+class+","+labels, r.Created, r.Updated)
	o.objective("resolve", severity, r)
	if !was.owned.IsZero() {
		o.took("time_in_work", labels, was.owned, r.Updated)
	}
	alerts := "incident_alerts{" + labels + "}"
	o.times[alerts] = append(o.times[alerts], float64(len(r.Alerts)))
}

// compare fails the test if a counter or a bucket of a histogram differs.
func (o *observer) compare(b *bubble) {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	counters, histograms := maps.Clone(o.counters), maps.Clone(o.times)
	for _, family := range families {
		name := family.GetName()[len("m365_defender_"):]
		for _, m := range family.Metric {
			key := name + "{" + tenanttest.Labels(m) + "}"
			switch want, counted := counters[key]; {
			case m.Histogram != nil && name != "api_request_duration_seconds":
				compareHistogram(b.t, key, m.Histogram, histograms[key])
				delete(histograms, key)
			case m.Counter != nil && (counted || name[:min(len(name), 10)] == "incidents_"):
				if got := m.Counter.GetValue(); got != want {
					b.t.Errorf("%s: got %v, want %v", key, got, want)
				}
				delete(counters, key)
			}
		}
	}
	for key := range counters {
		b.t.Errorf("%s is not there", key)
	}
	for key := range histograms {
		b.t.Errorf("%s is not there", key)
	}
}

func compareHistogram(t *testing.T, key string, got *dto.Histogram, want []float64) {
	t.Helper()
	sum := 0.0
	for _, v := range want {
		sum += v
	}
	if got.GetSampleCount() != uint64(len(want)) || math.Abs(got.GetSampleSum()-sum) > 1e-9*sum {
		t.Errorf("%s: got %d observations, sum %v; want %d, %v", key, got.GetSampleCount(), got.GetSampleSum(), len(want), sum)
	}
	for _, bucket := range got.Bucket {
		below := uint64(0)
		for _, v := range want {
			if v <= bucket.GetUpperBound() {
				below++
			}
		}
		if got := bucket.GetCumulativeCount(); got != below {
			t.Errorf("%s, bucket %v: got %d, want %d", key, bucket.GetUpperBound(), got, below)
		}
	}
}

// act does one of the things that people and Microsoft do to an incident.
func act(r *rand.Rand, sim *simulator.Tenant) {
	ids := sim.IDs("Active", "InProgress", "AwaitingAction")
	if r.IntN(4) == 0 || len(ids) == 0 {
		severity := life.Severities[r.IntN(len(life.Severities))]
		sim.Create(simulator.Spec{Severity: severity, Alerts: alertsFor(r), Tags: [][]string{nil, nil, {"vip"}}[r.IntN(3)]})
		return
	}
	// Mostly the youngest, for much happens to them.
	id := ids[len(ids)-1-int(float64(len(ids))*math.Pow(r.Float64(), 3))]
	classes := []string{"Unknown", "FalsePositive", "TruePositive", "InformationalExpectedActivity"}
	switch r.IntN(9) {
	case 0, 1:
		sim.Assign(id, []string{"somebody@example.com", "Somebody.Else@example.com"}[r.IntN(2)])
	case 2:
		sim.Assign(id, "")
	case 3:
		sim.Comment(id)
	case 4:
		sim.Update(id, func(rec *life.Record) {
			switch r.IntN(4) {
			case 0:
				rec.Status = []string{"Active", "InProgress", "AwaitingAction"}[r.IntN(3)]
			case 1:
				rec.Severity = life.Severities[r.IntN(len(life.Severities))]
			case 2:
				rec.Classification = classes[r.IntN(len(classes))]
			case 3:
				rec.Tags = []string{"needs review"}
			}
		})
	case 5, 6:
		sim.Resolve(id, classes[r.IntN(len(classes))], "")
	case 7:
		if done := sim.IDs("Resolved"); len(done) > 0 {
			sim.Reopen(done[r.IntN(len(done))])
		}
	case 8:
		if other := ids[r.IntN(len(ids))]; other != id {
			sim.Merge(id, other)
		}
	}
}

// alertsFor are up to 160.
func alertsFor(r *rand.Rand) []simulator.Alert {
	n := []int{0, 1, 1, 1, 2, 2, 3, 3, 7, 12, 30, 160}[r.IntN(12)]
	alerts := make([]simulator.Alert, n)
	for i := range alerts {
		alerts[i] = simulator.Alert{Severity: "Low", Status: "New", ServiceSource: "OfficeATP", Category: "Malware", Devices: uint8(r.IntN(3))}
	}
	return alerts
}

var recountDays = flag.Int("recount.days", 14, "how many days TestRecount counts; it was run with 60")

// TestRecount lets both APIs' exporters live through days in which they are
// stopped and killed now and then: every counter and every bucket is what an
// observer counts who looks at the tenant itself, and what happened while the
// exporter was down is counted once.
func TestRecount(t *testing.T) {
	for _, api := range config.APIs() {
		t.Run(api, func(t *testing.T) {
			change := func(c *config.Tenant) {
				c.API, c.Interval, c.SweepInterval, c.MaxAge = api, time.Hour, 3*24*time.Hour, 3*time.Hour
				c.Dimensions = everyDimension
				c.Objectives = config.Objectives{
					High:   config.Objective{Assign: 3 * time.Hour, FirstTouch: 2 * time.Hour, Resolve: 8 * time.Hour},
					Medium: config.Objective{Resolve: 48 * time.Hour},
				}
			}
			o := simulator.Options{Seed: 8, Incidents: 200, History: 60 * 24 * time.Hour}
			withLives(t, o, change, func(l *lives) {
				l.sim.SetRoles(simulator.DefaultRole, simulator.DefaultGraphRole)
				r := rand.New(rand.NewPCG(8, 8))
				l.wait(2 * time.Hour)
				seen := observer{sim: l.sim, counters: map[string]float64{}, times: map[string][]float64{}}
				seen.look()
				for end := time.Now().Add(tenanttest.Virtual(time.Duration(*recountDays) * 24 * time.Hour)); time.Now().Before(end); {
					down := r.IntN(12) == 0
					if down {
						[]func(){l.stop, l.crash}[r.IntN(2)]()
					}
					for range r.IntN(8) {
						act(r, l.sim)
						l.wait(time.Duration(1 + r.Int64N(int64(10*time.Minute)))) // may or may not be seen one by one
						if !down {
							l.wait(70 * time.Minute)
							seen.look()
						}
					}
					if down {
						l.wait(time.Duration(r.Int64N(int64(5 * time.Hour))))
						l.begin()
					}
					l.wait(70 * time.Minute)
					seen.look()
				}
				seen.compare(l.bubble)
				l.exact()
				compareDimensions(l.bubble, strings.ToLower)
				for _, name := range []string{"merged", "reopened", "reassigned"} {
					if seen.counters["incidents_"+name+"_total{severity=low}"] == 0 && *recountDays >= 14 && !tenanttest.Raced {
						t.Errorf("none was %s: that proves little", name)
					}
				}
			})
		})
	}
}
