package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// expectations say what a value must be, as the end of a sentence.
var expectations = map[reflect.Type]error{
	reflect.TypeFor[*string]():                 errors.New("text"),
	reflect.TypeFor[*bool]():                   errors.New("true or false"),
	reflect.TypeFor[*int]():                    errors.New("a whole number"),
	reflect.TypeFor[*float64]():                errors.New("a number"),
	reflect.TypeFor[*time.Duration]():          errors.New("a duration such as 30s, 6h or 180d"),
	reflect.TypeFor[*[]time.Duration]():        errors.New("a list of durations such as [1h, 24h, 7d]"),
	reflect.TypeFor[*[]string]():               errors.New("a list of names such as [A, B]"),
	reflect.TypeFor[*int64]():                  errors.New("a size such as 64MiB"),
	reflect.TypeFor[*time.Time]():              errors.New("a date such as 2027-05-01, or a time such as 2027-05-01T12:00:00Z"),
	reflect.TypeFor[*promconfig.URL]():         errors.New("a URL such as http://proxy:3128"),
	reflect.TypeFor[*promconfig.ProxyHeader](): errors.New("a mapping of header names to lists of values"),
	reflect.TypeFor[*promconfig.TLSVersion]():  errors.New("TLS12 or TLS13"),
}

// Set parses a text of the command line, the environment or a file into the
// setting that is pointed to: a text, texts with commas between, a boolean, a number,
// a duration in the notation of Prometheus (30s, 6h, 180d), a date or a time (RFC
// 3339), a size in bytes with or without a unit
// (int64: 1048576, 64MiB), a URL or a version of TLS. Its error is the end of a
// sentence: what the text must be. It does not repeat the text, which may hold a
// password.
func Set(setting any, text string) error {
	if parse(setting, text) != nil {
		return expectations[reflect.TypeOf(setting)]
	}
	return nil
}

func parse(setting any, text string) (err error) {
	switch to := setting.(type) {
	case *string:
		*to = text
	case *[]string:
		if *to = nil; text != "" {
			*to = strings.Split(text, ",")
		}
	case *bool:
		if *to = text == "true"; !*to && text != "false" {
			err = strconv.ErrSyntax
		}
	case *int:
		*to, err = strconv.Atoi(text)
	case *float64:
		*to, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		var d model.Duration
		d, err = model.ParseDuration(text)
		*to = time.Duration(d)
	case *int64:
		if *to, err = strconv.ParseInt(text, 10, 64); err != nil {
			var size units.Base2Bytes
			if size, err = units.ParseBase2Bytes(text); size < 0 {
				err = strconv.ErrRange
			}
			*to = int64(size)
		}
	case *time.Time:
		*to, err = parseTime(text)
	case *promconfig.URL:
		if to.URL = nil; text != "" {
			to.URL, err = url.Parse(text)
		}
	case *promconfig.TLSVersion:
		if *to = promconfig.TLSVersions[text]; *to < promconfig.TLSVersions["TLS12"] {
			err = strconv.ErrRange // too old, or none
		}
	default:
		err = errors.ErrUnsupported
	}
	return err
}

// parseTime takes a date for its first moment in UTC: what ends then is warned of
// a day early rather than late. The years are those that a typing error misses.
func parseTime(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if at, err = time.Parse(time.DateOnly, text); err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	if err == nil && (at.Year() < 2020 || at.Year() > 2099) {
		err = strconv.ErrRange
	}
	return at, err
}

// Format writes a setting as [Set] reads it.
func Format(setting any) string {
	switch of := setting.(type) {
	case *time.Duration:
		return model.Duration(*of).String()
	case *int64:
		return units.Base2Bytes(*of).String()
	case *[]string:
		return strings.Join(*of, ",")
	}
	return fmt.Sprint(reflect.ValueOf(setting).Elem())
}
