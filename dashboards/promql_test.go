package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// expr is a node of a PromQL expression, parsed far enough to tell which labels
// it has. A real Prometheus judges the rest.
type expr struct {
	kind     kind
	name     string // of the metric, function, aggregation or operator
	matchers []matcher
	args     []*expr
	grouping string   // by, without, on or ignoring; empty if none
	labels   []string // of the grouping
	side     string   // group_left or group_right
	include  []string // labels of that
}

type kind int

const (
	scalarKind kind = iota
	selectorKind
	callKind
	aggregationKind
	binaryKind
)

type matcher struct{ label, op, value string }

var (
	lexeme       = regexp.MustCompile(`^(?:\s+|#[^\n]*|"(?:[^"\\]|\\.)*"|[0-9][0-9.a-z]*|[$a-zA-Z_:][a-zA-Z0-9_:]*|==|!=|>=|<=|=~|!~|[-+*/%^<>=(){}\[\],@:])`)
	identifier   = regexp.MustCompile(`^[a-zA-Z_:]`)
	aggregations = []string{"sum", "max", "min", "avg", "count", "topk", "bottomk", "quantile", "stddev", "group", "count_values"}
	precedence   = [][]string{{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}, {"^"}}
)

type promParser struct{ tokens []string }

// parsePromQL returns the expression's tree.
func parsePromQL(text string) (e *expr, err error) {
	p := &promParser{}
	for rest := text; rest != ""; {
		token := lexeme.FindString(rest)
		if token == "" {
			return nil, fmt.Errorf("unexpected %q in %q", rest, text)
		}
		rest = rest[len(token):]
		if s := strings.TrimSpace(token); s != "" && s[0] != '#' {
			p.tokens = append(p.tokens, token)
		}
	}
	defer func() {
		if failure, ok := recover().(parseFailure); ok {
			err = fmt.Errorf("%s in %q", failure, text)
		}
	}()
	e = p.binary(0)
	if p.peek() != "" {
		p.fail("unexpected " + p.peek())
	}
	return e, nil
}

type parseFailure string

func (p *promParser) fail(why string) { panic(parseFailure(why)) }

func (p *promParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *promParser) next() string {
	token := p.peek()
	if token == "" {
		p.fail("unexpected end")
	}
	p.tokens = p.tokens[1:]
	return token
}

func (p *promParser) accept(tokens ...string) bool {
	if !slices.Contains(tokens, p.peek()) {
		return false
	}
	p.next()
	return true
}

func (p *promParser) expect(token string) {
	if got := p.next(); got != token {
		p.fail("got " + got + ", want " + token)
	}
}

func (p *promParser) binary(level int) *expr {
	if level == len(precedence) {
		return p.unary()
	}
	left := p.binary(level + 1)
	for slices.Contains(precedence[level], p.peek()) {
		e := &expr{kind: binaryKind, name: p.next()}
		p.accept("bool")
		if p.peek() == "on" || p.peek() == "ignoring" {
			e.grouping, e.labels = p.next(), p.labelList()
		}
		if p.peek() == "group_left" || p.peek() == "group_right" {
			e.side = p.next()
			if p.peek() == "(" {
				e.include = p.labelList()
			}
		}
		e.args = []*expr{left, p.binary(level + 1)}
		left = e
	}
	return left
}

func (p *promParser) labelList() (labels []string) {
	p.expect("(")
	for !p.accept(")") {
		label := p.next()
		if !identifier.MatchString(label) {
			p.fail(label + " is no label")
		}
		labels = append(labels, label)
		p.accept(",")
	}
	return labels
}

func (p *promParser) unary() *expr {
	p.accept("-", "+")
	e := p.primary()
	for {
		switch {
		case p.accept("["):
			for !p.accept("]") {
				p.next()
			}
		case p.accept("offset"):
			p.accept("-")
			p.next()
		default:
			return e
		}
	}
}

func (p *promParser) primary() *expr {
	token := p.next()
	switch {
	case token == "(":
		e := p.binary(0)
		p.expect(")")
		return e
	case token[0] == '"' || token[0] >= '0' && token[0] <= '9':
		return &expr{kind: scalarKind, name: token}
	case slices.Contains(aggregations, token):
		e := &expr{kind: aggregationKind, name: token}
		p.group(e)
		e.args = p.arguments()
		p.group(e)
		return e
	case token == "{" || !identifier.MatchString(token):
		p.fail("unexpected " + token)
	case p.peek() == "(":
		return &expr{kind: callKind, name: token, args: p.arguments()}
	}
	e := &expr{kind: selectorKind, name: token}
	if p.accept("{") {
		for !p.accept("}") {
			m := matcher{label: p.next(), op: p.next(), value: strings.Trim(p.next(), `"`)}
			if !slices.Contains([]string{"=", "!=", "=~", "!~"}, m.op) {
				p.fail(m.op + " is no matcher")
			}
			e.matchers = append(e.matchers, m)
			p.accept(",")
		}
	}
	return e
}

func (p *promParser) group(e *expr) {
	if p.peek() == "by" || p.peek() == "without" {
		e.grouping, e.labels = p.next(), p.labelList()
	}
}

func (p *promParser) arguments() (args []*expr) {
	p.expect("(")
	for !p.accept(")") {
		args = append(args, p.binary(0))
		p.accept(",")
	}
	return args
}

// selectors calls f with every selector of the expression.
func (e *expr) selectors(f func(*expr)) {
	if e.kind == selectorKind {
		f(e)
	}
	for _, arg := range e.args {
		arg.selectors(f)
	}
}

// String shows the structure, for tests.
func (e *expr) String() string {
	var b strings.Builder
	b.WriteString(e.name)
	for _, m := range e.matchers {
		b.WriteString("{" + m.label + m.op + m.value + "}")
	}
	if e.grouping != "" {
		b.WriteString(" " + e.grouping + fmt.Sprint(e.labels))
	}
	if e.side != "" {
		b.WriteString(" " + e.side + fmt.Sprint(e.include))
	}
	if len(e.args) > 0 {
		_, _ = fmt.Fprint(&b, e.args)
	}
	return b.String()
}

func TestParsePromQL(t *testing.T) {
	tests := []struct{ in, want string }{
		{`1`, `1`},
		{`up`, `up`},
		{`up{job="a", x!~"b|c"} offset 5m`, `up{job=a}{x!~b|c}`},
		{`rate(x_total{a=~"$tenant"}[$__rate_interval])`, `rate[x_total{a=~$tenant}]`},
		{`sum by (a, b) (x)`, `sum by[a b][x]`},
		{`sum(x) without (a)`, `sum without[a][x]`},
		{`a + b * c`, `+[a *[b c]]`},
		{`(a + b) * c`, `*[+[a b] c]`},
		{`a - b - c`, `-[-[a b] c]`},
		{`a > 3 and b or c unless d`, `or[and[>[a 3] b] unless[c d]]`},
		{`a / on (x, y) group_left (z) b`, `/ on[x y] group_left[z][a b]`},
		{`a > ignoring (k) group_right () b`, `> ignoring[k] group_right[][a b]`},
		{`topk(3, sum(x) > 0)`, `topk[3 >[sum[x] 0]]`},
		{`max_over_time(sum(x)[1d:5m]) # comment`, `max_over_time[sum[x]]`},
		{`-x`, `x`},
		{`time() - x{le=~"3600(\\.0)?"}`, `-[time x{le=~3600(\\.0)?}]`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			e, err := parsePromQL(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	for _, in := range []string{``, `sum(`, `a b`, `a{b}`, `a{b>"c"}`, `sum by a (x)`, `(a){b="c"}`, `a +`, `"`} {
		t.Run("not "+in, func(t *testing.T) {
			if e, err := parsePromQL(in); err == nil {
				t.Errorf("got %s, want an error", e)
			}
		})
	}
}
