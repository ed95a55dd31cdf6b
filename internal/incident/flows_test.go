package incident

import (
	"testing"
	"time"
)

// times are the counts and the sums, in minutes, of the histograms of one
// severity.
type times struct {
	detect, touch, assign, work, resolve [2]float64
}

func timesOf(f *Flows, sev Severity, class Classification) times {
	of := func(h *Histogram) [2]float64 { return [2]float64{float64(h.Count), h.Sum / 60} }
	return times{of(&f.TimeToDetect[sev]), of(&f.TimeToFirstTouch[sev]), of(&f.TimeToAssign[sev]), of(&f.TimeInWork[sev]), of(&f.TimeToResolve[sev][class])}
}

func TestFlows(t *testing.T) {
	m := NewMirror(testOptions)
	minute := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	apply := func(id int64, created, updated int, status Status, assigned bool) {
		in := &Incident{ID: id, Created: minute(created), Updated: minute(updated), Severity: SeverityHigh, Status: status, Assigned: assigned,
			Alerts: []Alert{{FirstActivity: minute(created - 8)}, {FirstActivity: minute(created - 9)}, {}}}
		if status == StatusResolved {
			in.Classification = ClassificationTruePositive
		}
		m.Apply(in)
	}
	apply(1, -100, -50, StatusActive, false)
	apply(2, -100, -40, StatusResolved, true)
	m.StartFlows(minute(0), minute(0))
	apply(3, -10, 1, StatusActive, true)       // history that was seen late
	apply(4, 2, 2, StatusActive, false)        // created: 9 min after its first activity
	apply(4, 2, 2, StatusActive, false)        // the same once more
	apply(4, 2, 4, StatusInProgress, false)    // touched after 2 min
	apply(4, 2, 5, StatusInProgress, true)     // assigned after 3 min
	apply(4, 2, 6, StatusInProgress, false)    // unassigned
	apply(4, 2, 7, StatusInProgress, true)     // assigned again: not counted again
	apply(4, 2, 12, StatusResolved, true)      // resolved after 10 min, 7 of them in work
	apply(4, 2, 11, StatusActive, true)        // an old version
	apply(4, 2, 20, StatusActive, true)        // reopened
	apply(4, 2, 22, StatusResolved, false)     // resolved after 20 min, 17 of them in work
	apply(5, 3, 4, StatusResolved, true)       // came and went between two refreshes
	apply(6, 3, 4, StatusRedirected, false)    // born merged
	apply(1, -100, 30, StatusRedirected, true) // merged: not resolved
	apply(1, -100, 31, StatusActive, true)     // and apart again: not reopened
	apply(2, -100, 40, StatusActive, true)     // history reopened: counts, owner was known
	apply(2, -100, 41, StatusResolved, true)   // for how long it was in work is not known

	f := m.Snapshot(minute(50)).Flows
	high, truePositive := SeverityHigh, ClassificationTruePositive
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"created", f.Created[high], 2},
		{"resolved, assigned", f.Resolved[high][truePositive][1], 3},
		{"resolved, unassigned", f.Resolved[high][truePositive][0], 1},
		{"reopened", f.Reopened[high], 2},
		{"merged", f.Merged[high], 2},
		{"assigned in time", f.Objectives[high][ObjectiveAssign][1], 2},
		{"touched in time", f.Objectives[high][ObjectiveFirstTouch][1], 1},
		{"touched too late", f.Objectives[high][ObjectiveFirstTouch][0], 1},
		{"resolved in time", f.Objectives[high][ObjectiveResolve][1], 2},
		{"resolved too late", f.Objectives[high][ObjectiveResolve][0], 2},
		{"incidents by alerts", f.Alerts[high].Classic[2], 4},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, c.got, c.want)
		}
	}
	want := times{detect: [2]float64{2, 18}, touch: [2]float64{2, 2 + 1}, assign: [2]float64{2, 3 + 1}, work: [2]float64{3, 7 + 17 + 0}, resolve: [2]float64{4, 10 + 20 + 1 + 141}}
	if got := timesOf(&f, high, truePositive); got != want {
		t.Errorf("times: got %v, want %v", got, want)
	}
}

// TestTouched: each of five things is a first touch, which is observed once; an
// update alone is none.
func TestTouched(t *testing.T) {
	for name, touch := range map[string]func(*Incident){
		"in progress":     func(in *Incident) { in.Status = StatusInProgress },
		"awaiting action": func(in *Incident) { in.Status = StatusAwaitingAction },
		"resolved":        func(in *Incident) { in.Status = StatusResolved },
		"owner":           func(in *Incident) { in.Assigned = true },
		"tag or comment":  func(in *Incident) { in.Noted = true },
		"classification":  func(in *Incident) { in.Classification = ClassificationFalsePositive },
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMirror(testOptions)
			in := Incident{ID: 1, Created: epoch.Add(-time.Minute), Updated: epoch.Add(-time.Minute), Status: StatusActive}
			m.Apply(&in)
			m.StartFlows(epoch, epoch)
			in.Updated = epoch
			m.Apply(&in)
			in.Status, in.Updated = StatusUnknown, epoch.Add(time.Second)
			m.Apply(&in)
			if got := m.Snapshot(epoch).Flows.TimeToFirstTouch[0]; got.Count != 0 {
				t.Fatalf("an update is no touch: %v", got)
			}
			in.Updated = epoch.Add(time.Minute)
			touch(&in)
			m.Apply(&in)
			in = Incident{ID: 1, Created: in.Created, Updated: epoch.Add(2 * time.Minute), Status: StatusActive}
			m.Apply(&in)
			in.Updated = epoch.Add(3 * time.Minute)
			touch(&in)
			m.Apply(&in)
			if got := m.Snapshot(epoch).Flows.TimeToFirstTouch[0]; got.Count != 1 || got.Sum != 120 {
				t.Errorf("got %d observations of %v s, want one of 120 s", got.Count, got.Sum)
			}
		})
	}
}

// TestTimeBelowZero counts as zero.
func TestTimeBelowZero(t *testing.T) {
	m := NewMirror(testOptions)
	m.StartFlows(epoch, epoch)
	m.Apply(&Incident{ID: 1, Created: epoch.Add(time.Hour), Updated: epoch.Add(time.Minute), Status: StatusResolved, Assigned: true, Severity: SeverityHigh,
		Alerts: []Alert{{FirstActivity: epoch.Add(2 * time.Hour)}}})
	f := m.Snapshot(epoch).Flows
	want := times{[2]float64{1, 0}, [2]float64{1, 0}, [2]float64{1, 0}, [2]float64{1, 0}, [2]float64{1, 0}}
	if got := timesOf(&f, SeverityHigh, 0); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := f.Objectives[SeverityHigh][ObjectiveResolve]; got != [2]uint64{0, 1} {
		t.Errorf("objective: got %v", got)
	}
}

// TestDetectedOnceAlertsAreKnown: a first version may come without its alerts.
func TestDetectedOnceAlertsAreKnown(t *testing.T) {
	m := NewMirror(testOptions)
	old := Incident{ID: 1, Created: epoch.Add(-time.Hour), Updated: epoch.Add(-time.Hour), AlertsUnknown: true}
	m.Apply(&old)
	m.StartFlows(epoch, epoch)
	in := Incident{ID: 2, Created: epoch.Add(time.Hour), Updated: epoch.Add(time.Hour), AlertsUnknown: true}
	m.Apply(&in)
	for range 2 {
		for _, in := range []*Incident{&old, &in} {
			in.AlertsUnknown, in.Alerts = false, []Alert{{FirstActivity: in.Created.Add(-time.Minute)}}
			in.Updated = in.Updated.Add(time.Minute)
			m.Apply(in)
		}
	}
	if got := m.Snapshot(epoch).Flows.TimeToDetect[0]; got.Count != 1 || got.Sum != 60 {
		t.Errorf("got %d observations of %v s, want one of 60 s, of the incident that is new", got.Count, got.Sum)
	}
}

func TestSnapshotIsImmutable(t *testing.T) {
	m := NewMirror(testOptions)
	m.StartFlows(time.Time{}, epoch)
	before := m.Snapshot(epoch)
	in := Incident{ID: 1, Created: epoch, Updated: epoch.Add(time.Minute), Status: StatusResolved, Assigned: true}
	m.Apply(&in)
	m.Snapshot(epoch.Add(time.Minute))
	after := before.Flows.TimeToResolve[0][0]
	if before.Rows != 0 || after.Count != 0 || len(after.Native) != 0 {
		t.Errorf("a snapshot changed after it was taken: %+v", after)
	}
}

// TestClockStepsBack: a start that comes to lie in the future was a wrong
// clock's. It does not come back when its time has come.
func TestClockStepsBack(t *testing.T) {
	now, m := epoch, NewMirror(testOptions)
	m.StartFlows(now, now)
	for _, test := range []struct {
		at   time.Time
		want time.Time
	}{{now, now}, {now.Add(time.Minute), now}, {now.Add(-time.Minute), time.Time{}}, {now.Add(time.Hour), time.Time{}}} {
		if got := m.Snapshot(test.at).Flows.Start; !got.Equal(test.want) {
			t.Errorf("at %v: got %v, want %v", test.at, got, test.want)
		}
	}
}

// TestFlowsOfAnUnknownStatus: a status that we do not know may mean resolved or not: it
// is no transition, nor is it one to come back from it.
func TestFlowsOfAnUnknownStatus(t *testing.T) {
	m := NewMirror(MirrorOptions{})
	m.StartFlows(epoch, epoch)
	at := epoch
	for i, status := range []Status{StatusActive, StatusUnknown, StatusResolved, StatusUnknown, StatusResolved, StatusUnknown, StatusActive, StatusUnknown, StatusActive} {
		at = at.Add(time.Minute)
		m.Apply(&Incident{ID: 1, Created: epoch.Add(time.Second), Updated: at, Status: status})
		if i%2 == 1 { // over a restart
			saved, err := m.Export(true)
			if err != nil {
				t.Fatal(err)
			}
			if m, err = RestoreMirror(MirrorOptions{}, saved, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := m.Snapshot(at).Flows
	if got := f.Resolved[SeverityUnknown][ClassificationUnknown][0]; got != 1 || f.Reopened[SeverityUnknown] != 1 {
		t.Errorf("resolved %d times, reopened %d times; want once each", got, f.Reopened[SeverityUnknown])
	}
}
