package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"m365_defender_exporter/internal/incident"
)

// file keeps all tenants in one directory, which one process has for itself, in
// two databases: the ledgers are small, written before every call, and must
// outlive what happens to the incidents, which can be read again; a save of many
// incidents must not hold up calls.
type file struct {
	dir                string
	logger             *slog.Logger
	uptime             Uptime
	incidents, ledgers *database

	turn   chan struct{} // held by who uses what follows
	locked *os.File      // nil: the directory is not ours
	waited bool          // for another process to end

	mu   sync.Mutex
	open map[Key]bool
}

// The versions. That of the incidents changes with the encoding of rows and tables,
// too; that of the ledgers does not.
const (
	incidentsVersion = 2<<16 | incident.Encoding
	ledgersVersion   = 3
)

// How long a process that is ending gets to let go of its state, and a check.
const (
	lockWait = 2 * time.Second
	peekWait = 200 * time.Millisecond
)

func newFile(dir string, o Options) *file {
	f := &file{dir: dir, logger: o.Logger, uptime: o.Uptime, turn: make(chan struct{}, 1), open: make(map[Key]bool)}
	if f.uptime == nil {
		f.uptime = machineUptime()
	}
	f.incidents = f.database("incidents.db", incidentsVersion)
	f.ledgers = f.database("ledgers.db", ledgersVersion)
	f.ledgers.heads, f.ledgers.replaced, f.ledgers.room = make(map[Key][]byte), make(map[Key][][]byte), true
	return f
}

func (f *file) database(name string, version int) *database {
	return &database{path: filepath.Join(f.dir, name), version: version, own: f.own, logger: f.logger, pace: pace, turn: make(chan struct{}, 1)}
}

// Open implements Store.
func (f *file) Open(key Key) (Tenant, error) {
	if err := f.own(); errors.Is(err, ErrInUse) {
		return nil, err
	}
	head := key.head()
	key = head.owner
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[key] {
		return nil, configuredTwice(key)
	}
	f.open[key] = true
	return &fileTenant{store: f, key: key, head: head}, nil
}

// own makes the directory ours, and makes sure that it still is. It waits once
// for a process that is ending.
func (f *file) own() error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if f.locked != nil {
		was, err := f.locked.Stat()
		now, errNow := os.Stat(f.locked.Name())
		if err == nil && errNow == nil && os.SameFile(was, now) {
			return nil
		}
		f.logger.Warn("The directory of the state is not the one that was in use", "directory", f.dir)
		f.unlock()
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	patience := lockWait
	if f.waited {
		patience = 0
	}
	var err error
	f.locked, err = lockPatiently(f.dir, patience)
	f.waited = f.waited || err != nil
	return err
}

func lockPatiently(dir string, patience time.Duration) (*os.File, error) {
	const step = 20 * time.Millisecond
	for ; ; patience -= step {
		f, err := lock(dir)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, ErrInUse) || patience <= 0 {
			return nil, fmt.Errorf("%w: %s", err, dir)
		}
		time.Sleep(step)
	}
}

func (f *file) unlock() {
	if f.locked != nil {
		_ = f.locked.Close()
		f.locked = nil
	}
}

// Close implements Store.
func (f *file) Close() error {
	f.incidents.finish()
	f.ledgers.finish()
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.unlock()
	f.waited = false
	return nil
}

// Forget implements Store: what is on the disk costs nothing.
func (*file) Forget(Key) {}

// fileTenant is one tenant's part of the databases.
type fileTenant struct {
	store *file
	key   Key
	head  place
	// last is what the rows were when they were last read or written, when the
	// database had been opened so often; 0: never. If there is something else now
	// it is not what we know.
	last  summary
	known int
	// saves counts how often the ledger was saved, in all lives. The rows know it,
	// too, so that an older ledger is not taken for the one that belongs to them.
	saves uint64
	// ledger is what was last read or written as such. If there is something else now it
	// is another process's; others are such, which were not told yet.
	ledger []byte
	others []Written
	told   []string // files with what was handed in, which the next ledger contains
	size   [2]atomic.Int64
}

// Size implements Tenant.
func (t *fileTenant) Size() int64 { return t.size[0].Load() + t.size[1].Load() }

// Close implements Tenant.
func (t *fileTenant) Close() error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	delete(t.store.open, t.key)
	return nil
}
