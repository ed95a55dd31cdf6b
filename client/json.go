package client

import (
	"errors"
	"fmt"
	"io"
	"maps"

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

// object calls member for every member of the object that comes next, with the
// name that the table gives it, empty if none; member has to consume the value.
func object(dec *jsontext.Decoder, names map[string]string, member func(name string) error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		// Names of the fields we want contain nothing that has to be escaped.
		if err := member(fieldName(names, name)); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// fieldName finds the name among those that are read, without allocating.
func fieldName(names map[string]string, quoted jsontext.Value) string {
	if len(quoted) < 2 {
		return ""
	}
	return names[string(quoted[1:len(quoted)-1])]
}

// The fields that are read, in the words of each API, with the native ones that
// the decoder knows them by.
var (
	nativeNames = names(nil, "incidents", "incidentId", "createdTime", "lastUpdateTime")
	graphNames  = names(map[string]string{
		"id": "incidentId", "createdDateTime": "createdTime", "lastUpdateDateTime": "lastUpdateTime",
	})
)

// names adds to a table what both APIs call the same, and the rest.
func names(table map[string]string, rest ...string) map[string]string {
	all := make(map[string]string)
	maps.Copy(all, table)
	for _, name := range append(rest,
		"value", "@odata.nextLink", "redirectIncidentId", "assignedTo", "status", "severity",
		"classification", "determination", "alerts", "serviceSource", "category",
	) {
		all[name] = name
	}
	return all
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
