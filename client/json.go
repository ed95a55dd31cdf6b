package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/go-json-experiment/json/jsontext"
)

var byteOrderMark = []byte("\ufeff")

// newJSON reads JSON, and before it a byte order mark if there is one.
func newJSON(r io.Reader) *jsontext.Decoder {
	from := bufio.NewReader(r)
	if start, _ := from.Peek(len(byteOrderMark)); bytes.Equal(start, byteOrderMark) {
		_, _ = from.Discard(len(start))
	}
	return jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
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
func (r *reading) skip(field) error { return r.dec.SkipValue() }

// object calls member for every member of the object that comes next; member
// has to consume the value.
func (r *reading) object(member func(field) error) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		// Names of the fields that are read contain nothing that has to be escaped.
		f := fieldOther
		if len(name) >= 2 {
			f = r.fields[string(name[1:len(name)-1])]
		}
		if err := member(f); err != nil {
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

// field is a member that is read, whatever an API calls it.
type field uint8

const (
	fieldOther field = iota
	fieldList
	fieldError
	fieldNextLink
	fieldCount
	fieldID
	fieldRedirectID
	fieldCreated
	fieldUpdated
	fieldAssignedTo
	fieldStatus
	fieldSeverity
	fieldClassification
	fieldDetermination
	fieldAlerts
	fieldMoreAlerts
	fieldServiceSource
	fieldCategory
)

// fields adds to an API's own names those that both have in common.
func fields(own map[string]field) map[string]field {
	all := map[string]field{
		"value":                 fieldList,
		"error":                 fieldError,
		"@odata.nextLink":       fieldNextLink,
		"@odata.count":          fieldCount,
		"redirectIncidentId":    fieldRedirectID,
		"assignedTo":            fieldAssignedTo,
		"status":                fieldStatus,
		"severity":              fieldSeverity,
		"classification":        fieldClassification,
		"determination":         fieldDetermination,
		"alerts":                fieldAlerts,
		"alerts@odata.nextLink": fieldMoreAlerts,
		"serviceSource":         fieldServiceSource,
		"category":              fieldCategory,
	}
	maps.Copy(all, own)
	return all
}
