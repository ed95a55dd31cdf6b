//go:build unix

package state

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPipeForAJournal: SQLite would wait for it to be written to.
func TestPipeForAJournal(t *testing.T) {
	for _, name := range []string{"incidents.db", "ledgers.db"} {
		path := filepath.Join(t.TempDir(), name)
		if err := syscall.Mkfifo(path+"-journal", 0o600); err != nil {
			t.Fatal(err)
		}
		for _, readOnly := range []bool{false, true} {
			d := &database{path: path}
			if err := d.connect(readOnly); err == nil || !strings.Contains(err.Error(), "-journal is no regular file") {
				t.Errorf("%s, read only %v: got %v", name, readOnly, err)
			}
		}
	}
}
