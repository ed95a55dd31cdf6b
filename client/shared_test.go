package client

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"m365_defender_exporter/internal/incident"
)

// TestPublishedPayloads reads what others have published, where it is at
// hand: a second opinion on the shapes.
func TestPublishedPayloads(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/native/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := decoder{logger: slog.New(slog.DiscardHandler)}
			var page rawPage
			if bytes.Contains(body, []byte(`"value":`)) || bytes.Contains(body, []byte(`"incidents":`)) {
				page, err = d.page(bytes.NewReader(body))
			} else {
				// A single incident, as a lookup answers.
				page.rows = make([]incident.Incident, 1)
				page.rows[0], _, err = d.incident(bytes.NewReader(body))
			}
			if torn := strings.Contains(file, ".invalid."); torn != (err != nil) {
				t.Fatalf("torn: %v, error: %v", torn, err)
			} else if torn {
				return
			}
			if len(page.rows) == 0 || page.unusable > 0 {
				t.Errorf("%d rows, %d of them unusable", len(page.rows), page.unusable)
			}
			for _, in := range page.rows {
				if in.Unrecognized != 0 || in.Severity == incident.SeverityUnknown || len(in.Alerts) == 0 {
					t.Errorf("not read whole: %+v", in)
				}
			}
		})
	}
}

// TestPublishedGraphPayloads is the same for the other flavour. What these have
// in common with one another is little.
func TestPublishedGraphPayloads(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/graph/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := decoder{logger: slog.New(slog.DiscardHandler), names: graphNames}
			page, err := d.page(bytes.NewReader(body))
			if !bytes.Contains(body, []byte(`"value":`)) {
				if err == nil {
					t.Error("taken for a page")
				}
				return
			}
			if err != nil || len(page.rows) == 0 || page.unusable > 0 {
				t.Fatalf("%d rows, %d of them unusable, %v", len(page.rows), page.unusable, err)
			}
			if expanded := bytes.Contains(body, []byte(`"alerts":`)); expanded != (page.lists == len(page.rows)) {
				t.Errorf("%d rows with alerts of %d", page.lists, len(page.rows))
			}
			for _, in := range page.rows {
				if in.Unrecognized != 0 || in.Severity == incident.SeverityUnknown || in.Status == incident.StatusUnknown || in.Created.IsZero() || in.Updated.IsZero() {
					t.Errorf("not read whole: %+v", in)
				}
			}
		})
	}
}
