// Package state keeps what has to survive a restart: a tenant's mirror, how far
// its readings have come, and the ledger of its calls. It keeps bytes and
// understands none of them; it answers for their being whole, of this tenant,
// and of this version of the program.
//
// What cannot be trusted is set aside under another name, never deleted and
// never used in part.
package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

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
	// being the tenant's owner, or is not its owner yet. An error that matches ErrInUse
	// says that the owner is at work in another process; what was handed in and is not
	// in its ledger yet is returned all the same. Nothing is changed or set aside.
	Peek(Key) (ledger Written, spent []Written, err error)
	// HandIn tells the tenant's owner, or the next one, of calls of such a process.
	// It is safe on the disk when it returns. An error that matches ErrNowhere says that
	// there is nothing to keep it in.
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
	// LoadLedger returns what SaveLedger kept, and what was handed
	// in since, which the next ledger has to contain. An error that matches
	// ErrSetAside says that there was a ledger. It comes after Load.
	LoadLedger() (ledger Written, spent []Written, err error)
	// SaveLedger is called before every call of the API. The ledger is safe on the
	// disk when it returns. What was handed in meanwhile the next ledger has to
	// contain. An error that matches ErrInUse says that the state is
	// another process's by now, one that matches ErrOutOfReach that it is not known
	// whose it is: both forbid the call.
	SaveLedger([]byte) (spent []Written, err error)
	// Ownership is how and since when the state is this process's.
	Ownership() Ownership
	// Size on disk in bytes.
	Size() int64
	Close() error
}

// Written is a packed ledger as a store has it.
type Written struct {
	Packed []byte // nil: there is none
	// Age is how long ago it was written by the clock of the store: one that several
	// machines have in common, or that nobody sets. Negative: the store has no such
	// clock, or it began anew since; the wall clock has to be believed.
	Age time.Duration
}

// Ownership is how a state became this process's.
type Ownership struct {
	// Since is a fencing token: an instant by the store's clock, in whole
	// milliseconds, that is later than that of every other owner of this state
	// before. Zero: nobody else can have the state.
	Since time.Time
	From  Predecessor
}

// Predecessor is whom a state was taken over from.
type Predecessor int

// The predecessors.
const (
	// Nobody: there was no owner yet that is known of, or it was this process.
	Nobody Predecessor = iota
	// Closed: the last owner has closed the state.
	Closed
	// Silent: the last owner was struck off.
	Silent
)

// String is the predecessor as the value of a label.
func (p Predecessor) String() string { return [...]string{"new", "handed_over", "silent"}[p] }

// Shared is a store that several processes use at a time, the replicas. Each
// state has at most one owner of record. Opening needs membership; see Join. Its
// Open gives an error that matches ErrInUse as long as another member is the owner
// of record, or nobody can know yet whether one is, and one that matches
// ErrOutOfReach if the store does not answer.
//
// The methods may be called concurrently but for Join, Beat, Strike and Leave,
// which belong to one goroutine. Errors that match no other match ErrOutOfReach.
type Shared interface {
	Store
	// Join makes this process a member, as somebody new: what it had opened as
	// somebody else is lost. Whoever is a member under the name is struck off and
	// returned, "" if there is none.
	Join(ctx context.Context, m Member) (before string, err error)
	// Beat says that this process lives, under this configuration, and returns all
	// members, itself included. ErrStruckOff says that it is none any more, which is
	// final: it joins as somebody new.
	Beat(ctx context.Context, m Member) ([]Member, error)
	// Strike removes a member, if it has not beaten since it was seen so. Afterwards
	// its states can be opened.
	Strike(ctx context.Context, seen Member) (struck bool, err error)
	// Leave ends the membership. It comes after the tenants' own Close.
	Leave(ctx context.Context) error
	// Owners returns the identities of the owners of record, "" where there is none.
	Owners(ctx context.Context, keys []Key) ([]string, error)
}

// Member is a process that works on a shared store.
type Member struct {
	// Name is that of the replica, which a restart keeps.
	Name string
	// Identity is the name and what tells this life of it from others; the store
	// makes it.
	Identity string
	// Beats counts its beats.
	Beats uint64
	// Config tells whether two members have the same tenants.
	Config string
	// Version of the program.
	Version string
	// Leaving: it is handing its tenants over and takes none.
	Leaving bool
}

var (
	// ErrInUse says that another process has this state.
	ErrInUse = errors.New("the state is in use by another process")
	// ErrOutOfReach says that a shared state does not answer. Nothing is known to be
	// kept, or to be this process's still.
	ErrOutOfReach = errors.New("the shared state is out of reach")
	// ErrStruckOff says that this process was taken for dead, and its states may be
	// others' by now.
	ErrStruckOff = errors.New("this replica was struck off")
	// ErrNowhere says that there is no state to hand something in to; none is made.
	ErrNowhere = errors.New("there is no state yet")
	// ErrSetAside says that there was a state and that it is not usable.
	ErrSetAside = errors.New("the saved state is not usable")
)

// Operation is what a store was asked for, as the value of a label.
type Operation string

// The operations.
const (
	OperationBeat  Operation = "beat"  // of the members
	OperationOpen  Operation = "open"  // and close
	OperationGrant Operation = "grant" // save a ledger
	OperationSave  Operation = "save"  // of incidents
	OperationLoad  Operation = "load"
)

// Operations are all there are.
var Operations = [...]Operation{OperationBeat, OperationOpen, OperationGrant, OperationSave, OperationLoad}

// Options are what a store is made with. Its zero value will do.
type Options struct {
	// Logger is told what happens to a state in use; nil: nothing is logged.
	Logger *slog.Logger
	// Observe is told of every exchange with a store that is not in memory, however
	// it ended: its error says that the store did not do what it is there for. It may
	// be called concurrently. nil: nothing is told.
	Observe func(what Operation, took time.Duration, err error)
	// Patience is how long a replica that is silent is waited for. 0: 10 s.
	Patience time.Duration
	// Password of the user that a redis: or rediss: URL names, or of the default one.
	// It is asked for at each connection. nil: there is none.
	Password func() (string, error)
	// Uptime is the clock of file:, which tells the age of ledgers. nil: the machine's,
	// where it has one.
	Uptime Uptime
	// TLS is how rediss: connects; nil: by the authorities of the system.
	TLS *tls.Config
}

// New returns the store at a URL: memory:, file: and a directory, or redis: or
// rediss: and a host, which is [Shared]. It makes and opens nothing. Its error
// shows no password.
func New(url string, o Options) (Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	scheme, rest, ok := strings.Cut(url, ":")
	var store Store
	switch {
	case ok && scheme == "memory" && rest == "":
		return &memory{tenants: make(map[Key]*memoryTenant)}, nil
	case ok && scheme == "file" && rest != "":
		store = newFile(rest, o)
	case ok && (scheme == "redis" || scheme == "rediss"):
		engine, err := parseRedisURL(url)
		if err != nil {
			return nil, err
		}
		return newRedis(engine, o), nil
	default:
		return nil, fmt.Errorf("%q; it must be memory:, file:DIRECTORY, redis://HOST or rediss://HOST", url)
	}
	if o.Observe != nil {
		store = observedStore{store, o.Observe}
	}
	return store, nil
}
