package config

import (
	"testing"
	"time"
)

// TestSetTime: a date ends at its beginning, and what cannot be meant is refused.
func TestSetTime(t *testing.T) {
	for text, want := range map[string]string{
		"2027-05-01":                "2027-05-01T00:00:00Z",
		"2028-02-29":                "2028-02-29T00:00:00Z",
		"2027-05-01T12:30:00Z":      "2027-05-01T12:30:00Z",
		"2027-05-01T12:30:00+02:00": "2027-05-01T10:30:00Z",
		"":                          "0001-01-01T00:00:00Z",
		"2027-02-29":                "", "2019-12-31": "", "2100-01-01": "", "0001-01-01": "", "01.05.2027": "", "2027-05": "", "2027-05-01 12:00": "", "soon": "", "1793491200": "",
	} {
		var got time.Time
		err := Set(&got, text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for %v", text, got)
			}
			continue
		}
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
}
