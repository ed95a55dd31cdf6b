package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// file is one bolt file with an envelope: what is in it is proven to be whole
// before it is used, and nothing in it can take the process down.
type file struct {
	path   string
	key    Key
	noSync bool // for tests: as fast as memory, and as safe
	db     *bbolt.DB
	// readOnly: the file could be read but not be written.
	readOnly bool
	borrowed bool // it is never made, and not waited for long
	size     atomic.Int64
}

const (
	// lockWait is how long a process that is ending gets to let go of its state.
	lockWait = 2 * time.Second
	// borrowWait is how long one that borrows gets.
	borrowWait = 200 * time.Millisecond
)

// open makes the file ours. It is content with one that can only be read, for
// the time being. An error that matches ErrSetAside says that there was
// something that is of no use.
func (f *file) open() error {
	if f.db != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return f.create()
	}
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if err = f.connect(false); err != nil && !errors.Is(err, ErrInUse) && f.connect(true) == nil {
		return nil
	}
	return err
}

// writable is open, and not content with less.
func (f *file) writable() error {
	if f.readOnly {
		f.close()
	}
	// What is set aside makes room for a new file.
	if err := f.open(); err != nil && (f.db == nil || !errors.Is(err, ErrSetAside)) {
		return err
	}
	if f.readOnly {
		return fmt.Errorf("%s can only be read", f.path)
	}
	return nil
}

// check makes sure that the file can be handed to bolt, or sets it aside.
func (f *file) check() error {
	err := f.inspect()
	var other *otherError
	switch {
	case errors.As(err, &other):
		return f.setAside(other.suffix, err)
	case errors.Is(err, errDamaged):
		return f.setAside("damaged", err)
	}
	return err
}

// inspect makes sure that the file is whole and ours.
func (f *file) inspect() error {
	// A read-only handle looks at nothing but the first pages, and keeps others
	// from writing.
	if err := f.connect(true); err != nil {
		return err
	}
	defer f.close()
	if err := verify(f.path); err != nil {
		return err
	}
	return f.view(f.identify)
}

func (f *file) connect(readOnly bool) error {
	patience := lockWait
	if f.borrowed {
		patience = borrowWait
	}
	err := guard(func() (err error) {
		f.db, err = bbolt.Open(f.path, 0o600, &bbolt.Options{
			ReadOnly: readOnly, Timeout: patience, NoStatistics: true, PageSize: pageSize,
			FreelistType: bbolt.FreelistMapType, NoSync: f.noSync, NoGrowSync: f.noSync, OpenFile: f.openFile,
		})
		return err
	})
	f.readOnly = readOnly
	if err == nil {
		f.measure()
		return nil
	}
	f.db = nil
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrInUse, f.path)
	case isIO(err):
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

func (f *file) openFile(name string, flag int, mode os.FileMode) (*os.File, error) {
	if f.borrowed {
		flag &^= os.O_CREATE
	}
	return os.OpenFile(name, flag, mode)
}

// isIO tells a failure of the system from a complaint about the content.
func isIO(err error) bool {
	var path *fs.PathError
	var errno syscall.Errno
	return errors.As(err, &path) || errors.As(err, &errno) || errors.Is(err, bolterrors.ErrMaxSizeReached)
}

func (f *file) create() error {
	err := f.connect(false)
	if err == nil {
		if err = f.update(f.sign); err != nil {
			f.close()
		}
	}
	if err != nil && !errors.Is(err, ErrInUse) {
		_ = os.Remove(f.path) // half made: the next attempt must not take it for damaged
	}
	return err
}

// setAside renames the file for somebody to look at, and begins a new one.
func (f *file) setAside(suffix string, why error) error {
	f.close()
	to := fmt.Sprintf("%s.%s-%s", f.path, suffix, time.Now().UTC().Format("20060102T150405.000Z"))
	if err := os.Rename(f.path, to); err != nil {
		return fmt.Errorf("%w; it cannot be set aside: %w", why, err)
	}
	f.size.Store(0)
	_ = f.create() // if this fails, so will the next save, and tell
	return fmt.Errorf("%w as %s: %w", ErrSetAside, to, why)
}

// view and update run a transaction. What panics in it is an error.
func (f *file) view(do func(*bbolt.Tx) error) error {
	return f.guarded(func() error { return f.db.View(do) })
}

func (f *file) update(do func(*bbolt.Tx) error) error {
	err := f.guarded(func() error { return f.db.Update(do) })
	if !f.measure() {
		// Somebody has deleted the file, and we write to nowhere.
		f.close()
	}
	return err
}

func (f *file) guarded(do func() error) error {
	err := guard(do)
	var crash *crashError
	if errors.As(err, &crash) {
		// The handle may hold locks for ever. Another one is opened, and the file
		// verified, by the next attempt.
		db := f.db
		f.db = nil
		go func() { _ = guard(db.Close) }()
	}
	return err
}

func (f *file) close() {
	if f.db != nil {
		db := f.db
		f.db = nil
		_ = guard(db.Close)
	}
}

func (f *file) measure() (exists bool) {
	info, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	f.size.Store(info.Size())
	return true
}

// crashError is a panic.
type crashError struct{ value any }

func (e *crashError) Error() string { return fmt.Sprintf("the file cannot be read: %v", e.value) }
func (e *crashError) Unwrap() error { return errDamaged }

// guard turns a panic into an error, and so a fault of the memory that a file
// is mapped to: files rot and disks fail after they were verified, too.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = &crashError{v}
		}
	}()
	return do()
}
