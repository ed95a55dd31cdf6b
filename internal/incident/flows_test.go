package incident

import (
	"testing"
	"time"
)

func TestFlows(t *testing.T) {
	m := NewMirror(testOptions)
	minute := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	apply := func(id int64, created, updated int, status Status, assigned bool) {
		m.Apply(&Incident{ID: id, Created: minute(created), Updated: minute(updated), Severity: SeverityHigh,
			Status: status, Assigned: assigned, Classification: ClassificationTruePositive})
	}
	apply(1, -100, -50, StatusActive, false)
	apply(2, -100, -40, StatusResolved, true)
	m.StartFlows(minute(0), minute(0))
	apply(3, -10, 1, StatusActive, false)      // history that was seen late
	apply(4, 2, 2, StatusActive, false)        // created
	apply(4, 2, 2, StatusActive, false)        // the same once more
	apply(4, 2, 5, StatusInProgress, true)     // assigned after 3 min
	apply(4, 2, 6, StatusInProgress, false)    // unassigned
	apply(4, 2, 7, StatusInProgress, true)     // assigned again: not counted again
	apply(4, 2, 12, StatusResolved, true)      // resolved after 10 min
	apply(4, 2, 11, StatusActive, true)        // an old version
	apply(4, 2, 20, StatusActive, true)        // reopened
	apply(4, 2, 22, StatusResolved, true)      // resolved after 20 min
	apply(5, 3, 4, StatusResolved, true)       // came and went between two refreshes
	apply(6, 3, 4, StatusRedirected, false)    // born merged
	apply(1, -100, 30, StatusRedirected, true) // merged: not resolved
	apply(1, -100, 31, StatusActive, true)     // and apart again: not reopened
	apply(2, -100, 40, StatusActive, true)     // history reopened: counts, owner was known

	f := m.Snapshot(minute(50)).Flows
	high := SeverityHigh
	if got, want := f.Created[high], uint64(2); got != want {
		t.Errorf("created: got %d, want %d", got, want)
	}
	if got, want := f.Resolved[high][ClassificationTruePositive], uint64(3); got != want {
		t.Errorf("resolved: got %d, want %d", got, want)
	}
	if got, want := f.Reopened[high], uint64(2); got != want {
		t.Errorf("reopened: got %d, want %d", got, want)
	}
	assign, resolve := f.TimeToAssign[high], f.TimeToResolve[high]
	if assign.Count != 2 || assign.Sum != (3+1)*60 {
		t.Errorf("time to assign: got %d observations, %v s, want 2 of 240 s", assign.Count, assign.Sum)
	}
	if resolve.Count != 3 || resolve.Sum != (10+20+1)*60 {
		t.Errorf("time to resolve: got %d observations, %v s, want 3 of 1860 s", resolve.Count, resolve.Sum)
	}
}

func TestSnapshotIsImmutable(t *testing.T) {
	m := NewMirror(testOptions)
	m.StartFlows(time.Time{}, epoch)
	before := m.Snapshot(epoch)
	in := Incident{ID: 1, Created: epoch, Updated: epoch.Add(time.Minute), Status: StatusResolved, Assigned: true}
	m.Apply(&in)
	m.Snapshot(epoch.Add(time.Minute))
	after := before.Flows.TimeToResolve[0]
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
