package incident

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// disk keeps what mirrors export, as a store would.
type disk struct {
	rows   map[int64][]byte
	swept  []int64
	tables []byte
}

func (d *disk) save(t *testing.T, m *Mirror, full bool) {
	t.Helper()
	s, err := m.Export(full)
	if err != nil {
		t.Fatal(err)
	}
	if full || d.rows == nil {
		d.rows = map[int64][]byte{}
	}
	for id, data := range s.Rows {
		d.rows[id] = bytes.Clone(data)
	}
	for _, id := range s.Removed {
		delete(d.rows, id)
	}
	if s.NewSweep {
		d.swept = nil
	}
	d.swept = append(d.swept, s.Swept...)
	d.tables = s.Tables
	m.Kept()
	if got, want := len(d.rows), s.Len; got != want {
		t.Fatalf("saved rows: got %d, want %d", got, want)
	}
}

func (d *disk) saved() *Saved {
	return &Saved{Len: len(d.rows), Rows: maps.All(d.rows), Swept: d.swept, Tables: d.tables}
}

// TestRestoreAnywhere plays pages, sweeps, drops and pauses, saves now and
// then, and lets a restored mirror take the place of the other at random
// moments: both must go on alike.
func TestRestoreAnywhere(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			m, twin := NewMirror(testOptions), NewMirror(testOptions)
			var d disk
			d.save(t, twin, false)
			both := func(f func(*Mirror) any) {
				t.Helper()
				if got, want := f(twin), f(m); !reflect.DeepEqual(got, want) {
					t.Fatalf("got %v, want %v", got, want)
				}
			}
			now, created := epoch, map[int64]time.Time{}
			for step := range 300 {
				now = now.Add(time.Duration(r.Int64N(int64(12 * time.Hour))))
				for range r.IntN(10) {
					id := 1 + r.Int64N(120)
					if created[id].IsZero() {
						created[id] = now.Add(-time.Duration(r.Int64N(int64(40 * 24 * time.Hour))))
					}
					in := randomVersion(r, id, created[id], now.Add(-time.Duration(r.Int64N(int64(time.Hour)))))
					if in.AlertsUnknown = r.IntN(40) == 0; in.AlertsUnknown {
						in.Alerts = nil
					}
					both(func(m *Mirror) any { return m.Apply(&in) })
				}
				id := 1 + r.Int64N(120)
				switch r.IntN(12) {
				case 0:
					both(func(m *Mirror) any { m.BeginSweep(); return nil })
				case 1:
					both(func(m *Mirror) any { m.EndSweep(); return nil })
				case 2:
					both(func(m *Mirror) any { return m.Missed(id) })
				case 3:
					both(func(m *Mirror) any { return m.Drop(id) })
				case 4:
					both(func(m *Mirror) any { m.StartFlows(now.AddDate(0, 0, -10), now); return nil })
				}
				if m.sweeping {
					both(func(m *Mirror) any { return m.Unseen(now.AddDate(0, 0, -20), true) })
				}
				if step%3 == 0 {
					both(func(m *Mirror) any { return m.Snapshot(now) })
				}
				if r.IntN(4) > 0 {
					continue
				}
				d.save(t, twin, r.IntN(5) == 0)
				if r.IntN(2) == 0 {
					var err error
					if twin, err = RestoreMirror(testOptions, d.saved(), now); err != nil {
						t.Fatal(err)
					}
				}
				both(func(m *Mirror) any { return m.Snapshot(now) })
			}
		})
	}
}

// TestRestoreWithOtherSettings: thresholds and a look-back that changed hold
// from the restart on.
func TestRestoreWithOtherSettings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	m, want := NewMirror(testOptions), NewMirror(MirrorOptions{Lookback: 30 * 24 * time.Hour, Thresholds: []time.Duration{2 * time.Hour}, Priorities: true, Dimensions: testOptions.Dimensions})
	var history []Incident
	for id := range int64(500) {
		at := epoch.Add(-time.Duration(r.Int64N(int64(100 * 24 * time.Hour))))
		in := randomVersion(r, id+1, at, at.Add(time.Hour))
		history = append(history, in)
		m.Apply(&in)
		want.Apply(&in)
	}
	var d disk
	m.Snapshot(epoch)
	want.Snapshot(epoch)
	d.save(t, m, false)
	got, err := RestoreMirror(want.opts, d.saved(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lines(got.Snapshot(epoch)), lines(want.Snapshot(epoch)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got.Len() == len(history) {
		t.Error("nothing left the shorter look-back")
	}
	d.save(t, got, false)
	if len(d.rows) != got.Len() {
		t.Errorf("what left the look-back was not removed: %d rows saved of %d", len(d.rows), got.Len())
	}
}

func TestRestoreRefusesNonsense(t *testing.T) {
	m, _ := filled(50)
	var d disk
	d.save(t, m, true)
	tests := map[string]func(*Saved){
		"tables":            func(s *Saved) { s.Tables = []byte("{") },
		"no tables":         func(s *Saved) { s.Tables = []byte("{}") },
		"a label twice":     func(s *Saved) { s.Tables = bytes.Replace(s.Tables, []byte("source_1"), []byte("source_0"), 1) },
		"too few rows":      func(s *Saved) { s.Len++ },
		"too many rows":     func(s *Saved) { s.Len-- },
		"empty row":         func(s *Saved) { s.Rows = one(nil) },
		"unknown severity":  func(s *Saved) { s.Rows = one([]byte{9, 0, 0, 0, 0, 0, 0, 0, 0}) },
		"unknown flag":      func(s *Saved) { s.Rows = one([]byte{0, 0, 0, 0, 255, 0, 0, 0, 0}) },
		"unknown source":    func(s *Saved) { s.Rows = one([]byte{0, 0, 0, 0, 0, 0, 0, 0x80, 0x40, 0}) },
		"unknown alert key": func(s *Saved) { s.Rows = one([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 0}) },
		"broken alerts":     func(s *Saved) { s.Rows = one([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1}) },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			s := d.saved()
			spoil(s)
			if _, err := RestoreMirror(testOptions, s, epoch); !errors.Is(err, ErrSaved) {
				t.Errorf("got %v, want %v", err, ErrSaved)
			}
		})
	}
}

func one(data []byte) func(func(int64, []byte) bool) {
	return func(yield func(int64, []byte) bool) { yield(1, data) }
}

// TestExportIsSmall: what did not change is not saved again.
func TestExportIsSmall(t *testing.T) {
	m, incidents := filled(1000)
	m.Kept()
	count := func() (n int) {
		s, err := m.Export(false)
		if err != nil {
			t.Fatal(err)
		}
		for range s.Rows {
			n++
		}
		return n + len(s.Removed) + len(s.Swept)
	}
	for i := range incidents[:100] {
		m.Apply(&incidents[i]) // known already
	}
	if got := count(); got != 0 {
		t.Errorf("nothing changed: got %d rows", got)
	}
	for i := range incidents[:10] {
		incidents[i].Updated = incidents[i].Updated.Add(time.Second)
		m.Apply(&incidents[i])
	}
	if got := count(); got != 10 {
		t.Errorf("got %d rows, want 10", got)
	}
	m.Kept()
	m.BeginSweep()
	for i := range incidents[:100] {
		m.Apply(&incidents[i])
		m.Apply(&incidents[i])
	}
	if got := count(); got != 100 {
		t.Errorf("a sweep saw 100: got %d", got)
	}
}

func BenchmarkRestore(b *testing.B) {
	m, _ := filled(1_000_000)
	s, err := m.Export(true)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := RestoreMirror(testOptions, s, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
