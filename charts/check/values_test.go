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
		"unknown kind":  "apiVersion: v1\nkind: Pod\n",
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
