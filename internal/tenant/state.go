package tenant

import (
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
	store    state.Store
	key      state.Key
	state    state.Tenant // nil: not open
	logger   *slog.Logger
	now      func() time.Time
	failures atomic.Uint64
	size     atomic.Int64 // on disk, in bytes
	lastSave atomic.Int64 // Unix nanoseconds, 0 before the first
	failing  [2]bool      // rows, ledger
	known    bool         // Load has found something, usable or not
}

// open makes the state ours. Without it everything goes on from memory, and
// each save tries again.
func (s *tenantState) open() (err error) {
	if s.state != nil || s.store == nil {
		return nil
	}
	if s.state, err = s.store.Open(s.key); err == nil {
		s.size.Store(s.state.Size())
	}
	return err
}

// Load implements refresh.Store.
func (s *tenantState) Load(restore func(*incident.Saved) error) error {
	err := s.state.Load(func(saved *incident.Saved) error {
		s.known = true
		return restore(saved)
	})
	s.size.Store(s.state.Size())
	if err != nil {
		s.known = true
		s.logger.Error("There is no saved state to go on from, everything is read again", "err", err)
	}
	return err
}

// Save implements refresh.Store.
func (s *tenantState) Save(export func(full bool) (*incident.Saved, error)) error {
	err := s.open()
	if err == nil && s.state != nil {
		err = s.state.Save(export)
	}
	s.saved(&s.failing[0], err)
	return err
}

// saveLedger is called before each call of the API. It returns what others have
// spent meanwhile. A failure does not prevent the call, for counts that go on are
// worth more than what a crash could cost now, unless its error matches
// state.ErrInUse: then another process is making calls.
func (s *tenantState) saveLedger(log quota.Log) (spent []quota.Log, err error) {
	data, err := log.MarshalBinary()
	if err == nil {
		err = s.open()
	}
	var packed [][]byte
	if err == nil && s.state != nil {
		packed, err = s.state.SaveLedger(data)
	}
	s.saved(&s.failing[1], err)
	return s.unpack(packed), err
}

// unpack reads what was handed in.
func (s *tenantState) unpack(packed [][]byte) (logs []quota.Log) {
	for _, data := range packed {
		var log quota.Log
		if err := log.UnmarshalBinary(data); err != nil {
			s.logger.Warn("Calls that were handed in cannot be read", "err", err)
			continue
		}
		logs = append(logs, log)
	}
	return logs
}

func (s *tenantState) saved(failing *bool, err error) {
	switch {
	case err != nil:
		s.failures.Add(1)
		if !*failing {
			s.logger.Error("The state cannot be saved, the counts go on from memory", "err", err)
		}
	case *failing:
		s.logger.Info("The state is saved again")
	}
	*failing = err != nil
	if s.state != nil {
		s.size.Store(s.state.Size())
	}
	if err == nil && s.size.Load() > 0 {
		s.lastSave.Store(s.now().UnixNano())
	}
}

// restoreLedger hands the ledger what was saved of it. It comes after Load: where
// there was something to load there were calls, and a ledger that is not there or
// not readable is lost. What then stands for it is saved at once, so that a crash
// does not make the wait begin anew.
func (s *tenantState) restoreLedger(ledger *quota.Ledger, now time.Time) {
	data, spent, err := s.state.LoadLedger()
	for _, log := range s.unpack(spent) {
		ledger.Restore(now, log)
	}
	var log quota.Log
	if err == nil && data != nil {
		err = log.UnmarshalBinary(data)
	}
	if err == nil && (data != nil || !s.known) {
		ledger.Restore(now, log)
		return
	}
	ledger.RestoreLost(now)
	s.logger.Error("The saved ledger is lost: as many calls as are allowed count as made", "err", err,
		"next_call", ledger.Peek(now, pass.Delta).At)
	// What is told now is told again, and a failure has been said.
	_, _ = s.saveLedger(ledger.Log(now))
}

// close lets go of the state.
func (s *tenantState) close() {
	if s.state == nil {
		return
	}
	if err := s.state.Close(); err != nil {
		s.logger.Error("The state was not closed", "err", err)
	}
}

// forget lets go of what is kept in memory.
func (s *tenantState) forget() {
	if s.store != nil {
		s.store.Forget(s.key)
	}
}
