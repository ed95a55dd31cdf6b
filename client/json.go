package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

var byteOrderMark = []byte("\ufeff")

// newJSON reads JSON, and before it a byte order mark if there is one.
func newJSON(r io.Reader) *jsontext.Decoder {
	from := bufio.NewReader(r)
	if start, _ := from.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		_, _ = from.Discard(len(start))
	}
	dec := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if bounded, ok := r.(*boundedReader); ok {
		bounded.decoded = dec.InputOffset
	}
	return dec
}

// notJSON tells what came instead of an object.
func notJSON(dec *jsontext.Decoder) error {
	_, err := dec.ReadToken()
	switch text := dec.UnreadBuffer(); {
	case err == nil:
		return errors.New("the body is not a JSON object")
	case errors.Is(err, io.EOF):
		return errors.New("the body is empty")
	case len(text) > 0:
		return fmt.Errorf("the body is not JSON: %s", text)
	}
	return fmt.Errorf("read answer: %w", err)
}

// end makes sure that nothing but blanks follows, and reads up to the end: only
// there a length or checksum that does not fit shows.
func end(dec *jsontext.Decoder) error {
	_, err := dec.ReadToken()
	switch {
	case err == nil:
		return errors.New("the JSON is followed by more")
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

func (r *reading) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reading) skip() {
	if r.err == nil {
		r.err = r.dec.SkipValue()
	}
}

// raw reads any value, or the name of a member.
func (r *reading) raw() (raw jsontext.Value) {
	if r.err == nil {
		raw, r.err = r.dec.ReadValue()
	}
	return raw
}

// value reads a text or a number; any other value is skipped, and nil.
func (r *reading) value() jsontext.Value {
	switch r.dec.PeekKind() {
	case '"', '0':
		return r.raw()
	}
	r.skip()
	return nil
}

// object reads members of an object, and skips the others.
func (r *reading) object(known members) {
	r.loop('{', '}', func(r *reading) {
		if read := known[string(r.raw())]; read != nil {
			read(r)
		} else {
			r.skip()
		}
	})
}

// array reads the elements of an array, and tells whether it is one.
func (r *reading) array(element func(*reading)) bool { return r.loop('[', ']', element) }

// loop reads what begins and ends so, and skips any other value.
func (r *reading) loop(begin, end jsontext.Kind, next func(*reading)) bool {
	if r.err != nil || r.dec.PeekKind() != begin {
		r.skip()
		return false
	}
	_, r.err = r.dec.ReadToken()
	for r.err == nil && r.dec.PeekKind() != end {
		next(r)
	}
	if r.err == nil {
		_, r.err = r.dec.ReadToken()
	}
	return true
}

// integer reads 7, "7" and 7.0, of which the last was seen of servers that keep
// numbers as floats; anything else is 0.
func integer(raw jsontext.Value) (int64, bool) {
	if raw.Kind() == '"' {
		n, err := strconv.ParseUint(unquote(raw), 10, 63)
		return int64(n), err == nil
	}
	if n, err := strconv.ParseUint(string(raw), 10, 63); err == nil {
		return int64(n), true
	}
	const exact = 1 << 53 // floats hold every integer up to here
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f != math.Trunc(f) || f < 0 || f > exact {
		return 0, false
	}
	return int64(f), true
}

// timeLayouts are the forms that were observed: the usual one, or with an
// offset, and with no zone at all, which means UTC. Up to nine digits of a
// second may follow each. The last but one is ISO 8601's other way to write an
// offset.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02"}

// parseTime reads a time of the API; the zero time if it is none.
func parseTime(text string) time.Time {
	text = strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, text)
		// The years that Unix nanoseconds can tell.
		if err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// isOwner tells whether a text names one. The name is personal data and not
// kept. Microsoft's portal shows Unassigned where there is none.
func isOwner(name string) bool {
	// Blanks, and the zero-width characters that were seen in names.
	name = strings.TrimFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
	})
	return name != "" && !strings.EqualFold(name, "unassigned")
}

// unquote returns the beginning of a text. What is wrong with it, and all that
// can be is invalid UTF-8, is replaced.
func unquote(raw jsontext.Value) string {
	const limit = 256 // bytes; labels and names are shorter
	plain, _ := jsontext.AppendUnquote(nil, raw[:min(len(raw), limit)])
	return string(plain)
}
