// Package retryafter reads the header Retry-After, by which an API and the login
// ask for silence.
package retryafter

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Max is the longest wait that a server is believed. The waits that Microsoft's
// APIs ask for are minutes at most: their windows are a minute and an hour long.
const Max = time.Hour

// Of is what the header of an answer asks for, as [Parse] reads it: of several waits the
// longest, in seconds. A date counts from the Date of the same answer: the server's clock
// and ours need not agree. What is none is returned as it is, cut.
func Of(answer http.Header, now time.Time) string {
	const limit = 64 // bytes
	if date, err := http.ParseTime(answer.Get("Date")); err == nil {
		now = date
	}
	lines, longest, told := answer.Values("Retry-After"), time.Duration(0), false
	for _, line := range lines {
		if wait, ok := joined(line, now); ok {
			longest, told = max(longest, wait), true
		}
	}
	if !told {
		first := cmp.Or(lines...)
		return first[:min(len(first), limit)]
	}
	return strconv.FormatInt(int64(math.Ceil(longest.Seconds())), 10)
}

// joined reads a line that a proxy may have joined of several with commas: the longest
// of its waits.
func joined(line string, now time.Time) (longest time.Duration, told bool) {
	if wait, ok := Parse(line, now); ok {
		return wait, true
	}
	before := ""
	for part := range strings.SplitSeq(line, ",") {
		for _, text := range []string{part, before + "," + part} { // a date has a comma of its own
			if wait, ok := Parse(text, now); ok {
				longest, told = max(longest, wait), true
			}
		}
		before = part
	}
	return longest, told
}

// Parse reads the header: seconds, of which a fraction is rounded up, or an HTTP
// date in one of its three formats (RFC 9110, 5.6.7 and 10.2.3). A date in the past
// is a wait of 0; what a Duration cannot hold becomes the longest one. It reports
// false for anything else, negative seconds included.
func Parse(header string, now time.Time) (wait time.Duration, told bool) {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0, false
	}
	if strings.Trim(header, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(header, 64)
		if err != nil && !math.IsInf(seconds, 1) { // too large is no error here
			return 0, false
		}
		seconds = math.Ceil(seconds)
		if seconds > float64(math.MaxInt64/int64(time.Second)) {
			return math.MaxInt64, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	return max(0, date.Sub(now)), true
}
