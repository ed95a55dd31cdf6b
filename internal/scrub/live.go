package scrub

import (
	"bytes"
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strconv"
)

const (
	// minSecret is how many visible characters a secret has at least.
	minSecret = 4
	// seed is how many characters are compared at once, and what a rest of a
	// secret has to have in common with it to be seen.
	seed = 8
)

// class tells how much of a form has to be found: the less each character says,
// the more of them.
type class uint8

const (
	plain class = 1 << iota
	hexadecimal
	decimal
)

var classes = []class{plain, hexadecimal, decimal}

// least is how long a common part is at least, in characters: eight of the
// secret's own.
func (c class) least() int {
	switch c {
	case hexadecimal:
		return 16
	case decimal:
		return 20
	}
	return seed
}

// form is a secret as it may appear in a stream.
type form struct {
	text  []byte
	class class
}

// forms are all that a secret is looked for as. What can be undone by reading
// the text in another way is not among them (see readings).
func forms(secret string) []form {
	var all []form
	add := func(text string, reduce ...func(view) view) {
		for _, f := range reduce {
			all = append(all, form{f(bare(text)).text, plain})
		}
	}
	texts := []string{secret}
	// What it becomes if it holds what looks like an escape.
	v := bare(secret)
	for range maxDepth {
		next, changed := v.unescape(escapes)
		if !changed {
			break
		}
		v = next
		texts = append(texts, string(v.text))
	}
	for _, text := range texts {
		backwards := []rune(text)
		slices.Reverse(backwards)
		add(text, letters, visible)
		add(string(backwards), letters, visible)
	}
	for before := range 3 {
		add(inside(base64.RawStdEncoding, 3, 4, secret, before), letters, visible)
		add(inside(base64.RawURLEncoding, 3, 4, secret, before), visible)
	}
	for before := range 5 {
		add(inside(base32.StdEncoding, 5, 8, secret, before), letters)
		add(inside(base32.HexEncoding, 5, 8, secret, before), letters)
	}
	for before := range 4 {
		add(inASCII85(secret, before), visible)
	}
	all = append(all, form{hex.AppendEncode(nil, []byte(secret)), hexadecimal})
	var codes []byte
	for _, c := range []byte(secret) {
		codes = strconv.AppendUint(codes, uint64(c), 10)
	}
	return append(all, form{codes, decimal})
}

// inside is base64 or base32, which make of so many bytes so many characters, of a
// secret that stands in a longer text behind so many bytes, less what depends on its
// neighbours.
func inside(encoding interface{ EncodeToString([]byte) string }, from, to int, secret string, before int) string {
	text := encoding.EncodeToString(append(make([]byte, before), secret...))
	return text[(before*to+from-1)/from : (before+len(secret))*to/from]
}

// inASCII85 is likewise, of which five characters tell four bytes together.
func inASCII85(secret string, before int) string {
	whole := secret[min(len(secret), (4-before)%4):]
	whole = whole[:len(whole)/4*4]
	text := make([]byte, ascii85.MaxEncodedLen(len(whole)))
	return string(text[:ascii85.Encode(text, []byte(whole))])
}

// index finds parts of secrets in a text.
type index struct {
	streams []view
	// hits tells of which classes a secret holds the eight bytes.
	hits map[uint64]class
	// filter is quicker than hits and wrong at times.
	filter [1 << 10]uint64
}

func newIndex(readings []view) *index {
	x := &index{hits: map[uint64]class{}}
	for _, v := range readings {
		x.streams = append(x.streams, letters(v), visible(v))
	}
	for _, s := range x.streams {
		seeds(s.text, func(_ int, gram uint64) {
			word, bit := place(gram)
			x.filter[word] |= bit
			x.hits[gram] = 0
		})
	}
	return x
}

// seeds calls f for every eight bytes in a row, with the index of the last.
func seeds(text []byte, f func(last int, gram uint64)) {
	var gram uint64
	for i, c := range text {
		gram = gram<<8 | uint64(c)
		if i >= seed-1 {
			f(i, gram)
		}
	}
}

// place is where a gram is in the filter.
func place(gram uint64) (word int, bit uint64) {
	h := gram * 0x9e3779b97f4a7c15 >> 48
	return int(h >> 6), 1 << (h & 63)
}

// mark marks whatever of the secrets is in the text.
func (x *index) mark(forms []form, gone []bool) {
	found := false
	for _, f := range forms {
		if len(f.text) < f.class.least() {
			x.markShort(f, gone)
			continue
		}
		seeds(f.text, func(_ int, gram uint64) {
			if word, bit := place(gram); x.filter[word]&bit == 0 {
				return
			}
			if had, ok := x.hits[gram]; ok {
				x.hits[gram], found = had|f.class, true
			}
		})
	}
	if !found {
		return
	}
	for _, s := range x.streams {
		for _, c := range classes {
			run := 0
			seeds(s.text, func(last int, gram uint64) {
				if x.hits[gram]&c == 0 {
					run = 0
					return
				}
				run++
				if common := run + seed - 1; common == c.least() {
					s.mark(last+1-common, last+1, gone)
				} else if common > c.least() {
					s.mark(last-1, last+1, gone)
				}
			})
		}
	}
}

// markShort looks for a form that is too short to be looked for in parts.
func (x *index) markShort(f form, gone []bool) {
	if len(f.text) < minSecret || f.class != plain && len(f.text) < 2*minSecret {
		return
	}
	for _, s := range x.streams {
		for at := 0; ; {
			i := bytes.Index(s.text[at:], f.text)
			if i < 0 {
				break
			}
			s.mark(at+i, at+i+len(f.text), gone)
			at += i + 1
		}
	}
}

// mark marks what a part of the view stands for in the original.
func (v view) mark(begin, end int, gone []bool) {
	for i := v.from[begin]; i < v.to[end-1]; i++ {
		gone[i] = true
	}
}
