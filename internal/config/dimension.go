package config

import (
	"slices"
	"strings"
)

// MaxDimensionValues bounds a list of tags or device groups, and the detectors that
// are shown: each is a series of each severity.
const MaxDimensionValues = 50

// check refuses what cannot be meant.
func (d *Dimensions) check(p place) error {
	for _, list := range []struct {
		field Field
		names *[]string
	}{{fieldTags, &d.Tags}, {fieldDeviceGroups, &d.DeviceGroups}} {
		// A copy: tenants share what they have from the defaults.
		*list.names = slices.Clone(*list.names)
		for i, name := range *list.names {
			name = strings.TrimSpace(name)
			switch (*list.names)[i] = name; {
			case name == "":
				return p.wrong(list.field, "has an empty name; it must be a list such as A,B")
			case len(name) > 128 || printable(name) != name:
				return p.wrong(list.field, "has a name that is longer than 128 bytes or not printable")
			case slices.ContainsFunc((*list.names)[:i], func(other string) bool { return strings.EqualFold(other, name) }):
				return p.wrong(list.field, "has %s twice; case has no meaning here", name)
			case name == "other", name == AllDeviceGroups && (list.names == &d.Tags || len(*list.names) > 1):
				return p.wrong(list.field, "has %s, which is no name; %s alone stands for all device groups", name, AllDeviceGroups)
			}
		}
		if n := len(*list.names); n > MaxDimensionValues {
			return p.wrong(list.field, "has %d names; it must be at most %d", n, MaxDimensionValues)
		}
	}
	if d.Detectors < 0 || d.Detectors > MaxDimensionValues {
		return p.wrong(fieldDetectors, "is %d; it must be at least 1 and at most %d, or 0 for none", d.Detectors, MaxDimensionValues)
	}
	switch d.Assignees {
	case AssigneesOff, AssigneesNames:
		if d.AssigneesKeyFile != "" && d.Assignees == AssigneesNames {
			return p.wrong(fieldAssigneesKey, "is given, but %s is %s, which needs no key", fieldAssignees, d.Assignees)
		}
	case AssigneesCount, AssigneesHashed:
		if d.AssigneesKeyFile == "" {
			return p.wrong(fieldAssigneesKey, "is required, for %s is %s: a file of at least 16 random bytes", fieldAssignees, d.Assignees)
		}
	default:
		return p.wrong(fieldAssignees, "is %q; it must be %s, %s, %s or %s", d.Assignees, AssigneesOff, AssigneesCount, AssigneesHashed, AssigneesNames)
	}
	return nil
}
