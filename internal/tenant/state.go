package tenant

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/state"
)

// tenantState is what survives a restart, as the tenant's loop and its ledger see
// it: it counts what fails and says so once. But for its counters it belongs to
// one goroutine.
type tenantState struct {
	store  state.Store
	shared bool // by replicas
	key    state.Key
	state  state.Tenant // nil: not open
	// ledger is kept. unsaved has what could not be, of this life, see [AccountLedger].
	ledger, unsaved *quota.Ledger
	logger          *slog.Logger
	now             func() time.Time
	// handedIn is told how many calls of others the ledger has learned of, lost once
	// that a shared state is another replica's; nil: it is not told.
	handedIn func(calls int)
	lost     func()
	opened   func(state.Ownership)
	// heard is when a shared store has last answered as a whole; nil: that is not known.
	heard func() time.Time
	from  state.Predecessor
	// unreleased: closing has failed, another replica cannot have the state yet.
	unreleased bool

	// gone: the state is another replica's. It has been told of this one's calls if so.
	gone, told bool
	failures   atomic.Uint64
	size       atomic.Int64 // on disk, in bytes
	lastSave   atomic.Int64 // Unix nanoseconds, 0 before the first
	failing    [2]failing   // rows, ledger
	known      bool         // Load has found something, usable or not
	unread     error        // why Load could not find out
	anew       bool         // what was saved of incidents is not gone on from, and not replaced yet
}

// open makes the state ours. Without it everything goes on from memory, and
// each save tries again.
func (s *tenantState) open() (err error) {
	if s.state != nil || s.store == nil {
		return nil
	}
	if s.state, err = s.store.Open(s.key); err == nil {
		s.size.Store(s.state.Size())
		s.from = s.state.Ownership().From
		s.opened(s.state.Ownership())
	}
	return err
}

// Load implements refresh.Store.
func (s *tenantState) Load(restore func(*incident.Saved) error) error {
	err := s.state.Load(func(saved *incident.Saved) error {
		s.known = true
		if s.anew {
			for range saved.Rows { // the store finds out whether they are whole
			}
			return nil
		}
		return restore(saved)
	})
	s.size.Store(s.state.Size())
	if errors.Is(err, state.ErrOutOfReach) {
		s.unread = err
		return err
	}
	if err != nil {
		s.known = true
		s.logger.Error("There is no saved state to go on from, everything is read again", "err", err)
	}
	return err
}

// Save implements refresh.Store.
func (s *tenantState) Save(export func(full bool) (*incident.Saved, error)) error {
	if s.gone {
		return state.ErrInUse
	}
	err := s.open()
	if err == nil && s.state != nil {
		err = s.state.Save(func(full bool) (*incident.Saved, error) { return export(full || s.anew) })
	}
	if err == nil {
		s.anew = false
	}
	if s.isLost(err) {
		s.lose(s.ledger.Log(s.now()))
		return err
	}
	s.saved(&s.failing[0], err)
	return err
}

// saveLedger is called before each call of the API. learned: others have spent what
// the ledger did not know of, and knows now. After an error that matches state.ErrInUse
// another process is making calls, and after state.ErrOutOfReach one may be.
func (s *tenantState) saveLedger(log quota.Log) (learned bool, err error) {
	if s.gone {
		s.handIn(log)
		return false, state.ErrInUse
	}
	data, err := log.MarshalBinary()
	opening := s.state == nil
	if err == nil {
		err = s.open()
	}
	if err == nil && s.shared && opening {
		// Others may have had it before.
		s.saved(&s.failing[1], nil)
		s.restoreLedger()
		return true, nil
	}
	var spent []state.Written
	if err == nil && s.state != nil {
		spent, err = s.state.SaveLedger(data)
	}
	if s.isLost(err) {
		s.lose(log)
		return false, err
	}
	s.saved(&s.failing[1], err)
	return s.merge(spent), err
}

// isLost tells from the error of a save that a shared state is another replica's.
func (s *tenantState) isLost(err error) bool {
	return s.shared && s.state != nil && errors.Is(err, state.ErrInUse)
}

// lose ends all saving. Its new owner is told of the calls that were made here.
func (s *tenantState) lose(log quota.Log) {
	if s.gone {
		return
	}
	s.gone = true
	s.logger.Warn("The tenant is another replica's now, no more calls are made for it here")
	s.handIn(log)
	if s.lost != nil {
		s.lost()
	}
}

// handIn tells the new owner of a state that was lost what was spent, once.
func (s *tenantState) handIn(log quota.Log) {
	if s.told {
		return
	}
	data, err := log.MarshalBinary()
	if err == nil {
		err = s.store.HandIn(s.key, data)
	}
	if s.told = err == nil; !s.told {
		s.logger.Warn("The calls that were made here cannot be handed in to the new owner of the tenant", "err", err)
	}
}

// merge lets the ledger learn what others have spent.
func (s *tenantState) merge(spent []state.Written) (learned bool) {
	for _, log := range s.unpack(spent) {
		calls := s.ledger.Merge(s.now(), log)
		if s.handedIn != nil {
			s.handedIn(calls)
		}
	}
	return len(spent) > 0
}

// unpack reads ledgers of others, by the clock of this machine.
func (s *tenantState) unpack(written []state.Written) (logs []quota.Log) {
	for _, w := range written {
		log, err := unpackLog(w, s.now())
		if err != nil {
			s.logger.Warn("Calls that were handed in cannot be read", "err", err)
			continue
		}
		logs = append(logs, log)
	}
	return logs
}

// unpackLog reads a ledger that was just read. It may have been written on a machine
// with another clock, or this one's was set since: how old it is the store tells, if
// it can.
func unpackLog(w state.Written, now time.Time) (log quota.Log, err error) {
	if err := log.UnmarshalBinary(w.Packed); err != nil {
		return quota.Log{}, err
	}
	if w.Age >= 0 {
		log = log.Later(now.Sub(log.At) - w.Age)
	}
	return log, nil
}

// failing is since when saves fail, zero if they do not, and whether it was said.
type failing struct {
	since time.Time
	said  bool
}

func (s *tenantState) saved(f *failing, err error) {
	if err != nil {
		s.failures.Add(1)
		if f.since.IsZero() {
			f.since = s.now()
		}
		s.sayFailing(f, err)
	} else {
		if f.said {
			s.logger.Info("The state is saved again")
		}
		*f = failing{}
	}
	if s.state != nil {
		s.size.Store(s.state.Size())
	}
	if err == nil && s.size.Load() > 0 {
		s.lastSave.Store(s.now().UnixNano())
	}
}

// sayFailing says once that saves fail. That a shared store is out of reach, for all
// tenants, the fleet says; if it has answered since, it is this one's own affair.
func (s *tenantState) sayFailing(f *failing, err error) {
	away := s.shared && errors.Is(err, state.ErrOutOfReach)
	switch {
	case f.said:
	case !away:
		f.said = true
		s.logger.Error("The state cannot be saved, what is known is kept in memory", "err", err)
	case s.heard != nil && s.heard().After(f.since):
		f.said = true
		s.logger.Error("The shared state does not take what is this tenant's: no call is made for it", "err", err)
	default:
		s.logger.Debug("The shared state is out of reach", "err", err)
	}
}

var (
	errNoLedger = errors.New("there is a state, and no ledger")
	errUnsaved  = errors.New("it cannot be written, and may lack calls that were made when it could not")
)

// restoreLedger lets the ledger learn what was saved of it. It comes after Load: where
// there was something to load there was a ledger, and one that is not there or
// not readable is lost. So is one that cannot be written now, for then it could not be
// before. What is known now, or stands for it, is saved at once: the first call may be
// far away, and a crash does not make the wait begin anew.
func (s *tenantState) restoreLedger() {
	written, spent, err := s.state.LoadLedger()
	now := s.now() // its age is as of now
	var log quota.Log
	if err == nil && written.Packed != nil {
		log, err = unpackLog(written, now)
	}
	known := err == nil && (written.Packed != nil || !s.known)
	switch {
	case known && s.shared:
		// This process may have had it before, and what it knows counts once.
		s.ledger.Merge(now, log)
		if written.Packed != nil && (!log.Closed || s.state.Ownership().From == state.Silent) {
			s.ledger.Restore(now, toll(log.Settings, now))
		}
	case known:
		s.ledger.Restore(now, log)
		if written.Packed != nil && !log.Closed && s.unsaved != nil {
			// The life before may have made as many that were not saved.
			s.unsaved.RestoreLost(now)
		}
	default:
		s.ledger.RestoreLost(now)
	}
	s.merge(spent)
	if known {
		if s.shared && written.Packed != nil {
			return // a shared store that is out of reach grants nothing
		}
		if _, failure := s.saveLedger(s.ledger.Log(now)); failure == nil || s.shared {
			return
		}
		err = errUnsaved
		s.ledger.RestoreLost(now)
	} else if err == nil {
		err = errNoLedger
	}
	s.logger.Error("The saved ledger is lost: as many calls as are allowed count as made", "err", err,
		"no_call_before", s.ledger.Peek(now, pass.Delta).At)
	// What is told now is told again, and a failure has been said.
	_, _ = s.saveLedger(s.ledger.Log(now))
}

// toll are calls that count as made after a predecessor that fell silent: those
// that a shared store may have acknowledged, and lost in the same moment.
func toll(of quota.Settings, now time.Time) (log quota.Log) {
	const most, part = 5, 10
	calls := most
	for _, w := range of.Windows {
		calls = min(calls, max(1, w.Limit/part))
	}
	for range calls {
		log.Grants = append(log.Grants, quota.Entry{At: now, Pass: pass.Sweep})
	}
	return log
}

// close lets go of the state.
func (s *tenantState) close() {
	if s.state == nil {
		return
	}
	if err := s.state.Close(); err != nil {
		s.unreleased = true
		s.logger.Error("The state was not closed", "err", err)
	}
}

// giveBack is for a state that could be opened and not read: another attempt, or
// another replica, has more luck.
func (s *tenantState) giveBack() error {
	s.close()
	err := s.unread
	s.state, s.unread = nil, nil
	return err
}

// forget lets go of what is kept in memory.
func (s *tenantState) forget() {
	if s.store != nil {
		s.store.Forget(s.key)
	}
}
