package state

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readLedgers reads all ledgers, and writes those that are known better.
func (f *file) readLedgers(c connection) error {
	found := make(map[string][]byte)
	var damaged []int64
	err := c.each(func(rows *sql.Rows) error {
		var row int64
		var name string
		var data []byte
		if err := rows.Scan(&row, &name, &data); err != nil {
			return err
		}
		if _, whole := unseal(name, data); whole {
			found[name] = data
		} else {
			damaged = append(damaged, row)
		}
		return nil
	}, "SELECT rowid, name, data FROM ledgers")
	if err != nil {
		return err
	}
	for _, row := range damaged {
		if err := f.ledgers.setRowsAside(c, damagedf("a ledger"), []string{"ledgers"}, "rowid = ?", row); err != nil {
			return err
		}
	}
	for name, sealed := range f.kept {
		if !bytes.Equal(found[name], sealed) {
			if err := putLedger(c, name, sealed); err != nil {
				return err
			}
			found[name] = sealed
		}
	}
	f.kept = found
	return nil
}

func putLedger(c connection, name string, sealed []byte) error {
	return c.exec("INSERT INTO ledgers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data", name, sealed)
}

// openLedger returns the ledger, and how often it was saved.
func openLedger(name string, sealed []byte) (saves uint64, ledger []byte) {
	data, _ := unseal(name, sealed)
	if len(data) < 8 {
		return 0, nil
	}
	return binary.LittleEndian.Uint64(data), data[8:]
}

// LoadLedger implements Tenant.
func (t *fileTenant) LoadLedger() (ledger []byte, spent [][]byte, err error) {
	d := t.store.ledgers
	err = d.view(func(connection) error {
		sealed, known := t.store.kept[t.name]
		if !known {
			return d.aside
		}
		var saves uint64
		if saves, ledger = openLedger(t.name, sealed); saves < t.saves {
			// A copy of an older day, or its log is gone.
			return fmt.Errorf("%w later: it is older than the incidents", ErrSetAside)
		}
		t.saves = saves
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	return ledger, t.handedIn(), nil
}

// SaveLedger implements Tenant.
func (t *fileTenant) SaveLedger(ledger []byte) (spent [][]byte, err error) {
	var saves uint64
	err = t.store.ledgers.write(func(c connection) error {
		before, _ := openLedger(t.name, t.store.kept[t.name])
		saves = max(before, t.saves) + 1
		sealed := seal(t.name, append(binary.LittleEndian.AppendUint64(nil, saves), ledger...))
		t.store.kept[t.name] = sealed
		return putLedger(c, t.name, sealed)
	})
	if err != nil {
		return nil, fmt.Errorf("save the ledger: %w", err)
	}
	t.saves = saves
	t.size[1].Store(int64(len(ledger)))
	for _, name := range t.told {
		_ = os.Remove(name) // if it is told again it counts twice, which is safe
	}
	t.told = nil
	return t.handedIn(), nil
}

// What is handed in is a file of its own, because the databases are the owner's
// alone. It begins with a dot until it is whole.
const (
	spentSuffix  = ".spent"
	longestSpent = 1 << 20 // bytes; a ledger has 4 kB
)

// spentPrefix is that of the files of one tenant.
func spentPrefix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8]) + "-"
}

// HandIn implements Store.
func (f *file) HandIn(key Key, spent []byte) error {
	if err := f.handIn(key.name(), spent); err != nil {
		return fmt.Errorf("hand in the calls: %w", err)
	}
	return nil
}

func (f *file) handIn(name string, spent []byte) (err error) {
	if _, err := os.Stat(f.ledgers.path); err != nil {
		return err // nobody would read it
	}
	out, err := os.CreateTemp(f.dir, "."+spentPrefix(name)+"*"+spentSuffix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	_, err = out.Write(seal(name, bytes.Clone(spent)))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), filepath.Join(f.dir, strings.TrimPrefix(filepath.Base(out.Name()), ".")))
}

// handedIn reads what was handed in and not told yet.
func (t *fileTenant) handedIn() (spent [][]byte) {
	t.told = t.store.handedIn(t.name, func(file string, data []byte, err error) {
		if err == nil {
			spent = append(spent, data)
			return
		}
		to := fmt.Sprintf("%s.damaged", file)
		if err := os.Rename(file, to); err == nil {
			file = to
		}
		t.store.logger.Warn("Calls that were handed in cannot be read", "file", file, "err", err)
	})
	return spent
}

// handedIn calls do for all there is of a tenant. It returns the files.
func (f *file) handedIn(name string, do func(file string, data []byte, err error)) []string {
	files, _ := filepath.Glob(filepath.Join(f.dir, spentPrefix(name)+"*"+spentSuffix)) // the pattern is in order
	for _, file := range files {
		data, err := readSpent(file, name)
		do(file, data, err)
	}
	return files
}

func readSpent(file, name string) ([]byte, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > longestSpent {
		return nil, damagedf("it is no file of ours")
	}
	sealed, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	data, whole := unseal(name, sealed)
	if !whole {
		return nil, damagedf("its checksum")
	}
	return data, nil
}

// Peek implements Store.
func (f *file) Peek(key Key) (ledger []byte, spent [][]byte, err error) {
	sealed, err := f.peek(key.folded())
	if err != nil {
		return nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	_, ledger = openLedger(key.name(), sealed)
	f.handedIn(key.name(), func(_ string, data []byte, err error) {
		if err == nil {
			spent = append(spent, data)
		}
	})
	return ledger, spent, nil
}

func (f *file) peek(key Key) (sealed []byte, err error) {
	f.mu.Lock()
	open := f.open[key]
	f.mu.Unlock()
	if open {
		return nil, ErrInUse
	}
	if _, err := os.Stat(f.ledgers.path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if f.owns() {
		err = f.ledgers.view(func(connection) error {
			sealed = f.kept[key.name()]
			return nil
		})
		return sealed, err
	}
	locked, err := lockPatiently(f.dir, peekWait)
	if err != nil {
		return nil, err
	}
	defer func() { _ = locked.Close() }()
	// To open it here would change it: it is put in order when it is.
	dir, err := copyOf(f.ledgers.path)
	if err != nil {
		return nil, err
	}
	other := newFile(dir, f.logger)
	other.ledgers.copied = dir
	if err := other.ledgers.connect(other.ledgers.path); err != nil {
		return nil, err
	}
	defer other.ledgers.close()
	sealed, found := other.kept[key.name()]
	if !found && other.ledgers.aside != nil {
		return nil, damagedf("a ledger")
	}
	return sealed, nil
}
