package app

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProxyEnvironment: the address of a proxy that net/http would ignore is refused, and its
// password is not repeated. Who names another proxy, or none, does not go by it.
func TestProxyEnvironment(t *testing.T) {
	byFlag := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=f"}
	file := func(http string) []string {
		path := filepath.Join(t.TempDir(), "c.yml")
		text := "tenants:\n- {name: a, tenant_id: t, auth: {client_id: c, client_secret_file: f}" + http + "}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"--config.file=" + path}
	}
	for _, test := range []struct {
		address string
		args    []string
		right   bool
	}{
		{"http://user:p%25ss@proxy:3128", byFlag, true},
		{"socks5://proxy:1080", byFlag, true},
		{"proxy:3128", byFlag, true},
		{"proxy", byFlag, true},
		{"http://user:p%zzss@proxy:3128", byFlag, false},
		{"http://user:p%zzss@proxy:3128", file(""), false},
		{"http://user:p%zzss@proxy:3128", file(", http: {proxy_url: 'http://other:3128'}"), true},
		{"http://user:p%zzss@proxy:3128", []string{"--demo"}, true},
		{"ftp://user:p%25ss@proxy:21", byFlag, false},
	} {
		withoutEnvironment(t)
		t.Setenv("HTTPS_PROXY", test.address)
		_, err := Parse(test.args, io.Discard, io.Discard)
		switch {
		case test.right && err != nil, !test.right && (err == nil || !strings.HasPrefix(err.Error(), "HTTPS_PROXY ")):
			t.Errorf("%s, %v: got %v", test.address, test.args, err)
		case err != nil && strings.Contains(err.Error(), "ss@"):
			t.Errorf("repeats it: %v", err)
		}
	}
}
