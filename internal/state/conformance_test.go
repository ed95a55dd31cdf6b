package state

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

// shelf is where a store keeps things: it can be opened again as after a restart
// of the process, with what was kept if the store keeps anything so long.
type shelf struct {
	again func() Store
	lasts bool // over a restart
	// shared: what another one has can be read.
	shared bool
}

// shelves are all kinds of stores. What is said of a store holds for each.
func shelves() map[string]func(*testing.T) shelf {
	all := map[string]func(*testing.T) shelf{
		"memory": func(t *testing.T) shelf {
			store := newStore(t, "memory:")
			return shelf{again: func() Store { return store }}
		},
		"file": func(t *testing.T) shelf {
			dir := t.TempDir()
			return shelf{again: func() Store { return newStore(t, "file:"+dir) }, lasts: true}
		},
	}
	for name, start := range engines() {
		all[name] = func(t *testing.T) shelf {
			e := start(t)
			e.settle(t)
			return shelf{again: func() Store { return e.join(t, "a") }, lasts: true, shared: true}
		}
	}
	return all
}

func newStore(t testing.TB, url string) Store {
	t.Helper()
	store, err := New(url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := store.(*redisStore); ok {
		r.silence = time.Hour // nothing beats here, and a test may take long
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

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

func mustOpen(t testing.TB, s Store, key Key) Tenant {
	t.Helper()
	tenant, err := s.Open(key)
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func mustClose(t testing.TB, what interface{ Close() error }) {
	t.Helper()
	if err := what.Close(); err != nil {
		t.Fatal(err)
	}
}

// save keeps the content, as a whole or as what differs from before.
func save(tenant Tenant, before, c *content) error {
	return tenant.Save(func(full bool) (*incident.Saved, error) {
		s := c.saved()
		if full || before == nil {
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

func mustSave(t testing.TB, tenant Tenant, before, c *content) {
	t.Helper()
	if err := save(tenant, before, c); err != nil {
		t.Fatal(err)
	}
}

// mustSaveLedger returns what was handed in.
func mustSaveLedger(t testing.TB, tenant Tenant, ledger string) (spent []string) {
	t.Helper()
	got, err := tenant.SaveLedger([]byte(ledger))
	if err != nil {
		t.Fatal(err)
	}
	return texts(got)
}

func texts(written []Written) (out []string) {
	for _, w := range written {
		out = append(out, string(w.Packed))
	}
	slices.Sort(out)
	return out
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

// wants fails the test if the store has anything else of the tenant, which must
// not be open.
func wants(t testing.TB, s Store, key Key, want *content) {
	t.Helper()
	tenant := mustOpen(t, s, key)
	defer mustClose(t, tenant)
	got, err := load(tenant)
	if err != nil {
		t.Fatal(err)
	}
	if (got == nil) != (want == nil) || got != nil && !got.equal(want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// wantsLedger is wants for the ledger.
func wantsLedger(t testing.TB, s Store, key Key, want string) {
	t.Helper()
	tenant := mustOpen(t, s, key)
	defer mustClose(t, tenant)
	if got, _, err := tenant.LoadLedger(); string(got.Packed) != want || err != nil {
		t.Errorf("%s: got ledger %.20q, %v, want %.20q", key.Tenant, got, err, want)
	}
}

// TestConformance is what every store has to do.
func TestConformance(t *testing.T) {
	for name, newShelf := range shelves() {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				what string
				run  func(*testing.T, shelf)
			}{
				{"keeps rows", keepsRows},
				{"keeps rows of any id", keepsAnyID},
				{"keeps ledgers", keepsLedgers},
				{"keeps tenants apart", keepsApart},
				{"has one owner", hasOneOwner},
				{"knows no case", knowsNoCase},
				{"takes what is handed in", takesHandedIn},
				{"lets nobody peek at what is in use", peeks},
				{"is used by many at once", manyAtOnce},
				{"keeps a panic where it belongs", keepsPanics},
			} {
				t.Run(test.what, func(t *testing.T) { test.run(t, newShelf(t)) })
			}
		})
	}
}

func keepsRows(t *testing.T, s shelf) {
	store := s.again()
	wants(t, store, contoso, nil)
	tenant := mustOpen(t, store, contoso)
	c := example(500)
	mustSave(t, tenant, nil, c)
	for range 5 {
		next := c.next()
		mustSave(t, tenant, c, next)
		c = next
	}
	mustClose(t, tenant)
	wants(t, store, contoso, c)
	mustClose(t, store)
	store = s.again()
	wants(t, store, contoso, c)
	// What is loaded can be built upon, and a new sweep begins without the old.
	tenant = mustOpen(t, store, contoso)
	if _, err := load(tenant); err != nil {
		t.Fatal(err)
	}
	err := tenant.Save(func(full bool) (*incident.Saved, error) {
		saved := c.saved()
		if saved.Full, saved.NewSweep, saved.Swept = full, true, []int64{9}; !full {
			saved.Rows = func(func(int64, []byte) bool) {}
		}
		return saved, nil
	})
	if err != nil {
		t.Error(err)
	}
	mustClose(t, tenant)
	c.swept = []int64{9}
	wants(t, store, contoso, c)
}

func keepsAnyID(t *testing.T, s shelf) {
	c := example(0)
	for _, id := range []int64{0, 1, 62, 63, 64, 65, -1, -64, -65, 1 << 40, math.MaxInt64, math.MinInt64} {
		c.rows[id] = fmt.Sprint("row ", id)
	}
	c.rows[2], c.rows[3] = "", strings.Repeat("long", 50_000)
	store := s.again()
	tenant := mustOpen(t, store, contoso)
	mustSave(t, tenant, nil, c)
	mustClose(t, tenant)
	wants(t, store, contoso, c)
}

func keepsLedgers(t *testing.T, s shelf) {
	store := s.again()
	tenant := mustOpen(t, store, contoso)
	if got, spent, err := tenant.LoadLedger(); got.Packed != nil || spent != nil || err != nil {
		t.Errorf("new: got %q, %q, %v", got, spent, err)
	}
	for _, want := range []string{"first", "second", strings.Repeat("long", 20_000), ""} {
		mustSaveLedger(t, tenant, want)
		mustClose(t, tenant)
		mustClose(t, store)
		store = s.again()
		tenant = mustOpen(t, store, contoso)
		if got, _, err := tenant.LoadLedger(); string(got.Packed) != want || got.Packed == nil || err != nil {
			t.Errorf("got %.20q, %v, want %.20q", got, err, want)
		}
	}
	mustClose(t, tenant)
}

func keepsApart(t *testing.T, s shelf) {
	keys := []Key{contoso, {contoso.Tenant, "graph"}, {"a", "bc"}, {"ab", "c"}, {"ä/../\x00", "defender"}, {strings.Repeat("a", 300), "defender"}}
	store := s.again()
	for i, key := range keys {
		tenant := mustOpen(t, store, key)
		mustSave(t, tenant, nil, example(i+1))
		mustSaveLedger(t, tenant, fmt.Sprint(i))
		mustClose(t, tenant)
	}
	mustClose(t, store)
	store = s.again()
	for i, key := range keys {
		wants(t, store, key, example(i+1))
		tenant := mustOpen(t, store, key)
		if got, _, err := tenant.LoadLedger(); string(got.Packed) != fmt.Sprint(i) || err != nil {
			t.Errorf("%v: got %q, %v", key, got, err)
		}
		mustClose(t, tenant)
	}
}

func hasOneOwner(t *testing.T, s shelf) {
	store := s.again()
	first := mustOpen(t, store, contoso)
	if _, err := store.Open(contoso); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	mustClose(t, mustOpen(t, store, Key{contoso.Tenant, "graph"}))
	mustClose(t, first)
	mustClose(t, mustOpen(t, store, contoso))
}

func knowsNoCase(t *testing.T, s shelf) {
	spellings := []Key{{"Contoso.Example", "defender"}, {"contoso.example", "defender"}, {"CONTOSO.EXAMPLE", "Defender"}}
	store := s.again()
	for i, key := range spellings {
		tenant := mustOpen(t, store, key)
		got, err := load(tenant)
		if err != nil || (got == nil) != (i == 0) || got != nil && len(got.rows) != i {
			t.Errorf("%s: got %+v, %v, want %d rows", key.Tenant, got, err, i)
		}
		if ledger, _, err := tenant.LoadLedger(); err != nil || string(ledger.Packed) != strings.Repeat("x", i) {
			t.Errorf("%s: got ledger %q, %v", key.Tenant, ledger, err)
		}
		mustSave(t, tenant, nil, example(i+1))
		mustSaveLedger(t, tenant, strings.Repeat("x", i+1))
		other := spellings[(i+1)%len(spellings)]
		if _, err := store.Open(other); !errors.Is(err, ErrInUse) {
			t.Errorf("%s is open, %s: got %v, want %v", key.Tenant, other.Tenant, err, ErrInUse)
		}
		mustClose(t, tenant)
	}
}

func takesHandedIn(t *testing.T, s shelf) {
	store := s.again()
	if !s.lasts { // then nobody else can see it
		if err := store.HandIn(contoso, nil); !errors.Is(err, ErrNowhere) {
			t.Errorf("got %v", err)
		}
		return
	}
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "own")
	handIn := func(key Key, spent ...string) {
		t.Helper()
		for _, text := range spent {
			if err := store.HandIn(key, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	handIn(contoso, "a", "b")
	handIn(Key{contoso.Tenant, "graph"}, "another's")
	if got := mustSaveLedger(t, tenant, "own"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
	if got := mustSaveLedger(t, tenant, "own, a, b"); got != nil {
		t.Errorf("told twice: %q", got)
	}
	mustClose(t, tenant)
	mustClose(t, store)
	handIn(contoso, "c")
	for range 2 { // to peek takes nothing away
		if ledger, spent, err := store.Peek(contoso); string(ledger.Packed) != "own, a, b" || !slices.Equal(texts(spent), []string{"c"}) || err != nil {
			t.Errorf("peek: got %q, %q, %v", ledger, spent, err)
		}
	}
	// Until the ledger has it, it is told again.
	for range 2 {
		mustClose(t, store)
		store = s.again()
		tenant = mustOpen(t, store, contoso)
		if _, spent, err := tenant.LoadLedger(); !slices.Equal(texts(spent), []string{"c"}) || err != nil {
			t.Errorf("got %q, %v", spent, err)
		}
		mustClose(t, tenant)
	}
	tenant = mustOpen(t, store, contoso)
	if _, _, err := tenant.LoadLedger(); err != nil {
		t.Fatal(err)
	}
	if got := mustSaveLedger(t, tenant, "own, a, b, c"); got != nil {
		t.Errorf("told twice: %q", got)
	}
	mustClose(t, tenant)
}

func peeks(t *testing.T, s shelf) {
	store := s.again()
	if ledger, spent, err := store.Peek(contoso); ledger.Packed != nil || spent != nil || err != nil {
		t.Errorf("nothing: got %q, %q, %v", ledger, spent, err)
	}
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "own")
	if s.lasts {
		if err := s.again().HandIn(contoso, []byte("a")); err != nil {
			t.Fatal(err)
		}
	}
	if ledger, spent, err := s.again().Peek(contoso); s.lasts != slices.Equal(texts(spent), []string{"a"}) || (s.lasts && !s.shared) != errors.Is(err, ErrInUse) || s.shared != (string(ledger.Packed) == "own") {
		t.Errorf("in use: got %q, %q, %v", ledger, spent, err)
	}
	if ledger, _, err := store.Peek(contoso); s.lasts != (string(ledger.Packed) == "own") || err != nil {
		t.Errorf("in use by ourselves: got %q, %v", ledger, err)
	}
	mustClose(t, tenant)
	mustClose(t, store)
	if ledger, _, err := s.again().Peek(contoso); s.lasts != (string(ledger.Packed) == "own") || err != nil {
		t.Errorf("got %q, %v", ledger, err)
	}
}

func manyAtOnce(t *testing.T, s shelf) {
	store := s.again()
	var group sync.WaitGroup
	key := func(i int) Key { return Key{fmt.Sprint("tenant-", i), "defender"} }
	const tenants = 16 // more would wait for longer than a shared store is waited for, on a slow machine
	for i := range tenants {
		group.Go(func() {
			tenant, err := store.Open(key(i))
			if err != nil {
				t.Error(err)
				return
			}
			c := example(i)
			for n := range 4 {
				if _, err := tenant.SaveLedger(fmt.Append(nil, i, n)); err != nil {
					t.Error(err)
				}
				next := c.next()
				if err := save(tenant, c, next); err != nil {
					t.Error(err)
				}
				c = next
			}
			if err := tenant.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	mustClose(t, store)
	store = s.again()
	for i := range tenants {
		wants(t, store, key(i), example(i).next().next().next().next())
		wantsLedger(t, store, key(i), fmt.Sprint(i, 3))
	}
}

func keepsPanics(t *testing.T, s shelf) {
	store := s.again()
	tenant := mustOpen(t, store, contoso)
	mustSave(t, tenant, nil, example(5))
	if s.lasts {
		func() {
			defer func() {
				if v := recover(); !strings.Contains(fmt.Sprint(v), "of an export") {
					t.Errorf("got %v", v)
				}
			}()
			_ = tenant.Save(func(bool) (*incident.Saved, error) { panic("of an export") })
		}()
	}
	mustSave(t, tenant, nil, example(6))
	mustClose(t, tenant)
	wants(t, store, contoso, example(6))
}

// TestForget: what a removed tenant has left in memory goes, unless it is back
// already.
func TestForget(t *testing.T) {
	store := newStore(t, "memory:")
	tenant := mustOpen(t, store, contoso)
	mustSave(t, tenant, nil, example(5))
	store.Forget(contoso) // it is open
	mustClose(t, tenant)
	wants(t, store, contoso, example(5))
	store.Forget(contoso)
	wants(t, store, contoso, nil)
}

func TestURL(t *testing.T) {
	for _, url := range []string{"", "file:", "file", "memory", "memory:x", "bolt:x"} {
		if _, err := New(url, Options{}); err == nil || !strings.Contains(err.Error(), "memory:, file:DIRECTORY") {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
