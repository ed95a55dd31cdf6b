package simulator

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

func TestHide(t *testing.T) {
	eachFace(t, "", Options{Seed: 5, Incidents: 400, Light: true}, func(t *testing.T, r *reader) {
		all, truth := r.tenant.IDs(), r.tenant.Truth(r.clock.now(), 0)
		for share, want := range map[float64][2]int{1: {0, 0}, 0.9: {20, 60}, 0.2: {280, 360}} {
			r.tenant.Fault(Faults{Hide: share, Takes: Takes{Count: odata.Honoured}, Links: Links{Shape: faults.LinkOpaque}})
			got, _ := r.follow("")
			if len(got) < want[0] || len(got) > want[1] {
				t.Errorf("%v: got %d rows, want %v", share, len(got), want)
			}
			if p := r.read("$count=true"); *p.Count != len(got) {
				t.Errorf("%v: got count %d of %d", share, *p.Count, len(got))
			}
			if again, _ := r.follow("$top=30"); !slices.Equal(again, got) {
				t.Errorf("%v: other rows the next time", share)
			}
			for _, id := range all[:40] {
				if r.byID(id).status != http.StatusOK {
					t.Errorf("%v: by id: not found", share)
				}
			}
		}
		if got := r.tenant.Truth(r.clock.now(), 0); !reflect.DeepEqual(got.Incidents, truth.Incidents) || !reflect.DeepEqual(got.Alerts, truth.Alerts) {
			t.Error("the truth changed")
		}
	})
}

// status of a row, in the native words.
func (r *reader) statusOf(row map[string]any) string {
	text, _ := row["status"].(string)
	return strings.ToUpper(text[:1]) + text[1:]
}

// TestLag: lists go on to show what was so, by id and in truth it is so at once.
func TestLag(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		id, gone := r.tenant.Create(Spec{}), r.tenant.Create(Spec{})
		r.clock.add(time.Hour)
		r.tenant.Fault(Faults{Lag: 5 * time.Minute})
		changed := r.clock.now()
		r.tenant.Resolve(id, "", "")
		fresh := r.tenant.Create(Spec{})
		r.tenant.Delete(gone)
		check := func(when string, want map[int64]string) {
			t.Helper()
			got := map[int64]string{}
			for _, row := range r.read("").Value {
				got[r.id(row)] = r.statusOf(row)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", when, got, want)
			}
		}
		check("at once", map[int64]string{id: life.Active, gone: life.Active})
		var row map[string]any
		if err := json.Unmarshal([]byte(r.byID(id).body), &row); err != nil || r.statusOf(row) != life.Resolved {
			t.Errorf("by id: got %v", row)
		}
		if tr := r.tenant.Truth(r.clock.now(), 0); tr.Incidents[[3]string{"medium", "resolved", "false"}] != 1 || tr.Incidents[[3]string{"medium", "active", "false"}] != 1 {
			t.Errorf("truth: got %v", tr.Incidents)
		}
		r.clock.add(5*time.Minute - time.Second)
		r.tenant.Touch(fresh)
		check("before", map[int64]string{id: life.Active, gone: life.Active})
		r.clock.add(time.Second)
		check("after", map[int64]string{id: life.Resolved, fresh: life.Active})
		for _, row := range r.read("").Value {
			if !parseTime(t, row[r.face().Updated]).Equal(changed) {
				t.Errorf("got %v, want the time of the change", row)
			}
		}
		r.clock.add(time.Second)
		r.tenant.Reopen(id)
		r.tenant.Fault(Faults{}) // shows everything
		check("healthy", map[int64]string{id: life.Active, fresh: life.Active})
		if p := r.read("").Value; !parseTime(t, p[0][r.face().Updated]).Equal(r.clock.now()) {
			t.Errorf("healthy: got %v", p[0])
		}
	})
}

// TestLagKeepsUpWithLife: when a lively tenant comes to rest, lists become what
// they would have been.
func TestLagKeepsUpWithLife(t *testing.T) {
	eachFace(t, "", fraction(3, 20), func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{Lag: 3 * time.Minute, Links: Links{Shape: faults.LinkOpaque}})
		for range 30 {
			r.clock.add(time.Minute)
			r.rows("")
		}
		r.tenant.Rest()
		r.clock.add(3 * time.Minute)
		late := readAll(r)
		r.tenant.Fault(Faults{Links: Links{Shape: faults.LinkOpaque}})
		if got := readAll(r); !reflect.DeepEqual(got, late) {
			t.Errorf("got %d rows, late %d", len(got), len(late))
		}
		if len(late) != len(r.tenant.IDs()) {
			t.Errorf("got %d rows, want %d", len(late), len(r.tenant.IDs()))
		}
	})
}

func readAll(r *reader) []map[string]any {
	var all []map[string]any
	for next := "$top=50"; next != ""; {
		p := r.read(next)
		all, next = append(all, p.Value...), p.Next
	}
	return all
}

func TestStale(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		id, gone := r.tenant.Create(Spec{}), r.tenant.Create(Spec{})
		r.tenant.Fault(Faults{Stale: faults.Stale{Age: 20 * time.Second}})
		r.clock.add(time.Hour)
		then := readAll(r)
		r.tenant.Resolve(id, "", "")
		r.tenant.Delete(gone)
		fresh := r.tenant.Create(Spec{})
		r.clock.add(20*time.Second - 1)
		r.tenant.Touch(fresh)
		if got := readAll(r); !reflect.DeepEqual(got, then) {
			t.Errorf("before: got %v", got)
		}
		r.clock.add(1)
		if got := readAll(r); len(got) != 2 || r.statusOf(got[1]) != life.Resolved && r.statusOf(got[0]) != life.Resolved {
			t.Errorf("after: got %v", got)
		}
		r.tenant.Fault(Faults{Stale: faults.Stale{Age: 20 * time.Second, Share: 0.5}})
		r.tenant.Touch(fresh)
		now := r.clock.now()
		r.clock.add(time.Second)
		old := 0
		for range 100 {
			if !r.times(r.read("").Value)[0].Equal(now) {
				old++
			}
		}
		if old < 30 || old > 70 {
			t.Errorf("got %d old answers of 100", old)
		}
	})
}

func TestDrift(t *testing.T) {
	eachFace(t, "ahead", Options{}, func(t *testing.T, r *reader) {
		id, other := r.tenant.Create(Spec{}), r.tenant.Create(Spec{})
		for _, by := range []time.Duration{10 * time.Minute, 24 * time.Hour, 73 * 365 * day} {
			r.tenant.Fault(Faults{Ahead: faults.Drift{By: by, Count: 2}})
			r.clock.add(time.Minute)
			r.tenant.Assign(id, "me")
			fresh := r.tenant.Create(Spec{})
			r.tenant.Touch(other) // the third is right
			ahead := r.clock.now().Add(by)
			p := r.read("$filter=UPDATED ge " + ahead.Format(odata.TimeFormat))
			if got := r.ids(p.Value); !slices.Equal(got, []int64{fresh, id}) || !r.times(p.Value)[1].Equal(ahead) {
				t.Errorf("%v: got %v, %v", by, got, r.times(p.Value))
			}
			r.clock.add(time.Minute)
			r.tenant.Touch(id)
			r.tenant.Touch(fresh)
			if p := r.read("$filter=UPDATED gt " + r.clock.now().Format(odata.TimeFormat)); len(p.Value) != 0 {
				t.Errorf("%v: still ahead: %v", by, p.Value)
			}
		}
	})
	eachFace(t, "back", Options{}, func(t *testing.T, r *reader) {
		id := r.tenant.Create(Spec{})
		r.clock.add(time.Hour)
		r.tenant.Fault(Faults{Back: faults.Drift{By: time.Minute}})
		r.tenant.Resolve(id, "", "")
		p := r.read("")
		if got := r.times(p.Value)[0]; !got.Equal(start.Add(-time.Minute)) || r.statusOf(p.Value[0]) != life.Resolved {
			t.Errorf("got %v", p.Value)
		}
	})
	eachFace(t, "share", Options{Incidents: 400, Light: true}, func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{Ahead: faults.Drift{By: time.Hour, Share: 0.25}})
		r.clock.add(time.Minute)
		for _, id := range r.tenant.IDs() {
			r.tenant.Touch(id)
		}
		ahead := 0
		for _, id := range r.tenant.IDs() {
			if rec, _ := r.tenant.Record(id); rec.Updated.After(r.clock.now()) {
				ahead++
			}
		}
		if ahead < 70 || ahead > 130 {
			t.Errorf("got %d of 400 ahead", ahead)
		}
	})
}
