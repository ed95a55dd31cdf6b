package check

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// TestTable: README.md explains every value, in the words of values.yaml.
func TestTable(t *testing.T) {
	values, err := documented([]byte(read(t, filepath.Join(chartDir, "values.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- values: from values.yaml, by .ci/chart -update -->\n", "<!-- end -->\n"
	path := filepath.Join(chartDir, "README.md")
	before, rest, ok := strings.Cut(read(t, path), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	golden(t, path, before+begin+markdown(values)+end+after)
}

// TestSchemaKnowsValues: the schema and values.yaml have the same fields.
func TestSchemaKnowsValues(t *testing.T) {
	var schema struct {
		Definitions map[string]json.RawMessage
		Properties  map[string]struct {
			Ref        string                     `json:"$ref"`
			Properties map[string]json.RawMessage `json:"properties"`
		}
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(chartDir, "values.schema.json"))), &schema); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, property := range schema.Properties {
		if name == "enabled" { // of a parent chart
			continue
		}
		if name, ok := strings.CutPrefix(property.Ref, "#/definitions/"); ok && len(schema.Definitions[name]) > 0 {
			if err := json.Unmarshal(schema.Definitions[name], &property); err != nil {
				t.Fatal(err)
			}
		}
		if len(property.Properties) == 0 {
			want = append(want, name)
		}
		for field := range property.Properties {
			want = append(want, name+"."+field)
		}
	}
	values, err := documented([]byte(read(t, filepath.Join(chartDir, "values.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range values {
		got = append(got, v.key)
	}
	// What values.yaml leaves empty is not spelled out there.
	want = slices.DeleteFunc(want, func(key string) bool {
		whole, _, _ := strings.Cut(key, ".")
		return whole != key && slices.Contains(got, whole)
	})
	for _, key := range got {
		whole, _, nested := strings.Cut(key, ".")
		if _, ok := schema.Properties[whole]; !ok || nested && !slices.Contains(want, key) {
			t.Errorf("values.yaml has %s, values.schema.json does not", key)
		}
	}
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("values.schema.json has %s, values.yaml does not", key)
		}
	}
}

// TestNull: a value that is left empty, which Helm takes for one to be removed, is
// the default, and no value of a section that is left empty is missing.
func TestNull(t *testing.T) {
	c := theChart(t)
	values, err := documented([]byte(read(t, filepath.Join(chartDir, "values.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	var fields, sections []string
	for _, v := range values {
		section, _, nested := strings.Cut(v.key, ".")
		fields = append(fields, v.key)
		if nested && !slices.Contains(sections, section) {
			sections = append(sections, section)
		}
	}
	given := []string{
		"tenant.tenantId=t", "tenant.clientId=c", "credentials.existingSecret=s", "state.url=rediss://r.example", "replicaCount=2",
		"networkPolicy.enabled=true", "dashboards.enabled=true", "prometheusRule.enabled=true",
	}
	removable := []string{"podSecurityContext", "securityContext", "resources"}
	for _, monitor := range []string{"serviceMonitor", "podMonitor"} {
		base := append(slices.Clone(given), monitor+".enabled=true")
		isGiven := func(key string) bool {
			return slices.ContainsFunc(base, func(set string) bool { return strings.HasPrefix(set, key+"=") || strings.HasPrefix(set, key+".") })
		}
		render := func(null ...string) (string, error) {
			set := slices.Clone(base)
			for _, key := range null {
				set = append(set, key+"=null")
			}
			return c.render(t.Context(), "--set", strings.Join(set, ","))
		}
		want, err := render()
		if err != nil {
			t.Fatal(err)
		}
		for _, keys := range [][]string{fields, sections} {
			defaults := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return isGiven(key) || slices.Contains(removable, key) })
			if got, err := render(defaults...); err != nil || got != want {
				t.Errorf("%v are null: %v; not as with the defaults:\n%s", defaults, err, got)
			}
		}
		for _, key := range slices.Concat(fields, sections) {
			if slices.Contains(removable, key) {
				if got, err := render(key); err != nil || got == want {
					t.Errorf("%s is null: %v; it cannot be removed", key, err)
				}
			} else if isGiven(key) {
				if _, err := render(key); err != nil && !isSentence(err) {
					t.Errorf("%s is null: %v", key, err)
				}
			}
		}
	}
}

// isSentence tells whether helm refused the values in words of the chart or of
// the schema, and not in those of a template that failed.
func isSentence(err error) bool {
	return !slices.ContainsFunc([]string{"error calling", "nil pointer", "executing"}, func(raw string) bool { return strings.Contains(err.Error(), raw) })
}

// TestShareText: --set makes a text of a number with a point.
func TestShareText(t *testing.T) {
	manifests, err := theChart(t).render(t.Context(), "--set", "tenant.tenantId=t,tenant.clientId=c,credentials.existingSecret=s,defaults.quota.share=0.5")
	if err != nil {
		t.Fatal(err)
	}
	if want := "share: 0.5\n"; !strings.Contains(manifests, want) {
		t.Errorf("no %q in\n%s", want, manifests)
	}
}

// TestFixturePasswords: who follows a fixture can log in with the password that
// its comment names.
func TestFixturePasswords(t *testing.T) {
	for _, name := range []string{"tls", "web-config-secret"} {
		text := read(t, filepath.Join(chartDir, "ci", name+"-values.yaml"))
		_, hash, _ := strings.Cut(text, "prometheus: ")
		hash, _, _ = strings.Cut(hash, "\n")
		if !strings.Contains(text, "password: secret") {
			t.Errorf("%s names no password", name)
		}
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("secret")); err != nil {
			t.Errorf("%s: %s: %v", name, hash, err)
		}
	}
}

func TestDocumented(t *testing.T) {
	got, err := documented([]byte("a:\n  # -- first\n  # line\n  b: [1]\n# -- second | half\nc: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []value{{"a.b", "[1]", "first line"}, {"c", "{}", "second | half"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := documented([]byte("a: 1\n")); err == nil {
		t.Error("a value without a word passes")
	}
}

// TestDecode: what an API server would drop is an error here.
func TestDecode(t *testing.T) {
	for name, text := range map[string]string{
		"unknown kind":  "apiVersion: batch/v1\nkind: Job\n",
		"unknown field": "apiVersion: v1\nkind: Service\nspec: {port: 1}\n",
		"wrong case":    "apiVersion: v1\nkind: Service\nspec: {clusterip: None}\n",
		"twice":         "apiVersion: v1\nkind: Service\nkind: Service\n",
		"wrong type":    "apiVersion: v1\nkind: ConfigMap\ndata: {a: 1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := objects(text); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

// keyPair returns a self-signed certificate and its key, in PEM. RSA, because
// Microsoft takes no other for a client.
func keyPair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
