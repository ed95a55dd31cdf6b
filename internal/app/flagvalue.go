package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
)

// value is a flag whose error names the flag.
type value struct {
	name string
	set  func(text string) error // its error is what the text must be
	// text is what it is by default; nil: nothing, or what depends on another flag.
	text func() string
	many bool
}

// String implements kingpin.Value.
func (v *value) String() string {
	if v.text == nil {
		return ""
	}
	return v.text()
}

// Set implements kingpin.Value.
func (v *value) Set(text string) error {
	if err := v.set(text); err != nil {
		return fmt.Errorf("--%s is %q; it must be %w", v.name, text, err)
	}
	return nil
}

// IsCumulative lets the flag be given several times.
func (v *value) IsCumulative() bool { return v.many }

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

var errFormat = errors.New("text or json")

// formatFlag takes what the command check can write.
func formatFlag(command *kingpin.CmdClause, to *string) {
	command.Flag("format", "Format of the result: text or json.").Default("text").SetValue(&value{name: "format", set: func(text string) error {
		if text != "text" && text != "json" {
			return errFormat
		}
		*to = text
		return nil
	}})
}

// settingFlag is for a setting that config.Set takes.
func settingFlag(app *kingpin.Application, name, help string, setting any) {
	v := &value{name: name, set: func(text string) error { return config.Set(setting, text) }, text: func() string { return config.Format(setting) }}
	app.Flag(name, help).Default(v.String()).SetValue(v)
}

// quotaFlag has a default that depends on the API.
func quotaFlag(app *kingpin.Application, name, help string, to *int) {
	app.Flag(name, help).SetValue(&value{name: name, set: func(text string) error { return config.Set(to, text) }})
}

// durationsFlag is repeatable; the first one given takes the place of the default.
func durationsFlag(app *kingpin.Application, name, help string, to *[]time.Duration) {
	var given []time.Duration
	app.Flag(name, help).SetValue(&value{name: name, many: true, set: func(text string) error {
		var d time.Duration
		err := config.Set(&d, text)
		given = append(given, d)
		*to = given
		return err
	}})
}

// objectivesFlag is repeatable; the first one given takes the place of the default.
func objectivesFlag(app *kingpin.Application, name, help string, to *config.Objectives) {
	var given config.Objectives
	app.Flag(name, help).SetValue(&value{name: name, many: true, set: func(text string) error {
		err := given.Add(text)
		*to = given
		return err
	}})
}
