package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"

	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// File is a configuration file. Relative paths in it are taken from its
// directory, and its defaults hold for its own tenants.
type File struct {
	Path string
	Text []byte
}

// Parse reads configuration files: the tenants of all of them, in order. The error
// is one line that names the file, the tenant and the field, and never repeats a
// value that may be a secret.
func Parse(files ...File) ([]Tenant, error) {
	var all []Tenant
	seen := unique{names: map[string]home{}, accounts: map[string]home{}}
	for _, f := range files {
		tenants, err := f.parse(seen)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		all = append(all, tenants...)
	}
	return all, nil
}

func (f File) parse(seen unique) ([]Tenant, error) {
	decoder, err := yaml.NewLoader(bytes.NewReader(f.Text))
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
	if check.API == Auto {
		check = check.by(Defender)
	}
	if err := cmp.Or(check.numbers("defaults"), check.HTTP.check("defaults")); err != nil {
		return nil, err
	}
	return f.tenants(base, &file.Tenants, seen)
}

// unique is what no two tenants of all files may have in common, and which one has
// it.
type unique struct{ names, accounts map[string]home }

// home is where a tenant stands.
type home struct {
	file  string
	where place
	auto  bool // it may be read by either API
}

// seenFrom names the tenant to a reader of a file.
func (h home) seenFrom(file string) string {
	if h.file == file {
		return string(h.where)
	}
	return fmt.Sprintf("%s of %s", h.where, h.file)
}

// add refuses a tenant that has something in common with another one.
func (u unique) add(t *Tenant, at home) error {
	name := t.Name
	if strings.EqualFold(name, t.TenantID) {
		name = strings.ToLower(name) // an id, whose case has no meaning
	}
	if other, taken := u.names[name]; taken {
		return at.where.wrong(fieldName, "is that of %s; names must be unique", other.seenFrom(at.file))
	}
	for _, account := range t.accounts() {
		other, taken := u.accounts[account]
		switch {
		case taken && (t.API == Auto || other.auto):
			return at.where.wrong(fieldTenantID, "is that of %s, and with %s %s there must be no other one of it; the same incidents would be counted twice", other.seenFrom(at.file), fieldAPI, Auto)
		case taken:
			return at.where.wrong(fieldTenantID, "is that of %s, with the same %s; the same incidents would be counted twice", other.seenFrom(at.file), fieldAPI)
		}
	}
	at.auto = t.API == Auto
	u.names[name] = at
	for _, account := range t.accounts() {
		u.accounts[account] = at
	}
	return nil
}

var errEmpty = errors.New("tenants is empty; it must list at least one tenant")

func (f File) tenants(base Tenant, list *yaml.Node, seen unique) ([]Tenant, error) {
	switch {
	case list.ShortTag() == null:
		return nil, errEmpty
	case list.Kind != yaml.SequenceNode:
		return nil, fmt.Errorf("line %d: tenants must be a list", list.Line)
	case len(list.Content) == 0:
		return nil, errEmpty
	}
	all := make([]Tenant, 0, len(list.Content))
	directory := filepath.Dir(f.Path)
	for i, node := range list.Content {
		t, where := base, placeOf(i, resolve(node))
		if err := read(node, reflect.ValueOf(&t).Elem(), ""); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		for _, file := range []*string{&t.ClientSecretFile, &t.ClientCertificateFile, &t.ClientCertificatePasswordFile, &t.FederatedTokenFile, &t.AssigneesKeyFile} {
			*file = promconfig.JoinDir(directory, *file)
		}
		t.HTTP.TLS.SetDirectory(directory)
		if err := t.complete(where); err != nil {
			return nil, err
		}
		if err := seen.add(&t, home{file: f.Path, where: where}); err != nil {
			return nil, err
		}
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
