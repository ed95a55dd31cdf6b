package textfile

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ReadUpTo(path, 4); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ReadUpTo(path, 3); err == nil || !strings.Contains(err.Error(), "more than 3 bytes") {
		t.Errorf("got %q, %v", got, err)
	}
	// A file with a hole: it takes no room on the disk.
	large := filepath.Join(dir, "large")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(Max + 1); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{dir: "directory", large: "more than", filepath.Join(dir, "none"): "none"}
	if runtime.GOOS != "windows" {
		refused["/dev/zero"] = "device"
	}
	for path, want := range refused {
		if got, err := Read(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %d bytes, %v, want %q", path, len(got), err, want)
		}
	}
}
