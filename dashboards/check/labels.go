// Package check holds every PromQL expression of the dashboards, rules and alerts
// to what the exporter exposes, as Prometheus's own parser reads them. It is a
// module of its own, so that the exporter depends on none of it. Run it with
// .ci/dashboards.
package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// variables are what Grafana puts in their place where only a duration is one.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$__interval", "5m", "$severity", ".*")

// parse also judges types and the number of arguments, as Prometheus does.
func parse(expr string) (parser.Expr, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(expr))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return e, nil
}

// selectors calls f with every selector of the expression.
func selectors(e parser.Expr, f func(*parser.VectorSelector)) {
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			f(s)
		}
		return nil
	})
}

// names is a set of labels; nil is that of a scalar.
type names map[string]bool

func namesOf(labels ...string) names {
	set := names{}
	for _, label := range labels {
		set[label] = true
	}
	return set
}

func (set names) without(labels []string) names {
	left := maps.Clone(set)
	maps.DeleteFunc(left, func(label string, _ bool) bool { return slices.Contains(labels, label) })
	return left
}

// metrics maps what can be asked for to its labels.
type metrics map[string]names

// labels tells which labels an expression has, or why it cannot be right.
func (all metrics) labels(e parser.Expr) (names, error) {
	if s, ok := e.(*parser.VectorSelector); ok {
		return all.selector(s)
	}
	var args []names
	for child := range parser.ChildrenIter(e) {
		set, err := all.labels(child.(parser.Expr))
		if err != nil {
			return nil, err
		}
		args = append(args, set)
	}
	if e.Type() == parser.ValueTypeScalar || e.Type() == parser.ValueTypeString {
		return nil, nil
	}
	switch e := e.(type) {
	case *parser.Call:
		return call(e, args)
	case *parser.AggregateExpr:
		return aggregation(e, args[0])
	case *parser.BinaryExpr:
		return join(e, args[0], args[1])
	case *parser.ParenExpr, *parser.UnaryExpr, *parser.MatrixSelector, *parser.SubqueryExpr:
		return args[0], nil
	default:
		return nil, fmt.Errorf("%s: no rule for %T", e, e)
	}
}

func (all metrics) selector(s *parser.VectorSelector) (names, error) {
	set, ok := all[s.Name]
	if !ok {
		return nil, fmt.Errorf("%s is not exposed", s.Name)
	}
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		if !set[m.Name] {
			return nil, fmt.Errorf("%s has no label %s", s.Name, m.Name)
		}
		known := values(m.Name)
		alternatives, kind := []string{m.Value}, labels.MatchEqual
		if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
			alternatives, kind = strings.Split(m.Value, "|"), labels.MatchRegexp
		}
		for _, value := range alternatives {
			one, err := labels.NewMatcher(kind, m.Name, value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s, err)
			}
			if known != nil && !slices.ContainsFunc(known, one.Matches) {
				return nil, fmt.Errorf("%s: %s is never %q", s.Name, m.Name, value)
			}
		}
	}
	return set, nil
}

// values lists what a label can be; nil: anything.
func values(label string) (known []string) {
	switch label {
	case "severity":
		for s := range incident.NumSeverities {
			known = append(known, incident.Severity(s).String())
		}
	case "status":
		for s := range incident.NumStatuses {
			known = append(known, incident.Status(s).String())
		}
	case "threshold":
		for _, d := range config.Default().AgeThresholds {
			known = append(known, collector.Threshold(d))
		}
	case "le":
		known = []string{"+Inf"}
		for _, bound := range incident.DurationBuckets {
			known = append(known, fmt.Sprint(bound))
		}
	case "kind":
		return slices.Concat(pass.Names[:], refresh.Corrections[:])
	case "reason":
		for r := range reason.NumReasons {
			known = append(known, reason.Reason(r).String())
		}
		// Of a takeover; package state, which says so, would bring its engines along.
		known = append(known, "new", "handed_over", "silent")
		// Of a fallback; so would package tenant.
		known = append(known, "gone", "role")
	case "assigned":
		return []string{"true", "false"}
	case "met":
		return []string{"true", "false"}
	case "handled":
		return []string{"assigned", "unassigned"}
	case "objective":
		for o := range incident.NumObjectives {
			known = append(known, incident.Objective(o).String())
		}
	case "investigation_state":
		for s := range incident.NumInvestigations {
			known = append(known, incident.Investigation(s).String())
		}
	case "classification":
		for c := range incident.NumClassifications {
			known = append(known, incident.Classification(c).String())
		}
	case "priority":
		for p := range incident.NumPriorities {
			known = append(known, incident.Priority(p).String())
		}
	case "stage":
		return []string{"open", "all"}
	case "api":
		return config.APIs()
	case "window":
		return []string{"minute", "hour"}
	}
	return known
}

func call(e *parser.Call, args []names) (names, error) {
	union := names{}
	for _, set := range args {
		maps.Copy(union, set)
	}
	switch e.Func.Name {
	case "absent":
		return names{}, nil
	case "histogram_quantile":
		classic := false
		selectors(e, func(s *parser.VectorSelector) {
			classic = classic || strings.HasSuffix(s.Name, "_bucket") || strings.Contains(s.Name, "_bucket:")
		})
		if classic != union["le"] {
			return nil, fmt.Errorf("%s: label le %t, want %t", e, union["le"], classic)
		}
		delete(union, "le")
	}
	return union, nil
}

func aggregation(e *parser.AggregateExpr, of names) (names, error) {
	for _, label := range e.Grouping {
		if !of[label] {
			return nil, fmt.Errorf("%s: %s has no label %s", e, e.Expr, label)
		}
	}
	switch {
	case e.Op == parser.TOPK || e.Op == parser.BOTTOMK:
		return of, nil
	case e.Op == parser.COUNT_VALUES:
		return namesOf(append([]string{e.Param.(*parser.StringLiteral).Val}, e.Grouping...)...), nil
	case e.Without:
		return of.without(e.Grouping), nil
	}
	return namesOf(e.Grouping...), nil
}

// join judges a binary operator. What both sides have of instance and tenant
// must be matched: otherwise two exporters, or two tenants, are one too many.
func join(e *parser.BinaryExpr, left, right names) (names, error) {
	on := e.VectorMatching
	switch {
	case left == nil:
		return right, nil
	case right == nil:
		return left, nil
	case e.Op == parser.LOR:
		union := maps.Clone(left)
		maps.Copy(union, right)
		return union, nil
	case !on.On && len(on.MatchingLabels) == 0:
		if !maps.Equal(left, right) {
			return nil, fmt.Errorf("%s without on: %v and %v", e, left, right)
		}
		return left, nil
	}
	matched := namesOf(on.MatchingLabels...)
	if !on.On {
		matched = left.without(on.MatchingLabels)
	}
	for label := range matched {
		if !left[label] || !right[label] {
			return nil, fmt.Errorf("%s: not both sides have the label %s", e, label)
		}
	}
	for _, label := range []string{"instance", "tenant"} {
		if left[label] && right[label] && !matched[label] {
			return nil, fmt.Errorf("%s joins without %s", e, label)
		}
	}
	switch on.Card {
	case parser.CardManyToMany, parser.CardManyToOne: // and, unless; group_left
		return left, nil
	case parser.CardOneToMany:
		return right, nil
	}
	return matched, nil
}
