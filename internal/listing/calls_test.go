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
