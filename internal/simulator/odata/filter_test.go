package odata

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseFilter(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"lastUpdateTime ge 2026-11-24T00:00:00Z", "lastUpdateTime ge 2026-11-24T00:00:00Z"},
		{"lastUpdateTime gt 2026-11-24T00:00:00.1234567Z", "lastUpdateTime gt 2026-11-24T00:00:00.1234567Z"},
		{"createdTime lt 2026-11-24T02:00:00+02:00", "createdTime lt 2026-11-24T00:00:00Z"},
		{"status eq 'Active'", "status eq Active"},
		{"status eq 'Ac''ti and ve'", "status eq Ac'ti and ve"},
		{"assignedTo eq 'a b@c'  and  createdTime le 2026-11-24T00:00:00Z", "assignedTo eq a b@c, createdTime le 2026-11-24T00:00:00Z"},
		{"lastUpdateTime eq 2026-11-24T00:00:00.5Z and status eq ''", "lastUpdateTime eq 2026-11-24T00:00:00.5Z, status eq "},

		{"", "error"},
		{"status", "error"},
		{"status ne 'Active'", "error"},
		{"status eq Active", "error"},
		{"status eq null", "error"},
		{"status eq 'Active", "error"},
		{"status eq 'Active' or status eq 'InProgress'", "error"},
		{"status eq 'Active' and", "error"},
		{"status eq 'Active'and status eq 'Active'", "error"},
		{"(status eq 'Active')", "error"},
		{"not status eq 'Active'", "error"},
		{"severity eq 'High'", "error"},
		{"lastUpdateTime ge '2026-11-24T00:00:00Z'", "error"},
		{"lastUpdateTime ge 2026-11-24", "error"},
		{"lastUpdateTime ge 2026-11-24T00:00:00", "error"},
		{"lastUpdateTime ge 2026-11-24T00:00:00.12345678Z", "error"},
		{"lastUpdateTime ge 2026-13-24T00:00:00Z", "error"},
		{"lastUpdateTime ne 2026-11-24T00:00:00Z", "error"},
		{"lastUpdateTime GE 2026-11-24T00:00:00Z", "error"},
		{"lastupdatetime ge 2026-11-24T00:00:00Z", "error"},
	} {
		t.Run(test.in, func(t *testing.T) {
			conditions, err := ParseFilter(test.in)
			var parts []string
			for _, c := range conditions {
				value := c.Text
				if !c.At.IsZero() {
					value = c.At.Format(TimeFormat)
				}
				parts = append(parts, fmt.Sprintf("%s %s %s", c.Field, c.Operator, value))
			}
			got := strings.Join(parts, ", ")
			if err != nil {
				got = "error"
			}
			if got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
		})
	}
}
