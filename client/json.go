package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

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
	if _, err := dec.ReadToken(); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the body is empty")
		}
		if text := dec.UnreadBuffer(); len(text) > 0 {
			return fmt.Errorf("the body is not JSON: %s", text)
		}
		return fmt.Errorf("read answer: %w", err)
	}
	return errors.New("the body is not a JSON object")
}

// end makes sure that nothing but blanks follows, and reads up to the end: only
// there a length or checksum that does not fit shows.
func (r *reading) end() error {
	_, err := r.dec.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("the JSON is followed by more")
	}
	return err
}

// skip passes over the value of a member.
func (r *reading) skip(string) error { return r.dec.SkipValue() }

// object calls member for every member of the object that comes next, with its
// native name, empty if it is not read; member has to consume the value.
func (r *reading) object(member func(name string) error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		quoted, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		// Names that are read contain nothing that has to be escaped.
		if err := member(r.names[string(quoted[1:len(quoted)-1])]); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func array(dec *jsontext.Decoder, element func() error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// value reads a text or a number; a value of any other type is skipped, and nil.
func (r *reading) value() (jsontext.Value, error) {
	switch r.dec.PeekKind() {
	case '"', '0':
		return r.dec.ReadValue()
	}
	return nil, r.dec.SkipValue()
}

// integer reads 7, "7" and 7.0, of which the last was seen of servers that keep
// numbers as floats.
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

// names maps the names that an API has for the members that are read to the
// native ones, by which the decoder knows them. Most are the same.
func names(own map[string]string, same ...string) map[string]string {
	for _, name := range append(same,
		"value", "error", "@odata.nextLink", "@odata.count", "redirectIncidentId", "assignedTo", "status", "severity",
		"classification", "determination", "alerts", "alerts@odata.nextLink", "serviceSource", "category",
	) {
		own[name] = name
	}
	return own
}
