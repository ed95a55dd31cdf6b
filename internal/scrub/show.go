package scrub

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const ellipsis = "…"

// show writes what is left of a text: one line, in which all that is printable
// stands for itself, a backslash too.
func show(text string, gone []bool, cut bool) string {
	var b strings.Builder
	fits := 0 // what of it leaves space for the ellipsis
	add := func(unit string) bool {
		if b.Len()+len(unit) > MaxText {
			cut = true
			return false
		}
		b.WriteString(unit)
		if b.Len() <= MaxText-len(ellipsis) {
			fits = b.Len()
		}
		return true
	}
	for i := 0; i < len(text); {
		if gone[i] {
			i = skip(gone, i)
			if !add(Removed) {
				break
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		unit := text[i : i+n]
		switch {
		case r == utf8.RuneError && n == 1:
			if cut && !utf8.FullRuneInString(text[i:]) {
				i = len(text) // the input was cut within a character
				continue
			}
			unit = fmt.Sprintf(`\x%02x`, text[i])
		case !strconv.IsPrint(r) || invisible(r):
			quoted := strconv.QuoteRuneToASCII(r)
			unit = quoted[1 : len(quoted)-1]
		}
		if !add(unit) {
			break
		}
		i += n
	}
	if !cut {
		return b.String()
	}
	return b.String()[:fits] + ellipsis
}

// skip returns where what is gone ends. One character between two such parts
// says nothing.
func skip(gone []bool, i int) int {
	for i < len(gone) {
		switch {
		case gone[i]:
			i++
		case i+1 < len(gone) && gone[i+1]:
			i += 2
		default:
			return i
		}
	}
	return i
}

// invisible is what does not show, although some of it counts as printable:
// controls, directions, joiners, fillers, selectors of variants and tags.
func invisible(r rune) bool {
	return r < ' ' || r == 0x7f || r == 0x2800 ||
		r > 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
