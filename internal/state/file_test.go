package state

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPermissions: nobody else may read what is kept.
func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mode tells nothing there")
	}
	dir := filepath.Join(t.TempDir(), "deep", "data")
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	mustSave(t, tenant, nil, example(3))
	mustSaveLedger(t, tenant, "x")
	if err := store.HandIn(contoso, []byte("y")); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{".": fs.ModeDir | 0o700}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		want[e.Name()] = 0o600
	}
	if len(want) != 6 {
		t.Errorf("files: %v", want)
	}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

// TestOneProcess: a directory that is in use is refused to everybody else, for
// all tenants, until it is let go of; an end is waited for.
func TestOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, second := newStore(t, "file:"+dir), newStore(t, "file:"+dir)
		tenant := mustOpen(t, first, contoso)
		mustSaveLedger(t, tenant, "x")
		for range 2 {
			if _, err := second.Open(fabrikam); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %v", err, ErrInUse)
			}
			if _, _, err := second.Peek(contoso); !errors.Is(err, ErrInUse) {
				t.Errorf("peek: got %v, want %v", err, ErrInUse)
			}
		}
		// Whatever is deleted, the owner stays the owner.
		for _, name := range append(mustGlob(t, dir, "*"), dir) {
			if name != dir {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := second.Open(fabrikam); !errors.Is(err, ErrInUse) {
				t.Errorf("without %s: got %v, want %v", name, err, ErrInUse)
			}
		}
		mustClose(t, tenant)
		third := newStore(t, "file:"+dir)
		time.AfterFunc(time.Second, func() { mustClose(t, first) })
		mustClose(t, mustOpen(t, third, contoso))
		mustClose(t, third)
	})
}

func mustGlob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestAnotherDirectory: who gets hold of the path in another way is the owner
// then, and the first one knows at its next write.
func TestAnotherDirectory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what is open cannot be moved there")
	}
	dir := filepath.Join(t.TempDir(), "data")
	first, second := newStore(t, "file:"+dir), newStore(t, "file:"+dir)
	tenant := mustOpen(t, first, contoso)
	mustSave(t, tenant, nil, example(5))
	mustSaveLedger(t, tenant, "first")
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, second, contoso)
	mustSaveLedger(t, other, "second")
	if _, err := tenant.SaveLedger([]byte("third")); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	if err := save(tenant, nil, example(5)); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	mustClose(t, other)
	wantsLedger(t, second, contoso, "second")
	mustClose(t, second)
	mustSaveLedger(t, tenant, "third")
	mustSave(t, tenant, nil, example(6))
	mustClose(t, tenant)
	mustClose(t, first)
	wants(t, first, contoso, example(6))
}

// TestTouched: whatever is done to the files of a running exporter, it goes on,
// says so, and everything that it knows is on the disk after the next saves.
func TestTouched(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nobody else can touch them there")
	}
	foreign := newHistory(t)
	for what, touch := range map[string]func(name string) error{
		"deleted":   os.Remove,
		"truncated": func(name string) error { return os.Truncate(name, 100) },
		"emptied":   func(name string) error { return os.Truncate(name, 0) },
		"overwritten": func(name string) error {
			return os.WriteFile(name, foreign.files[filepath.Base(name)], 0o600)
		},
		"replaced": func(name string) error {
			if err := os.WriteFile(name+".new", foreign.files[filepath.Base(name)], 0o600); err != nil {
				return err
			}
			return os.Rename(name+".new", name)
		},
		"spoiled in place": func(name string) error {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for i := range b {
				b[i] ^= 0x55
			}
			return os.WriteFile(name, b, 0o600)
		},
	} {
		for _, which := range []string{"incidents.db", "incidents.db-wal", "ledgers.db", "ledgers.db-wal", "*.db*"} {
			t.Run(which+" "+what, func(t *testing.T) {
				dir := t.TempDir()
				var log bytes.Buffer
				store, err := New("file:"+dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				tenant, quiet := mustOpen(t, store, contoso), mustOpen(t, store, Key{"quiet", "defender"})
				mustSaveLedger(t, quiet, "of the quiet one")
				c := example(300)
				mustSave(t, tenant, nil, c)
				mustSaveLedger(t, tenant, "first")
				for _, name := range mustGlob(t, dir, which) {
					if err := touch(name); err != nil {
						t.Fatal(err)
					}
				}
				failed := 0
				for i := range 3 {
					next := c.next()
					if err := save(tenant, c, next); err != nil {
						failed++
					} else {
						c = next
					}
					if _, err := tenant.SaveLedger([]byte{'a' + byte(i)}); err != nil {
						failed++
					}
				}
				if failed > 2 {
					t.Errorf("%d saves failed", failed)
				}
				if !strings.Contains(log.String(), "was changed by another process") {
					t.Errorf("the log says %s", log.String())
				}
				mustClose(t, tenant)
				mustClose(t, quiet)
				mustClose(t, store)
				wants(t, store, contoso, c)
				for key, want := range map[Key]string{contoso: "c", {"quiet", "defender"}: "of the quiet one"} {
					wantsLedger(t, store, key, want)
				}
				mustClose(t, store)
			})
		}
	}
}

// TestDeletedDirectory: whoever deletes the state of a running exporter gets it
// back, as of now.
func TestDeletedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	c := example(10)
	mustSave(t, tenant, nil, c)
	mustSaveLedger(t, tenant, "x")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		next := c.next()
		mustSave(t, tenant, c, next)
		c = next
	}
	mustSave(t, tenant, nil, c)
	mustSaveLedger(t, tenant, "y")
	mustClose(t, tenant)
	wants(t, store, contoso, c)
}

// TestNoDirectory: one that cannot be used now is used as soon as it can.
func TestNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // in the directory's place
		t.Fatal(err)
	}
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	if got, err := load(tenant); got != nil || err == nil || errors.Is(err, ErrSetAside) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, _, err := tenant.LoadLedger(); err == nil || errors.Is(err, ErrSetAside) {
		t.Errorf("ledger: got %v", err)
	}
	for range 2 {
		if err := save(tenant, nil, example(5)); err == nil {
			t.Error("saved to nowhere")
		}
		if _, err := tenant.SaveLedger(nil); err == nil {
			t.Error("saved the ledger to nowhere")
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	// Not what changed but everything has to be asked for.
	mustSave(t, tenant, example(5), example(6))
	mustSaveLedger(t, tenant, "x")
	mustClose(t, tenant)
	wants(t, store, contoso, example(6))
}

// TestFullDisk: when there is no room nothing that was saved is lost, and saving
// goes on once there is.
func TestFullDisk(t *testing.T) {
	store := newStore(t, "file:"+t.TempDir())
	tenant := mustOpen(t, store, contoso)
	c := example(100)
	mustSave(t, tenant, nil, c)
	limit := func(pages string) {
		t.Helper()
		if err := store.(*file).incidents.view(func(c *connection) error { return c.exec("PRAGMA max_page_count = " + pages) }); err != nil {
			t.Fatal(err)
		}
	}
	limit("16")
	large := example(20_000)
	for range 3 {
		if err := save(tenant, c, large); err == nil || errors.Is(err, ErrSetAside) {
			t.Fatalf("without room: got %v", err)
		}
	}
	mustSave(t, tenant, c, c) // what fits goes on
	limit("1000000")
	mustSave(t, tenant, c, large)
	mustClose(t, tenant)
	wants(t, store, contoso, large)
	if names := aside(t, store.(*file).dir); names != nil {
		t.Errorf("set aside: %v", names)
	}
}

// TestLedgersHaveRoom: from the first one on, a ledger needs nothing more of a disk that
// becomes full, also after a crash, however long it gets.
func TestLedgersHaveRoom(t *testing.T) {
	dir := t.TempDir()
	sizes := func(dir string) (found [2]int64) {
		t.Helper()
		for i, name := range names(filepath.Join(dir, "ledgers.db")) {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			found[i] = info.Size()
		}
		return found
	}
	for life := range 3 {
		store := newStore(t, "file:"+dir)
		store.(*file).ledgers.pace = 0
		tenant := mustOpen(t, store, contoso)
		mustSaveLedger(t, tenant, "x")
		before := sizes(dir)
		for i := range 300 {
			mustSaveLedger(t, tenant, strings.Repeat("calls", 3*i+life))
		}
		if after := sizes(dir); after != before {
			t.Errorf("life %d: %d bytes and %d of log became %d and %d", life, before[0], before[1], after[0], after[1])
		}
		if want := int64(1 << 20); before[0] > want || before[1] > want {
			t.Errorf("life %d: %d bytes and %d of log", life, before[0], before[1])
		}
		crashed := t.TempDir() // there are logs
		for _, name := range names("ledgers.db") {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(crashed, name), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		mustClose(t, tenant)
		mustClose(t, store)
		dir = crashed
	}
}

// TestVersions: a database of another version is not used, and not lost either.
// The ledgers do not share the fate of the incidents.
func TestVersions(t *testing.T) {
	for _, version := range []string{"1", "99999999", "-1"} {
		for _, which := range []string{"incidents", "ledgers"} {
			t.Run(which+" of version "+version, func(t *testing.T) {
				dir := t.TempDir()
				store := newStore(t, "file:"+dir)
				tenant := mustOpen(t, store, contoso)
				mustSave(t, tenant, nil, example(10))
				mustSaveLedger(t, tenant, "x")
				mustClose(t, tenant)
				mustClose(t, store)
				db, err := sql.Open("sqlite", filepath.Join(dir, which+".db"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := db.ExecContext(t.Context(), "PRAGMA user_version = "+version); err != nil {
					t.Fatal(err)
				}
				mustClose(t, db)
				if _, _, err := store.Peek(contoso); (err == nil) != (which == "incidents") {
					t.Errorf("peek: got %v", err)
				}
				tenant = mustOpen(t, store, contoso)
				got, err := load(tenant)
				ledger, _, errLedger := tenant.LoadLedger()
				if which == "incidents" && (got != nil || !errors.Is(err, ErrSetAside) || string(ledger.Packed) != "x" || errLedger != nil) ||
					which == "ledgers" && (got == nil || err != nil || ledger.Packed != nil || !errors.Is(errLedger, ErrSetAside)) {
					t.Errorf("got %v, %v, ledger %q, %v", got, err, ledger, errLedger)
				}
				if names := aside(t, dir); len(names) != 1 || !strings.Contains(names[0], which+".db.other-version-") {
					t.Errorf("set aside: %v", names)
				}
				mustSave(t, tenant, nil, example(4))
				mustSaveLedger(t, tenant, "y")
				mustClose(t, tenant)
				wants(t, store, contoso, example(4))
			})
		}
	}
}

// TestOneTenantDamaged: the others are not concerned, and what it had is set
// aside.
func TestOneTenantDamaged(t *testing.T) {
	tenants := strings.NewReplacer("$1", fmt.Sprint(contoso.head().tenant), "$2", fmt.Sprint(fabrikam.head().tenant))
	for what, statements := range map[string][]string{
		"a row":            {"UPDATE records SET data = substr(data, 2) WHERE tenant = $1 AND kind = 1 AND number = 3"},
		"a row is missing": {"DELETE FROM records WHERE tenant = $1 AND kind = 1 AND number = 3"},
		"rows of another": {
			"DELETE FROM records WHERE tenant = $1 AND kind = 1",
			"UPDATE records SET tenant = $1 WHERE tenant = $2 AND kind = 1 AND number < 9",
		},
		"the head":        {"UPDATE records SET data = substr(data, 2) WHERE tenant = $1 AND kind = 0"},
		"the head's rest": {"UPDATE records SET data = substr(data, 1, 90) WHERE tenant = $1 AND kind = 0"},
		"another's head":  {"UPDATE records SET data = (SELECT data FROM records WHERE tenant = $2 AND kind = 0) WHERE tenant = $1 AND kind = 0"},
		"the tenant":      {"UPDATE records SET tenant = 5 WHERE tenant = $1"},
		"the sweep":       {"DELETE FROM records WHERE tenant = $1 AND kind = 2"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			store := newStore(t, "file:"+dir)
			for _, key := range []Key{contoso, fabrikam, {"third", "defender"}} {
				tenant := mustOpen(t, store, key)
				mustSave(t, tenant, nil, example(500))
				mustClose(t, tenant)
			}
			if err := store.(*file).incidents.write(func(c *connection) error {
				for _, statement := range statements {
					if err := c.exec(tenants.Replace(statement)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			mustClose(t, store)
			tenant := mustOpen(t, store, contoso)
			if got, err := load(tenant); !errors.Is(err, ErrSetAside) {
				t.Errorf("got %v, %v", got, err)
			}
			if names := aside(t, dir); len(names) != 1 || !strings.Contains(names[0], "incidents.db.damaged-") {
				t.Errorf("set aside: %v", names)
			}
			wants(t, store, Key{"third", "defender"}, example(500))
			mustSave(t, tenant, nil, example(7))
			mustClose(t, tenant)
			wants(t, store, contoso, example(7))
		})
	}
}

// TestOlderLedger: a ledger that does not know of calls which the incidents know
// of is as good as lost.
func TestOlderLedger(t *testing.T) {
	dir := t.TempDir()
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "old")
	mustClose(t, store)
	old, err := os.ReadFile(filepath.Join(dir, "ledgers.db"))
	if err != nil {
		t.Fatal(err)
	}
	mustSaveLedger(t, tenant, "new")
	mustSave(t, tenant, nil, example(5))
	mustClose(t, tenant)
	mustClose(t, store)
	if err := os.WriteFile(filepath.Join(dir, "ledgers.db"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	tenant = mustOpen(t, store, contoso)
	if got, err := load(tenant); !got.equal(example(5)) || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if ledger, _, err := tenant.LoadLedger(); ledger.Packed != nil || !errors.Is(err, ErrSetAside) {
		t.Errorf("got %q, %v", ledger, err)
	}
	mustSaveLedger(t, tenant, "lost")
	mustClose(t, tenant)
	mustClose(t, store)
	tenant = mustOpen(t, store, contoso)
	if _, err := load(tenant); err != nil {
		t.Error(err)
	}
	if ledger, _, err := tenant.LoadLedger(); string(ledger.Packed) != "lost" || err != nil {
		t.Errorf("got %q, %v", ledger, err)
	}
	mustClose(t, tenant)
}

// TestHandInFirst: there need not be a ledger yet, and no directory is made.
func TestHandInFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	store := newStore(t, "file:"+dir)
	if got, spent, err := store.Peek(contoso); got.Packed != nil || spent != nil || err != nil {
		t.Errorf("no directory: got %q, %q, %v", got, spent, err)
	}
	if err := store.HandIn(contoso, []byte("x")); !errors.Is(err, ErrNowhere) {
		t.Errorf("no directory: got %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // fails if it was made
		t.Fatal(err)
	}
	if err := store.HandIn(contoso, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, spent, err := store.Peek(contoso); got.Packed != nil || !slices.Equal(texts(spent), []string{"x"}) || err != nil {
		t.Errorf("no ledger: got %q, %q, %v", got, spent, err)
	}
	tenant := mustOpen(t, store, contoso)
	defer mustClose(t, tenant)
	if got, spent, err := tenant.LoadLedger(); got.Packed != nil || !slices.Equal(texts(spent), []string{"x"}) || err != nil {
		t.Errorf("first start: got %q, %q, %v", got, spent, err)
	}
}

// TestDamagedHandIn: it is not taken for calls, and not read for ever.
func TestDamagedHandIn(t *testing.T) {
	dir := t.TempDir()
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "x")
	if err := store.HandIn(contoso, []byte("y")); err != nil {
		t.Fatal(err)
	}
	name := mustGlob(t, dir, "*"+spentSuffix)[0]
	if err := os.Truncate(name, 3); err != nil {
		t.Fatal(err)
	}
	if got := mustSaveLedger(t, tenant, "x"); got != nil {
		t.Errorf("got %q", got)
	}
	mustSaveLedger(t, tenant, "x")
	if got := mustGlob(t, dir, "*.spent*"); got != nil {
		t.Errorf("files: %v", got)
	}
	mustClose(t, tenant)
}

// TestPeekChangesNothing: neither what is whole nor what is not.
func TestPeekChangesNothing(t *testing.T) {
	h := newHistory(t)
	for name := range h.files {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for other, data := range h.files {
				data = slices.Clone(data)
				if other == name {
					data = data[:len(data)/2]
				}
				if err := os.WriteFile(filepath.Join(dir, other), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, dir)
			ledger, _, err := newStore(t, "file:"+dir).Peek(contoso)
			whole := err == nil && slices.Contains(h.ledgers, string(ledger.Packed))
			if !whole && (name != "ledgers.db" || err == nil) { // the log may have what is missing
				t.Errorf("got %q, %v", ledger, err)
			}
			after := contents(t, dir)
			for name := range after {
				if before[name] != after[name] {
					t.Errorf("%s was touched", name)
				}
			}
		})
	}
}

// contents are the files of a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range mustGlob(t, dir, "*") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = string(data)
	}
	return all
}

// TestGroupCommit: those that wait share a flush, few do not wait, and many are
// not faster than the pace.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, "file:"+t.TempDir())
		tenant := mustOpen(t, store, contoso)
		began := time.Now()
		for range 40 {
			mustSaveLedger(t, tenant, "x")
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("a burst waits %v", waited)
		}
		began = time.Now()
		for range 100 {
			mustSaveLedger(t, tenant, "x")
		}
		if waited := time.Since(began); waited < 8*time.Second || waited > 10*time.Second {
			t.Errorf("100 in a row wait %v, want about %v", waited, 9*time.Second)
		}
		mustClose(t, tenant)
		mustClose(t, store)
	})
}
