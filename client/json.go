package client

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

func newJSON(r io.Reader) *jsontext.Decoder {
	return jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// notJSON tells what came instead of an object.
func notJSON(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the body is empty")
		}
		if text := dec.UnreadBuffer(); len(text) > 0 {
			return fmt.Errorf("the body is not JSON: %s", printable(text))
		}
		return fmt.Errorf("read page: %w", err)
	}
	return errNoList
}

// object calls member for every member of the object that comes next; member
// has to consume the value.
func object(dec *jsontext.Decoder, member func(name string) error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		// Names of the fields we want contain nothing that has to be escaped.
		if err := member(fieldName(name)); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// fieldName finds the name among those that are read, without allocating.
func fieldName(quoted jsontext.Value) string {
	if len(quoted) < 2 {
		return ""
	}
	return fields[string(quoted[1:len(quoted)-1])]
}

var fields = func() map[string]string {
	m := make(map[string]string)
	for _, name := range []string{
		"value", "incidents", "@odata.nextLink",
		"incidentId", "redirectIncidentId", "createdTime", "lastUpdateTime", "assignedTo", "status", "severity",
		"classification", "determination", "alerts", "serviceSource", "category",
	} {
		m[name] = name
	}
	return m
}()

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
