package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamage spoils files in every random way. Whatever comes of it, the
// process lives, and what is loaded is what was saved, or nothing.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	tenant := mustOpen(t, s, contoso)
	before := example(800)
	if err := save(tenant, nil, before); err != nil {
		t.Fatal(err)
	}
	after := before.next()
	if err := save(tenant, before, after); err != nil {
		t.Fatal(err)
	}
	_ = tenant.Close()
	path := tenant.(*boltTenant).rows.path
	intact, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoil := map[string]func(r *rand.Rand, b []byte) []byte{
		"a bit":      func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
		"many bytes": func(r *rand.Rand, b []byte) []byte { fill(r, b, 100, 1); return b },
		"a run":      func(r *rand.Rand, b []byte) []byte { fill(r, b, 1, 1+r.IntN(5000)); return b },
		"page headers": func(r *rand.Rand, b []byte) []byte {
			for range 1 + r.IntN(3) {
				b[r.IntN(len(b)/pageSize)*pageSize+r.IntN(pageHeader+2*elementSize)] = byte(r.Uint32())
			}
			return b
		},
		"a page elsewhere": func(r *rand.Rand, b []byte) []byte {
			n := len(b) / pageSize
			copy(b[r.IntN(n)*pageSize:][:pageSize], b[r.IntN(n)*pageSize:][:pageSize])
			return b
		},
		"a page with another's number": func(r *rand.Rand, b []byte) []byte {
			n := len(b) / pageSize
			to := r.IntN(n)
			copy(b[to*pageSize:][:pageSize], b[r.IntN(n)*pageSize:][:pageSize])
			native.PutUint64(b[to*pageSize:], uint64(to))
			return b
		},
		"cut off":            func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] },
		"zeros":              func(r *rand.Rand, b []byte) []byte { clear(b[r.IntN(len(b)):]); return b },
		"not a file of ours": func(r *rand.Rand, b []byte) []byte { fill(r, b, 1, len(b)); return b },
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(12) {
				dir := t.TempDir()
				to := filepath.Join(dir, filepath.Base(path))
				b := spoil(rand.New(rand.NewPCG(seed, 8)), append([]byte(nil), intact...))
				if err := os.WriteFile(to, b, 0o600); err != nil {
					t.Fatal(err)
				}
				tenant, err := newStore(t, dir).Open(contoso)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				got, err := load(tenant)
				switch {
				case err != nil:
					if !errors.Is(err, ErrSetAside) || len(setAside(t, dir)) != 1 {
						t.Errorf("seed %d: got %v with %v, want it set aside", seed, err, setAside(t, dir))
					}
				case got == nil && len(b) > 0:
					t.Errorf("seed %d: nothing, and nothing said", seed)
				case got != nil && !got.equal(after) && !got.equal(before):
					t.Errorf("seed %d: wrong content", seed)
				}
				if err := save(tenant, nil, after); err != nil {
					t.Errorf("seed %d: saving afterwards: %v", seed, err)
				}
				_ = tenant.Close()
				wants(t, newStore(t, dir), contoso, after)
			}
		})
	}
}

func fill(r *rand.Rand, b []byte, times, length int) {
	for range times {
		at := r.IntN(len(b))
		for i := at; i < min(at+length, len(b)); i++ {
			b[i] = byte(r.Uint32())
		}
	}
}

// TestDamagedLedger: a ledger that was lost is not taken for an empty one.
func TestDamagedLedger(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			s := newStore(t, dir)
			tenant := mustOpen(t, s, contoso)
			for _, text := range []string{"before", "after"} {
				if err := tenant.SaveLedger([]byte(strings.Repeat(text, 1000))); err != nil {
					t.Fatal(err)
				}
			}
			if err := save(tenant, nil, example(10)); err != nil {
				t.Fatal(err)
			}
			_ = tenant.Close()
			path := tenant.(*boltTenant).ledger.path
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 1))
			fill(r, b, 1+r.IntN(3), 1+r.IntN(2*len(b)/3))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			tenant = mustOpen(t, s, contoso)
			got, err := tenant.LoadLedger()
			if ok := strings.Repeat("before", 1000) == string(got) || strings.Repeat("after", 1000) == string(got); !ok && !errors.Is(err, ErrSetAside) {
				t.Errorf("got %.20q, %v", got, err)
			}
			if err := tenant.SaveLedger([]byte("new")); err != nil {
				t.Error(err)
			}
			if got, err := load(tenant); err != nil || !got.equal(example(10)) {
				t.Errorf("the rest has to outlive it: %v", err)
			}
		})
	}
}

// TestRotInUse: pages that rot after they were verified fail saves, not the
// process, and the file is made anew.
func TestRotInUse(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	tenant := mustOpen(t, s, contoso)
	c := example(3000)
	if err := save(tenant, nil, c); err != nil {
		t.Fatal(err)
	}
	path := tenant.(*boltTenant).rows.path
	if err := os.Truncate(path, 2*pageSize); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 5 {
		next := c.next()
		if err := save(tenant, c, next); err != nil {
			failed++
			continue
		}
		c = next
	}
	if failed == 0 || failed == 5 {
		t.Errorf("%d of 5 failed", failed)
	}
	_ = tenant.Close()
	wants(t, s, contoso, c)
}

// TestFullDisk: when there is no room nothing that was saved is lost, and
// saving goes on once there is.
func TestFullDisk(t *testing.T) {
	s := newStore(t, t.TempDir())
	tenant := mustOpen(t, s, contoso)
	c := example(100)
	if err := save(tenant, nil, c); err != nil {
		t.Fatal(err)
	}
	b := tenant.(*boltTenant)
	b.rows.db.MaxSize = 64 << 10
	large := example(20_000)
	for range 3 {
		if err := save(tenant, c, large); err == nil {
			t.Fatal("saved without room")
		}
	}
	_ = tenant.Close()
	wants(t, s, contoso, c)
	tenant = mustOpen(t, s, contoso)
	if err := save(tenant, c, large); err != nil {
		t.Error(err)
	}
	_ = tenant.Close()
	wants(t, s, contoso, large)
}

// TestNoRoomForAFile: a directory that cannot be used now is used as soon as
// it can.
func TestNoRoomForAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // in the directory's place
		t.Fatal(err)
	}
	s := newStore(t, dir)
	tenant := mustOpen(t, s, contoso)
	if got, err := load(tenant); got != nil || err == nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := tenant.LoadLedger(); err == nil || errors.Is(err, ErrSetAside) {
		t.Errorf("ledger: got %v", err)
	}
	for range 2 {
		if err := save(tenant, nil, example(5)); err == nil {
			t.Error("saved to nowhere")
		}
		if err := tenant.SaveLedger(nil); err == nil {
			t.Error("saved the ledger to nowhere")
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	// Not what changed but everything has to be asked for.
	if err := save(tenant, example(5), example(6)); err != nil {
		t.Error(err)
	}
	if err := tenant.SaveLedger([]byte("x")); err != nil {
		t.Error(err)
	}
	_ = tenant.Close()
	wants(t, s, contoso, example(6))
}

// TestDeletedFile: whoever deletes the state of a running exporter gets it
// back, as of now.
func TestDeletedFile(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	tenant := mustOpen(t, s, contoso)
	c := example(10)
	if err := save(tenant, nil, c); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		next := c.next()
		if err := save(tenant, c, next); err != nil {
			t.Fatal(err)
		}
		c = next
	}
	_ = tenant.Close()
	wants(t, s, contoso, c)
}
