package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// read fills the settings of a struct, by the names in its tags, with those that
// a mapping gives; what is empty is left as it was. It refuses unknown and
// repeated fields. group is the name of the field that the mapping is.
//
// The library's own strict decoding (WithKnownFields) says "line 9: cannot
// construct !!str `hush-h...` into int": which field of which tenant it was, it
// does not tell, nor what would be right, and a value may be a secret.
func read(n *yaml.Node, settings reflect.Value, group string) error {
	n = resolve(n)
	if n.ShortTag() == null {
		return nil
	}
	known := map[string]reflect.Value{}
	collect(settings, known)
	names := func() string { return strings.Join(slices.Sorted(maps.Keys(known)), ", ") }
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s (line %d)", strings.TrimSpace(group+" must be a mapping of "+names()), n.Line)
	}
	given := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		name := strings.TrimPrefix(group+"."+key.Value, ".")
		field, ok := known[key.Value]
		switch {
		case !ok:
			return fmt.Errorf("%s is not a field; known here are %s (line %d)", printable(name), names(), key.Line)
		case given[key.Value]:
			return fmt.Errorf("%s is given twice (line %d)", name, key.Line)
		}
		given[key.Value] = true
		if isGroup(field.Type()) {
			if err := read(value, field, name); err != nil {
				return err
			}
		} else if err := readValue(value, field.Addr().Interface()); err != nil {
			return fmt.Errorf("%s must be %w (line %d)", name, err, value.Line)
		}
	}
	if c, ok := settings.Addr().Interface().(*Connection); ok && given["proxy_url"] && !given["proxy_from_environment"] {
		c.HTTP.Proxy.ProxyFromEnvironment = false // which is the default
	}
	return nil
}

// withheld are fields of prometheus/common that no file may have: a secret
// stands in a file of its own, and there is no secret manager to refer to.
var withheld = []string{"key", "ca_ref", "cert_ref", "key_ref"}

// collect finds the fields of a struct that have a name in the file.
func collect(settings reflect.Value, known map[string]reflect.Value) {
	for i := range settings.NumField() {
		tag, ok := settings.Type().Field(i).Tag.Lookup("yaml")
		switch name, options, _ := strings.Cut(tag, ","); {
		case options == "inline":
			collect(settings.Field(i), known)
		case ok && !slices.Contains(withheld, name):
			known[name] = settings.Field(i)
		}
	}
}

// isGroup tells whether fields of a type have names of their own. Those of a
// URL have none.
func isGroup(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.Field(0).Tag.Get("yaml") != ""
}

// readValue fills one setting. Its error says what the value must be.
func readValue(n *yaml.Node, setting any) error {
	ok := true
	switch to := setting.(type) {
	case *yaml.Node:
		*to = *n
	case *promconfig.ProxyHeader:
		headers := promconfig.ProxyHeader{}
		ok = n.Kind == yaml.MappingNode && n.Load(&headers) == nil
		*to = headers
	case *[]time.Duration:
		list := make([]time.Duration, len(n.Content))
		ok = n.Kind == yaml.SequenceNode
		for i := 0; ok && i < len(list); i++ {
			ok = readValue(resolve(n.Content[i]), &list[i]) == nil
		}
		*to = list
	case *[]string:
		// A text, too, for --incidents.device-groups=* is written so.
		if value, plain := scalar(n); plain {
			return Set(setting, value)
		}
		list := make([]string, len(n.Content))
		ok = n.Kind == yaml.SequenceNode
		for i := 0; ok && i < len(list); i++ {
			list[i], ok = scalar(resolve(n.Content[i]))
		}
		*to = list
	default:
		var value string
		if value, ok = scalar(n); ok {
			return Set(setting, value)
		}
	}
	if !ok {
		return expectations[reflect.TypeOf(setting)]
	}
	return nil
}

// null is the tag of no value.
const null = "!!null"

// scalar is the text of a plain value; an empty one is no value.
func scalar(n *yaml.Node) (value string, ok bool) {
	if n.ShortTag() == null {
		return "", true
	}
	return n.Value, n.Kind == yaml.ScalarNode
}

// resolve follows an alias to what it stands for, and a document to its content.
func resolve(n *yaml.Node) *yaml.Node {
	for {
		switch n.Kind {
		case yaml.AliasNode:
			n = n.Alias
		case yaml.DocumentNode:
			n = n.Content[0]
		default:
			return n
		}
	}
}
