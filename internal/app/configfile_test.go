package app

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/textfile"
)

// written makes files of a directory, one tenant in each that is named as the text
// says; text that begins with a # is written as it is.
func written(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(text, "#") {
			text = fmt.Sprintf("tenants: [{name: %s, tenant_id: %s.example, auth: {client_id: c, client_secret_file: secret}}]\n", text, text)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func names(tenants []config.Tenant) string {
	var all []string
	for _, t := range tenants {
		all = append(all, t.Name)
	}
	return strings.Join(all, " ")
}

func linked(t *testing.T, to, name string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("links need a right there")
	}
	_ = os.Remove(name)
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// TestConfigFiles: files in the order of the flags, those of a directory by name;
// nothing hidden, nothing with another ending, nothing in directories below.
func TestConfigFiles(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, map[string]string{
		"many/20.yaml": "b", "many/10.yml": "a", "many/30.yml": "c",
		"many/.hidden.yml": "# no", "many/README.md": "# no", "many/web.yml.bak": "# no", "many/below/x.yml": "# no", "many/credentials": "# no",
		"one.conf": "z", "two.yml": "d",
	})
	tenants, err := readConfig([]string{filepath.Join(dir, "one.conf"), filepath.Join(dir, "many"), filepath.Join(dir, "two.yml")})
	if got := names(tenants); err != nil || got != "z a b c d" {
		t.Fatalf("got %s, %v", got, err)
	}
	if got, want := tenants[1].ClientSecretFile, filepath.Join(dir, "many", "secret"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	for text, files := range map[string]map[string]string{
		"/empty: there is no *.yml or *.yaml in it; it must have at least one":       {"empty/.x.yml": "a", "empty/x.txt": "a"},
		"/bad/2.yml: tenants is empty; it must list at least one tenant":             {"bad/1.yml": "a", "bad/2.yml": "# nothing\n"},
		"/twice/2.yml: tenants[0] (a): name is that of tenants[0] (a) of " + dir:     {"twice/1.yml": "a", "twice/2.yml": "a"},
		"/deep: read " + filepath.Join(dir, "deep", "x.yml") + ": it is a directory": {"deep/x.yml/y": "# no"},
	} {
		written(t, dir, files)
		path, _, _ := strings.Cut(strings.TrimPrefix(text, "/"), ":")
		_, err := readConfig([]string{filepath.Join(dir, strings.Split(path, "/")[0])})
		if err == nil || !strings.HasPrefix(err.Error(), "--config.file "+dir+text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v\nwant %s%s", err, dir, text)
		}
	}
}

// TestConfigMap: a volume of Kubernetes, whose names are links through ..data to a
// directory that is another one after each change.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, map[string]string{"..1/a.yaml": "a1", "..1/b.yaml": "b1", "..2/a.yaml": "a2", "..2/b.yaml": "b2"})
	linked(t, "..1", filepath.Join(dir, "..data"))
	for _, name := range []string{"a.yaml", "b.yaml"} {
		linked(t, filepath.Join("..data", name), filepath.Join(dir, name))
	}
	files := func(read func(string) ([]byte, error)) string {
		t.Helper()
		of, err := readDirectory(dir, read)
		if err != nil {
			t.Fatal(err)
		}
		tenants, err := config.Parse(of...)
		if err != nil {
			t.Fatal(err)
		}
		return names(tenants)
	}
	if got := files(textfile.Read); got != "a1 b1" {
		t.Errorf("got %s", got)
	}
	// It is replaced between the first file and the second.
	reads := 0
	got := files(func(path string) ([]byte, error) {
		if reads++; reads == 2 {
			linked(t, "..2", filepath.Join(dir, "..data"))
		}
		return textfile.Read(path)
	})
	if got != "a2 b2" || reads != 4 {
		t.Errorf("got %s after reading %d files, want the new ones alone", got, reads)
	}
	linked(t, "nowhere", filepath.Join(dir, "c.yaml"))
	if _, err := readDirectory(dir, textfile.Read); err == nil || !strings.Contains(err.Error(), "open "+filepath.Join(dir, "c.yaml")) {
		t.Errorf("got %v, want that the link leads nowhere", err)
	}
}

// TestConfigFileVanishes: one that is there when the directory is listed, and gone
// when it is read, was removed; what never stops changing is refused.
func TestConfigFileVanishes(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, map[string]string{"a.yml": "a", "b.yml": "b"})
	files, err := readDirectory(dir, func(path string) ([]byte, error) {
		_ = os.Remove(filepath.Join(dir, "b.yml"))
		return textfile.Read(path)
	})
	if err != nil || len(files) != 1 || files[0].Path != filepath.Join(dir, "a.yml") {
		t.Errorf("got %v, %v", files, err)
	}
	n := 0
	if _, err := readDirectory(dir, func(path string) ([]byte, error) {
		n++
		written(t, dir, map[string]string{fmt.Sprintf("%d.yml", n): "x"})
		return textfile.Read(path)
	}); err == nil || err.Error() != "its files change while they are read" {
		t.Errorf("got %v", err)
	}
	if _, err := readDirectory(dir, func(path string) ([]byte, error) {
		_ = os.RemoveAll(dir)
		return textfile.Read(path)
	}); err == nil || !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// TestReloadOfSeveral: whatever is wrong with one of them, all of the old
// configuration goes on.
func TestReloadOfSeveral(t *testing.T) {
	withoutEnvironment(t)
	dir := t.TempDir()
	file, more := newOnDisk(t, "contoso"), filepath.Join(dir, "more")
	written(t, more, map[string]string{"1.yml": "fabrikam", "2.yml": "northwind"})
	p := started(t, &http.Client{}, "http", "--config.file="+file.path, "--config.file="+more, "--state.url=memory:")
	serves := func(want ...string) {
		t.Helper()
		_, text := body(t, p.client, p.url+"/metrics")
		for _, name := range []string{"contoso", "fabrikam", "northwind", "hooli"} {
			wanted := strings.Contains(strings.Join(want, " "), name)
			if got := strings.Contains(text, fmt.Sprintf("tenant=%q", name)); got != wanted {
				t.Errorf("%s is served: %v", name, got)
			}
		}
	}
	reload := func(want string) {
		t.Helper()
		err := p.Reload()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	serves("contoso", "fabrikam", "northwind")
	written(t, more, map[string]string{"1.yml": "hooli", "2.yml": "# no tenants\n"})
	reload("2.yml: tenants is empty")
	serves("contoso", "fabrikam", "northwind")
	written(t, more, map[string]string{"2.yml": "contoso"})
	reload(" of " + file.path)
	serves("contoso", "fabrikam", "northwind")
	if err := os.RemoveAll(more); err != nil {
		t.Fatal(err)
	}
	reload("open " + more)
	serves("contoso", "fabrikam", "northwind")
	written(t, more, map[string]string{"1.yml": "hooli"})
	reload("")
	serves("contoso", "hooli")

	// Both commands know it.
	var stdout, stderr bytes.Buffer
	for args, want := range map[string]int{"--config.check": ExitOK, "check": ExitRuntime} {
		if got := Run(t.Context(), []string{args, "--config.file=" + file.path, "--config.file=" + more}, &stdout, &stderr); got != want {
			t.Errorf("%s: exit code %d, %s", args, got, stderr.String())
		}
	}
	if text := stdout.String(); !strings.Contains(text, "hooli: NOT ready") || !strings.Contains(text, "contoso: ready") {
		t.Errorf("got %s", text)
	}
}

// TestManyTenants measures what 20,000 tenants in ten files cost. It holds no time:
// the machine may be busy.
func TestManyTenants(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		var text strings.Builder
		text.WriteString("# by a script\ndefaults: {auth: {client_id: c}}\ntenants:\n")
		for k := range 2000 {
			fmt.Fprintf(&text, "- name: customer-%02d-%04d\n  tenant_id: 00000000-0000-0000-%04d-%012d\n  auth: {client_secret_file: credentials/%d-%d/client-secret}\n  refresh: {interval: 1m}\n",
				i, k, i, k, i, k)
		}
		written(t, dir, map[string]string{fmt.Sprintf("%d.yaml", i): text.String()})
	}
	began := time.Now()
	tenants, err := readConfig([]string{dir})
	if err != nil || len(tenants) != 20_000 {
		t.Fatalf("%d tenants, %v", len(tenants), err)
	}
	t.Logf("20,000 tenants in ten files were read in %v", time.Since(began))
}
