package app

import (
	"errors"
	"fmt"
	"m365_defender_exporter/internal/config"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
)

// value is a flag of any type whose error names the flag.
type value[T any] struct {
	name   string
	to     *T
	parse  func(string) (T, error)
	format func(T) string
	set    func(T) // nil: assign
	many   bool
	// noDefault is for what has a default that depends on another flag.
	noDefault bool
}

// String implements kingpin.Value.
func (v *value[T]) String() string {
	if v.many || v.noDefault {
		return ""
	}
	return v.format(*v.to)
}

// Set implements kingpin.Value.
func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err != nil {
		return fmt.Errorf("--%s is %q; it must be %w", v.name, text, err)
	}
	if v.set != nil {
		v.set(parsed)
	} else {
		*v.to = parsed
	}
	return nil
}

// IsCumulative lets the flag be given several times.
func (v *value[T]) IsCumulative() bool { return v.many }

// named is a value of a library, whose error does not say which flag it is.
type named struct {
	kingpin.Value
	name string
}

// Set implements kingpin.Value.
func (n named) Set(text string) error {
	if err := n.Value.Set(text); err != nil {
		return fmt.Errorf("--%s: %w", n.name, err)
	}
	return nil
}

var (
	errInteger = errors.New("a whole number")
	errNumber  = errors.New("a number")
	errFormat  = errors.New("text or json")
)

// parseFormat takes what the command check can write.
func parseFormat(text string) (string, error) {
	if text != "text" && text != "json" {
		return "", errFormat
	}
	return text, nil
}

func addFlag[T any](app *kingpin.Application, name, help string, v value[T]) {
	v.name = name
	clause := app.Flag(name, help)
	if !v.many && !v.noDefault {
		clause = clause.Default(v.String())
	}
	clause.SetValue(&v)
}

func durationFlag(app *kingpin.Application, name, help string, to *time.Duration) {
	addFlag(app, name, help, value[time.Duration]{to: to, parse: config.ParseDuration, format: func(d time.Duration) string { return model.Duration(d).String() }})
}

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errInteger
	}
	return n, nil
}

func floatFlag(app *kingpin.Application, name, help string, to *float64) {
	addFlag(app, name, help, value[float64]{to: to, format: func(f float64) string { return fmt.Sprint(f) }, parse: func(text string) (float64, error) {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, errNumber
		}
		return f, nil
	}})
}

func bytesFlag(app *kingpin.Application, name, help string, to *int64) {
	addFlag(app, name, help, value[int64]{
		to:     to,
		format: func(n int64) string { return units.Base2Bytes(n).String() },
		parse:  config.ParseSize,
	})
}
