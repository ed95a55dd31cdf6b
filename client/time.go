package client

import (
	"strings"
	"time"
)

// timeLayouts are the forms that were observed: the usual one, or with an
// offset, and with no zone at all, which means UTC. Up to nine digits of a
// second may follow each.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"}

// parseTime reads a time of the API; the zero time if it is none.
func parseTime(text string) time.Time {
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, strings.Replace(text, " ", "T", 1))
		// The years that Unix nanoseconds can tell.
		if err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// formatTime writes a time as the APIs do, whole seconds without a fraction.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }
