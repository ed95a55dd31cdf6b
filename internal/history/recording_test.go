package history

import (
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/dashboards"
)

// TestRecordings: what rules record of the past is there at each of their intervals,
// as long as the series was, without the labels of the exporter and what is added up.
func TestRecordings(t *testing.T) {
	const head = "# HELP m365_defender_incidents_resolved Help.\n# TYPE m365_defender_incidents_resolved counter\n"
	line := func(classification, value string) string {
		return `m365_defender_incidents_resolved_total{classification="` + classification + `",handled="assigned",severity="high",tenant="con\"to,so"} ` + value + "\n"
	}
	r := newRecorder()
	for _, exposition := range []string{
		head + line("unknown", "1.0"), head + line("unknown", "2.0"), head + line("unknown", "3.0") + line("true_positive", "2.0"),
		head + line("unknown", "3.0") + line("true_positive", "2.0"), head,
	} {
		r.record([]byte(exposition + "# EOF\n"))
	}
	var got strings.Builder
	w := writer{Writer: &got, labels: `job="j"`, begin: 900, step: 450}
	w.recordings([]*recorder{r})
	const name, labels = `tenant_handled:m365_defender_incidents_resolved:newest`, `{handled="assigned",tenant="con\"to,so"} `
	if want := "# TYPE " + name + " unknown\n" + name + labels + "1.0 900\n" + name + labels + "5 1800\n# TYPE"; !strings.Contains(got.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// TestRecordingEachMinute: a sum of what is wanted, written when it changes and before
// Prometheus takes it for gone, whatever the distance of the samples.
func TestRecordingEachMinute(t *testing.T) {
	const head = "# HELP open Help.\n# TYPE open gauge\n"
	series := func(high, low, resolved string) string {
		return head + `open{severity="high",status="active",tenant="t"} ` + high + "\n" + `open{severity="low",status="active",tenant="t"} ` + low + "\n" +
			`open{severity="low",status="resolved",tenant="t"} ` + resolved + "\n"
	}
	r := newRecorder()
	for _, exposition := range []string{
		series("1", "2", "8"), series("1", "2", "9"), series("1", "4", "9"), series("1", "4", "9"), series("1", "4", "9"), series("1", "4", "9"), head,
	} {
		r.record([]byte(exposition + "# EOF\n"))
	}
	of := dashboards.Recording{
		Record: "sum", Sample: "open", Only: []dashboards.Match{{Label: "status", Value: "resolved", Not: true}}, By: []string{"tenant"}, Every: time.Minute,
	}
	var got strings.Builder
	w := writer{Writer: &got, begin: 1000, step: 70}
	for _, s := range r.sums(&of) {
		w.recording(&of, s, r.samples)
	}
	if want := "sum{tenant=\"t\"} 3 1000\nsum{tenant=\"t\"} 5 1140\nsum{tenant=\"t\"} 5 1210\n"; got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
