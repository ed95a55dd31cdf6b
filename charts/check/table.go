package check

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is one line of the table of values.
type value struct {
	key, fallback, text string
}

// documented reads values.yaml: every value with a comment "# -- …", the fields
// of those without one, and an error for each that nobody explains.
func documented(text []byte) ([]value, error) {
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	return walk(nil, file.Content[0])
}

func walk(path []string, node *yaml.Node) ([]value, error) {
	var all []value
	for i := 0; i < len(node.Content); i += 2 {
		key, content := node.Content[i], node.Content[i+1]
		here := slices.Concat(path, []string{key.Value})
		if text, ok := comment(key); ok {
			fallback, err := literal(content)
			if err != nil {
				return nil, err
			}
			all = append(all, value{strings.Join(here, "."), fallback, text})
			continue
		}
		if content.Kind != yaml.MappingNode || len(content.Content) == 0 {
			return nil, fmt.Errorf("values.yaml line %d: %s has no comment \"# -- …\"", key.Line, strings.Join(here, "."))
		}
		fields, err := walk(here, content)
		if err != nil {
			return nil, err
		}
		all = append(all, fields...)
	}
	return all, nil
}

// comment returns the text after "# --" above the key.
func comment(key *yaml.Node) (string, bool) {
	_, text, ok := strings.Cut(key.HeadComment, "# -- ")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n#", " ")), " "), ok
}

// literal is the value on one line.
func literal(node *yaml.Node) (string, error) {
	var v any
	if err := node.Decode(&v); err != nil {
		return "", err
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// markdown is the table for README.md.
func markdown(values []value) string {
	var b strings.Builder
	b.WriteString("| value | default | |\n|---|---|---|\n")
	for _, v := range values {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.key, v.fallback, strings.ReplaceAll(v.text, "|", "\\|"))
	}
	return b.String()
}
