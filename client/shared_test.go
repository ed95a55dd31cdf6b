package client

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

// published lists payloads that others have published, where they are at hand:
// a second opinion on the shapes.
func published(t *testing.T, of string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../shared/data", of, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no published payloads are at hand")
	}
	return files
}

func TestPublishedPayloads(t *testing.T) {
	for _, file := range published(t, "native") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := newDecoder(&defender, Dimensions{})
			var page listing.Page
			if bytes.Contains(body, []byte(`"value":`)) || bytes.Contains(body, []byte(`"incidents":`)) {
				page, err = d.page(bytes.NewReader(body))
			} else {
				// A single incident, as a lookup answers.
				var asked struct{ IncidentID int64 }
				if err := json.Unmarshal(body, &asked); err != nil {
					t.Fatal(err)
				}
				page, err = d.incident(bytes.NewReader(body))
			}
			if torn := strings.Contains(file, ".invalid."); torn != (err != nil) {
				t.Fatalf("torn: %v, error: %v", torn, err)
			} else if torn {
				return
			}
			if len(page.Rows) == 0 {
				t.Error("no row")
			}
			for _, in := range page.Rows {
				if in.ID == 0 || in.Unrecognized != 0 || in.Severity == incident.SeverityUnknown || len(in.Alerts) == 0 {
					t.Errorf("not read whole: %+v", in)
				}
			}
		})
	}
}

// TestPublishedGraphPayloads is the same for the other API. What these have in
// common with one another is little.
func TestPublishedGraphPayloads(t *testing.T) {
	for _, file := range published(t, "graph") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			page, err := newDecoder(&graph, Dimensions{}).page(bytes.NewReader(body))
			if !bytes.Contains(body, []byte(`"value":`)) {
				if err == nil {
					t.Error("taken for a page")
				}
				return
			}
			if err != nil || len(page.Rows) == 0 {
				t.Fatalf("%d rows, %v", len(page.Rows), err)
			}
			expanded := bytes.Contains(body, []byte(`"alerts":`))
			for _, in := range page.Rows {
				if in.ID == 0 || in.Unrecognized != 0 || in.Severity == incident.SeverityUnknown || in.Status == incident.StatusUnknown ||
					in.Created.IsZero() || in.Updated.IsZero() || in.AlertsUnknown == expanded {
					t.Errorf("not read whole: %+v", in)
				}
			}
		})
	}
}
