package listing

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"m365_defender_exporter/internal/incident"
)

var update = flag.Bool("update", false, "write testdata/calls.txt anew")

// TestCalls: what it costs to read a list at rest does not change by accident. The
// first reading includes what it costs to find out about the server.
func TestCalls(t *testing.T) {
	const file = "testdata/calls.txt"
	var got bytes.Buffer
	w := tabwriter.NewWriter(&got, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "calls for 700 rows\tscan\tagain\topen\tdelta\tnothing new\tagain")
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		m := newModel(rand.New(rand.NewPCG(700, 7)), 700, false)
		ways[name](m)
		s := NewServer(m.offer)
		_, _ = fmt.Fprint(w, name)
		for _, ranges := range [][]Range{
			{Everything(incident.StatusUnknown, m.now.Add(-160*24*time.Hour))}, {Everything(incident.StatusUnknown, m.now.Add(-160*24*time.Hour))},
			{Everything(incident.StatusActive, time.Time{}), Everything(incident.StatusInProgress, time.Time{})},
			{Everything(incident.StatusUnknown, m.now.Add(-30*time.Hour))},
			{Everything(incident.StatusUnknown, m.now.Add(-10*time.Minute))}, {Everything(incident.StatusUnknown, m.now.Add(-10*time.Minute))},
		} {
			l := New(s, ranges[0].Since < m.now.Add(-100*24*time.Hour).Unix(), ranges...)
			if ranges[0].Since > m.now.Add(-40*time.Hour).Unix() {
				l.Known = func(*incident.Incident) bool { return false }
			}
			m.calls, m.log = 0, nil
			if _, err := m.read(l, 5000); err != nil {
				_, _ = fmt.Fprintf(w, "\tincomplete")
				continue
			}
			_, _ = fmt.Fprintf(w, "\t%d", m.calls)
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got.String() {
		t.Errorf("%v; want\n%s\ngot (go test -run TestCalls -update writes it)\n%s", err, want, &got)
	}
}

// TestDeltasCostLittle: a server that does nothing wrong is never believed to, however
// its changes lie about the second that a delta begins with.
func TestDeltasCostLittle(t *testing.T) {
	for name, api := range map[string]func(*model){"native": func(*model) {}, "graph": (*model).graph} {
		t.Run(name, func(t *testing.T) {
			m := newModel(rand.New(rand.NewPCG(3, 9)), 700, false)
			api(m)
			s := NewServer(m.offer)
			known := map[int64]time.Time{}
			const deltas = 3000
			most, calls := 0, 0
			for range deltas {
				for range m.rng.IntN(4) {
					m.rows[1001+m.rng.Int64N(m.next-1000)].Updated = m.now.Add(-time.Duration(m.rng.Int64N(1e9))).Truncate(100)
				}
				m.now = m.now.Add(time.Duration(m.rng.Int64N(2e9)))
				l := New(s, false, Everything(incident.StatusUnknown, m.now.Add(-40*time.Second)))
				l.Known = func(in *incident.Incident) bool { return !known[in.ID].Before(in.Updated) }
				m.calls = 0
				rows, err := m.read(l, 100)
				if err != nil {
					t.Fatal(err)
				}
				for id, in := range rows {
					known[id] = in.Updated
				}
				calls, most = calls+m.calls, max(most, m.calls)
			}
			t.Logf("%.2f calls on average, %d at most", float64(calls)/deltas, most)
			if s.ShortPages || s.PageMax > 0 || s.Unsorted || 2*calls > 5*deltas {
				t.Errorf("%d calls for %d deltas, %+v", calls, deltas, s)
			}
		})
	}
}
