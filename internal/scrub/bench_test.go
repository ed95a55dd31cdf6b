package scrub

import (
	"strings"
	"testing"
)

// BenchmarkText: what a failed request costs, with all generations of the
// secrets of a tenant live.
func BenchmarkText(b *testing.B) {
	s := new(Scrubber)
	s.Secret("secret", secret)
	for i := range byte(generations) {
		s.Secret("token", strings.Repeat(jwt, 10)+string('a'+i))
		s.Secret("assertion", strings.Repeat(reversed(jwt), 4)+string('a'+i))
	}
	for name, text := range map[string]string{
		"sentence": "API calls quota exceeded! maximum admitted 50 per 1 Minute. You can send requests again in 6 seconds.",
		"page":     strings.Repeat(`<a href="/x?y=1&amp;z=%20">Dr\u00fccken &#38; ziehen</a>`+"\r\n", 200),
		"base64":   strings.Repeat("iVBORw0KGgoAAAANSUhEUgAAAAUA", 400),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = s.Text(text)
			}
		})
	}
}
