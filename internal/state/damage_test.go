package state

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fabrikam is whose state suffers with that of contoso.
var fabrikam = Key{"fabrikam.example", "graph"}

// spoiled are random ways to damage a file.
var spoiled = map[string]func(r *rand.Rand, b []byte) []byte{
	"a bit":      func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
	"many bytes": func(r *rand.Rand, b []byte) []byte { fill(r, b, 100, 1); return b },
	"a run":      func(r *rand.Rand, b []byte) []byte { fill(r, b, 1, 1+r.IntN(5000)); return b },
	"the heads of pages": func(r *rand.Rand, b []byte) []byte {
		for range 1 + r.IntN(3) {
			b[min(len(b)-1, r.IntN(len(b)/pageSize+1)*pageSize+r.IntN(100))] = byte(r.Uint32())
		}
		return b
	},
	"a page elsewhere": func(r *rand.Rand, b []byte) []byte {
		if n := len(b) / pageSize; n > 0 {
			copy(b[r.IntN(n)*pageSize:][:pageSize], b[r.IntN(n)*pageSize:][:pageSize])
		}
		return b
	},
	"cut off":            func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] },
	"zeros":              func(r *rand.Rand, b []byte) []byte { clear(b[r.IntN(len(b)):]); return b },
	"not a file of ours": func(r *rand.Rand, b []byte) []byte { fill(r, b, 1, len(b)); return b },
}

const pageSize = 4096

func fill(r *rand.Rand, b []byte, times, length int) {
	for range times {
		at := r.IntN(len(b))
		for i := at; i < min(at+length, len(b)); i++ {
			b[i] = byte(r.Uint32())
		}
	}
}

// history is what was saved, oldest first. What comes back must be one of these.
type history struct {
	files   map[string][]byte
	rows    []*content
	ledgers []string
}

// newHistory saves two tenants, and leaves the files as a kill at the end would.
func newHistory(t *testing.T) history {
	t.Helper()
	dir := t.TempDir()
	store := newStore(t, "file:"+dir)
	h := history{files: map[string][]byte{}}
	var c *content
	for _, key := range []Key{fabrikam, contoso} {
		tenant := mustOpen(t, store, key)
		c = example(800)
		mustSaveLedger(t, tenant, "the first ledger")
		mustSave(t, tenant, nil, c)
		h.ledgers, h.rows = []string{"the first ledger"}, []*content{c}
		mustClose(t, tenant)
	}
	mustClose(t, store) // from here on there is a log
	for _, key := range []Key{fabrikam, contoso} {
		c = example(800)
		tenant := mustOpen(t, store, key)
		if _, err := load(tenant); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			ledger := strings.Repeat(fmt.Sprint("ledger ", i), 100)
			mustSaveLedger(t, tenant, ledger)
			next := c.next()
			mustSave(t, tenant, c, next)
			c = next
			h.ledgers, h.rows = append(h.ledgers, ledger), append(h.rows, c)
		}
		mustClose(t, tenant)
	}
	for _, name := range []string{"incidents.db", "incidents.db-wal", "ledgers.db", "ledgers.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		h.files[name] = data
	}
	return h
}

var damageSeeds = flag.Uint64("damage.seeds", 10, "how often TestDamage spoils each file in each way")

// TestDamage spoils files at random. Whatever comes of it, the
// process lives, and what is loaded is what was saved once, or nothing, and that
// is said. An older ledger than goes with the rows is not taken.
func TestDamage(t *testing.T) {
	h := newHistory(t)
	for what, spoil := range spoiled {
		for name := range h.files {
			t.Run(what+" of "+name, func(t *testing.T) {
				t.Parallel()
				for seed := range *damageSeeds {
					dir := t.TempDir()
					for other, data := range h.files {
						data = slices.Clone(data)
						if other == name {
							data = spoil(rand.New(rand.NewPCG(seed, 8)), data)
						}
						if err := os.WriteFile(filepath.Join(dir, other), data, 0o600); err != nil {
							t.Fatal(err)
						}
					}
					h.judge(t, dir)
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

// TestMissingFiles: as damage does, it costs at most what was in them.
func TestMissingFiles(t *testing.T) {
	h := newHistory(t)
	for name := range h.files {
		for _, how := range []string{"deleted", "empty"} {
			t.Run(name+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				for other, data := range h.files {
					if other == name && how == "deleted" {
						continue
					}
					if other == name {
						data = nil
					}
					if err := os.WriteFile(filepath.Join(dir, other), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				h.judge(t, dir)
			})
		}
	}
}

// judge opens what is in the directory.
func (h history) judge(t *testing.T, dir string) {
	t.Helper()
	store := newStore(t, "file:"+dir)
	for _, key := range []Key{contoso, fabrikam} {
		tenant := mustOpen(t, store, key)
		got, err := load(tenant)
		switch known := slices.IndexFunc(h.rows, func(c *content) bool { return got != nil && c.equal(got) }); {
		case err != nil:
			if !errors.Is(err, ErrSetAside) || len(aside(t, dir)) == 0 {
				t.Errorf("got %v with %v, want it set aside", err, aside(t, dir))
			}
		case got == nil || known < 0:
			t.Errorf("content is wrong or missing, and nothing is said")
		}
		ledger, _, errLedger := tenant.LoadLedger()
		if known := slices.Contains(h.ledgers, string(ledger.Packed)); errLedger == nil && !known && (ledger.Packed != nil || got == nil) || errLedger != nil && !errors.Is(errLedger, ErrSetAside) {
			t.Errorf("got ledger %.20q, %v", ledger, errLedger)
		}
		if err == nil && errLedger == nil && ledger.Packed != nil {
			rows := slices.IndexFunc(h.rows, func(c *content) bool { return c.equal(got) })
			if saves := slices.Index(h.ledgers, string(ledger.Packed)); saves < rows {
				t.Errorf("got ledger %d with rows %d", saves, rows)
			}
		}
		after := h.rows[0].next()
		if err := save(tenant, nil, after); err != nil {
			t.Errorf("saving afterwards: %v", err)
		}
		if _, err := tenant.SaveLedger([]byte("new")); err != nil {
			t.Errorf("saving the ledger afterwards: %v", err)
		}
		mustClose(t, tenant)
	}
	mustClose(t, store)
	for _, key := range []Key{contoso, fabrikam} {
		wants(t, store, key, h.rows[0].next())
		wantsLedger(t, store, key, "new")
	}
	mustClose(t, store)
}

// aside lists what is in the directory under a dated name.
func aside(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.db.*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
