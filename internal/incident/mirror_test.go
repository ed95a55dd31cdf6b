package incident

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

var epoch = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

var testOptions = MirrorOptions{
	Lookback:   180 * 24 * time.Hour,
	Thresholds: []time.Duration{time.Hour, 4 * time.Hour, 24 * time.Hour, 720 * time.Hour},
	Priorities: true,
	Dimensions: Dimensions{
		Tags: []string{"vip", "crown jewel"}, DeviceGroups: []string{AllDeviceGroups}, Techniques: true, Detectors: 4, Assignees: AssigneesListed,
	},
	Objectives: Objectives{
		SeverityHigh:   {ObjectiveAssign: 3 * time.Minute, ObjectiveFirstTouch: time.Minute, ObjectiveResolve: 15 * time.Minute},
		SeverityMedium: {ObjectiveResolve: 10 * 24 * time.Hour},
	},
}

// model is the plain truth that the mirror has to agree with: the newest
// version of every incident, counted by walking all of them.
type model map[int64]Incident

func (m model) apply(in Incident) {
	if known, ok := m[in.ID]; ok && in.Updated.Before(known.Updated) {
		return
	}
	m[in.ID] = in
}

// age drops what left the look-back.
func (m model) age(now time.Time) {
	maps.DeleteFunc(m, func(_ int64, in Incident) bool {
		return !in.Open() && !in.Updated.Add(testOptions.Lookback).After(now)
	})
}

// recount writes every count as a line, sorted.
func (m model) recount(now time.Time) []string {
	n := map[string]int{}
	oldest := map[Severity]time.Time{}
	for _, in := range m {
		n["rows"]++
		if in.Status == StatusRedirected {
			n["redirected"]++
			continue
		}
		n[fmt.Sprint("incidents ", in.Severity, in.Status, in.Assigned)]++
		sources, categories, detections := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, a := range in.Alerts {
			n[fmt.Sprint("alerts ", a.Severity, a.Status, a.Source)]++
			sources[a.Source], categories[a.Category], detections[a.Detection] = true, true, true
			if in.Open() {
				n[fmt.Sprint("investigation ", a.Investigation)]++
			}
		}
		recountDimensions(n, &in)
		if in.Status == StatusResolved {
			for d := range detections {
				n[fmt.Sprint("detection ", d, in.Classification)]++
			}
			n[fmt.Sprint("resolved ", in.Severity, in.Classification, in.Determination)]++
			continue
		}
		for s := range sources {
			n[fmt.Sprint("source ", in.Severity, s)]++
		}
		for c := range categories {
			n[fmt.Sprint("category ", in.Severity, c)]++
		}
		for _, t := range testOptions.Thresholds {
			if !in.Created.Add(t).After(now) {
				n[fmt.Sprint("older ", in.Severity, in.Assigned, t)]++
			}
		}
		for _, t := range IdleThresholds {
			if !in.Updated.Add(t).After(now) {
				n[fmt.Sprint("idle ", in.Severity, t)]++
			}
		}
		n[fmt.Sprint("priority ", in.Severity, in.Priority)]++
		if o, ok := oldest[in.Severity]; !ok || in.Created.Before(o) {
			oldest[in.Severity] = in.Created
		}
	}
	topDetectors(n)
	lines := []string{}
	for k, v := range n {
		lines = append(lines, fmt.Sprint(k, "=", v))
	}
	for sev, t := range oldest {
		lines = append(lines, fmt.Sprint("oldest ", sev, t.UnixNano()))
	}
	slices.Sort(lines)
	return lines
}

// recountDimensions counts what was asked for.
func recountDimensions(n map[string]int, in *Incident) {
	values := map[string]bool{}
	for _, tag := range in.kept().Tags {
		values["tag "+tag] = in.Open()
	}
	for _, a := range in.Alerts {
		for _, group := range a.kept().DeviceGroups {
			values["group "+group] = in.Open()
		}
		for _, technique := range a.kept().Techniques {
			values["technique "+technique] = in.Open()
		}
		if in.Status == StatusResolved {
			values["detector "+a.kept().Detector] = true
		}
	}
	for value, counts := range values {
		of := any(in.Severity)
		if in.Status == StatusResolved {
			of = in.Classification
		}
		if counts {
			n[fmt.Sprint(value, " ", of)]++
		}
	}
	if in.Open() && in.kept().Owner != "" {
		n["owner "+in.kept().Owner]++
	}
}

// topDetectors keeps those of the most incidents, and sums up the others; it adds
// what follows from the owners.
func topDetectors(n map[string]int) {
	totals, most, persons := map[string]int{}, 0, 0
	for key, count := range n {
		if name, ok := strings.CutPrefix(key, "detector "); ok {
			name, _, _ = strings.Cut(name, " ")
			totals[name] += count
		}
		if strings.HasPrefix(key, "owner ") {
			most, persons = max(most, count), persons+1
		}
	}
	n["persons"], n["most"] = persons, most
	names := slices.SortedFunc(maps.Keys(totals), func(a, b string) int { return cmp.Or(totals[b]-totals[a], strings.Compare(a, b)) })
	for key, count := range n {
		name, ok := strings.CutPrefix(key, "detector ")
		if name, class, _ := strings.Cut(name, " "); ok && slices.Index(names, name) >= testOptions.Dimensions.Detectors {
			delete(n, key)
			n["other detector "+class] += count
		}
	}
	maps.DeleteFunc(n, func(_ string, count int) bool { return count == 0 })
}

// dimensionLines writes what was asked for in the same form.
func dimensionLines(s *DimensionCounts, add func(n int, parts ...any)) {
	for _, c := range s.Tags {
		add(int(c.Count), "tag ", c.Label, " ", c.Severity)
	}
	for _, c := range s.DeviceGroups {
		add(int(c.Count), "group ", c.Label, " ", c.Severity)
	}
	for _, c := range s.Techniques {
		add(int(c.Count), "technique ", c.Label, " ", c.Severity)
	}
	for _, c := range s.Detectors {
		if c.Source == "other" {
			add(int(c.Count), "other detector ", c.Classification)
		} else {
			add(int(c.Count), "detector ", c.Source, " ", c.Classification)
		}
	}
	if s.Assignees != nil {
		add(int(s.Assignees.Persons), "persons")
		add(int(s.Assignees.Most), "most")
		for _, c := range s.Assignees.ByOwner {
			add(int(c.Count), "owner ", c.Owner)
		}
	}
}

// lines writes a snapshot in the same form.
func lines(s *Snapshot) []string {
	out := []string{}
	add := func(n int, parts ...any) {
		if n != 0 {
			out = append(out, fmt.Sprint(append(parts, "=", n)...))
		}
	}
	add(s.Rows, "rows")
	add(s.Redirected, "redirected")
	for sev := range Severity(NumSeverities) {
		for status := range Status(NumStatuses) {
			if status != StatusRedirected {
				add(int(s.Incidents[sev][status][0]), "incidents ", sev, status, false)
				add(int(s.Incidents[sev][status][1]), "incidents ", sev, status, true)
			}
		}
		for i, t := range s.Thresholds {
			add(int(s.Older[sev][0][i]), "older ", sev, false, t)
			add(int(s.Older[sev][1][i]), "older ", sev, true, t)
		}
		for i, t := range IdleThresholds {
			add(int(s.Idle[sev][i]), "idle ", sev, t)
		}
		for p := range Priority(NumPriorities) {
			add(int(s.ByPriority[sev][p]), "priority ", sev, p)
		}
		if t := s.OldestOpen[sev]; !t.IsZero() {
			out = append(out, fmt.Sprint("oldest ", sev, t.UnixNano()))
		}
	}
	for _, c := range s.Resolved {
		add(int(c.Count), "resolved ", c.Severity, c.Classification, c.Determination)
	}
	for _, c := range s.BySource {
		add(int(c.Count), "source ", c.Severity, c.Label)
	}
	for _, c := range s.ByCategory {
		add(int(c.Count), "category ", c.Severity, c.Label)
	}
	for _, c := range s.Alerts {
		add(int(c.Count), "alerts ", c.Severity, c.Status, c.Source)
	}
	for _, c := range s.ByDetection {
		add(int(c.Count), "detection ", c.Source, c.Classification)
	}
	for _, c := range s.Investigations {
		add(int(c.Count), "investigation ", c.State)
	}
	dimensionLines(&s.Dimensions, add)
	slices.Sort(out)
	return out
}

func randomAlerts(r *rand.Rand) []Alert {
	alerts := make([]Alert, r.IntN(5))
	for i := range alerts {
		alerts[i] = Alert{
			Severity:      Severity(r.IntN(NumSeverities)),
			Status:        AlertStatus(r.IntN(NumAlertStatuses)),
			Investigation: Investigation(r.IntN(4)),
			Source:        fmt.Sprint("source_", r.IntN(7)),
			Category:      fmt.Sprint("category_", r.IntN(9)),
			Detection:     fmt.Sprint("detection_", r.IntN(12)),
			Kept: &KeptOfAlert{
				Detector:     fmt.Sprint("detector_", r.IntN(12)),
				Techniques:   []string{"T1001", "T1002", "T1003"}[:r.IntN(4)],
				DeviceGroups: []string{"Servers", "Workstations"}[r.IntN(2):],
			},
		}
		if r.IntN(4) > 0 {
			alerts[i].FirstActivity = epoch.Add(-time.Duration(r.Int64N(int64(90 * 24 * time.Hour))))
		}
	}
	return alerts
}

func randomVersion(r *rand.Rand, id int64, created, now time.Time) Incident {
	in := Incident{
		ID:             id,
		Created:        created,
		Updated:        now,
		Severity:       Severity(r.IntN(NumSeverities)),
		Status:         Status(r.IntN(NumStatuses)),
		Classification: Classification(r.IntN(NumClassifications)),
		Determination:  Determination(r.IntN(NumDeterminations)),
		Assigned:       r.IntN(2) == 0,
		Noted:          r.IntN(4) == 0,
		Priority:       Priority(r.IntN(NumPriorities)),
		Kept:           &Kept{Mark: testOptions.Dimensions.Mark(), Tags: testOptions.Dimensions.Tags[r.IntN(3):]},
	}
	if in.Assigned {
		in.Kept.Owner = fmt.Sprint("owner_", r.IntN(9))
	}
	if in.Status == StatusRedirected {
		// Chains and loops: the target may be any incident, itself included.
		in.RedirectID = 1 + r.Int64N(300)
		return in
	}
	in.Alerts = randomAlerts(r)
	return in
}

// TestMirrorEqualsRecount plays pages of random versions, out of order, with
// duplicates and with pauses in which incidents age, or in which a clock goes back, and recounts all of them
// after each page.
func TestMirrorEqualsRecount(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			m, want := NewMirror(testOptions), model{}
			created := map[int64]time.Time{}
			var history []Incident
			now := epoch
			for range 200 {
				now = now.Add(time.Duration(r.Int64N(int64(3*24*time.Hour))) + 1)
				if r.IntN(10) == 0 {
					now = now.Add(-time.Duration(r.Int64N(int64(20 * 24 * time.Hour)))) // the clock is set right
				}
				m.Advance(now)
				want.age(now)
				var page []Incident
				for range r.IntN(20) {
					id := 1 + r.Int64N(300)
					if created[id].IsZero() {
						created[id] = now.Add(-time.Duration(r.Int64N(int64(50 * 24 * time.Hour))))
					}
					in := randomVersion(r, id, created[id], now.Add(-time.Duration(r.Int64N(int64(time.Hour)))))
					page = append(page, in)
				}
				history = append(history, page...)
				for range r.IntN(5) {
					if len(history) > 0 {
						page = append(page, history[r.IntN(len(history))])
					}
				}
				r.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
				for _, in := range page {
					m.Apply(&in)
					want.apply(in)
				}
				want.age(now)
				if got, want := lines(m.Snapshot(now)), want.recount(now); !slices.Equal(got, want) {
					t.Fatalf("at %v\ngot  %q\nwant %q", now, got, want)
				}
			}
		})
	}
}

// TestDimensionsAreBounded: the first fifty values, then other, and that is
// counted; who has no open incident any more is forgotten.
func TestDimensionsAreBounded(t *testing.T) {
	m := NewMirror(testOptions)
	version := func(id int64, status Status) Incident {
		in := randomVersion(rand.New(rand.NewPCG(1, uint64(id))), id, epoch, epoch)
		in.Status, in.RedirectID, in.Assigned, in.Severity, in.Unrecognized = status, 0, true, SeverityLow, 0
		in.Kept = &Kept{Mark: testOptions.Dimensions.Mark(), Owner: fmt.Sprint("owner_", id)}
		in.Alerts = []Alert{{Kept: &KeptOfAlert{Techniques: []string{fmt.Sprintf("T%04d", id)}, DeviceGroups: []string{fmt.Sprint("group_", id)}, Detector: fmt.Sprint("detector_", id)}}}
		return in
	}
	for id := range int64(60) {
		in := version(id+1, StatusActive)
		m.Apply(&in)
	}
	s := m.Snapshot(epoch)
	if d := s.Dimensions; len(d.DeviceGroups) != NumLabels || len(d.Techniques) != NumLabels || len(d.Assignees.ByOwner) != NumLabels || d.Assignees.Persons != 60 {
		t.Errorf("%d groups, %d techniques, %d of %d persons", len(d.DeviceGroups), len(d.Techniques), len(d.Assignees.ByOwner), d.Assignees.Persons)
	}
	for _, field := range []Fields{FieldDeviceGroup, FieldTechnique, FieldAssignee} {
		if got := s.Flows.Unrecognized[bits.TrailingZeros32(uint32(field))]; got != 10 {
			t.Errorf("%v: %d became other", field, got)
		}
	}
	for id := range int64(2000) {
		in := version(id+1, StatusResolved)
		m.Apply(&in)
	}
	s = m.Snapshot(epoch)
	if d := s.Dimensions; d.Assignees.Persons != 0 || len(m.dimensions.owners.names)+len(m.dimensions.owners.index) != 0 {
		t.Errorf("%d persons, %q", d.Assignees.Persons, m.dimensions.owners.names)
	}
	total := int32(0)
	for _, c := range s.Dimensions.Detectors {
		total += c.Count
	}
	if got := len(m.dimensions.detectors.names); got != maxDetectors || total != 2000 {
		t.Errorf("%d detectors, %d incidents", got, total)
	}
	if got := unsafe.Sizeof(row{}); got > 96 {
		t.Errorf("a row has %d bytes", got)
	}
}

// TestMirrorStaysSmall: years of churn must not leave anything behind.
func TestMirrorStaysSmall(t *testing.T) {
	m := NewMirror(MirrorOptions{Lookback: 24 * time.Hour, Thresholds: testOptions.Thresholds})
	ancient := Incident{ID: 1, Created: epoch, Updated: epoch, Status: StatusActive}
	m.Apply(&ancient)
	now := epoch
	for id := int64(2); id < 100_000; id++ {
		now = now.Add(time.Minute)
		in := Incident{ID: id, Created: now, Updated: now, Status: StatusActive}
		m.Apply(&in)
		in.Status, in.Updated = StatusResolved, now.Add(time.Second)
		m.Apply(&in)
		ancient.Updated = now
		m.Apply(&ancient)
		if id%100 == 0 {
			m.Snapshot(now)
		}
	}
	if got, limit := m.Len(), 1600; got > limit {
		t.Errorf("rows: got %d, want at most %d", got, limit)
	}
	if got, limit := len(m.deadlines), 5000; got > limit {
		t.Errorf("deadlines: got %d, want at most %d", got, limit)
	}
	if got, limit := len(m.oldest[0]), 3000; got > limit {
		t.Errorf("oldest: got %d, want at most %d", got, limit)
	}
	if got, limit := len(m.chunks), 2; got > limit {
		t.Errorf("chunks: got %d, want at most %d", got, limit)
	}
	if got := m.Snapshot(now).OldestOpen[0]; !got.Equal(epoch) {
		t.Errorf("oldest open: got %v, want %v", got, epoch)
	}
}

func TestMirrorChange(t *testing.T) {
	m := NewMirror(testOptions)
	at := func(minutes int, status Status) *Incident {
		return &Incident{ID: 7, Created: epoch, Updated: epoch.Add(time.Duration(minutes) * time.Minute), Status: status}
	}
	steps := []struct {
		name string
		in   *Incident
		want Change
	}{
		{"first", at(5, StatusActive), Added},
		{"again", at(5, StatusActive), Same},
		{"older version", at(4, StatusResolved), Stale},
		{"same time, other content", at(5, StatusInProgress), Changed},
		{"newer", at(6, StatusResolved), Changed},
		{"only the time moved", at(7, StatusResolved), Changed},
		{"no time at all", &Incident{ID: 7, Status: StatusActive}, Changed},
	}
	for _, step := range steps {
		if got := m.Apply(step.in); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
	if got, _ := m.Updated(7); !got.Equal(epoch.Add(7 * time.Minute)) {
		t.Errorf("a version without a time moved the known one: %v", got)
	}
}

func TestMirrorKeepsAlertsThatWereNotAskedFor(t *testing.T) {
	m := NewMirror(testOptions)
	in := Incident{ID: 1, Created: epoch, Updated: epoch, Status: StatusActive, Alerts: []Alert{{Source: "a", Category: "b"}}}
	m.Apply(&in)
	in.Alerts, in.AlertsUnknown, in.Status = nil, true, StatusInProgress
	in.Updated = epoch.Add(time.Minute)
	m.Apply(&in)
	s := m.Snapshot(epoch.Add(time.Minute))
	if len(s.Alerts) != 1 || s.Alerts[0].Count != 1 {
		t.Errorf("got %v, want the one alert known before", s.Alerts)
	}
}

func TestMirrorBoundsLabels(t *testing.T) {
	m := NewMirror(testOptions)
	for id := range int64(80) {
		m.Apply(&Incident{ID: id + 1, Created: epoch, Updated: epoch, Status: StatusActive,
			Alerts: []Alert{{Source: fmt.Sprint("s", id), Category: "other"}}})
	}
	s := m.Snapshot(epoch)
	if got, want := len(s.BySource), 51; got != want {
		t.Errorf("label values: got %d, want %d", got, want)
	}
	last := s.BySource[len(s.BySource)-1]
	if last.Label != "other" || last.Count != 30 {
		t.Errorf("got %v, want 30 of other", last)
	}
	if got := s.Flows.Unrecognized[6]; FieldNames[6] != "service_source" || got != 30 {
		t.Errorf("counted %d, want 30", got)
	}
	if got := s.Flows.Unrecognized[7]; got != 0 {
		t.Errorf("a category that is called other is not an unknown one: counted %d", got)
	}
	if len(s.ByCategory) != 1 || s.ByCategory[0].Count != 80 {
		t.Errorf("categories: got %v", s.ByCategory)
	}
}

func TestMirrorSweep(t *testing.T) {
	m := NewMirror(testOptions)
	for id := range int64(4) {
		m.Apply(&Incident{ID: id + 1, Created: epoch, Updated: epoch.Add(time.Duration(id) * time.Hour), Status: StatusResolved})
	}
	old := Incident{ID: 9, Created: epoch.AddDate(-1, 0, 0), Updated: epoch.AddDate(-1, 0, 0), Status: StatusActive}
	m.Apply(&old)
	m.BeginSweep()
	m.Apply(&Incident{ID: 2, Created: epoch, Updated: epoch.Add(time.Hour), Status: StatusResolved})
	if got, want := m.Unseen(epoch.Add(time.Hour), false), []int64{3, 4}; !slices.Equal(got, want) {
		t.Errorf("unseen: got %v, want %v", got, want)
	}
	if got, want := m.Unseen(epoch.Add(time.Hour), true), []int64{3, 4, 9}; !slices.Equal(got, want) {
		t.Errorf("unseen with open: got %v, want %v", got, want)
	}
	if m.Missed(3) {
		t.Error("missed once must not be enough")
	}
	if !m.Missed(3) {
		t.Error("missed twice in a row must be enough")
	}
	m.Missed(4)
	m.Apply(&Incident{ID: 4, Created: epoch, Updated: epoch.Add(3 * time.Hour), Status: StatusResolved})
	if m.Missed(4) {
		t.Error("seen in between: must not count as missed twice")
	}
	if !m.Drop(3) || m.Drop(3) || m.Len() != 4 {
		t.Errorf("drop: %d rows", m.Len())
	}
}

// TestAlertsMissing: a version without its alerts puts the counts of alerts in
// doubt until one with them has come, unless it is the version that is known.
func TestAlertsMissing(t *testing.T) {
	m := NewMirror(testOptions)
	missing := func(want int) {
		t.Helper()
		if got := m.AlertsMissing(); got != want {
			t.Errorf("got %d incidents without alerts, want %d", got, want)
		}
		if got := m.Snapshot(epoch).AlertsAvailable; got != (want == 0) {
			t.Errorf("available: got %v with %d missing", got, want)
		}
	}
	version := func(id int64, minute int, status Status, unknown bool) {
		in := Incident{ID: id, Created: epoch.Add(-time.Hour), Updated: epoch.Add(time.Duration(minute-60) * time.Minute), Status: status, AlertsUnknown: unknown}
		if !unknown {
			in.Alerts = []Alert{{Severity: SeverityHigh, Status: AlertNew, Source: "s", Category: "c"}}
		}
		m.Apply(&in)
	}
	missing(0)
	version(1, 0, StatusActive, false)
	version(1, 0, StatusActive, true) // the same version: its alerts are known
	missing(0)
	version(1, 1, StatusActive, true)
	version(2, 1, StatusResolved, true)
	version(3, 1, StatusRedirected, true) // does not count, nor do its alerts
	missing(2)
	if got := m.Snapshot(epoch).Alerts; len(got) != 1 || got[0].Count != 1 {
		t.Errorf("the alerts of the version before are gone: %v", got)
	}
	version(2, 0, StatusResolved, false) // stale
	missing(2)
	version(2, 1, StatusResolved, false)
	missing(1)
	version(1, 2, StatusActive, false)
	missing(0)
	version(3, 2, StatusActive, true)
	missing(1)
	m.Drop(3)
	missing(0)
}

// TestDetectorOther: a detector of that name is one with those that have no room, and what
// is saved of them can be read.
func TestDetectorOther(t *testing.T) {
	opts := MirrorOptions{Dimensions: Dimensions{Detectors: 10}}
	for _, at := range []int64{3, maxDetectors - 2, maxDetectors + 5} {
		m := NewMirror(opts)
		for i := range int64(1200) {
			detector := fmt.Sprint(i)
			if i == at {
				detector = "other"
			}
			m.Apply(&Incident{
				ID: i + 1, Created: epoch, Updated: epoch, Status: StatusResolved, Kept: &Kept{Mark: opts.Dimensions.Mark()},
				Alerts: []Alert{{Source: "a", Kept: &KeptOfAlert{Detector: detector}}},
			})
		}
		saved, err := m.Export(true)
		if err != nil {
			t.Fatal(err)
		}
		restored, err := RestoreMirror(opts, saved, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := restored.Snapshot(epoch).Dimensions.Detectors, m.Snapshot(epoch).Dimensions.Detectors; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := len(m.dimensions.detectors.names); got > maxDetectors {
			t.Errorf("%d detectors", got)
		}
	}
}

// TestAlertTwice: an alert that comes twice within its incident counts once; those that
// tell no id count each.
func TestAlertTwice(t *testing.T) {
	for _, many := range []int{3, 3000} {
		m := NewMirror(MirrorOptions{})
		for id := range int64(2) { // the ids of one incident say nothing of another's
			in := Incident{ID: 1 + id, Created: epoch, Updated: epoch, Status: StatusActive}
			for i := range many {
				in.Alerts = append(in.Alerts, Alert{ID: uint64(1 + i)}, Alert{ID: uint64(1 + i)}, Alert{})
			}
			m.Apply(&in)
		}
		total := 0
		for _, c := range m.Snapshot(epoch).Alerts {
			total += int(c.Count)
		}
		if want := 2 * 2 * many; total != want {
			t.Errorf("%d alerts, want %d", total, want)
		}
	}
}
