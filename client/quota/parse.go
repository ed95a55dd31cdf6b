package quota

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds every wait that a server can ask for, and the period of
// a limit that it can name.
const maxRetryAfter = 24 * time.Hour

// ParseRetryAfter reads a Retry-After header: seconds, of which a fraction is
// rounded up, or an HTTP date in one of its three formats (RFC 9110, 5.6.7 and
// 10.2.3). A date in the past is a wait of 0; more than 24 hours are cut to 24
// hours. It reports false for anything else, negative seconds included.
func ParseRetryAfter(header string, now time.Time) (time.Duration, bool) {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0, false
	}
	if strings.Trim(header, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(header, 64)
		if err != nil && !math.IsInf(seconds, 1) { // too large is no error here
			return 0, false
		}
		if seconds >= maxRetryAfter.Seconds() {
			return maxRetryAfter, true
		}
		return time.Duration(math.Ceil(seconds)) * time.Second, true
	}
	const gmt = "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, layout := range [...]string{gmt, time.RFC850, time.ANSIC} {
		if date, err := time.Parse(layout, header); err == nil {
			return min(max(0, date.Sub(now)), maxRetryAfter), true
		}
	}
	return 0, false
}

// ParseLimit finds the limit that the error text of a 429 names, as in
// "maximum allowed 45 per 00:01:00", in any case and anywhere in the text. The
// period is a .NET TimeSpan, [days.]hours:minutes:seconds, of at most 24 hours.
func ParseLimit(message string) (Window, bool) {
	const per = " per "
	before, after, found := strings.Cut(strings.ToLower(message), per)
	for found {
		limit, ok := trailingNumber(before)
		period, ok2 := leadingPeriod(after)
		if ok && ok2 {
			return Window{Period: period, Limit: limit}, true
		}
		before, after, found = strings.Cut(after, per)
	}
	return Window{}, false
}

// trailingNumber is the positive number that ends the text. A part of
// something else, such as the 500 of 1,500, is none: it would throttle us.
func trailingNumber(s string) (int, bool) {
	rest := strings.TrimRight(s, "0123456789")
	if rest != "" {
		switch c := rest[len(rest)-1]; {
		case c == '.', c == ',', c == '\'', c == '-', c == '+', c == '_', c >= 'a' && c <= 'z', c >= 0x80:
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s[len(rest):], 10, 32)
	return int(n), err == nil && n > 0
}

func leadingPeriod(s string) (time.Duration, bool) {
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
	var period time.Duration
	for _, field := range [...]struct {
		text string
		unit time.Duration
		most uint64
	}{
		{days, 24 * time.Hour, 1},
		{hours, time.Hour, 24},
		{parts[1], time.Minute, 59},
		{seconds, time.Second, 59},
	} {
		n, err := strconv.ParseUint(field.text, 10, 8)
		if err != nil || n > field.most {
			return 0, false
		}
		period += time.Duration(n) * field.unit
	}
	return period, period > 0 && period <= maxRetryAfter
}
