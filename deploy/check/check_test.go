// Package check holds what deploy/ creates to what docs/permissions.md says.
package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// wanted is a row of the table of docs/permissions.md.
type wanted struct{ api, appID, permission string }

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(text) || strings.Contains(string(text), "\r") {
		t.Errorf("%s is not UTF-8 with line feeds", path)
	}
	return string(text)
}

func permissions(t *testing.T) (rows []wanted) {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| [^|]+ \\| `([0-9a-f-]{36})` \\| `([A-Za-z.]+)` \\|$")
	for _, m := range row.FindAllStringSubmatch(read(t, "../../docs/permissions.md"), -1) {
		rows = append(rows, wanted{m[1], m[2], m[3]})
	}
	if len(rows) != 2 || rows[0].api != "defender" || rows[1].api != "graph" {
		t.Fatalf("docs/permissions.md has the rows %v", rows)
	}
	return rows
}

// table is how each file writes API, application and permission.
var table = map[string]*regexp.Regexp{
	"azure-cli/setup.sh":   regexp.MustCompile(`(?m)^ *(\w+)\) resource_app=(\S+) permission=(\S+) ;;$`),
	"powershell/setup.ps1": regexp.MustCompile(`(?m)^ *(\w+) *= @\{ AppId = '([^']+)'; Permission = '([^']+)' \}$`),
	"terraform/main.tf":    regexp.MustCompile(`(?m)^ *(\w+) *= \{ app_id = "([^"]+)", permission = "([^"]+)" \}$`),
	"bicep/main.bicep":     regexp.MustCompile(`(?m)^ *(\w+): \{ appId: '([^']+)', permission: '([^']+)' \}$`),
}

var guid = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

// TestPermissions: each way asks for the one permission of each API, by its value.
// The only ids are those of the APIs; those of roles differ between clouds.
func TestPermissions(t *testing.T) {
	want := permissions(t)
	for path, row := range table {
		text := read(t, "../"+path)
		var got []wanted
		for _, m := range row.FindAllStringSubmatch(text, -1) {
			got = append(got, wanted{m[1], m[2], m[3]})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
		for _, id := range guid.FindAllString(text, -1) {
			if !slices.ContainsFunc(want, func(w wanted) bool { return w.appID == id }) {
				t.Errorf("%s: %s is written down", path, id)
			}
		}
		permission := regexp.MustCompile(`\b[A-Z]\w+\.Read(Write)?\.All\b`)
		for _, name := range permission.FindAllString(text, -1) {
			// What whoever runs it needs is said, and by PowerShell asked for.
			deployer := []string{"Application.ReadWrite.All", "Application.Read.All", "AppRoleAssignment.ReadWrite.All"}
			if !slices.ContainsFunc(want, func(w wanted) bool { return w.permission == name }) && !slices.Contains(deployer, name) {
				t.Errorf("%s: names %s", path, name)
			}
		}
		if !strings.Contains(text, "allowedMemberTypes") && !strings.Contains(text, "AllowedMemberTypes") && !strings.Contains(text, "app_role_ids[") {
			t.Errorf("%s: a delegated permission of the same name would do", path)
		}
	}
	ways, err := filepath.Glob("../*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range ways {
		path = strings.TrimPrefix(filepath.ToSlash(path), "../")
		if table[path] == nil && path != "bicep/bicepconfig.json" && path != "terraform/providers.tf" && !strings.HasPrefix(path, "check/") {
			t.Errorf("%s is compared with nothing", path)
		}
	}
}

// TestTerraform reads the module as Terraform does, and follows its references.
func TestTerraform(t *testing.T) {
	file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, "../terraform/main.tf")), "main.tf", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		t.Fatalf("%T", file.Body)
	}
	known := map[string]bool{}
	for _, block := range body.Blocks {
		switch block.Type {
		case "variable":
			known["var."+block.Labels[0]] = true
		case "resource":
			known[strings.Join(block.Labels, ".")] = true
		case "data":
			known["data."+strings.Join(block.Labels, ".")] = true
		case "locals":
			for name := range block.Body.Attributes {
				known["local."+name] = true
			}
		}
	}
	used := map[string]bool{}
	diagnostics = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		expression, ok := node.(*hclsyntax.ScopeTraversalExpr)
		if !ok {
			return nil
		}
		var parts []string
		for _, step := range expression.Traversal {
			switch step := step.(type) {
			case hcl.TraverseRoot:
				parts = append(parts, step.Name)
			case hcl.TraverseAttr:
				parts = append(parts, step.Name)
			}
		}
		n := 2
		if parts[0] == "data" {
			n = 3
		}
		if len(parts) < 2 { // a keyword: string, number
			return nil
		}
		name := strings.Join(parts[:min(n, len(parts))], ".")
		used[name] = true
		if !known[name] {
			t.Errorf("%s is not declared", name)
		}
		return nil
	})
	if diagnostics.HasErrors() {
		t.Error(diagnostics)
	}
	for name := range known {
		if variable := strings.HasPrefix(name, "var.") || strings.HasPrefix(name, "local."); variable && !used[name] {
			t.Errorf("%s is not used", name)
		}
	}
}

// TestTerraformApplies: the directory can be applied as it is, by the commands of
// deploy/README.md. azurerm is refused without a block features.
func TestTerraformApplies(t *testing.T) {
	parse := func(path string) *hclsyntax.Body {
		t.Helper()
		file, diagnostics := hclsyntax.ParseConfig([]byte(read(t, "../terraform/"+path)), path, hcl.InitialPos)
		if diagnostics.HasErrors() {
			t.Fatal(diagnostics)
		}
		return file.Body.(*hclsyntax.Body)
	}
	providers := map[string]*hclsyntax.Body{}
	for _, block := range parse("providers.tf").Blocks {
		if block.Type != "provider" || providers[block.Labels[0]] != nil {
			t.Errorf("%s %v: what is that?", block.Type, block.Labels)
		}
		providers[block.Labels[0]] = block.Body
	}
	if providers["azuread"] == nil || providers["azurerm"] == nil {
		t.Fatalf("got %v", providers)
	}
	if blocks := providers["azurerm"].Blocks; len(blocks) != 1 || blocks[0].Type != "features" {
		t.Error("azurerm has no block features")
	}
	var variables []string
	for _, block := range parse("main.tf").Blocks {
		switch block.Type {
		case "provider":
			t.Error("main.tf is a module, too: a provider in it forbids count, for_each and depends_on")
		case "variable":
			variables = append(variables, block.Labels[0])
		}
	}
	page := read(t, "../README.md")
	set := regexp.MustCompile(`-var (\w+)=`).FindAllStringSubmatch(page, -1)
	if len(set) == 0 {
		t.Error("deploy/README.md has no command")
	}
	for _, m := range set {
		if !slices.Contains(variables, m[1]) {
			t.Errorf("deploy/README.md sets %s, which is no variable", m[1])
		}
	}
}

// balanced tells what is wrong with brackets and quotation marks. For none of the
// two languages there is a parser that could be had here.
func balanced(text, comment string, blockComment [2]string, escape byte) string {
	var open []byte
	line, quote := 1, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\n' {
			line++
		}
		switch {
		case quote != 0:
			switch c {
			case escape:
				i++
			case quote:
				quote = 0
			}
		case strings.HasPrefix(text[i:], blockComment[0]):
			end := strings.Index(text[i:], blockComment[1])
			if end < 0 {
				return "a comment without an end"
			}
			line += strings.Count(text[i:i+end], "\n")
			i += end + len(blockComment[1]) - 1
		case strings.HasPrefix(text[i:], comment):
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.IndexByte("([{", c) >= 0:
			open = append(open, c)
		case strings.IndexByte(")]}", c) >= 0:
			if len(open) == 0 || strings.IndexByte("([{", open[len(open)-1]) != strings.IndexByte(")]}", c) {
				return "line " + string(rune('0'+line%10)) + ": " + string(c) + " closes nothing"
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 || quote != 0 {
		return "something is not closed: " + string(open) + string(quote)
	}
	return ""
}

// TestBicep: every name is declared, the structure is whole.
func TestBicep(t *testing.T) {
	text := read(t, "../bicep/main.bicep")
	if wrong := balanced(text, "//", [2]string{"/*", "*/"}, '\\'); wrong != "" {
		t.Error(wrong)
	}
	declared := regexp.MustCompile(`(?m)^(?:param|var|resource) (\w+)`)
	for _, m := range declared.FindAllStringSubmatch(text, -1) {
		uses := regexp.MustCompile(`\b` + m[1] + `\b`)
		if n := len(uses.FindAllString(text, -1)); n < 2 && m[1] != "kubernetes" && m[1] != "read" {
			t.Errorf("%s is not used", m[1])
		}
	}
	for line := range strings.Lines(text) {
		statement := regexp.MustCompile(`^(param|var|resource|output|extension|@\w+\(|//|[ }\]]|$)`)
		if !statement.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("what is %q?", line)
		}
	}
	if config := read(t, "../bicep/bicepconfig.json"); !strings.Contains(text, "extension microsoftGraphV1\n") || !strings.Contains(config, `"microsoftGraphV1"`) {
		t.Error("the extension is not configured")
	}
}

// TestPowerShell: the structure is whole, and every variable gets a value.
func TestPowerShell(t *testing.T) {
	text := read(t, "../powershell/setup.ps1")
	if wrong := balanced(text, "#", [2]string{"<#", "#>"}, '`'); wrong != "" {
		t.Error(wrong)
	}
	_, code, _ := strings.Cut(text, "#>")
	set := regexp.MustCompile(`(?mi)(?:^\s*|\] )\$(\w+)(?: \+?=|,?$)`)
	known := []string{"_", "null", "psCmdlet", "ExecutionContext", "ErrorActionPreference", "true", "false"}
	for _, m := range set.FindAllStringSubmatch(code, -1) {
		known = append(known, m[1])
	}
	for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(code, -1) {
		if !slices.ContainsFunc(known, func(name string) bool { return strings.EqualFold(name, m[1]) }) {
			t.Errorf("$%s has no value", m[1])
		}
	}
}

// TestAzureCLI runs the script with an az that answers from a directory: once on
// nothing, and again, when it must create nothing.
func TestAzureCLI(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is a script for bash")
	}
	script, err := filepath.Abs("../azure-cli/setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	az, err := filepath.Abs("testdata/az")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args    []string
		creates []string
		flags   string
	}{
		"secret": {[]string{"secret", "client_secret", "90"}, []string{"app create", "sp create", "permission add Incident.Read.All-id", "POST Incident.Read.All-id", "credential reset secret"},
			"--api=defender --tenant.id=the-tenant --client.id=the-app --client.secret-file=client_secret"},
		"certificate": {[]string{"certificate", "exporter.pem"}, []string{"app create", "sp create", "permission add Incident.Read.All-id", "POST Incident.Read.All-id", "credential reset certificate"},
			"--api=defender --tenant.id=the-tenant --client.id=the-app --client.certificate-file=CERTIFICATE-AND-KEY.PEM"},
		"federated": {[]string{"--api", "graph", "federated", "https://issuer.example/", "monitoring", "exporter"},
			[]string{"app create", "sp create", "permission add SecurityIncident.Read.All-id", "POST SecurityIncident.Read.All-id", "federated-credential create"},
			"--api=graph --tenant.id=the-tenant --client.id=the-app"},
		"managed identity": {[]string{"managed-identity", "group"}, []string{"identity create", "POST Incident.Read.All-id"},
			"--api=defender --tenant.id=the-tenant --client.id=the-identity --client.managed-identity"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeCertificate(t, filepath.Join(dir, "exporter.pem"))
			var said string
			run := func() (flags string, created []string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "bash", append([]string{script}, test.args...)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(az)+":"+os.Getenv("PATH"), "AZ_DIR="+dir, "SETUP_WAIT=0")
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %s", err, stderr.String())
				}
				text, _ := os.ReadFile(filepath.Join(dir, "created"))
				_ = os.Remove(filepath.Join(dir, "created"))
				said = stderr.String()
				return strings.TrimSpace(string(out)), strings.Split(strings.TrimSpace(string(text)), "\n")
			}
			flags, created := run()
			if !strings.HasPrefix(flags, test.flags) || !slices.Equal(created, test.creates) {
				t.Errorf("got %q, created %q\nwant %q, %q", flags, created, test.flags, test.creates)
			}
			if name == "secret" {
				secret, err := os.ReadFile(filepath.Join(dir, "client_secret"))
				info, _ := os.Stat(filepath.Join(dir, "client_secret"))
				if err != nil || string(secret) != "hush\n" || info.Mode().Perm() != 0o600 {
					t.Errorf("secret %q, %v", secret, err)
				}
				if !regexp.MustCompile(` --client\.secret-expires=\d{4}-\d\d-\d\d$`).MatchString(flags) || strings.Contains(flags, "hush") {
					t.Errorf("got %q", flags)
				}
			}
			if _, created := run(); !slices.Equal(created, []string{""}) {
				t.Errorf("again it created %q", created)
			}
			if name != "certificate" {
				return
			}
			if want := "the certificate expires on Jan  2 03:04:05 2031 GMT\n"; said != want {
				t.Errorf("got %q, want %q", said, want)
			}
			// Its successor is added, and nothing else.
			writeCertificate(t, filepath.Join(dir, "exporter.pem"))
			if _, created := run(); !slices.Equal(created, []string{"credential reset certificate"}) {
				t.Errorf("for another certificate it created %q", created)
			}
			if _, created := run(); !slices.Equal(created, []string{""}) {
				t.Errorf("for another certificate, again, it created %q", created)
			}
		})
	}
}

// writeCertificate makes a new certificate, without its key.
func writeCertificate(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
