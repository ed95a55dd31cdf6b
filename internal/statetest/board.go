// Package statetest is a store in memory that several replicas share, and that can
// fail them in every way that a server can, for tests: a server cannot be asked in
// a synctest bubble.
package statetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/state"
)

const (
	// longestWindow is that of the quotas: how young a data set is that is not
	// believed when it has no ledger.
	longestWindow = time.Hour
	// settled is how old a data set has to be before a member can open what it does not
	// own.
	settled = 10 * time.Second
)

// Board is what the replicas share. Its methods may be called at any time.
type Board struct {
	mu      sync.Mutex
	born    time.Time // zero: at the next beat
	members map[string]state.Member
	lives   int // of all members so far
	records map[state.Key]*record
	away    bool
	broken  map[string]bool // tenants
	calls   int
}

// record is what there is of a tenant.
type record struct {
	owner    string
	closed   bool // the last owner has closed
	epoch    int64
	ledger   []byte
	ledgerAt time.Time
	spent    []state.Written // Age is when it was handed in
	at       []time.Time
	// The rows.
	saves            int
	rows             map[int64][]byte
	swept            []int64
	tables, progress []byte
}

// NewBoard is one that is old enough to be believed.
func NewBoard() *Board {
	return &Board{born: time.Now().Add(-2 * longestWindow), members: map[string]state.Member{}, records: map[state.Key]*record{}, broken: map[string]bool{}}
}

// Away takes the board out of everybody's reach, or puts it back.
func (b *Board) Away(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

// Break lets nobody have what is kept of one tenant, or no longer: everything else is
// in reach.
func (b *Board) Break(tenant string, broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken[folded(state.Key{Tenant: tenant}).Tenant] = broken
}

// whole fails for a tenant that is broken.
func (b *Board) whole(key state.Key) error {
	if b.broken[key.Tenant] {
		return fmt.Errorf("%w: WRONGTYPE", state.ErrOutOfReach)
	}
	return nil
}

// Empty loses everything.
func (b *Board) Empty() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.born = time.Time{}
	clear(b.members)
	clear(b.records)
}

// Owners are the identities of the owners of record, by tenant id. Of one that may be
// read by either API it is who has either state.
func (b *Board) Owners() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	owners := map[string]string{}
	for key, r := range b.records {
		if owners[key.Tenant] == "" {
			owners[key.Tenant] = r.owner
		}
	}
	return owners
}

// Calls is how often the board was asked.
func (b *Board) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

func folded(k state.Key) state.Key {
	return state.Key{Tenant: strings.ToLower(k.Tenant), API: strings.ToLower(k.API)}
}

// join makes a member, as Shared says.
func (b *Board) join(m state.Member) (identity, before string) {
	b.begin()
	for identity, other := range b.members {
		if other.Name == m.Name {
			before = identity
			delete(b.members, identity)
		}
	}
	b.lives++
	m.Identity, m.Beats = fmt.Sprintf("%s/%d", m.Name, b.lives), 1
	b.members[m.Identity] = m
	return m.Identity, before
}

// begin is asked first by whoever becomes a member: an empty board begins anew.
func (b *Board) begin() {
	if b.born.IsZero() {
		b.born = time.Now()
	}
}

// young tells that others may know more than the board does.
func (b *Board) young() bool { return time.Since(b.born) < settled }

// beat is of a member of the board that was born then.
func (b *Board) beat(m state.Member, born time.Time) ([]state.Member, error) {
	b.begin()
	known, ok := b.members[m.Identity]
	// Whom another board does not know was lost with the one before.
	if !ok && b.born.Equal(born) {
		return nil, state.ErrStruckOff
	}
	m.Beats = known.Beats + 1
	b.members[m.Identity] = m
	return slices.Collect(maps.Values(b.members)), nil
}

func (b *Board) strike(seen state.Member) bool {
	m, ok := b.members[seen.Identity]
	if !ok || m.Beats != seen.Beats {
		return false
	}
	delete(b.members, seen.Identity)
	return true
}

// record is the tenant's. It has no epoch if nobody was seen to own it.
func (b *Board) record(key state.Key) *record {
	if b.records[key] == nil {
		b.records[key] = &record{}
	}
	return b.records[key]
}

// open makes a tenant the member's.
func (b *Board) open(key state.Key, identity string) (state.Ownership, error) {
	if _, ok := b.members[identity]; !ok {
		return state.Ownership{}, inUse("this replica is no member")
	}
	r := b.record(key)
	if r.owner != identity && b.young() {
		return state.Ownership{}, inUse("it is not known whether another replica has it")
	}
	from := state.Nobody
	switch _, lives := b.members[r.owner]; {
	case r.owner == "" && r.closed:
		from = state.Closed
	case r.owner == "" || r.owner == identity:
	case lives:
		return state.Ownership{}, inUse("replica " + r.owner + " has it")
	default:
		from = state.Silent
	}
	r.owner, r.closed, r.epoch = identity, false, max(r.epoch+1, time.Now().UnixMilli())
	return state.Ownership{Since: time.UnixMilli(r.epoch), From: from}, nil
}

// of is the tenant's record if it is the owner's, who brings it back if the board
// has lost it.
func (b *Board) of(key state.Key, owner string, epoch time.Time) (*record, error) {
	r := b.record(key)
	if r.epoch == 0 {
		r.owner, r.epoch = owner, epoch.UnixMilli()
	}
	if r.owner != owner || r.epoch != epoch.UnixMilli() {
		return nil, inUse("replica " + r.owner + " has it")
	}
	return r, nil
}

// put keeps what was exported.
func (r *record) put(s *incident.Saved) {
	if s.Full {
		r.rows, r.swept = map[int64][]byte{}, nil
	}
	for id, row := range s.Rows {
		r.rows[id] = slices.Clone(row)
	}
	for _, id := range s.Removed {
		delete(r.rows, id)
	}
	if s.NewSweep {
		r.swept = nil
	}
	r.swept = append(slices.Clip(r.swept), s.Swept...)
	r.tables, r.progress = slices.Clone(s.Tables), slices.Clone(s.Progress)
	r.saves++
}

// saved is everything that was put, in a copy.
func (r *record) saved() *incident.Saved {
	return &incident.Saved{
		Full: true, Len: len(r.rows), Rows: maps.All(maps.Clone(r.rows)), Swept: slices.Clone(r.swept), Tables: r.tables, Progress: r.progress,
	}
}

// written is what was handed in, with its age.
func (r *record) written() []state.Written {
	out := slices.Clone(r.spent)
	for i := range out {
		out[i].Age = time.Since(r.at[i])
	}
	return out
}
