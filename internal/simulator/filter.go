package simulator

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// term is one comparison of a $filter.
type term struct {
	field, op, text string
	at              time.Time
}

var termForm = regexp.MustCompile(`^\s*(\w+)\s+(eq|ge|gt|le|lt)\s+('[^']*'|[^'\s]+)\s*$`)

// parseFilter reads the subset of OData that the API is known to take:
// comparisons joined by and, times without quotes, texts in single ones.
func parseFilter(text string, f Faults) ([]term, error) {
	if text == "" {
		return nil, nil
	}
	var terms []term
	for part := range strings.SplitSeq(text, " and ") {
		m := termForm.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("syntax error in %q", part)
		}
		c := term{field: m[1], op: m[2], text: m[3]}
		switch c.field {
		case "lastUpdateTime", "createdTime":
			at, err := time.Parse(time.RFC3339Nano, c.text)
			if err != nil || !strings.HasSuffix(c.text, "Z") {
				return nil, fmt.Errorf("%s is not a time", c.text)
			}
			c.at = at
			if c.op == "le" && f.RefuseLe || c.op == "lt" && f.RefuseLt || c.op == "ge" && f.RefuseSince {
				return nil, fmt.Errorf("operator %s is not supported", c.op)
			}
			if (c.op == "le" || c.op == "lt") && f.IgnoreLe || c.op == "ge" && f.IgnoreSince {
				continue
			}
		case "status", "assignedTo":
			if c.op != "eq" || c.text[0] != '\'' {
				return nil, fmt.Errorf("operator %s is not supported here", c.op)
			}
			c.text = strings.Trim(c.text, "'")
			if c.field == "status" && (f.RefuseStatus || slices.Contains(f.RefuseStatuses, c.text)) {
				return nil, fmt.Errorf("%s is not a status", c.text)
			}
			if c.field == "status" && f.IgnoreStatus {
				continue
			}
		default:
			return nil, fmt.Errorf("property %s cannot be filtered", c.field)
		}
		terms = append(terms, c)
	}
	return terms, nil
}

func (c term) matches(r *Record) bool {
	switch c.field {
	case "status":
		return r.Status == c.text
	case "assignedTo":
		return r.AssignedTo == c.text
	}
	at := r.Updated
	if c.field == "createdTime" {
		at = r.Created
	}
	switch d := at.Compare(c.at); c.op {
	case "eq":
		return d == 0
	case "ge":
		return d >= 0
	case "gt":
		return d > 0
	case "le":
		return d <= 0
	default:
		return d < 0
	}
}

// search lists the records that match all terms, from $skip on, at most $top.
func (t *Tenant) search(terms []term, skip, top int) (found []*Record) {
	// The order is by last update: what is too new or too old is cut off first.
	order := t.order
	for _, c := range terms {
		if c.field != "lastUpdateTime" {
			continue
		}
		i, _ := slices.BinarySearchFunc(order, c.at, func(r *Record, at time.Time) int { return at.Compare(r.Updated) })
		switch c.op {
		case "le", "lt":
			order = order[i:]
		case "ge", "gt":
			for i < len(order) && order[i].Updated.Equal(c.at) {
				i++
			}
			order = order[:i]
		}
	}
	for _, r := range order {
		if slices.ContainsFunc(terms, func(c term) bool { return !c.matches(r) }) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if found = append(found, r); len(found) == top {
			break
		}
	}
	return found
}
