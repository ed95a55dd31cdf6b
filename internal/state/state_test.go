package state

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"m365_defender_exporter/internal/incident"
)

var contoso = Key{"3f6d2a10-5b1e-4c7a-9a44-0d51c0ffee01", "defender"}

// content is what a mirror would export, in plain form.
type content struct {
	rows             map[int64]string
	swept            []int64
	tables, progress string
}

func (c *content) saved() *incident.Saved {
	return &incident.Saved{
		Full: true, NewSweep: true, Len: len(c.rows), Swept: c.swept,
		Rows: func(yield func(int64, []byte) bool) {
			for id, row := range c.rows {
				if !yield(id, []byte(row)) {
					return
				}
			}
		},
		Tables: []byte(c.tables), Progress: []byte(c.progress),
	}
}

func (c *content) equal(o *content) bool {
	return maps.Equal(c.rows, o.rows) && slices.Equal(c.swept, o.swept) && c.tables == o.tables && c.progress == o.progress
}

// load reads everything; nil if there is nothing.
func load(tenant Tenant) (got *content, err error) {
	err = tenant.Load(func(s *incident.Saved) error {
		got = &content{rows: map[int64]string{}, swept: s.Swept, tables: string(s.Tables), progress: string(s.Progress)}
		for id, row := range s.Rows {
			got.rows[id] = string(row)
		}
		return nil
	})
	return got, err
}

func mustOpen(t *testing.T, s Store, key Key) Tenant {
	t.Helper()
	tenant, err := s.Open(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tenant.Close() })
	return tenant
}

func newStore(t *testing.T, dir string) Store {
	t.Helper()
	s, err := New("bolt:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	s.(*bolt).noSync = true
	return s
}

// save keeps the content, as a whole or as what differs from before.
func save(tenant Tenant, before, c *content) error {
	return tenant.Save(func(full bool) (*incident.Saved, error) {
		s := c.saved()
		if full || before == nil {
			s.Full = true
			return s, nil
		}
		s.Full, s.NewSweep, s.Swept = false, false, c.swept[len(before.swept):]
		s.Rows = func(yield func(int64, []byte) bool) {
			for id, row := range c.rows {
				if old, ok := before.rows[id]; (!ok || old != row) && !yield(id, []byte(row)) {
					return
				}
			}
		}
		for id := range before.rows {
			if _, ok := c.rows[id]; !ok {
				s.Removed = append(s.Removed, id)
			}
		}
		return s, nil
	})
}

func example(n int) *content {
	c := &content{rows: map[int64]string{}, swept: []int64{1, 2}, tables: "tables", progress: "progress"}
	for i := range n {
		c.rows[int64(i)*7+1] = fmt.Sprintf("row %d %s", i, strings.Repeat("x", i%50))
	}
	return c
}

func (c *content) next() *content {
	n := &content{rows: maps.Clone(c.rows), swept: append(slices.Clone(c.swept), 3), tables: c.tables + ".", progress: c.progress + "!"}
	for id := range c.rows {
		if id%3 == 0 {
			n.rows[id] += "changed"
		}
		if id%5 == 0 {
			delete(n.rows, id)
		}
	}
	n.rows[1_000_000+int64(len(c.progress))] = "new"
	return n
}

// wants fails the test if a fresh look at the directory shows anything else.
func wants(t *testing.T, s Store, key Key, want *content) {
	t.Helper()
	tenant := mustOpen(t, s, key)
	got, err := load(tenant)
	if err != nil {
		t.Fatal(err)
	}
	if (got == nil) != (want == nil) || got != nil && !got.equal(want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if err := tenant.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBoltKeeps(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "deep", "data"))
	wants(t, s, contoso, nil)
	c := example(500)
	tenant := mustOpen(t, s, contoso)
	if err := save(tenant, nil, c); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		next := c.next()
		if err := save(tenant, c, next); err != nil {
			t.Fatal(err)
		}
		c = next
	}
	_ = tenant.Close()
	wants(t, s, contoso, c)
	// What is loaded can be built upon.
	tenant = mustOpen(t, s, contoso)
	if _, err := load(tenant); err != nil {
		t.Fatal(err)
	}
	full := false
	err := tenant.Save(func(all bool) (*incident.Saved, error) {
		full = all
		saved := c.saved()
		saved.Full, saved.NewSweep, saved.Swept = false, true, nil
		return saved, nil
	})
	if err != nil || full {
		t.Errorf("after loading: %v, full %v", err, full)
	}
	_ = tenant.Close()
	c.swept = nil
	wants(t, s, contoso, c)
	if tenant.Size() == 0 {
		t.Error("no size")
	}
}

func TestBoltLedger(t *testing.T) {
	s := newStore(t, t.TempDir())
	tenant := mustOpen(t, s, contoso)
	if got, err := tenant.LoadLedger(); got != nil || err != nil {
		t.Errorf("new: got %q, %v", got, err)
	}
	for _, want := range []string{"first", "second", strings.Repeat("long", 20_000)} {
		if err := tenant.SaveLedger([]byte(want)); err != nil {
			t.Fatal(err)
		}
		_ = tenant.Close()
		tenant = mustOpen(t, s, contoso)
		if got, err := tenant.LoadLedger(); string(got) != want || err != nil {
			t.Errorf("got %.20q, %v, want %.20q", got, err, want)
		}
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tenant := mustOpen(t, newStore(t, dir), contoso)
	if err := save(tenant, nil, example(3)); err != nil {
		t.Fatal(err)
	}
	if err := tenant.SaveLedger([]byte("x")); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{".": fs.ModeDir | 0o700}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		want[e.Name()] = 0o600
	}
	if len(want) != 3 {
		t.Errorf("files: %v", want)
	}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: got %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

// TestOneOwner: what somebody has is refused to everybody else, until it is
// let go of.
func TestOneOwner(t *testing.T) {
	for _, url := range []string{"memory:", "bolt:" + t.TempDir()} {
		s, err := New(url)
		if err != nil {
			t.Fatal(err)
		}
		first := mustOpen(t, s, contoso)
		if _, err := s.Open(contoso); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: got %v, want %v", url, err, ErrInUse)
		}
		mustOpen(t, s, Key{contoso.Tenant, "graph"})
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		mustOpen(t, s, contoso)
	}
}

// TestNothingIsMixed: a file of another tenant or version is not used, and not
// lost either.
func TestNothingIsMixed(t *testing.T) {
	mine := (&file{key: contoso}).identity()
	with := func(at int, b byte) []byte {
		id, _ := unseal(mine)
		id = slices.Clone(id)
		id[at] = b
		return seal(id)
	}
	tests := map[string]struct {
		identity []byte
		suffix   string
	}{
		"another tenant":    {(&file{key: Key{"fabrikam", "defender"}}).identity(), ".other-tenant-"},
		"another API":       {(&file{key: Key{contoso.Tenant, "graph"}}).identity(), ".other-tenant-"},
		"an older layout":   {with(0, schema-1), ".other-version-"},
		"a newer layout":    {with(0, schema+1), ".other-version-"},
		"a newer encoding":  {with(2, incident.Encoding+1), ".other-version-"},
		"nobody can say":    {mine[1:], ".damaged-"},
		"nobody at all":     {nil, ".damaged-"},
		"another new owner": {seal([]byte("x")), ".damaged-"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newStore(t, dir)
			tenant := mustOpen(t, s, contoso)
			if err := save(tenant, nil, example(10)); err != nil {
				t.Fatal(err)
			}
			if err := tenant.(*boltTenant).rows.update(func(tx *bbolt.Tx) error {
				return tx.Bucket(metaBucket).Put(identityKey, test.identity)
			}); err != nil {
				t.Fatal(err)
			}
			_ = tenant.Close()
			again := mustOpen(t, s, contoso)
			if got, err := load(again); got != nil || !errors.Is(err, ErrSetAside) {
				t.Errorf("got %v, %v, want %v", got, err, ErrSetAside)
			}
			if aside := setAside(t, dir); len(aside) != 1 || !strings.Contains(aside[0], test.suffix) {
				t.Errorf("set aside: %v", aside)
			}
			if err := save(again, nil, example(4)); err != nil {
				t.Fatal(err)
			}
			_ = again.Close()
			wants(t, s, contoso, example(4))
		})
	}
}

// TestCaseOfTheTenant: an id that is spelled otherwise is the same one, and its
// state neither lost nor there twice.
func TestCaseOfTheTenant(t *testing.T) {
	spellings := []Key{{"Contoso.Example", "defender"}, {"contoso.example", "defender"}, {"CONTOSO.EXAMPLE", "Defender"}}
	for _, scheme := range []string{"memory", "bolt"} {
		t.Run(scheme, func(t *testing.T) {
			dir := t.TempDir()
			var s Store
			if scheme == "bolt" {
				s = newStore(t, dir)
			} else {
				s, _ = New("memory:")
			}
			for i, key := range spellings {
				tenant := mustOpen(t, s, key)
				got, err := load(tenant)
				if err != nil || (got == nil) != (i == 0) || got != nil && len(got.rows) != i {
					t.Errorf("%s: got %+v, %v, want %d rows", key.Tenant, got, err, i)
				}
				if ledger, err := tenant.LoadLedger(); err != nil || string(ledger) != strings.Repeat("x", i) {
					t.Errorf("%s: got ledger %q, %v", key.Tenant, ledger, err)
				}
				if err := save(tenant, nil, example(i+1)); err != nil {
					t.Fatal(err)
				}
				if err := tenant.SaveLedger([]byte(strings.Repeat("x", i+1))); err != nil {
					t.Fatal(err)
				}
				if other := spellings[(i+1)%len(spellings)]; i == 0 || scheme == "memory" { // a file is waited for
					if _, err := s.Open(other); !errors.Is(err, ErrInUse) {
						t.Errorf("%s is open, %s: got %v, want %v", key.Tenant, other.Tenant, err, ErrInUse)
					}
				}
				if err := tenant.Close(); err != nil {
					t.Fatal(err)
				}
				if ledger, err := s.Borrow(spellings[0]).Load(); scheme == "bolt" && (err != nil || len(ledger) != i+1) {
					t.Errorf("borrowed: got %q, %v", ledger, err)
				}
			}
			if aside := setAside(t, dir); len(aside) > 0 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

// TestCaseInOlderFiles: they are signed with the id as it was configured.
func TestCaseInOlderFiles(t *testing.T) {
	dir, key := t.TempDir(), Key{"Contoso.Example", "defender"}
	s := newStore(t, dir)
	tenant := mustOpen(t, s, key)
	if err := save(tenant, nil, example(10)); err != nil {
		t.Fatal(err)
	}
	folded := (&file{key: key}).identity()
	old, _ := unseal(folded)
	old = seal(append(slices.Clone(old[:4]), "Contoso.Example\x00defender"...))
	if slices.Equal(old, folded) {
		t.Fatal("the case is written: the test shows nothing")
	}
	if err := tenant.(*boltTenant).rows.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(identityKey, old)
	}); err != nil {
		t.Fatal(err)
	}
	_ = tenant.Close()
	for _, spelling := range []string{"contoso.example", key.Tenant} {
		wants(t, s, Key{spelling, "defender"}, example(10))
	}
	if aside := setAside(t, dir); len(aside) > 0 {
		t.Errorf("set aside: %v", aside)
	}
}

// setAside lists what is in the directory under a dated name.
func setAside(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".db") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestFileName(t *testing.T) {
	if got, want := fileName(contoso), contoso.Tenant+"-defender"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if fileName(Key{"Contoso.Example", "defender"}) != fileName(Key{"contoso.example", "defender"}) {
		t.Error("a domain has no case")
	}
	seen := map[string]string{}
	for _, tenant := range []string{"a/b", "a_b", "a.b", "../a", "..", "a\x00", "ä", strings.Repeat("a", 300), strings.Repeat("a", 301)} {
		name := fileName(Key{tenant, "defender"})
		if strings.ContainsAny(name, "/\\\x00") || name[0] == '.' || len(name) > 150 {
			t.Errorf("%q: %s", tenant, name)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("%q and %q share %s", tenant, other, name)
		}
		seen[name] = tenant
	}
}

func TestURL(t *testing.T) {
	for _, url := range []string{"", "bolt:", "bolt", "memory", "memory:x", "file:x", "redis://h"} {
		if _, err := New(url); err == nil || !strings.Contains(err.Error(), "memory: or bolt:DIRECTORY") {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

func TestMemoryGoesOn(t *testing.T) {
	s, err := New("memory:")
	if err != nil {
		t.Fatal(err)
	}
	tenant := mustOpen(t, s, contoso)
	if err := save(tenant, nil, example(5)); err != nil {
		t.Fatal(err)
	}
	if err := tenant.SaveLedger([]byte("ledger")); err != nil {
		t.Fatal(err)
	}
	_ = tenant.Close()
	wants(t, s, contoso, example(5))
	again := mustOpen(t, s, contoso)
	if got, err := again.LoadLedger(); string(got) != "ledger" || err != nil {
		t.Errorf("ledger: got %q, %v", got, err)
	}
}
