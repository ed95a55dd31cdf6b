package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckOfFile: every tenant of the file is checked, and one that is not
// well is enough for exit code 1.
func TestCheckOfFile(t *testing.T) {
	withoutEnvironment(t)
	closed := closedAddress(t)
	secret := filepath.Join(t.TempDir(), "secret")
	text := "tenants:\n"
	for _, name := range []string{"one", "two"} {
		text += fmt.Sprintf("- {name: %s, tenant_id: %s.example, api_url: %q, auth: {url: %q, client_id: c, client_secret_file: %q}}\n", name, name, closed, closed, secret)
	}
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", "--config.file=" + path}, &stdout, &stderr); code != exitRuntime {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"one: NOT ready", "two: NOT ready", "connection refused"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("want %q in %s", want, stdout.String())
		}
	}
}
