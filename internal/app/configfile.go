package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/textfile"
)

// readConfig reads the tenants of configuration files and of directories of them.
// Its error is one line.
func readConfig(paths []string) ([]config.Tenant, error) {
	var files []config.File
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			of, err := readDirectory(path, textfile.Read)
			if err != nil {
				return nil, fmt.Errorf("--config.file %s: %w", path, err)
			}
			files = append(files, of...)
			continue
		}
		text, err := textfile.Read(path)
		if err != nil {
			return nil, fmt.Errorf("--config.file: %w", err)
		}
		files = append(files, config.File{Path: path, Text: text})
	}
	tenants, err := config.Parse(files...)
	if err != nil {
		return nil, fmt.Errorf("--config.file %w", err)
	}
	return tenants, checkProxyEnvironment(tenants)
}

// readDirectory reads the configuration files of a directory, sorted by name, as
// they were at one moment: where one is added, replaced or removed meanwhile it
// begins again. Kubernetes replaces all files of a volume at once, by another
// target of the link ..data that they lead through.
func readDirectory(dir string, read func(path string) ([]byte, error)) ([]config.File, error) {
	const attempts = 5
	for range attempts {
		before, err := configFiles(dir)
		if err != nil {
			return nil, err
		}
		if len(before) == 0 {
			return nil, errors.New("there is no *.yml or *.yaml in it; it must have at least one")
		}
		files := make([]config.File, 0, len(before))
		for _, f := range before {
			path := filepath.Join(dir, f.name)
			var text []byte
			if text, err = read(path); err != nil {
				break
			}
			files = append(files, config.File{Path: path, Text: text})
		}
		if after, failure := configFiles(dir); failure != nil || !slices.EqualFunc(before, after, candidate.same) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return files, nil
	}
	return nil, errors.New("its files change while they are read")
}

// candidate is what a name leads to; nil: nothing.
type candidate struct {
	name string
	info fs.FileInfo
}

// configFiles are those of a directory, in the order of their names, without
// hidden ones: the links of Kubernetes, and what editors leave.
func configFiles(dir string) ([]candidate, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, entry := range entries {
		name := entry.Name()
		if extension := filepath.Ext(name); strings.HasPrefix(name, ".") || extension != ".yml" && extension != ".yaml" {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name)) // what a link leads to
		if err != nil {
			info = nil
		}
		all = append(all, candidate{name, info})
	}
	return all, nil
}

// same tells that nothing suggests another content.
func (c candidate) same(other candidate) bool {
	if c.info == nil || other.info == nil {
		return c.name == other.name && c.info == other.info
	}
	return c.name == other.name && os.SameFile(c.info, other.info) && c.info.Size() == other.info.Size() && c.info.ModTime().Equal(other.info.ModTime())
}
