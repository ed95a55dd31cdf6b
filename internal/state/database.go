package state

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// database is one SQLite database of records that this process has for itself. It
// is opened by the first use, and again after whatever has made it unusable.
//
// Writes are committed in groups: all that wait share one flush to the disk.
type database struct {
	path    string
	version int // it is marked with
	// heads are those of all tenants, less seal and name, in memory, too: what the
	// file does not have is put there when it is opened. Nil: only in the file.
	heads map[Key][]byte
	// replaced are heads that were in the file and another process's: ours are in their
	// place now.
	replaced map[Key][][]byte
	// own makes sure that the directory is ours.
	own    func() error
	logger *slog.Logger
	pace   time.Duration // between groups
	room   bool          // what is small is saved although the disk is full, see makeRoom

	turn chan struct{} // held by who uses what follows
	pool *sql.DB       // of one connection; nil: closed
	conn *connection
	// opened counts how often it was opened. What was known of it then does not hold
	// the next time.
	opened   int
	readOnly bool           // it could not be written to when it was opened
	left     [2]fs.FileInfo // the database and its log as we left them
	aside    error          // what was set aside last, and why
	due      time.Time      // when the next flush may be, and far in the past after a pause
	waiting  struct {
		sync.Mutex
		group []*write
	}
}

// A group is not committed before the one before it is so old, unless there was a
// pause of so long: few writers do not wait, and many share their flushes.
const (
	pace  = 100 * time.Millisecond
	pause = 5 * time.Second
)

// write is one part of a transaction that others have part in.
type write struct {
	do     func(*connection) error
	err    error
	panics any
	done   chan struct{}
}

// write runs do within a transaction, and returns once that is safe on the disk.
// Whatever do returns undoes what it did, and nothing else.
func (d *database) write(do func(*connection) error) error {
	w := &write{do: do, done: make(chan struct{})}
	d.waiting.Lock()
	d.waiting.group = append(d.waiting.group, w)
	first := len(d.waiting.group) == 1
	d.waiting.Unlock()
	if first {
		d.flush()
	}
	<-w.done
	if w.panics != nil {
		panic(w.panics)
	}
	return w.err
}

// flush commits everything that waits.
func (d *database) flush() {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	time.Sleep(time.Until(d.due))
	d.waiting.Lock()
	group := d.waiting.group
	d.waiting.group = nil
	d.waiting.Unlock()
	if earliest := time.Now().Add(-pause); d.due.Before(earliest) {
		d.due = earliest
	}
	d.due = d.due.Add(d.pace)
	err := d.attempt(group)
	if errors.Is(err, ErrSetAside) {
		// Nothing of it is lost: all that is known is in memory, too.
		d.logger.Error("The saved state begins anew", "err", err)
		err = d.attempt(group)
	}
	for _, w := range group {
		if err != nil {
			w.err = err
		}
		close(w.done)
	}
}

func (d *database) attempt(group []*write) error {
	if err := d.open(true); err != nil {
		return err
	}
	return d.settle(d.commit(group))
}

// commit runs the group in one transaction. An error of the database fails all
// of them.
func (d *database) commit(group []*write) (err error) {
	if err := d.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.conn.exec("ROLLBACK") // fails if SQLite has done so itself
		}
	}()
	for _, w := range group {
		if err := d.conn.exec("SAVEPOINT part"); err != nil {
			return err
		}
		w.run(d.conn)
		if _, is := errors.AsType[*sqlite.Error](w.err); is {
			return w.err
		}
		if w.err != nil || w.panics != nil {
			if err := d.conn.exec("ROLLBACK TO part"); err != nil {
				return err
			}
		}
		if err := d.conn.exec("RELEASE part"); err != nil {
			return err
		}
	}
	return d.conn.exec("COMMIT")
}

// run keeps a panic for the goroutine that it belongs to.
func (w *write) run(c *connection) {
	w.err, w.panics = nil, nil
	defer func() {
		if v := recover(); v != nil {
			w.panics = fmt.Sprintf("%v\n%s", v, debug.Stack())
		}
	}()
	w.err = w.do(c)
}

// view runs do, which must only read.
func (d *database) view(do func(*connection) error) error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if err := d.open(false); err != nil {
		return err
	}
	return d.settle(do(d.conn))
}

// settle notes how we leave the files, and sets them aside if they turned out to
// be damaged.
func (d *database) settle(err error) error {
	if e, is := errors.AsType[*sqlite.Error](err); is && e.Code() == sqlite3.SQLITE_FULL {
		_ = d.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)") // what is in the log only may make room
	}
	d.left = d.look()
	if err != nil && d.damaged(err) {
		return d.setAside("damaged", err)
	}
	return err
}

// open makes the database usable, for reading at least. A caller that is about to write
// asks for more.
func (d *database) open(write bool) error {
	if err := d.own(); err != nil {
		return err
	}
	if d.pool != nil && !unchanged(d.left, d.look()) {
		// What is there now is checked as at a start, and written anew from memory.
		d.logger.Warn("The saved state was changed by another process while it was in use", "file", d.path)
		d.close()
	}
	if d.pool != nil && (!d.readOnly || !write) {
		return nil
	}
	d.close()
	err := d.connect(false)
	switch {
	case err == nil:
	case errors.Is(err, errOtherVersion):
		err = d.setAside("other-version", err)
	case d.damaged(err):
		err = d.setAside("damaged", err)
	case !write && d.connect(true) == nil:
		return nil
	}
	if errors.Is(err, ErrSetAside) { // there is room for a new one
		err = d.connect(false)
	}
	d.left = d.look()
	return err
}

// names are those of the database and of its log.
func names(path string) [2]string { return [2]string{path, path + "-wal"} }

func (d *database) look() (found [2]fs.FileInfo) {
	for i, name := range names(d.path) {
		found[i], _ = os.Stat(name) // not there is what the zero value says
	}
	return found
}

func unchanged(a, b [2]fs.FileInfo) bool {
	if runtime.GOOS == "windows" {
		return true // no other process can write to them, and their times are written late
	}
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) ||
			a[i] != nil && (!os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime())) {
			return false
		}
	}
	return true
}

// connect opens the database and checks it. Unless it is for reading only, which
// changes nothing, it is made if it is not there.
func (d *database) connect(readOnly bool) error {
	d.readOnly = readOnly
	// SQLite looks for a journal, which is none of ours, and would wait for a pipe.
	if journal := d.path + "-journal"; !regular(journal) {
		return fmt.Errorf("%s is no regular file", journal)
	}
	if !readOnly {
		if err := prepare(d.path); err != nil {
			return err
		}
	}
	connector, err := sqlite.NewConnector(dsn(d.path, readOnly))
	if err != nil {
		return err
	}
	d.pool = sql.OpenDB(connector)
	d.pool.SetMaxOpenConns(1)
	conn, err := d.pool.Conn(context.Background())
	if err == nil {
		d.conn = &connection{Conn: conn}
		err = d.check()
	}
	if err == nil {
		err = d.conn.prepare()
	}
	if err == nil {
		d.opened++
		err = d.readHeads()
	}
	if err != nil {
		d.close()
		return err
	}
	if d.room && !readOnly {
		d.makeRoom()
	}
	return nil
}

// makeRoom lets the database and its log grow by what later writes will need, so that
// those need nothing more of the disk: what is dropped is used again, and so is a log
// that went into the database, after so many pages. One that writes everything to a new
// place gives no room, and each write finds out.
func (d *database) makeRoom() {
	const pages, room = 100, 2 * 100 * 4096
	_ = d.conn.exec(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", pages))
	if log, err := os.Stat(d.path + "-wal"); err == nil && log.Size() >= room {
		return
	}
	// What is begun has to succeed, or it takes the room that there is, for nothing.
	if err := fits(filepath.Dir(d.path), 4*room); err != nil {
		d.logger.Warn("There is no room to keep on the disk of the state for when it is full", "file", d.path, "bytes", 4*room, "err", err)
		return
	}
	_ = d.conn.exec("DROP TABLE IF EXISTS room") // a crash has left it
	_ = d.conn.exec(fmt.Sprintf("CREATE TABLE room AS SELECT zeroblob(%d)", room))
	_ = d.conn.exec("DROP TABLE IF EXISTS room")
}

// fits tries whether so many bytes can be written in the directory.
func fits(dir string, bytes int) error {
	name := filepath.Join(dir, ".room")
	_ = os.Remove(name) // a crash has left it
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, bytes))
	return errors.Join(err, f.Close(), os.Remove(name))
}

// regular tells that there is a regular file of this name, or nothing.
func regular(name string) bool {
	info, err := os.Lstat(name)
	return err != nil || info.Mode().IsRegular()
}

// prepare makes the file, readable by its owner only, as the log will be.
func prepare(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 && info.Size() == 0 {
		return damagedf("only its log is there") // which SQLite would throw away
	}
	return nil
}

// dsn names the database. That it is ours alone has to be known before the log is
// opened, by the first statement that reads: the log is indexed in memory then, and
// not in a file that is mapped. A file that can only be read cannot be locked.
func dsn(path string, readOnly bool) string {
	how := ""
	if _, err := os.Stat(path + "-wal"); readOnly && err != nil {
		how = "&mode=ro&immutable=1"
	} else if readOnly {
		how = "&mode=ro&vfs=" + map[bool]string{true: "win32-none", false: "unix-none"}[runtime.GOOS == "windows"]
	}
	path = filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" {
		path = "/" + path
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_busy_timeout=1000&_dqs=0&_defensive=1&_pragma=locking_mode(EXCLUSIVE)" + how
}

// settings of a connection that may write. FULL: a commit is flushed.
const settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 400; PRAGMA journal_size_limit = 16777216;"

// check makes sure that the database is whole and of this version. It makes the
// tables of a new one.
func (d *database) check() error {
	var version, tables int
	var answer string
	for _, ask := range []struct {
		query  string
		answer any
	}{
		{"SELECT count(*) FROM sqlite_schema", &tables}, // the first that reads
		{"PRAGMA user_version", &version},
		{"PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -4000; PRAGMA quick_check(1)", &answer},
	} {
		if err := d.conn.QueryRowContext(context.Background(), ask.query).Scan(ask.answer); err != nil {
			return err
		}
	}
	switch {
	case answer != "ok":
		return damagedf("%s", answer)
	case version != d.version && version+tables != 0:
		return fmt.Errorf("%w: layout %d, not %d", errOtherVersion, version, d.version)
	case d.readOnly:
		return nil
	}
	if err := d.conn.exec(settings); err != nil || version == d.version {
		return err
	}
	return d.conn.exec(fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", layout, d.version))
}

// errOtherVersion says that a database is whole but not ours to read.
var errOtherVersion = errors.New("it is of another version of this program")

// damaged tells a complaint about the content from a failure of the system.
func (d *database) damaged(err error) bool {
	if errors.Is(err, ErrSetAside) {
		return false // that has been seen to
	}
	if errors.Is(err, errDamaged) {
		return true
	}
	e, is := errors.AsType[*sqlite.Error](err)
	if !is {
		return false
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_SHORT_READ:
		return true
	case sqlite3.SQLITE_READONLY:
		return !d.readOnly // it says so of itself
	}
	system := []int{
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY,
		sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_PROTOCOL,
	}
	return !slices.Contains(system, e.Code()&0xff)
}

// setAside renames the files, to be looked at. The next use begins anew.
func (d *database) setAside(suffix string, why error) error {
	d.close()
	to := d.asideName(suffix)
	for i, name := range names(d.path) {
		if err := os.Rename(name, names(to)[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w; it cannot be set aside: %w", why, err)
		}
	}
	d.aside = fmt.Errorf("%w and was set aside as %s: %w", ErrSetAside, to, why)
	return d.aside
}

// asideName is a dated name that is free.
func (d *database) asideName(suffix string) string {
	for at := time.Now().UTC(); ; at = at.Add(time.Millisecond) {
		name := fmt.Sprintf("%s.%s-%s", d.path, suffix, at.Format("20060102T150405.000Z"))
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
	}
}

// setTenantAside moves all records of a tenant to a database under a dated name.
func (d *database) setTenantAside(tenant int64, why error) error {
	if d.readOnly {
		d.aside = fmt.Errorf("%w: %w", ErrSetAside, why)
		return d.aside
	}
	to := d.asideName("damaged")
	if err := prepare(to); err != nil {
		return err
	}
	if err := d.conn.exec("ATTACH ? AS aside", to); err != nil {
		return err
	}
	defer func() { _ = d.conn.exec("DETACH aside") }()
	if err := d.conn.exec("CREATE TABLE aside.records AS SELECT * FROM main.records WHERE tenant = ?", tenant); err != nil {
		return err
	}
	if err := d.conn.exec("DELETE FROM main.records WHERE tenant = ?", tenant); err != nil {
		return err
	}
	d.aside = fmt.Errorf("%w and was set aside as %s: %w", ErrSetAside, to, why)
	return d.aside
}

// readHeads makes sure that all heads are whole: a name that is damaged would be
// taken for a tenant that is new.
func (d *database) readHeads() error {
	found := make(map[Key][]byte)
	var damaged []int64
	if err := d.conn.each(func(tenant int64, sealed []byte) error {
		owner, data, whole := openHead(tenant, sealed)
		if whole {
			found[owner] = nil
			if d.heads != nil {
				found[owner] = bytes.Clone(data)
			}
		} else {
			damaged = append(damaged, tenant)
		}
		return nil
	}, "tenant", "kind = ?", kindHead); err != nil {
		return err
	}
	for _, tenant := range damaged {
		if err := d.setTenantAside(tenant, damagedf("a head")); !errors.Is(err, ErrSetAside) {
			return err
		}
	}
	if d.heads == nil {
		return nil
	}
	for owner, data := range d.heads {
		was, there := found[owner]
		if there && bytes.Equal(was, data) {
			continue
		}
		if there && !slices.ContainsFunc(d.replaced[owner], func(known []byte) bool { return bytes.Equal(known, was) }) {
			d.replaced[owner] = append(d.replaced[owner], was)
		}
		if found[owner] = data; d.readOnly {
			continue
		}
		if err := d.conn.replace(owner.head(), owner.head().sealHead(data)); err != nil {
			return err
		}
	}
	d.heads = found
	return nil
}

// close lets go of the files. A log that is whole goes into the database.
func (d *database) close() {
	if d.pool != nil {
		if d.conn != nil {
			d.conn.close()
		}
		_ = d.pool.Close() // what is not written yet is read from the log next time
		d.pool, d.conn = nil, nil
	}
}

// finish is close, by who is not using the database.
func (d *database) finish() {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.pool != nil && !unchanged(d.left, d.look()) {
		d.logger.Warn("The saved state was changed by another process, the last save may be lost", "file", d.path)
	}
	d.close()
	clear(d.heads) // another process may write now
	clear(d.replaced)
}
