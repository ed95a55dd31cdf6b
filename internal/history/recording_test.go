package history

import (
	"strings"
	"testing"
)

// TestRecordings: what rules record of the past is there every quarter of an hour,
// as sums by the rule's labels.
func TestRecordings(t *testing.T) {
	const head = "# HELP m365_defender_incidents_resolved Help.\n# TYPE m365_defender_incidents_resolved counter\n"
	line := func(labels, value string) string {
		return "m365_defender_incidents_resolved_total{" + labels + `,classification="unknown",handled="assigned",severity="high",tenant="con\"toso"} ` + value + "\n"
	}
	r := newRecorder()
	for _, exposition := range []string{
		head + line(`x="1"`, "1.0"),
		head + line(`x="1"`, "2.0") + line(`x="2"`, "40.0"),
		head + line(`x="1"`, "3.0") + line(`x="2"`, "40.0"),
	} {
		r.record([]byte(exposition + "# EOF\n"))
	}
	var got strings.Builder
	w := writer{Writer: &got, labels: `job="j"`, begin: 900, step: 450}
	w.recordings([]*recorder{r})
	const name = `tenant_severity_classification_handled:m365_defender_incidents_resolved:newest`
	const labels = `{classification="unknown",handled="assigned",severity="high",tenant="con\"toso"} `
	if want := "# TYPE " + name + " unknown\n" + name + labels + "1 900\n" + name + labels + "43 1800\n"; !strings.Contains(got.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
