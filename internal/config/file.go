package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// Parse reads a configuration file. Relative paths in it are taken from
// directory. The error is one line that names the tenant and the field, and
// never repeats a value that may be a secret.
func Parse(text []byte, directory string) ([]Tenant, error) {
	decoder, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := decoder.Load(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errEmpty
		}
		return nil, syntax(err)
	}
	if err := decoder.Load(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document; it must be one")
	}
	var file struct {
		Defaults yaml.Node `yaml:"defaults"`
		Tenants  yaml.Node `yaml:"tenants"`
	}
	if err := read(&document, reflect.ValueOf(&file).Elem(), ""); err != nil {
		return nil, fmt.Errorf("top level: %w", err)
	}
	base := Default()
	if err := read(&file.Defaults, reflect.ValueOf(&base.Settings).Elem(), ""); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	check := base
	if err := cmp.Or(check.numbers("defaults"), check.HTTP.check("defaults")); err != nil {
		return nil, err
	}
	return tenants(base, &file.Tenants, directory)
}

var errEmpty = errors.New("tenants is empty; it must list at least one tenant")

func tenants(base Tenant, list *yaml.Node, directory string) ([]Tenant, error) {
	switch {
	case list.ShortTag() == null:
		return nil, errEmpty
	case list.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: tenants must be a list", list.Line)
	case len(list.Content) == 0:
		return nil, errEmpty
	}
	all := make([]Tenant, 0, len(list.Content))
	names, accounts := map[string]place{}, map[string]place{}
	for i, node := range list.Content {
		t, where := base, placeOf(i, resolve(node))
		if err := read(node, reflect.ValueOf(&t).Elem(), ""); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		for _, file := range []*string{&t.ClientSecretFile, &t.ClientCertificateFile, &t.ClientCertificatePasswordFile, &t.FederatedTokenFile} {
			*file = promconfig.JoinDir(directory, *file)
		}
		t.HTTP.TLS.SetDirectory(directory)
		if err := t.complete(where); err != nil {
			return nil, err
		}
		name := t.Name
		if strings.EqualFold(name, t.TenantID) {
			name = strings.ToLower(name) // an id, whose case has no meaning
		}
		if other, taken := names[name]; taken {
			return nil, where.wrong(fieldName, "is that of %s; names must be unique", other)
		}
		if other, taken := accounts[t.Account()]; taken {
			return nil, where.wrong(fieldTenantID, "is that of %s, with the same %s; the same incidents would be counted twice", other, fieldAPI)
		}
		names[name], accounts[t.Account()] = where, where
		all = append(all, t)
	}
	return all, nil
}

// placeOf names a tenant before it has been read.
func placeOf(i int, n *yaml.Node) place {
	known := map[string]string{}
	for k := 0; k+1 < len(n.Content) && n.Kind == yaml.MappingNode; k += 2 {
		// What is wrong with a value is told when it is read.
		known[n.Content[k].Value], _ = scalar(resolve(n.Content[k+1]))
	}
	if name := cmp.Or(known["name"], known["tenant_id"]); name != "" {
		return place(fmt.Sprintf("tenants[%d] (%s)", i, printable(name)))
	}
	return place(fmt.Sprintf("tenants[%d]", i))
}

// syntax makes one line of the parser's account. It tells the line, and no more
// of it than a character.
func syntax(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(printable(text))
}

func printable(s string) string {
	q := fmt.Sprintf("%q", s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
