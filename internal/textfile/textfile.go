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

// Read returns what a regular file holds. It waits for the disk alone. Its error
// names the path: that of the file system, or that it is no regular file or has
// more than Max bytes.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			e.Op = "open" // which is what was meant
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is a %s; it must be a regular file, which can be read again", path, kind(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, Max+1)) // it may grow meanwhile
	if err == nil && len(text) > Max {
		return nil, fmt.Errorf("read %s: it has more than %d bytes; that cannot be meant", path, Max)
	}
	return text, err
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
