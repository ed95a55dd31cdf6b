// Package state keeps what has to survive a restart: a tenant's mirror, how far
// its readings have come, and the ledger of its calls. It keeps bytes and
// understands none of them; it answers for their being whole, of this tenant,
// and of this version of the program.
//
// What cannot be trusted is set aside under another name, never deleted and
// never used in part.
package state

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"m365_defender_exporter/internal/incident"
)

// Key says whose state it is. Its case has no meaning.
type Key struct {
	// Tenant is the directory (tenant) id: a GUID or a domain, neither of which
	// has a case.
	Tenant string
	// API is the flavour: two of them number incidents alike, but one must not
	// go on from what the other has read.
	API string
}

// folded is the one spelling of a key.
func (k Key) folded() Key { return Key{strings.ToLower(k.Tenant), strings.ToLower(k.API)} }

// Store has the states of many tenants.
type Store interface {
	// Open makes the tenant's state ours until it is closed. An error that
	// matches ErrInUse says that it is another process's; there is no other. What is
	// wrong with the state itself is reported by what needs it.
	Open(Key) (Tenant, error)
	// Peek returns what LoadLedger would, for a process that makes calls without
	// being the tenant's owner. An error that matches ErrInUse says that the owner
	// is at work. Nothing is changed or set aside.
	Peek(Key) (ledger []byte, spent [][]byte, err error)
	// HandIn tells the tenant's owner, or the next one, of calls of such a process.
	// It is safe on the disk when it returns.
	HandIn(key Key, spent []byte) error
	// Forget is told that a tenant was removed and has closed its state. What is
	// kept in memory goes; what is on a disk stays, for a tenant that is added
	// again.
	Forget(Key)
	// Close lets go of everything. It comes after the tenants' own Close.
	Close() error
}

// Tenant is the state of one tenant. It belongs to one goroutine, but for Size.
type Tenant interface {
	// Load calls restore with what was saved, if anything was. After an error
	// what restore has made of it must not be used. If it matches ErrSetAside
	// there was something, and the next Save begins anew.
	Load(restore func(*incident.Saved) error) error
	// Save keeps what export returns, all of it or nothing. It asks for a full
	// export if what changed is not enough. Nothing is lost by an error: the next
	// Save has to bring the same changes again.
	Save(export func(full bool) (*incident.Saved, error)) error
	// LoadLedger returns what SaveLedger kept, nil if nothing, and what was handed
	// in since, which the next ledger has to contain. An error that matches
	// ErrSetAside says that there was a ledger. It comes after Load.
	LoadLedger() (ledger []byte, spent [][]byte, err error)
	// SaveLedger is called before every call of the API. The ledger is safe on the
	// disk when it returns. What was handed in meanwhile the next ledger has to
	// contain. An error that matches ErrInUse says that the state is
	// another process's by now.
	SaveLedger([]byte) (spent [][]byte, err error)
	// Size on disk in bytes.
	Size() int64
	Close() error
}

var (
	// ErrInUse says that another process has this state.
	ErrInUse = errors.New("the state is in use by another process")
	// ErrSetAside says that there was a state and that it is not usable.
	ErrSetAside = errors.New("the saved state is not usable and was set aside")
)

// New returns the store at a URL: memory:, or file: and a directory. It makes
// and opens nothing. The logger is told what happens to a state in use.
func New(url string, logger *slog.Logger) (Store, error) {
	scheme, rest, ok := strings.Cut(url, ":")
	switch {
	case ok && scheme == "memory" && rest == "":
		return &memory{tenants: make(map[Key]*memoryTenant)}, nil
	case ok && scheme == "file" && rest != "":
		return newFile(rest, logger), nil
	}
	return nil, fmt.Errorf("%q; it must be memory: or file:DIRECTORY", url)
}
