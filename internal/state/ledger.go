package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// openLedger returns the ledger, and how often it was saved.
func (f *file) openLedger(head []byte) (saves uint64, ledger Written) {
	if len(head) < 8 {
		return 0, Written{Age: -1}
	}
	return binary.LittleEndian.Uint64(head), f.uptime.open(head[8:])
}

// LoadLedger implements Tenant.
func (t *fileTenant) LoadLedger() (ledger Written, spent []Written, err error) {
	d := t.store.ledgers
	ledger.Age = -1
	err = d.view(func(*connection) error {
		head, known := d.heads[t.key]
		t.ledger = head
		if !known {
			return d.aside
		}
		var saves uint64
		if saves, ledger = t.store.openLedger(head); saves < t.saves {
			// A copy of an older day, or its log is gone.
			return fmt.Errorf("%w: the ledger is older than the incidents", ErrSetAside)
		}
		t.saves = saves
		return nil
	})
	if err != nil {
		return Written{}, nil, fmt.Errorf("read the ledger: %w", err)
	}
	return ledger, t.handedIn(), nil
}

// Ownership implements Tenant: the directory has one owner.
func (*fileTenant) Ownership() Ownership { return Ownership{} }

// SaveLedger implements Tenant.
func (t *fileTenant) SaveLedger(ledger []byte) (spent []Written, err error) {
	var saves uint64
	d := t.store.ledgers
	err = d.write(func(c *connection) error {
		there := d.heads[t.key]
		before, other := t.store.openLedger(there)
		if len(there) > 0 && !bytes.Equal(there, t.ledger) {
			t.others = append(t.others, other)
		}
		for _, head := range d.replaced[t.key] {
			_, other := t.store.openLedger(head)
			t.others = append(t.others, other)
		}
		delete(d.replaced, t.key)
		saves = max(before, t.saves) + 1
		t.ledger = append(binary.LittleEndian.AppendUint64(nil, saves), t.store.uptime.stamp(ledger)...)
		d.heads[t.key] = t.ledger
		return c.replace(t.head, t.head.sealHead(t.ledger))
	})
	if err != nil {
		return nil, fmt.Errorf("save the ledger: %w", err)
	}
	t.saves = saves
	t.size[1].Store(int64(len(ledger)))
	for _, name := range t.told {
		_ = os.Remove(name) // if it is told again it counts twice, which is safe
	}
	others := t.others
	t.told, t.others = nil, nil
	return append(others, t.handedIn()...), nil
}

// What is handed in is a file of its own, because the databases are the owner's
// alone. It begins with a dot until it is whole.
const (
	spentSuffix  = ".spent"
	longestSpent = 1 << 20 // bytes; a ledger has 4 kB
)

// spentPrefix is that of the files of one tenant.
func spentPrefix(head place) string { return fmt.Sprintf("%016x-", uint64(head.tenant)) }

// HandIn implements Store.
func (f *file) HandIn(key Key, spent []byte) error {
	if err := f.handIn(key.head(), spent); err != nil {
		return fmt.Errorf("hand in the calls: %w", err)
	}
	return nil
}

func (f *file) handIn(head place, spent []byte) (err error) {
	out, err := os.CreateTemp(f.dir, "."+spentPrefix(head)+"*"+spentSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNowhere
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	_, err = out.Write(head.sealHead(f.uptime.stamp(spent)))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), filepath.Join(f.dir, strings.TrimPrefix(filepath.Base(out.Name()), ".")))
}

// handedIn reads what was handed in and not told yet.
func (t *fileTenant) handedIn() (spent []Written) {
	t.told = t.store.handedIn(t.head, func(file string, data []byte, err error) {
		if err == nil {
			spent = append(spent, t.store.uptime.open(data))
			return
		}
		t.store.logger.Warn("Calls that were handed in cannot be read", "file", file, "err", err)
	})
	return spent
}

// handedIn calls do for all there is of a tenant. It returns the files.
func (f *file) handedIn(head place, do func(file string, data []byte, err error)) []string {
	files, _ := filepath.Glob(filepath.Join(f.dir, spentPrefix(head)+"*"+spentSuffix)) // the pattern is in order
	for _, file := range files {
		data, err := readSpent(file, head)
		do(file, data, err)
	}
	return files
}

func readSpent(file string, head place) ([]byte, error) {
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
	_, data, whole := openHead(head.tenant, sealed)
	if !whole {
		return nil, damagedf("its checksum")
	}
	return data, nil
}

// Peek implements Store. Where the directory is this process's own it is read like
// any other.
func (f *file) Peek(key Key) (ledger Written, spent []Written, err error) {
	ledger.Age = -1
	f.turn <- struct{}{}
	ours := f.locked != nil
	if !ours {
		ledger, err = f.peek(key.head())
	}
	<-f.turn
	if ours {
		err = f.ledgers.view(func(*connection) error {
			_, ledger = f.openLedger(f.ledgers.heads[key.head().owner])
			return nil
		})
	}
	if err != nil {
		ledger, err = Written{Age: -1}, fmt.Errorf("read the ledger: %w", err)
	}
	f.handedIn(key.head(), func(_ string, data []byte, err error) {
		if err == nil {
			spent = append(spent, f.uptime.open(data))
		}
	})
	return ledger, spent, err
}

func (f *file) peek(head place) (none Written, err error) {
	none.Age = -1
	if _, err := os.Stat(f.ledgers.path); errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	locked, err := lockPatiently(f.dir, peekWait)
	if err != nil {
		return none, err
	}
	defer func() { _ = locked.Close() }()
	d := newFile(f.dir, Options{Logger: f.logger}).ledgers
	if err := d.connect(true); err != nil {
		return none, err
	}
	defer d.close()
	data, found := d.heads[head.owner]
	if !found && d.aside != nil {
		return none, damagedf("a ledger")
	}
	_, ledger := f.openLedger(data)
	return ledger, nil
}
