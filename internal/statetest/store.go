package statetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/state"
)

// Store is one replica's way to the board. It implements state.Shared.
type Store struct {
	board *Board
	faults
	mu       sync.Mutex
	identity string // "": no member
	born     time.Time
	open     map[*tenant]bool
}

// faults of the way.
type faults struct {
	mu     sync.Mutex
	cut    bool
	lose   func() bool   // nil: no answer is lost
	frozen chan struct{} // nil: it is not
}

// Store is another replica's.
func (b *Board) Store() *Store { return &Store{board: b, open: map[*tenant]bool{}} }

// Cut keeps the replica from the board, or no longer.
func (f *faults) Cut(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
}

// Lose is asked of each exchange whether its answer gets lost; nil: none does.
func (f *faults) Lose(lose func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = lose
}

// Freeze makes everything that the replica does wait, before and after an exchange,
// until it is told to go on. It is how a process looks that was stopped.
func (f *faults) Freeze() (goOn func()) {
	frozen := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = frozen
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.frozen = nil
		close(frozen)
	}
}

// Gate waits as long as the replica is frozen.
func (f *faults) Gate() {
	f.mu.Lock()
	frozen := f.frozen
	f.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// ask is an exchange with the board.
func (s *Store) ask(do func(*Board) error) error {
	s.Gate()
	defer s.Gate()
	s.faults.mu.Lock()
	cut, lose := s.cut, s.lose
	s.faults.mu.Unlock()
	b := s.board
	b.mu.Lock()
	defer b.mu.Unlock()
	if cut || b.away {
		return fmt.Errorf("%w: it does not answer", state.ErrOutOfReach)
	}
	b.calls++
	err := do(b)
	if lose != nil && lose() {
		return fmt.Errorf("%w: the answer was lost", state.ErrOutOfReach)
	}
	return err
}

func inUse(why string) error { return fmt.Errorf("%w: %s", state.ErrInUse, why) }

func (s *Store) me() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// Join implements state.Shared.
func (s *Store) Join(_ context.Context, m state.Member) (before string, err error) {
	err = s.ask(func(b *Board) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.identity, before = b.join(m)
		s.born = b.born
		clear(s.open)
		return nil
	})
	return before, err
}

// Beat implements state.Shared.
func (s *Store) Beat(_ context.Context, m state.Member) (all []state.Member, err error) {
	err = s.ask(func(b *Board) (err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.Identity = s.identity
		if all, err = b.beat(m, s.born); err == nil && !b.born.Equal(s.born) {
			s.writeBack()
		}
		return err
	})
	return all, err
}

// writeBack tells a board that has lost everything what is open here.
func (s *Store) writeBack() {
	s.born = s.board.born
	for t := range s.open {
		if r, err := s.board.of(t.key, t.me, t.own.Since); err == nil && r.ledger == nil {
			r.ledger, r.ledgerAt = t.ledger, time.Now()
		}
	}
}

// Strike implements state.Shared.
func (s *Store) Strike(_ context.Context, seen state.Member) (struck bool, err error) {
	err = s.ask(func(b *Board) error {
		struck = b.strike(seen)
		return nil
	})
	return struck, err
}

// Leave implements state.Shared.
func (s *Store) Leave(context.Context) error {
	return s.ask(func(b *Board) error {
		delete(b.members, s.me())
		return nil
	})
}

// Owners implements state.Shared.
func (s *Store) Owners(_ context.Context, keys []state.Key) (owners []string, err error) {
	err = s.ask(func(b *Board) error {
		for _, key := range keys {
			owner := ""
			err := b.whole(folded(key))
			if err != nil && len(keys) == 1 {
				return err
			}
			if r := b.records[folded(key)]; r != nil && err == nil {
				owner = r.owner
			}
			owners = append(owners, owner)
		}
		return nil
	})
	return owners, err
}

// Open implements state.Store.
func (s *Store) Open(key state.Key) (state.Tenant, error) {
	t := &tenant{store: s, key: folded(key), me: s.me()}
	err := s.ask(func(b *Board) (err error) {
		if err = b.whole(t.key); err != nil {
			return err
		}
		if t.own, err = b.open(t.key, t.me); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.open[t] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Peek implements state.Store. A shared state can be read while its owner is at work.
func (s *Store) Peek(key state.Key) (ledger state.Written, spent []state.Written, err error) {
	err = s.ask(func(b *Board) error {
		r := b.records[folded(key)]
		if r == nil {
			return nil
		}
		ledger, spent = state.Written{Packed: r.ledger, Age: time.Since(r.ledgerAt)}, r.written()
		return nil
	})
	return ledger, spent, err
}

// HandIn implements state.Store.
func (s *Store) HandIn(key state.Key, spent []byte) error {
	return s.ask(func(b *Board) error {
		r := b.record(folded(key))
		r.spent, r.at = append(r.spent, state.Written{Packed: spent}), append(r.at, time.Now())
		return nil
	})
}

// Forget implements state.Store.
func (*Store) Forget(state.Key) {}

// Close implements state.Store.
func (*Store) Close() error { return nil }

// tenant implements state.Tenant. It is closed to a member that has joined anew.
type tenant struct {
	store  *Store
	key    state.Key
	me     string
	own    state.Ownership
	ledger []byte // as it was last saved
	known  int    // saves that the record had after ours; 0: everything has to be saved
	told   int    // of what was handed in, how many the next ledger has
}

// ask does something with the record as its owner.
func (t *tenant) ask(do func(*Board, *record) error) error {
	return t.store.ask(func(b *Board) error {
		if t.me != t.store.me() {
			return inUse("this replica was struck off and is another one by now")
		}
		if err := b.whole(t.key); err != nil {
			return err
		}
		r, err := b.of(t.key, t.me, t.own.Since)
		if err != nil {
			return err
		}
		return do(b, r)
	})
}

// Load implements state.Tenant.
func (t *tenant) Load(restore func(*incident.Saved) error) error {
	var saved *incident.Saved
	err := t.ask(func(_ *Board, r *record) error {
		if t.known = r.saves; r.saves > 0 {
			saved = r.saved()
		}
		return nil
	})
	if err != nil || saved == nil {
		return err
	}
	return restore(saved)
}

// Save implements state.Tenant.
func (t *tenant) Save(export func(full bool) (*incident.Saved, error)) error {
	return t.ask(func(_ *Board, r *record) error {
		saved, err := export(t.known == 0 || t.known != r.saves)
		if err != nil {
			return err
		}
		r.put(saved)
		t.known = r.saves
		return nil
	})
}

// LoadLedger implements state.Tenant.
func (t *tenant) LoadLedger() (ledger state.Written, spent []state.Written, err error) {
	err = t.ask(func(b *Board, r *record) error {
		ledger, spent = state.Written{Packed: r.ledger, Age: time.Since(r.ledgerAt)}, r.written()
		t.told = len(spent)
		if r.ledger == nil && time.Since(b.born) < longestWindow {
			return fmt.Errorf("%w: the data are younger than an hour", state.ErrSetAside)
		}
		return nil
	})
	return ledger, spent, err
}

// SaveLedger implements state.Tenant.
func (t *tenant) SaveLedger(ledger []byte) (spent []state.Written, err error) {
	err = t.ask(func(_ *Board, r *record) error {
		t.ledger = ledger
		told := min(t.told, len(r.spent))
		r.ledger, r.ledgerAt, r.spent, r.at = ledger, time.Now(), r.spent[told:], r.at[told:]
		spent = r.written()
		t.told = len(spent)
		return nil
	})
	return spent, err
}

// Ownership implements state.Tenant.
func (t *tenant) Ownership() state.Ownership { return t.own }

// Size implements state.Tenant.
func (*tenant) Size() int64 { return 0 }

// Close implements state.Tenant.
func (t *tenant) Close() error {
	err := t.store.ask(func(b *Board) error {
		if r := b.records[t.key]; r != nil && r.owner == t.me && r.epoch == t.own.Since.UnixMilli() {
			r.owner, r.closed = "", true
		}
		t.store.mu.Lock()
		defer t.store.mu.Unlock()
		delete(t.store.open, t)
		return nil
	})
	if errors.Is(err, state.ErrOutOfReach) {
		return err
	}
	return nil
}
