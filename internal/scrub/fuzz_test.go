package scrub

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// FuzzText: whatever a secret is, however a part of it is encoded, and whatever
// stands around it, no twelve characters of it are shown.
func FuzzText(f *testing.F) {
	names := slices.Sorted(maps.Keys(encodings))
	for i := range names {
		f.Add(secret, "before ", " after", byte(i), byte(2*i), byte(20+i))
	}
	f.Add(jwt, `{"a":"`, `"}`, byte(0), byte(0), byte(255))
	f.Add("%41%41%41%41%41%41", `\u0041%`, `=3D&amp;`, byte(20), byte(0), byte(40))
	f.Fuzz(func(t *testing.T, value, before, after string, which, start, length byte) {
		// Visible characters, as in whatever Entra makes.
		live := strings.Map(func(r rune) rune { return '!' + r%('~'-'!'+1) }, value[:min(len(value), 400)])
		s := new(Scrubber)
		s.Secret("secret", live)
		wellFormed(t, s, s.Text(before))
		if len(live) < 12 {
			return
		}
		name := names[int(which)%len(names)]
		begin := min(int(start), len(live)-12)
		part := live[begin:min(len(live), begin+max(12, int(length)))]
		text := before + encodings[name](part) + after
		shown := s.Text(text)
		wellFormed(t, s, shown)
		if left := survives(shown, parts(live, encodings[name])); left != "" {
			t.Errorf("%s of %q in %q: %q becomes %q, in which %q is left", name, part, live, text, shown, left)
		}
	})
}

// TestRandomSecrets is FuzzText with secrets of all visible characters, and
// neighbours that are at home in the encodings.
func TestRandomSecrets(t *testing.T) {
	names := slices.Sorted(maps.Keys(encodings))
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[random.IntN(len(from))])
		}
		return b.String()
	}
	var all string
	for c := '!'; c <= '~'; c++ {
		all += string(c)
	}
	for range 300 {
		live := pick([]string{all, "%&=\\;#x0123456789abcdefu", "aA1+/-_~."}[random.IntN(3)], 12+random.IntN(60))
		s := new(Scrubber)
		s.Secret("secret", live)
		name := names[random.IntN(len(names))]
		begin := random.IntN(len(live) - 11)
		part := live[begin : begin+12+random.IntN(len(live)-begin-11)]
		around := func() string {
			return pick([]string{all, "%&=\\;#x0123456789abcdefu", " \t\r\n", "aZ09+/-_"}[random.IntN(4)], random.IntN(12))
		}
		text := around() + encodings[name](part) + around()
		shown := s.Text(text)
		wellFormed(t, s, shown)
		if left := survives(shown, parts(live, encodings[name])); left != "" {
			t.Errorf("%s of %q in %q: %q becomes %q, in which %q is left", name, part, live, text, shown, left)
		}
	}
}
