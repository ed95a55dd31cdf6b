package state

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// readOnly makes the directory one that nothing can be written to, for root, too.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		return
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "--bind", "-o", "ro", dir, dir).CombinedOutput(); err != nil {
		t.Skipf("root needs a mount for this: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "umount", dir).Run() })
}

// TestOnlyForReading: what nothing can be written to is read all the same, its
// log, too.
func TestOnlyForReading(t *testing.T) {
	h := newHistory(t)
	dir := t.TempDir()
	for name, data := range h.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	readOnly(t, dir)
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	if got, err := load(tenant); err != nil || !got.equal(h.rows[len(h.rows)-1]) {
		t.Errorf("got %v, %v", got, err)
	}
	if ledger, _, err := tenant.LoadLedger(); err != nil || string(ledger.Packed) != h.ledgers[len(h.ledgers)-1] {
		t.Errorf("got %q, %v", ledger, err)
	}
	for range 2 {
		if err := save(tenant, nil, example(5)); err == nil || errors.Is(err, ErrSetAside) {
			t.Errorf("save: got %v", err)
		}
		if _, err := tenant.SaveLedger([]byte("x")); err == nil || errors.Is(err, ErrSetAside) {
			t.Errorf("save the ledger: got %v", err)
		}
	}
	mustClose(t, tenant)
	mustClose(t, store)
	if names := aside(t, dir); names != nil {
		t.Errorf("set aside: %v", names)
	}
}
