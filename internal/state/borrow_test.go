package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// contents are the files of a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = string(data)
	}
	return all
}

// withLedger saves a state and a ledger.
func withLedger(t *testing.T, dir, ledger string) {
	t.Helper()
	tenant := mustOpen(t, newStore(t, dir), contoso)
	if err := save(tenant, nil, example(5)); err != nil {
		t.Fatal(err)
	}
	if err := tenant.SaveLedger([]byte(ledger)); err != nil {
		t.Fatal(err)
	}
	_ = tenant.Close()
}

func ledgerOf(t *testing.T, dir string) string {
	t.Helper()
	tenant := mustOpen(t, newStore(t, dir), contoso)
	defer func() { _ = tenant.Close() }()
	got, err := tenant.LoadLedger()
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// TestBorrow: what is saved is the owner's to go on from, and nothing else is
// touched.
func TestBorrow(t *testing.T) {
	dir := t.TempDir()
	withLedger(t, dir, "first")
	before := contents(t, dir)
	b := newStore(t, dir).Borrow(contoso)
	if got, err := b.Load(); string(got) != "first" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, ledger := range []string{"second", "third"} {
		if err := b.Save([]byte(ledger)); err != nil {
			t.Error(err)
		}
	}
	after := contents(t, dir)
	rows := fileName(contoso) + ".db"
	if len(after) != len(before) || after[rows] != before[rows] {
		t.Error("other files than the ledger's were touched")
	}
	if got := ledgerOf(t, dir); got != "third" {
		t.Errorf("got %q", got)
	}
}

// TestBorrowNothing: where nothing is, nothing is made.
func TestBorrowNothing(t *testing.T) {
	for name, dir := range map[string]string{"no directory": filepath.Join(t.TempDir(), "data"), "an empty one": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			b := newStore(t, dir).Borrow(contoso)
			if got, err := b.Load(); got != nil || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if err := b.Save([]byte("x")); err == nil {
				t.Error("saved to nowhere")
			}
			// Not even if it was there a moment ago.
			b.(*borrowed).last = []byte("y")
			if err := b.Save([]byte("x")); err == nil {
				t.Error("saved to nowhere")
			}
			if got, _ := filepath.Glob(filepath.Join(dir, "*")); len(got) > 0 {
				t.Errorf("made %v", got)
			}
			if _, err := os.Stat(dir); name == "no directory" && err == nil {
				t.Error("made the directory")
			}
		})
	}
}

// TestBorrowInUse: what the owner has in use cannot be had, and what it has
// changed since is not overwritten.
func TestBorrowInUse(t *testing.T) {
	dir := t.TempDir()
	withLedger(t, dir, "first")
	b := newStore(t, dir).Borrow(contoso)
	if _, err := b.Load(); err != nil {
		t.Fatal(err)
	}
	owner := mustOpen(t, newStore(t, dir), contoso)
	if _, err := owner.LoadLedger(); err != nil {
		t.Errorf("the owner is kept out: %v", err)
	}
	if _, err := newStore(t, dir).Borrow(contoso).Load(); !errors.Is(err, ErrInUse) {
		t.Errorf("load: got %v", err)
	}
	if err := b.Save([]byte("x")); !errors.Is(err, ErrInUse) {
		t.Errorf("save: got %v", err)
	}
	if err := owner.SaveLedger([]byte("second")); err != nil {
		t.Fatal(err)
	}
	_ = owner.Close()
	if err := b.Save([]byte("x")); !errors.Is(err, ErrInUse) {
		t.Errorf("save later: got %v", err)
	}
	if got := ledgerOf(t, dir); got != "second" {
		t.Errorf("got %q", got)
	}
}

// TestBorrowDamage: what is of no use is left for the owner to set aside.
func TestBorrowDamage(t *testing.T) {
	dir := t.TempDir()
	withLedger(t, dir, "first")
	path := filepath.Join(dir, fileName(contoso)+ledgerSuffix)
	for name, spoil := range map[string]func([]byte) []byte{
		"cut off": func(b []byte) []byte { return b[:len(b)/2] },
		"noise":   func(b []byte) []byte { return slices.Repeat([]byte{7}, len(b)) },
		"another's": func([]byte) []byte {
			other := t.TempDir()
			tenant := mustOpen(t, newStore(t, other), Key{"fabrikam", "graph"})
			_ = tenant.SaveLedger([]byte("x"))
			_ = tenant.Close()
			return []byte(contents(t, other)[fileName(Key{"fabrikam", "graph"})+ledgerSuffix])
		},
	} {
		t.Run(name, func(t *testing.T) {
			intact, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(slices.Clone(intact)), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			b := newStore(t, dir).Borrow(contoso)
			if got, err := b.Load(); got != nil || err == nil || errors.Is(err, ErrSetAside) {
				t.Errorf("got %q, %v", got, err)
			}
			if err := b.Save([]byte("x")); err == nil {
				t.Error("saved")
			}
			if after := contents(t, dir); len(after) != len(before) || after[filepath.Base(path)] != before[filepath.Base(path)] {
				t.Error("the files were touched")
			}
			if err := os.WriteFile(path, intact, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}
