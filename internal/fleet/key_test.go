package fleet

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
)

// TestKeyIsReadAgain: a reload takes another key of the assignees for a change of
// the tenant, and is refused whole if there is none any more.
func TestKeyIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inFleet(t, func(f *many) {
		write("sixteen bytes...")
		a := f.Tenant("a")
		a.Assignees, a.AssigneesKeyFile = config.AssigneesCount, path
		f.replace(a)
		f.wait(time.Minute)
		if got, want := f.replace(a), (Changes{Unchanged: 1}); got != want {
			t.Errorf("the same key: got %+v, want %+v", got, want)
		}
		write("sixteen others..")
		if got, want := f.replace(a), (Changes{Changed: 1}); got != want {
			t.Errorf("another key: got %+v, want %+v", got, want)
		}
		f.wait(time.Minute)
		before := f.of("a")
		write("short")
		if _, err := f.set.Replace([]config.Tenant{a}); err == nil || f.of("a") != before {
			t.Errorf("no key: %v", err)
		}
	})
}
