package main

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"m365_defender_exporter/collector"
)

var update = flag.Bool("update", false, "write METRICS.md anew")

const module = "m365_defender_exporter"

// rules says which of our packages a package may import, and what else it
// must not: import paths, or functions written as package.Name.
var rules = map[string]struct{ ours, not []string }{
	"internal/incident":   {nil, []string{"net/http", "os", prom, "time.Now"}},
	"client/quota":        {[]string{"internal/pass", "internal/retryafter"}, []string{"net/http", "os", prom, "time.Now"}},
	"internal/listing":    {[]string{"internal/incident", "internal/reason"}, []string{"net/http", "os", prom, "time.Now"}},
	"internal/scrub":      {nil, []string{"net/http", "os", prom, "time.Now"}},
	"client":              {[]string{"internal/incident", "internal/listing", "internal/once", "internal/reason", "internal/retryafter", "internal/scrub", "internal/timeout"}, []string{prom}},
	"client/auth":         {[]string{"internal/once", "internal/reason", "internal/retryafter", "internal/scrub", "internal/textfile", "internal/timeout"}, []string{prom}},
	"collector/refresh":   {[]string{"internal/incident", "internal/listing", "internal/pass", "internal/reason"}, []string{"net/http", prom}},
	"collector":           {[]string{"internal/incident", "internal/listing", "internal/pass", "internal/reason", "collector/refresh"}, []string{"net/http", "os", "time.Now"}},
	"internal/state":      {[]string{"internal/incident", "internal/scrub"}, []string{"net/http", prom}},
	"internal/retryafter": {nil, []string{"os", prom, "time.Now"}},
	"internal/pass":       {nil, []string{"net/http", "os", prom, "time.Now"}},
	"internal/reason":     {nil, []string{"net/http", "os", prom, "time.Now"}},
	"internal/timeout":    {nil, []string{"net/http", "os", prom, "time.Now"}},
	"internal/once":       {nil, []string{"os", prom, "time.Now"}},
	"internal/textfile":   {nil, []string{"net/http", prom, "time.Now"}},
	"internal/winservice": {nil, []string{prom, "net/http"}},
	"internal/config":     {nil, []string{prom, "net/http", "os"}},
	"internal/tenant": {[]string{
		"client", "client/auth", "client/quota", "collector", "collector/refresh", "internal/config", "internal/incident", "internal/listing", "internal/pass",
		"internal/reason", "internal/retryafter", "internal/scrub", "internal/state", "internal/textfile",
	}, []string{prom, "os"}},
	"internal/replica": {nil, []string{"net/http", "os", prom, "time.Now"}},
	"internal/fleet":   {[]string{"internal/config", "internal/replica", "internal/state", "internal/tenant", "internal/textfile"}, []string{prom}},
	"internal/web":     {[]string{"collector", "internal/fleet", "internal/tenant"}, []string{"os"}},
	// It explains what fails, and so knows the errors of those that fail.
	"internal/preflight": {[]string{
		"client/auth", "internal/config", "internal/listing", "internal/reason", "internal/state", "internal/tenant", "internal/timeout",
	}, []string{prom, "os"}},
	"internal/history": {[]string{"collector", "dashboards", "internal/config", "internal/simulator/wire", "internal/state", "internal/tenant"}, []string{"os", "time.Now"}},
	"internal/app": {[]string{
		"collector", "internal/config", "internal/fleet", "internal/history", "internal/preflight", "internal/simulator/service", "internal/state",
		"internal/textfile", "internal/web", "internal/winservice",
	}, []string{prom}},
	".": {[]string{"internal/app"}, []string{prom, "net/http"}},
	// For tests alone: no other rule has it.
	"internal/rawtest":    {nil, []string{"os", prom}},
	"internal/statetest":  {[]string{"internal/incident", "internal/state"}, nil},
	"internal/tenanttest": {[]string{"internal/config", "internal/simulator", "internal/state"}, nil},
	"internal/testmain":   {nil, []string{"net/http", prom, "time.Now"}},
	// The simulator imports nothing of ours besides itself. Its tests are held
	// to that, too.
	"internal/simulator/life":     {nil, []string{prom, "net/http", "os"}},
	"internal/simulator/wire":     {nil, []string{prom, "os", "time.Now"}},
	"internal/simulator/odata":    {[]string{"internal/simulator/life", "internal/simulator/wire"}, []string{prom, "os", "time.Now"}},
	"internal/simulator/defender": {[]string{"internal/simulator/life", "internal/simulator/odata"}, []string{prom, "os", "time.Now"}},
	"internal/simulator/graph":    {[]string{"internal/simulator/life", "internal/simulator/odata"}, []string{prom, "os", "time.Now"}},
	"internal/simulator/entra":    {[]string{"internal/simulator/wire"}, []string{prom, "os", "time.Now"}},
	"internal/simulator/service": {[]string{
		"internal/simulator/defender", "internal/simulator/entra", "internal/simulator/graph", "internal/simulator/life",
		"internal/simulator/odata", "internal/simulator/wire",
	}, []string{prom, "os", "time.Now"}},
	"internal/simulator/workload": {[]string{
		"internal/simulator/entra", "internal/simulator/service", "internal/simulator/wire",
	}, []string{prom, "os", "time.Now"}},
	"internal/simulator/faults": {[]string{
		"internal/simulator/defender", "internal/simulator/graph", "internal/simulator/life", "internal/simulator/odata",
		"internal/simulator/service", "internal/simulator/wire",
	}, []string{prom, "os"}},
	"internal/simulator": {[]string{
		"internal/simulator/defender", "internal/simulator/entra", "internal/simulator/faults", "internal/simulator/graph",
		"internal/simulator/life", "internal/simulator/odata", "internal/simulator/service", "internal/simulator/wire",
		"internal/simulator/workload", "internal/testmain",
	}, []string{prom}},
	"internal/simulator/cmd/fleet": {[]string{
		"internal/simulator/life", "internal/simulator/odata", "internal/simulator/service",
	}, []string{prom}},
	// dashboards/check alone knows what the exporter exposes: what is written in
	// a dashboard is written by its author, not derived.
	"dashboards":           {nil, []string{prom, "net/http", "os", "time.Now"}},
	"dashboards/livecheck": {[]string{"dashboards"}, []string{prom}},
}

const prom = "github.com/prometheus/client_golang/prometheus"

// globals that are neither descriptions, tables nor sentinel errors are not
// allowed; this lists what the whole program must not use at all.
var never = []string{
	"http.DefaultClient", "http.DefaultServeMux", "http.Get", "http.Post", "http.PostForm", "http.Head",
	"http.Handle", "http.HandleFunc", "http.ListenAndServe",
}

type source struct {
	path, dir string
	test      bool
	file      *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() && path != "." {
			// A module of its own is not part of the exporter.
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{path, filepath.ToSlash(filepath.Dir(path)), strings.HasSuffix(path, "_test.go"), file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestImports keeps the road of a datum one way.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && !strings.HasPrefix(s.dir, "internal/simulator") {
			continue
		}
		seen[s.dir] = true
		rule, ok := rules[s.dir]
		if !ok {
			t.Errorf("%s: no rule says what this package may import", s.dir)
			continue
		}
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if ours, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(rule.ours, ours) {
				t.Errorf("%s imports %s", s.path, ours)
			}
			if slices.Contains(rule.not, path) {
				t.Errorf("%s imports %s", s.path, path)
			}
		}
		for _, name := range rule.not {
			if uses(s.file, name) {
				t.Errorf("%s uses %s", s.path, name)
			}
		}
	}
	for dir := range rules {
		if !seen[dir] {
			t.Errorf("%s: the rule is for a package that does not exist", dir)
		}
	}
}

// testsOnly are packages that the program must not link: what the simulated
// tenant of the demo does wrong, and how tests prove themselves to it.
var testsOnly = []string{"internal/simulator", "internal/simulator/faults", "internal/simulator/workload", "internal/rawtest", "internal/statetest", "internal/tenanttest", "internal/testmain"}

// TestProgramLinks follows the imports of main.
func TestProgramLinks(t *testing.T) {
	imports := map[string][]string{}
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			if ours, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/"); ok && !s.test {
				imports[s.dir] = append(imports[s.dir], ours)
			}
		}
	}
	linked := []string{"."}
	for i := 0; i < len(linked); i++ {
		for _, ours := range imports[linked[i]] {
			if !slices.Contains(linked, ours) {
				linked = append(linked, ours)
			}
		}
	}
	if !slices.Contains(linked, "internal/simulator/service") {
		t.Error("the demo is not linked: this test sees nothing")
	}
	for _, dir := range testsOnly {
		if slices.Contains(linked, dir) {
			t.Errorf("the program links %s, which is for tests", dir)
		}
	}
}

func TestNothingGlobal(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, name := range never {
			if uses(s.file, name) {
				t.Errorf("%s uses %s", s.path, name)
			}
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s has an init function", s.path)
			}
		}
	}
}

// clients lists the files that make an HTTP client, and why no redirect takes
// a credential from it to another place.
var clients = map[string]string{
	"client/auth/auth.go":           "withDefaults passes whatever it gets through guarded",
	"client/auth/guard.go":          "follows none",
	"client/auth/managed.go":        "follows none",
	"internal/fleet/transport.go":   "makes no request",
	"internal/tenant/credential.go": "auth uses its transport and timeout alone",
	"internal/tenant/tenant.go":     "client.newWire replaces its redirect rule",
	"dashboards/livecheck/main.go":  "carries no credential",
}

// TestClients: the rule of net/http follows a redirect to any host, and a 307
// or 308 takes the form along.
func TestClients(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if makes(s.file) {
			seen[s.path] = true
			if clients[filepath.ToSlash(s.path)] == "" {
				t.Errorf("%s makes an HTTP client; say here why no redirect takes a credential along", s.path)
			}
		}
	}
	for path := range clients {
		if !seen[path] {
			t.Errorf("%s makes no HTTP client any more", path)
		}
	}
}

// makes tells whether the file makes an http.Client.
func makes(file *ast.File) bool {
	found := false
	isClient := func(e ast.Expr) bool {
		sel, ok := e.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Client" {
			return false
		}
		pkg, ok := sel.X.(*ast.Ident)
		return ok && pkg.Name == "http"
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			found = found || isClient(n.Type)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "new" && len(n.Args) == 1 {
				found = found || isClient(n.Args[0])
			}
		}
		return !found
	})
	return found
}

// uses tells whether the file mentions pkg.Name.
func uses(file *ast.File, name string) bool {
	pkg, member, ok := strings.Cut(name, ".")
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, is := n.(*ast.SelectorExpr); is && ok && sel.Sel.Name == member {
			if id, is := sel.X.(*ast.Ident); is && id.Name == pkg && id.Obj == nil {
				found = true
			}
		}
		return !found
	})
	return found
}

func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestMetricsReference(t *testing.T) {
	var want bytes.Buffer
	if err := collector.WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("METRICS.md", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("METRICS.md is not what collector/table.go says; write it anew: go test . -run MetricsReference -update")
	}
}
