//go:build !windows

package state

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// lock takes the directory for this process, until the file that it returns is
// closed. The directory itself is locked, so that a process that deletes or replaces
// what is in it lets no other in. Where that cannot be, which is so on some
// network file systems, a file in it is.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = flock(f); err == nil || errors.Is(err, ErrInUse) {
		return f, err
	}
	if f, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	return f, flock(f)
}

// flock does not wait. It closes the file if it cannot be locked.
func flock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}
