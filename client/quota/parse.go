package quota

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseLimit finds the limit that the error text of a refusal names, in any
// case and anywhere in the text: a number, perhaps "calls" or "requests",
// "per", and a period. The period is a .NET TimeSpan, [days.]hours:minutes:seconds,
// or a unit with or without a number: "minute", "5 minutes", "60s".
//
// "API calls quota exceeded! maximum allowed 45 per 00:01:00" was seen of the
// advanced hunting API, whose page tells only that the text names the limit
// (MicrosoftDocs/defender-docs, defender-xdr/api-advanced-hunting.md).
//
// What is said to be allowed goes before any other number: a text may tell what was
// used, too.
//
// A Period of 0 says that "allowed N per" is followed by something else: there
// is a limit, for a period that is not known. It is false if the text names
// none.
func ParseLimit(message string) (Window, bool) {
	const per = " per "
	var first Window
	before, after, found := strings.Cut(strings.ToLower(message), per)
	for found {
		if limit, leading, ok := trailingNumber(before); ok {
			period, known := leadingPeriod(after)
			switch {
			case strings.HasSuffix(leading, "allowed "):
				return Window{Period: period, Limit: limit}, true
			case known && first.Limit == 0:
				first = Window{Period: period, Limit: limit}
			}
		}
		before, after, found = strings.Cut(after, per)
	}
	return first, first.Limit != 0
}

// trailingNumber is the positive number that ends the text, and the text before
// it. A part of something else, such as the 500 of 1,500, is none: it would
// throttle us.
func trailingNumber(s string) (n int, leading string, ok bool) {
	for _, noun := range [...]string{" calls", " requests", " queries"} {
		if counted, found := strings.CutSuffix(s, noun); found {
			s = strings.TrimSuffix(counted, " api")
			break
		}
	}
	leading = strings.TrimRight(s, "0123456789")
	if words := strings.TrimRight(leading, " "); words != leading && words != "" && '0' <= words[len(words)-1] && words[len(words)-1] <= '9' {
		return 0, "", false // the 500 of 1 500
	}
	if leading != "" {
		switch c := leading[len(leading)-1]; {
		case c == '.', c == ',', c == '\'', c == '-', c == '+', c == '_', c >= 'a' && c <= 'z', c >= 0x80:
			return 0, "", false
		}
	}
	limit, err := strconv.ParseInt(s[len(leading):], 10, 32)
	return int(limit), leading, err == nil && limit > 0
}

// leadingPeriod is the period that begins the text, of at most a year.
func leadingPeriod(s string) (time.Duration, bool) {
	const year = 366 * 24 * time.Hour
	period, ok := leadingSpan(s)
	if !ok {
		period, ok = leadingUnits(s)
	}
	if !ok || period <= 0 || period > year {
		return 0, false
	}
	return period, true
}

// leadingSpan reads a .NET TimeSpan.
func leadingSpan(s string) (period time.Duration, ok bool) {
	if end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != ':' && r != '.' }); end >= 0 {
		s = s[:end]
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	days, hours, dotted := strings.Cut(parts[0], ".")
	if !dotted {
		days, hours = "0", days
	}
	seconds, _, _ := strings.Cut(parts[2], ".") // the end of a sentence, or a fraction
	for _, field := range [...]struct {
		text string
		unit time.Duration
		most uint64
	}{
		{days, 24 * time.Hour, 366},
		{hours, time.Hour, 24},
		{parts[1], time.Minute, 59},
		{seconds, time.Second, 59},
	} {
		n, err := strconv.ParseUint(field.text, 10, 16)
		if err != nil || n > field.most {
			return 0, false
		}
		period += time.Duration(n) * field.unit
	}
	return period, true
}

// leadingUnits reads "minute", "5 minutes", "60s" and the like.
func leadingUnits(s string) (time.Duration, bool) {
	word := strings.TrimLeft(s, "0123456789")
	n := uint64(1)
	if digits := s[:len(s)-len(word)]; digits != "" {
		var err error
		if n, err = strconv.ParseUint(digits, 10, 25); err != nil { // 25 bits are more seconds than a year has
			return 0, false
		}
		word = strings.TrimLeft(word, " -")
	}
	if end := strings.IndexFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
		word = word[:end]
	}
	const day = 24 * time.Hour
	var unit time.Duration
	switch word {
	case "s", "sec", "secs", "second", "seconds":
		unit = time.Second
	case "min", "mins", "minute", "minutes":
		unit = time.Minute
	case "h", "hr", "hrs", "hour", "hours":
		unit = time.Hour
	case "d", "day", "days":
		unit = day
	case "week", "weeks":
		unit = 7 * day
	case "month", "months":
		unit = 30 * day
	default:
		return 0, false
	}
	if n > uint64(math.MaxInt64/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
