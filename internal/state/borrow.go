package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// Borrowed is the ledger of a state that belongs to somebody else, who may
// begin to use it at any time: it is held for no longer than a Load or a Save
// takes. Nothing is made, set aside or renamed. It belongs to one goroutine.
type Borrowed interface {
	// Load returns what was saved, nil if nothing was. An error that matches
	// ErrInUse says that the owner is at work.
	Load() ([]byte, error)
	// Save replaces what Load returned or Save has kept. If it was replaced by
	// somebody else since, or nothing was there, nothing is saved and the error
	// matches ErrInUse.
	Save([]byte) error
}

// Borrow implements Store.
func (b *bolt) Borrow(key Key) Borrowed {
	path := filepath.Join(b.dir, fileName(key)) + ledgerSuffix
	return &borrowed{file: &file{path: path, key: key, noSync: b.noSync, borrowed: true}}
}

type borrowed struct {
	file *file
	last []byte
}

// Load implements Borrowed.
func (b *borrowed) Load() ([]byte, error) {
	err := b.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return b.last, nil
}

func (b *borrowed) load() error {
	info, err := os.Stat(b.file.path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fs.ErrNotExist // it is being made
	}
	if err := b.file.inspect(); err != nil {
		return err
	}
	if err := b.file.connect(true); err != nil {
		return err
	}
	defer b.file.close()
	return b.file.view(func(tx *bbolt.Tx) (err error) {
		b.last, err = readLedger(tx)
		return err
	})
}

// Save implements Borrowed.
func (b *borrowed) Save(ledger []byte) error {
	if b.last == nil {
		return fmt.Errorf("save the ledger: %w", ErrInUse)
	}
	if err := b.save(ledger); err != nil {
		return fmt.Errorf("save the ledger: %w", err)
	}
	b.last = bytes.Clone(ledger)
	return nil
}

func (b *borrowed) save(ledger []byte) error {
	if err := b.file.connect(false); err != nil {
		return err
	}
	defer b.file.close()
	return b.file.update(func(tx *bbolt.Tx) error {
		now, err := readLedger(tx)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, b.last) {
			return ErrInUse
		}
		return writeLedger(tx, ledger)
	})
}

// Borrow implements Store: a process has no memory of another one's.
func (m *memory) Borrow(Key) Borrowed { return nothing{} }

type nothing struct{}

func (nothing) Load() ([]byte, error) { return nil, nil }
func (nothing) Save([]byte) error     { return ErrInUse }
