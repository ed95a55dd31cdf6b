// Package retryafter reads the header Retry-After, by which an API and the login
// ask for silence.
package retryafter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Max is the longest wait that a server is believed. The waits that Microsoft's
// APIs ask for are minutes at most: their windows are a minute and an hour long.
const Max = time.Hour

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
