package quota

import (
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
	tests := []struct {
		message string
		want    Window
	}{
		{perMinuteText, Window{time.Minute, 45}},
		{"API calls quota exceeded! maximum allowed 1500 per 01:00:00", Window{time.Hour, 1500}},
		{"API CALLS QUOTA EXCEEDED! MAXIMUM ALLOWED 45 PER 00:01:00.", Window{time.Minute, 45}},
		{`{"message":"45 per 00:01:00","target":"x"}`, Window{time.Minute, 45}},
		{"as per terms, 20 per 00:00:30", Window{30 * s, 20}},
		{"per user: 3 per 4 per 00:05:00", Window{5 * time.Minute, 4}},
		{"100 per 1.00:00:00", Window{24 * time.Hour, 100}},
		{"10 per 00:00:10.0000000", Window{10 * s, 10}},
		{"", Window{}},
		{"Too many requests.", Window{}},
		{" per ", Window{}},
		{"0 per 00:01:00", Window{}},
		{"-5 per 00:01:00", Window{}},
		{"1,500 per 01:00:00", Window{}},
		{"v45 per 00:01:00", Window{}},
		{"1 500 per 01:00:00", Window{}},
		{"Error 429 : 45 per 00:01:00", Window{time.Minute, 45}},
		{"You have made 12 calls per 00:01:00, maximum allowed 45 per 00:01:00", Window{time.Minute, 45}},
		{"3 requests per second were received, maximum allowed 1500 per 01:00:00", Window{time.Hour, 1500}},
		{"12 calls per 00:01:00, 14 calls per 00:02:00", Window{time.Minute, 12}},
		{"99999999999 per 00:01:00", Window{}},
		{"45 per minute", Window{time.Minute, 45}},
		{"45 calls per minute", Window{time.Minute, 45}},
		{"exceeded 45 API calls per minute.", Window{time.Minute, 45}},
		{"1500 requests per hour!", Window{time.Hour, 1500}},
		{"9 per second", Window{s, 9}},
		{"9 per seconds", Window{s, 9}},
		{"9 queries per 30 seconds", Window{30 * s, 9}},
		{"9 per 30s", Window{30 * s, 9}},
		{"40 per 5 minutes", Window{5 * time.Minute, 40}},
		{"40 per 5-minute window", Window{5 * time.Minute, 40}},
		{"40 per 2 hours", Window{2 * time.Hour, 40}},
		{"1000 per day", Window{24 * time.Hour, 1000}},
		{"1000 per 2 weeks", Window{14 * 24 * time.Hour, 1000}},
		{"45 per minutely", Window{}},
		{"45 per 0 minutes", Window{}},
		{"45 per 99999999999999999999 seconds", Window{}},
		{"45 per 33554431 days", Window{}},
		{"45 per application", Window{}},
		{"maximum allowed 45 per moon", Window{0, 45}},
		{"maximum allowed 45 calls per 00:01", Window{0, 45}},
		{"maximum allowed 45 per ", Window{0, 45}},
		{"45 per 00:00:00", Window{}},
		{"45 per 00:60:00", Window{}},
		{"45 per 24:00:01", Window{24*time.Hour + s, 45}},
		{"100 per 30.00:00:00", Window{30 * 24 * time.Hour, 100}},
		{"100 per 400.00:00:00", Window{}},
		{"45 per 00:01", Window{}},
		{"45 per 00:01:", Window{}},
		{"45 per 00:01:00:00", Window{}},
		{"45 per 300:00:00", Window{}},
	}
	for _, tt := range tests {
		t.Run(tt.message, func(t *testing.T) {
			got, ok := ParseLimit(tt.message)
			if got != tt.want || ok != (tt.want != Window{}) {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
}

func FuzzLimit(f *testing.F) {
	for _, seed := range []string{
		perMinuteText,
		"API calls quota exceeded! maximum allowed 1500 per 01:00:00",
		"Too many requests.",
		`{"error":{"code":"TooManyRequests","message":"Too many requests.","innerError":{"date":"2022-07-14T06:22:45"}}}`,
		"9 per 1.00:00:00 per 00:00:01.5",
		"maximum allowed 9 per 30 seconds", "9 calls per month", "allowed 9 per moon",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		w, ok := ParseLimit(message)
		if ok != (w != Window{}) || w.Limit < 0 || (ok && w.Limit < 1) || w.Period < 0 || w.Period > 366*24*time.Hour || w.Period%s != 0 {
			t.Errorf("%q: got %v %v, want a sane limit or none", message, w, ok)
		}
	})
}
