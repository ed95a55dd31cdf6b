package scrub

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// escapes are the families of escapes. One family alone is a reading, too: a
// secret may hold what looks like an escape of another one.
const (
	percent = 1 << iota
	backslash
	entity
	quoted
	escapes = percent | backslash | entity | quoted
)

// unescape reads the escapes of some families, once.
func (v view) unescape(families int) (next view, changed bool) {
	next = v.child()
	next.decoded = v.decoded
	for i := 0; i < len(v.text); {
		text, n := escape(v.text[i:], families)
		if n == 0 {
			next.keep(v.text[i], &v, i, i)
			i++
			continue
		}
		for j := range len(text) {
			next.keep(text[j], &v, i, i+n-1)
		}
		changed = true
		i += n
	}
	return next, changed
}

// escape reads the escape that a text begins with: n bytes, 0 if there is none.
func escape(t []byte, families int) (text string, n int) {
	switch {
	case t[0] == '%' && families&percent != 0:
		if len(t) > 5 && t[1]|0x20 == 'u' {
			if r, ok := number(t[2:6], 16); ok {
				return string(r), 6
			}
		}
		return octet(t, 1)
	case t[0] == '\\' && families&backslash != 0:
		return backslashed(t)
	case t[0] == '0' && families&backslash != 0 && len(t) > 3 && t[1]|0x20 == 'x' && (len(t) == 4 || !isHex(t[4])):
		return octet(t, 2)
	case t[0] == '&' && families&entity != 0:
		return reference(t)
	case t[0] == '=' && families&quoted != 0:
		for _, end := range []string{"=\r\n", "=\n"} {
			if strings.HasPrefix(string(t[:min(len(t), 3)]), end) {
				return "", len(end)
			}
		}
		return octet(t, 1)
	}
	return "", 0
}

// octet reads two hexadecimal digits behind an introducer of so many bytes.
func octet(t []byte, intro int) (text string, n int) {
	if len(t) < intro+2 {
		return "", 0
	}
	r, ok := number(t[intro:intro+2], 16)
	if !ok {
		return "", 0
	}
	return string([]byte{byte(r)}), intro + 2
}

// backslashed reads what JSON, JavaScript, Go and C write with a backslash.
func backslashed(t []byte) (text string, n int) {
	if len(t) < 2 {
		return "", 0
	}
	switch c := t[1]; {
	case c == 'u' && len(t) > 3 && t[2] == '{':
		end := strings.IndexByte(string(t[3:min(len(t), 12)]), '}')
		if end > 0 {
			if r, ok := number(t[3:3+end], 16); ok {
				return string(r), 4 + end
			}
		}
	case c == 'u' && len(t) > 5:
		if r, ok := number(t[2:6], 16); ok {
			return string(r), 6
		}
	case c == 'U' && len(t) > 9:
		if r, ok := number(t[2:10], 16); ok {
			return string(r), 10
		}
	case c == 'x':
		return octet(t, 2)
	case c >= '0' && c <= '7':
		n := 2
		for n < min(len(t), 4) && t[n] >= '0' && t[n] <= '7' {
			n++
		}
		if r, ok := number(t[1:n], 8); ok {
			return string([]byte{byte(r)}), n
		}
	case strings.IndexByte("nrtbfvae", c) >= 0:
		return " ", 2
	case c < utf8.RuneSelf && !isLetter(c):
		return string([]byte{c}), 2
	}
	return "", 0
}

// reference reads a character reference of HTML, with or without its semicolon.
func reference(t []byte) (text string, n int) {
	if len(t) > 2 && t[1] == '#' {
		base, start, digit := 10, 2, isDigit
		if t[2]|0x20 == 'x' {
			base, start, digit = 16, 3, isHex
		}
		end := start
		for end < min(len(t), start+16) && digit(t[end]) {
			end++
		}
		r, ok := number(t[start:end], base)
		if !ok {
			return "", 0
		}
		if end < len(t) && t[end] == ';' {
			end++
		}
		return string(r), end
	}
	end := 1
	for end < min(len(t), 34) && (isLetter(t[end]) || isDigit(t[end])) {
		end++
	}
	if end == len(t) || t[end] != ';' {
		return "", 0
	}
	name := string(t[:end+1])
	if text = html.UnescapeString(name); text == name {
		return "", 0
	}
	return text, end + 1
}

func number(digits []byte, base int) (rune, bool) {
	n, err := strconv.ParseUint(string(digits), base, 32)
	return rune(n & 0x7fffffff), err == nil
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
