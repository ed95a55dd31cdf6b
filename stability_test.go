package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/state"
)

// labelled are the label values of an enum.
func labelled[E ~uint8](n int, except ...E) (names []string) {
	for i := range n {
		if !slices.Contains(except, E(i)) {
			names = append(names, fmt.Sprint(E(i)))
		}
	}
	return names
}

// TestStableLabelValues: the values that are promised are those that there are.
func TestStableLabelValues(t *testing.T) {
	var operations []string
	for _, operation := range state.Operations {
		operations = append(operations, string(operation))
	}
	// Redirected incidents are no incidents any more. A position is no option of an
	// operator's concern.
	want := map[string][]string{
		"`severity`":                           labelled[incident.Severity](incident.NumSeverities),
		"`status` of incidents":                labelled(incident.NumStatuses, incident.StatusRedirected),
		"`status` of alerts":                   labelled[incident.AlertStatus](incident.NumAlertStatuses),
		"`classification`":                     labelled[incident.Classification](incident.NumClassifications),
		"`determination`":                      labelled[incident.Determination](incident.NumDeterminations),
		"`investigation_state`":                labelled[incident.Investigation](incident.NumInvestigations),
		"`priority`":                           labelled[incident.Priority](incident.NumPriorities),
		"`objective`":                          labelled[incident.Objective](incident.NumObjectives),
		"`field`":                              incident.FieldNames[:],
		"`kind` of refreshes":                  pass.Names[:],
		"`kind` of corrections":                refresh.Corrections[:],
		"`reason` of skipped rows":             refresh.Skipped[:],
		"`reason` of failures, also of tokens": labelled[reason.Reason](reason.NumReasons),
		"`reason` of takeovers":                {state.Nobody.String(), state.Closed.String(), state.Silent.String()},
		"`option`":                             labelled(listing.NumOptions, listing.OptionSkip),
		"`operation` of calls":                 {string(listing.OperationList), string(listing.OperationGet)},
		"`operation` of the state":             operations,
	}
	page, err := os.ReadFile("docs/metric-stability.md")
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string][]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			promised[strings.TrimSpace(cells[1])] = strings.Split(strings.Trim(strings.TrimSpace(cells[2]), "`"), "`, `")
		}
	}
	for label, values := range want {
		if got := slices.Clone(promised[label]); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(values))) {
			t.Errorf("%s: the page has %v, there are %v", label, got, values)
		}
	}
}
