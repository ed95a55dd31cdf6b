package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"
)

// What a value must be, as the end of a sentence.
var (
	errText       = errors.New("text")
	errBoolean    = errors.New("true or false")
	errInteger    = errors.New("a whole number")
	errNumber     = errors.New("a number")
	errDuration   = errors.New("a duration such as 30s, 6h or 180d")
	errDurations  = errors.New("a list of durations such as [1h, 24h, 7d]")
	errBytes      = errors.New("a size such as 64MiB")
	errURL        = errors.New("a URL such as http://proxy:3128")
	errHeaders    = errors.New("a mapping of header names to lists of values")
	errTLSVersion = errors.New("TLS12 or TLS13")
)

// reader takes one value of the file. Its error says what it must be.
type reader func(*yaml.Node) error

// mapping are the fields that are known, and no others.
type mapping map[string]reader

// nested is an error whose field is deeper and named already.
type nested struct{ error }

// group is a mapping as a field of another.
func group(m mapping) reader {
	return func(n *yaml.Node) error {
		if err := m.read(n); err != nil {
			return nested{err}
		}
		return nil
	}
}

// read fills the fields from a node. What is empty is left as it was.
func (m mapping) read(n *yaml.Node) error {
	n = resolve(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("must be a mapping of %s (line %d)", strings.Join(slices.Sorted(maps.Keys(m)), ", "), n.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		name := key.Value
		field, known := m[name]
		switch {
		case !known:
			return fmt.Errorf("%s is not a field; known here are %s (line %d)", printable(name), strings.Join(slices.Sorted(maps.Keys(m)), ", "), key.Line)
		case seen[name]:
			return fmt.Errorf("%s is given twice (line %d)", name, key.Line)
		}
		seen[name] = true
		err := field(value)
		var inner nested
		switch {
		case errors.As(err, &inner):
			return nested{fmt.Errorf("%s%s", name, inner.under())}
		case err != nil:
			return fmt.Errorf("%s must be %w (line %d)", name, err, value.Line)
		}
	}
	return nil
}

// under joins the inner name to the outer one: "quota" and "share must be".
func (n nested) under() string {
	text := n.Error()
	if strings.HasPrefix(text, "must be") {
		return " " + text
	}
	return "." + text
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func content(document *yaml.Node) *yaml.Node {
	if document.Kind == yaml.DocumentNode && len(document.Content) > 0 {
		return document.Content[0]
	}
	return document
}

// scalar is the text of a plain value; an empty one is no value.
func scalar(n *yaml.Node) (value string, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return "", false
	}
	if n.ShortTag() == "!!null" {
		return "", true
	}
	return n.Value, true
}

func parsed[T any](to *T, what error, parse func(string) (T, error)) reader {
	return func(n *yaml.Node) error {
		value, ok := scalar(n)
		if !ok {
			return what
		}
		out, err := parse(value)
		if err != nil {
			return what
		}
		*to = out
		return nil
	}
}

func text(to *string) reader {
	return parsed(to, errText, func(s string) (string, error) { return s, nil })
}

func boolean(to *bool) reader {
	return parsed(to, errBoolean, func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, errBoolean
		}
		return s == "true", nil
	})
}

func integer(to *int) reader { return parsed(to, errInteger, strconv.Atoi) }

func number(to *float64) reader {
	return parsed(to, errNumber, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
}

func duration(to *time.Duration) reader { return parsed(to, errDuration, ParseDuration) }

func size(to *int64) reader { return parsed(to, errBytes, ParseSize) }

// ParseDuration takes the notation of Prometheus: 30s, 6h, 180d. Its error is the
// end of a sentence: what the text must be.
func ParseDuration(text string) (time.Duration, error) {
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return time.Duration(d), nil
}

// ParseSize takes bytes, with or without a unit: 1048576, 64MiB. Its error is the
// end of a sentence.
func ParseSize(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	n, err := units.ParseBase2Bytes(text)
	if err != nil || n < 0 {
		return 0, errBytes
	}
	return int64(n), nil
}
