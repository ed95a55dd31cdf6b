// Package textfile reads files that an operator has named. A path may be
// mistaken for another: a device has no end, and a pipe may have nothing at its
// other end, and neither can be read a second time.
package textfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Max bounds a file, in bytes: a configuration of 100,000 tenants.
const Max = 64 << 20

// Read is ReadUpTo of Max bytes.
func Read(path string) ([]byte, error) { return ReadUpTo(path, Max) }

// ReadUpTo returns what a regular file of at most so many bytes holds. It waits
// for the disk alone. Its errors are of type *fs.PathError, and quote nothing of the
// content: that of the file system, or that it is no regular file or longer.
func ReadUpTo(path string, bytes int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			e.Op = "open" // which is what was meant
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse(path, "it is a %s; it must be a regular file, which can be read again", kind(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, bytes+1)) // it may grow meanwhile
	if err == nil && int64(len(text)) > bytes {
		return nil, refuse(path, "it has more than %d bytes; that cannot be meant", bytes)
	}
	return text, err
}

func refuse(path, format string, args ...any) error {
	return &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf(format, args...)}
}

func kind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "pipe"
	case m&os.ModeSocket != 0:
		return "socket"
	}
	return "device"
}
