package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// layout is that of both databases. A record is known by whose it is, its kind
// and its number.
const layout = `CREATE TABLE records (tenant INTEGER, kind INTEGER, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (tenant, kind, number))`

// kind of a record.
type kind int64

const (
	kindHead   kind = iota // one for each tenant, which says whose it is
	kindChunk              // of rows
	kindSwept              // a part of what the sweep in progress has seen
	kindRow                // of one incident
	kindLedger             // by itself
)

// place is where a record is.
type place struct {
	owner  Key
	tenant int64 // the owner as a number
	kind   kind
	number int64
}

// head is the place of a tenant's first record. The number is made of the key; two
// tenants that had the same would look damaged to each other.
func (k Key) head() place {
	k = k.folded()
	sum := sha256.Sum256([]byte(k.name()))
	return place{owner: k, tenant: int64(binary.LittleEndian.Uint64(sum[:]))}
}

func (p place) record(k kind, number int64) place {
	p.kind, p.number = k, number
	return p
}

// name is what a head begins with.
func (k Key) name() string { return fmt.Sprintf(nameFormat, k.Tenant, k.API) }

const nameFormat = "%q %q\n"

// sealHead is seal of the owner's name and the data.
func (p place) sealHead(data []byte) []byte { return p.seal(append([]byte(p.owner.name()), data...)) }

// openHead takes the checksum and the name off, and tells whose it is.
func openHead(tenant int64, sealed []byte) (owner Key, data []byte, whole bool) {
	r := bytes.NewReader(sealed)
	if _, err := fmt.Fscanf(r, nameFormat, &owner.Tenant, &owner.API); err != nil {
		return owner, nil, false
	}
	p := owner.head()
	if data, whole = p.unseal(sealed); !whole || p.tenant != tenant || r.Len() < sealLength {
		return owner, nil, false
	}
	return owner, data[len(sealed)-r.Len():], true
}

// errDamaged says that what was read is not what was written.
var errDamaged = errors.New("it is damaged")

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// seal appends a checksum of the data and of their place. SQLite checks how its
// pages hang together, not what is in them.
func (p place) seal(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(data, p.checksum(data))
}

const sealLength = 4 // bytes

// unseal takes the checksum off.
func (p place) unseal(sealed []byte) ([]byte, bool) {
	n := len(sealed) - sealLength
	if n < 0 || p.checksum(sealed[:n]) != binary.LittleEndian.Uint32(sealed[n:]) {
		return nil, false
	}
	return sealed[:n:n], true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p place) checksum(data []byte) uint32 {
	sum := crc32.Checksum(fmt.Appendf(nil, "%d %d %d ", p.tenant, p.kind, p.number), castagnoli)
	return crc32.Update(sum, castagnoli, data)
}

// connection is what statements are run by.
type connection struct {
	*sql.Conn
	get, put, drop *sql.Stmt // of one record
}

func (c *connection) prepare() error {
	for statement, text := range map[**sql.Stmt]string{
		&c.get:  "SELECT data FROM records WHERE tenant = ? AND kind = ? AND number = ?",
		&c.put:  "INSERT INTO records VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET data = ?4",
		&c.drop: "DELETE FROM records WHERE tenant = ? AND kind = ? AND number = ?",
	} {
		var err error
		if *statement, err = c.PrepareContext(context.Background(), text); err != nil {
			return err
		}
	}
	return nil
}

// close also ends the statements, which would keep the files open.
func (c *connection) close() {
	for _, statement := range []*sql.Stmt{c.get, c.put, c.drop} {
		if statement != nil {
			_ = statement.Close()
		}
	}
	_ = c.Close()
}

func (c *connection) exec(statement string, args ...any) error {
	_, err := c.ExecContext(context.Background(), statement, args...)
	return err
}

// record returns what is at the place, sealed; nil if nothing is.
func (c *connection) record(p place) (sealed []byte, err error) {
	err = c.get.QueryRowContext(context.Background(), p.tenant, p.kind, p.number).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return sealed, err
}

// replace puts sealed data at the place; nil: nothing.
func (c *connection) replace(p place, sealed []byte) (err error) {
	if sealed == nil {
		_, err = c.drop.ExecContext(context.Background(), p.tenant, p.kind, p.number)
	} else {
		_, err = c.put.ExecContext(context.Background(), p.tenant, p.kind, p.number, sealed)
	}
	return err
}

// each calls do for the first number of all records that a condition selects, in
// their order. The data are good until the next.
func (c *connection) each(do func(number int64, sealed []byte) error, what, where string, args ...any) error {
	rows, err := c.QueryContext(context.Background(), "SELECT "+what+", data FROM records WHERE "+where+" ORDER BY "+what, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var number int64
		var sealed sql.RawBytes
		if err := rows.Scan(&number, &sealed); err != nil {
			return err
		}
		if err := do(number, sealed); err != nil {
			return err
		}
	}
	return rows.Err()
}
