package client

import (
	"strings"
	"time"
)

// timeLayouts are the forms that were observed: the usual one, or with an
// offset, and with no zone at all, which means UTC. Up to nine digits of a
// second may follow each. The last but one is ISO 8601's other way to write an
// offset.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02"}

// parseTime reads a time of the API; the zero time if it is none.
func parseTime(text string) time.Time {
	text = strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, text)
		// The years that Unix nanoseconds can tell.
		if err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// formatTime writes a time as the APIs do, whole seconds without a fraction.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }
