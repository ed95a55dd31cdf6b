package config

import (
	"errors"
	"reflect"
	"strings"

	"github.com/prometheus/common/model"
)

var errObjective = errors.New("a severity and times such as high=assign:15m,resolve:4h, with assign, first_touch or resolve; or empty for none")

// Add reads the objectives of one severity, as they are given on the command line:
// high=assign:15m,resolve:4h. An empty text is none. The error is the end of a
// sentence: what the text must be.
func (o *Objectives) Add(text string) error {
	if text == "" {
		return nil
	}
	severity, bounds, _ := strings.Cut(text, "=")
	fields := map[string]reflect.Value{}
	collect(reflect.ValueOf(o).Elem(), fields)
	of, ok := fields[severity]
	if !ok {
		return errObjective
	}
	known := map[string]reflect.Value{}
	collect(of, known)
	for part := range strings.SplitSeq(bounds, ",") {
		name, bound, _ := strings.Cut(part, ":")
		field, ok := known[name]
		if !ok || Set(field.Addr().Interface(), bound) != nil {
			return errObjective
		}
	}
	return nil
}

// check refuses times that are beyond any use.
func (o *Objectives) check(p place) error {
	for _, of := range []Objective{o.Unknown, o.Informational, o.Low, o.Medium, o.High} {
		if longest := max(of.Assign, of.FirstTouch, of.Resolve); longest > maxAge {
			return p.wrong(fieldObjectives, "is %v; it must be at most %v", model.Duration(longest), model.Duration(maxAge))
		}
	}
	return nil
}
