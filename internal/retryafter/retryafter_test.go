package retryafter

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	tests := []struct {
		header string
		want   time.Duration
		ok     bool
	}{
		{"120", 2 * time.Minute, true},
		{" 7 ", 7 * time.Second, true},
		{"0", 0, true},
		{"0.2", time.Second, true},
		{"1.5", 2 * time.Second, true},
		{"2.0", 2 * time.Second, true},
		{"3600", time.Hour, true},
		{"3601", time.Hour + time.Second, true},
		{"86400", 24 * time.Hour, true},
		{"9223372036854775807", math.MaxInt64, true},
		{strings.Repeat("9", 400), math.MaxInt64, true},
		{"Sun, 01 Mar 2026 12:01:00 GMT", time.Minute, true},
		{"Sunday, 01-Mar-26 12:01:00 GMT", time.Minute, true},
		{"Sun Mar  1 12:01:00 2026", time.Minute, true},
		{"Sun, 01 Mar 2026 12:00:00 GMT", 0, true},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0, true},
		{"Sun, 01 Mar 2026 13:00:00 GMT", time.Hour, true},
		{"Sun, 01 Mar 2026 13:00:01 GMT", time.Hour + time.Second, true},
		{"Fri, 31 Dec 9999 23:59:59 GMT", math.MaxInt64, true},
		{"", 0, false},
		{" ", 0, false},
		{"-1", 0, false},
		{"-0", 0, false},
		{"+5", 0, false},
		{".", 0, false},
		{"1.2.3", 0, false},
		{"1e3", 0, false},
		{"0x10", 0, false},
		{"Inf", 0, false},
		{"NaN", 0, false},
		{"5 s", 0, false},
		{"00:01:00", 0, false},
		{"Sun, 01 Mar 2026 12:01:00 CET", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			got, ok := Parse(tt.header, start)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %v %v, want %v %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "120", "1.5", "-1", "1e400", "Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		d, ok := Parse(header, start)
		if d < 0 || (!ok && d != 0) {
			t.Errorf("%q: got %v %v, want no wait below 0", header, d, ok)
		}
	})
}

// TestOf: of several waits the longest, a date by the clock of the answer.
func TestOf(t *testing.T) {
	const date, later = "Sun, 01 Mar 2026 09:00:00 GMT", "Sun, 01 Mar 2026 09:01:00 GMT"
	for _, test := range []struct {
		want   string
		header http.Header
	}{
		{"", nil},
		{"7", http.Header{"Retry-After": {"7"}}},
		{"2", http.Header{"Retry-After": {"1.5"}}},
		{"600", http.Header{"Retry-After": {"600", "600"}}},
		{"600", http.Header{"Retry-After": {"600, 600"}}},
		{"600", http.Header{"Retry-After": {"5", "600", "60,7"}}},
		{"600", http.Header{"Retry-After": {"", "soon", "600"}}},
		{"soon", http.Header{"Retry-After": {"", "soon", "later"}}},
		{strings.Repeat("x", 64), http.Header{"Retry-After": {strings.Repeat("x", 65)}}},
		{"60", http.Header{"Retry-After": {later}, "Date": {date}}},
		{"60", http.Header{"Retry-After": {"30, " + later}, "Date": {date}}},
		{"60", http.Header{"Retry-After": {date + ", " + later + ",7"}, "Date": {date}}},
		{"0", http.Header{"Retry-After": {date}, "Date": {later}}},
		{"0", http.Header{"Retry-After": {later}}}, // three hours ago
		{"60", http.Header{"Retry-After": {"Sun, 01 Mar 2026 12:01:00 GMT"}, "Date": {"today"}}},
	} {
		if got := Of(test.header, start); got != test.want {
			t.Errorf("%v: got %q, want %q", test.header, got, test.want)
		}
	}
}
