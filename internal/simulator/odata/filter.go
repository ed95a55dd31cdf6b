package odata

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/life"
)

// Condition is one comparison of a filter.
type Condition struct {
	Field, Operator string    // in the native API's words
	Text            string    // of status and assignedTo
	At              time.Time // of lastUpdateTime and createdTime
}

// The subset of OData that the real API is known to understand: documented or
// seen to work.
var (
	conditionForm = regexp.MustCompile(`^(\w+) +(\w+) +('(?:[^']|'')*'|[^'\s]\S*)`)
	timeForm      = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)$`)
	andForm       = regexp.MustCompile(`^ +and +`)

	timeOperators = []string{"ge", "gt", "le", "lt", "eq"}
)

// ParseFilter reads conditions that are joined by "and". Timestamps are bare,
// with at most seven fractional digits and a zone; strings are in single
// quotes, of which two stand for one.
func ParseFilter(s string) ([]Condition, error) {
	var all []Condition
	rest := strings.TrimSpace(s)
	for {
		m := conditionForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("syntax error at position %d in '%s'", len(s)-len(rest), s)
		}
		c, err := newCondition(m[1], m[2], m[3])
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		rest = rest[len(m[0]):]
		if rest == "" {
			return all, nil
		}
		and := andForm.FindString(rest)
		if and == "" {
			return nil, fmt.Errorf("syntax error at position %d in '%s'", len(s)-len(rest), s)
		}
		rest = rest[len(and):]
	}
}

func newCondition(field, operator, value string) (Condition, error) {
	c := Condition{Field: field, Operator: operator}
	switch field {
	case "lastUpdateTime", "createdTime":
		if !slices.Contains(timeOperators, operator) {
			return c, fmt.Errorf("operator '%s' is not supported for %s", operator, field)
		}
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil || !timeForm.MatchString(value) {
			return c, errors.New("a binary operator with incompatible types was detected: DateTimeOffset expected")
		}
		c.At = at.UTC()
	case "status", "assignedTo":
		if operator != "eq" {
			return c, fmt.Errorf("operator '%s' is not supported for %s", operator, field)
		}
		if !strings.HasPrefix(value, "'") {
			return c, errors.New("a binary operator with incompatible types was detected: String expected")
		}
		c.Text = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
	default:
		return c, fmt.Errorf("could not find a property named '%s' on type 'Incident', or it cannot be filtered", field)
	}
	return c, nil
}

// Since tells whether the condition is a lower bound of the last update.
func (c *Condition) Since() bool {
	return c.Field == "lastUpdateTime" && (c.Operator == "ge" || c.Operator == "gt")
}

// matches compares times in the given unit.
func (c *Condition) matches(r *life.Record, unit time.Duration) bool {
	switch c.Field {
	case "status":
		return r.Status == c.Text
	case "assignedTo":
		return r.AssignedTo == c.Text
	}
	at := r.Updated
	if c.Field == "createdTime" {
		at = r.Created
	}
	order := at.Truncate(unit).Compare(c.At.Truncate(unit))
	switch c.Operator {
	case "ge":
		return order >= 0
	case "gt":
		return order > 0
	case "le":
		return order <= 0
	case "lt":
		return order < 0
	}
	return order == 0
}
