package history

import (
	"strings"
	"testing"
)

// TestRecordings: what rules record of the past is there every quarter of an hour, as
// long as the series was, without the labels of the exporter.
func TestRecordings(t *testing.T) {
	const head = "# HELP m365_defender_incidents_resolved Help.\n# TYPE m365_defender_incidents_resolved counter\n"
	const labels = `{classification="unknown",handled="assigned",severity="high",tenant="con\"toso"} `
	line := func(value string) string { return "m365_defender_incidents_resolved_total" + labels + value + "\n" }
	r := newRecorder()
	for _, exposition := range []string{head + line("1.0"), head + line("2.0"), head + line("3.0"), head + line("3.0"), head} {
		r.record([]byte(exposition + "# EOF\n"))
	}
	var got strings.Builder
	w := writer{Writer: &got, labels: `job="j"`, begin: 900, step: 450}
	w.recordings([]*recorder{r})
	const name = `tenant_severity_classification_handled:m365_defender_incidents_resolved:newest`
	if want := "# TYPE " + name + " unknown\n" + name + labels + "1.0 900\n" + name + labels + "3.0 1800\n# TYPE"; !strings.Contains(got.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
