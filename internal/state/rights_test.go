package state

import (
	"os"
	"strings"
	"testing"
)

// documentedRights are those of the user that a document or a file makes.
func documentedRights(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[0] == "user" && fields[1] == "defender" && fields[2] == "on" {
			return strings.Join(fields[4:], " ") // after the password
		}
	}
	t.Fatalf("%s has no line that makes a user", path)
	return ""
}

// TestDocumentedRights: whichever page a user copies from, it is what is tried with a
// real engine.
func TestDocumentedRights(t *testing.T) {
	want := documentedRights(t, "../../docs/state.md")
	for _, path := range []string{"../../docs/replicas.md", "../../docs/quickstart/replicas/users.acl"} {
		if got := documentedRights(t, path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
