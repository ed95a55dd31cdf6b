package retryafter

import (
	"math"
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
