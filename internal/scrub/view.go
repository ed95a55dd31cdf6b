package scrub

import (
	"unicode"
	"unicode/utf8"
)

// view is a text as it can be read, each byte with the range of the original
// that it stands for.
type view struct {
	text     []byte
	from, to []int32
	// whole: everything that could be an escape was read as one; or nothing was.
	whole bool
	// decoded: it was base64.
	decoded bool
}

// keep adds what bytes i to j of another view stand for.
func (v *view) keep(b byte, other *view, i, j int) {
	v.text = append(v.text, b)
	if other.from != nil {
		v.from, v.to = append(v.from, other.from[i]), append(v.to, other.to[j])
	}
}

// child is an empty view that will be about as long.
func (v *view) child() view {
	c := view{text: make([]byte, 0, len(v.text))}
	if v.from != nil {
		c.from, c.to = make([]int32, 0, len(v.text)), make([]int32, 0, len(v.text))
	}
	return c
}

// bare is a text that stands for nothing.
func bare(text string) view { return view{text: []byte(text)} }

// identity is the text as it is.
func identity(text string) view {
	v := view{text: []byte(text), from: make([]int32, len(text)), to: make([]int32, len(text)), whole: true}
	for i := range v.from {
		v.from[i], v.to[i] = int32(i), int32(i)+1
	}
	return v
}

// maxDepth is how many escapes around each other are read.
const maxDepth = 3

// readings are all ways to read a text. It is false if they are too many.
func readings(text string) (all []view, ok bool) {
	all = []view{identity(text)}
	depth := []int{0}
	seen := map[string]bool{text: true}
	work := len(text)
	add := func(v view, d int) {
		if key := string(v.text); !seen[key] {
			seen[key] = true
			work += len(v.text)
			all, depth = append(all, v), append(depth, d)
		}
	}
	for i := 0; i < len(all) && work <= maxWork; i++ {
		v, d := all[i], depth[i]
		if d == maxDepth {
			continue
		}
		if next, changed := v.unescape(escapes); changed {
			next.whole = v.whole
			add(next, d+1)
		}
		if d == maxDepth-1 {
			continue
		}
		for family := percent; family < escapes && !v.decoded; family <<= 1 {
			if next, changed := v.unescape(family); changed {
				add(next, d+1)
			}
		}
		for _, next := range v.base64() {
			add(next, d+1)
		}
	}
	return all, work <= maxWork
}

// minBase64 is how many characters in a row are worth decoding.
const minBase64 = 12

// base64 decodes all that can be base64, of either alphabet, broken into lines
// or not. It may be part of something longer: each of its four alignments is a
// view.
func (v view) base64() (views []view) {
	var runs [][]int
	var run []int
	flush := func() {
		if len(run) >= minBase64 {
			runs = append(runs, run)
		}
		run = nil
	}
	for i, c := range v.text {
		switch {
		case sextet(c) >= 0:
			run = append(run, i)
		case c != '\r' && c != '\n':
			flush()
		}
	}
	if flush(); len(runs) == 0 {
		return nil
	}
	for start := range 4 {
		next := v.child()
		next.decoded = true
		for _, run := range runs {
			v.decode64(run[start:], &next)
		}
		views = append(views, next)
	}
	return views
}

func (v *view) decode64(run []int, into *view) {
	var buffer uint32
	bits := 0
	for j, i := range run {
		buffer = buffer<<6 | uint32(sextet(v.text[i]))
		if bits += 6; bits >= 8 {
			bits -= 8
			into.keep(byte(buffer>>bits), v, run[j-1], i)
		}
	}
}

func sextet(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case isDigit(c):
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}

// letters are the letters and digits of ASCII alone, in lower case: whatever
// stands between them does not matter.
func letters(v view) view {
	out := v.child()
	for i := 0; i < len(v.text); {
		c, n := rune(v.text[i]), 1
		if c >= utf8.RuneSelf {
			c, n = fold(v.text[i:])
		}
		switch {
		case c >= utf8.RuneSelf:
		case isDigit(byte(c)):
			out.keep(byte(c), &v, i, i+n-1)
		case isLetter(byte(c)):
			out.keep(byte(c)|0x20, &v, i, i+n-1)
		}
		i += n
	}
	return out
}

// visible is all but spaces and what does not show, in lower case.
func visible(v view) view {
	out := v.child()
	for i := 0; i < len(v.text); {
		if b := v.text[i]; b < utf8.RuneSelf {
			if isLetter(b) {
				b |= 0x20
			}
			if b > ' ' && b != 0x7f {
				out.keep(b, &v, i, i)
			}
			i++
			continue
		}
		c, n := fold(v.text[i:])
		if c == utf8.RuneError && n == 1 {
			out.keep(v.text[i], &v, i, i)
		} else if !unicode.IsSpace(c) && !invisible(c) {
			for _, b := range []byte(string(c)) {
				out.keep(b, &v, i, i+n-1)
			}
		}
		i += n
	}
	return out
}

// fold returns the first character, which is not of ASCII, in lower case, and
// wide letters as narrow ones and typographic signs as typed.
func fold(t []byte) (c rune, n int) {
	c, n = utf8.DecodeRune(t)
	switch {
	case c >= '！' && c <= '～':
		c -= '！' - '!'
	case c == '\u02dc': // &tilde;
		c = '~'
	case c >= '\u2010' && c <= '\u2015': // &hyphen; to &horbar;
		c = '-'
	}
	return unicode.ToLower(c), n
}
