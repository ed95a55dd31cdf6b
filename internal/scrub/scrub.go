// Package scrub makes foreign texts fit to be shown: what a server, a proxy or
// a certificate says, before it reaches a log, an error, a page or the state.
//
// Live secrets and whatever looks like a credential are replaced by [Removed],
// in any encoding that an echo may have given them; what a terminal or a reader
// of logs could take for something else is escaped; and the rest is cut.
package scrub

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"weak"
)

// Removed is in the place of what was taken out.
const Removed = "[removed]"

const (
	// MaxText bounds what Text returns, in bytes.
	MaxText = 200
	// maxInput bounds what is looked at, in bytes. What lies behind is cut.
	maxInput = 8 << 10
	// maxWork bounds the bytes of all ways in which a text can be read.
	maxWork = 512 << 10
	// maxSecret bounds a secret, in bytes: no server takes a larger header.
	maxSecret = 32 << 10
	// generations is how many secrets of one kind are remembered.
	generations = 4
)

// Scrubber knows the live secrets. It is safe for concurrent use. A nil one and
// the zero value know none: they remove what looks like a credential.
type Scrubber struct {
	mu sync.Mutex
	// live are by kind, the newest first. They are pointers because fmt prints
	// fields without asking them how, but follows no pointer in them.
	live map[string][]*string
	// formed are the forms of all of them. They are many times as large, and kept until
	// memory is collected only: what shows many texts in a row needs them made once.
	formed weak.Pointer[[]form]
}

// Format implements fmt.Formatter: no secret is printed.
func (s *Scrubber) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "scrub.Scrubber") }

// Secret makes value a live secret of its kind, such as "token". The last four
// of each kind are remembered: an answer may repeat one that was replaced
// meanwhile. Less than four visible characters are not a secret: every text
// would be full of them.
func (s *Scrubber) Secret(kind, value string) {
	value = value[:min(len(value), maxSecret)]
	if len(visible(bare(value)).text) < minSecret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.live[kind]
	if len(known) > 0 && *known[0] == value {
		return
	}
	next := []*string{&value}
	for _, old := range known {
		if *old != value && len(next) < generations {
			next = append(next, old)
		}
	}
	if s.live == nil {
		s.live = map[string][]*string{}
	}
	s.live[kind] = next
	s.formed = weak.Pointer[[]form]{}
}

// forms are those of all live secrets.
func (s *Scrubber) forms() []form {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.formed.Value(); all != nil {
		return *all
	}
	var all []form
	for _, values := range s.live {
		for _, value := range values {
			all = append(all, forms(*value)...)
		}
	}
	s.formed = weak.Make(&all)
	return all
}

// Text returns the beginning of a foreign text, fit to be shown: one line of
// printable characters, [MaxText] bytes at most, no secret in it. No twelve
// characters in a row of a live secret are left in any of these encodings: as it
// is, percent-encoded, base64 at any place in a longer text, hexadecimal or decimal
// codes, escapes as in JSON, HTML entities, quoted-printable, UTF-16, in other case,
// reversed, with spaces, separators or invisible characters in between. Nor are they
// in several of them one around the other, but for codes of, and the reversal of,
// what is encoded besides. Base32 and Ascii85 are seen of the secret itself, in any
// of these around it.
//
// It takes microseconds for a sentence and milliseconds at worst. A text that
// has too many readings is removed as a whole. Text of its own result changes
// nothing.
func (s *Scrubber) Text(text string) string {
	cut := len(text) > maxInput
	text = text[:min(len(text), maxInput)]
	gone, ok := s.marks(text, patterns)
	for range 4 {
		if !ok {
			break
		}
		shown := show(text, gone, cut)
		if shown == text {
			return shown
		}
		// The escapes that are in it now may make up a short secret.
		text, cut = shown, false
		gone, ok = s.marks(text, nil)
	}
	return Removed
}

// Bytes is Text of a body.
func (s *Scrubber) Bytes(text []byte) string {
	if len(text) > maxInput {
		return s.Text(string(text[:maxInput+1])) // one more, so that it is seen to be cut
	}
	return s.Text(string(text))
}

// Holds tells whether a live secret or an access token is in the text, or it cannot be
// told.
func (s *Scrubber) Holds(text string) bool {
	if len(text) > maxInput {
		return true
	}
	gone, ok := s.marks(text, []pattern{bearer, webToken})
	return !ok || slices.Contains(gone, true)
}

// marks tells which bytes must not be shown, of live secrets and of what looks like a
// credential of these. It is false if there is more to be read in the text than is worth
// it.
func (s *Scrubber) marks(text string, looks []pattern) (gone []bool, ok bool) {
	gone = make([]bool, len(text))
	readings, ok := readings(text)
	if !ok {
		return nil, false
	}
	for _, r := range readings {
		if r.whole || r.decoded {
			r.markPatterns(looks, gone)
		}
	}
	if forms := s.forms(); len(forms) > 0 {
		newIndex(readings).mark(forms, gone)
	}
	return gone, true
}
