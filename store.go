package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/state"
)

// keeper is a tenant's state as its loop and its ledger see it: it counts what
// fails and says so once.
type keeper struct {
	store    state.Store
	key      state.Key
	state    state.Tenant // nil: not open
	logger   *slog.Logger
	failures atomic.Uint64
	size     atomic.Int64 // on disk, in bytes
	lastSave atomic.Int64 // Unix nanoseconds, 0 before the first
	failing  [2]bool      // rows, ledger
	known    bool         // Load has found something, usable or not
}

// open makes the state ours. Without it everything goes on from memory, and
// each save tries again.
func (k *keeper) open() (err error) {
	if k.state != nil || k.store == nil {
		return nil
	}
	if k.state, err = k.store.Open(k.key); err == nil {
		k.size.Store(k.state.Size())
	}
	return err
}

// Load implements refresh.Store.
func (k *keeper) Load(restore func(*incident.Saved) error) error {
	err := k.state.Load(func(saved *incident.Saved) error {
		k.known = true
		return restore(saved)
	})
	if err != nil {
		k.known = true
		k.logger.Error("There is no saved state to go on from, everything is read again", "err", err)
	}
	return err
}

// Save implements refresh.Store.
func (k *keeper) Save(export func(full bool) (*incident.Saved, error)) error {
	err := k.open()
	if err == nil && k.state != nil {
		err = k.state.Save(export)
	}
	k.saved(&k.failing[0], err)
	return err
}

// saveLedger is called before each call of the API. A failure does not prevent
// the call: counts that go on are worth more than what a crash could cost now.
func (k *keeper) saveLedger(log quota.Log) {
	data, err := log.MarshalBinary()
	if err == nil {
		err = k.open()
	}
	if err == nil && k.state != nil {
		err = k.state.SaveLedger(data)
	}
	k.saved(&k.failing[1], err)
}

func (k *keeper) saved(failing *bool, err error) {
	switch {
	case err != nil:
		k.failures.Add(1)
		if !*failing {
			k.logger.Error("The state cannot be saved, the counts go on from memory", "err", err)
		}
	case *failing:
		k.logger.Info("The state is saved again")
	}
	*failing = err != nil
	if k.state != nil {
		k.size.Store(k.state.Size())
	}
	if err == nil && k.size.Load() > 0 {
		k.lastSave.Store(time.Now().UnixNano())
	}
}

// restoreLedger hands the ledger what was saved of it. It comes after Load: where
// there was something to load there were calls, and a ledger that is not there or
// not readable is lost. What then stands for it is saved at once, so that a crash
// does not make the wait begin anew.
func (k *keeper) restoreLedger(ledger *quota.Ledger, now time.Time) {
	data, err := k.state.LoadLedger()
	var log quota.Log
	if err == nil && data != nil {
		err = log.UnmarshalBinary(data)
	}
	if err == nil && (data != nil || !k.known) {
		ledger.Restore(now, log)
		return
	}
	ledger.RestoreLost(now)
	k.logger.Error("The saved ledger is lost: as many calls as are allowed count as made", "err", err,
		"next_call", ledger.Peek(now, quota.Delta).At)
	k.saveLedger(ledger.Log(now))
}

// close lets go of the state.
func (k *keeper) close() {
	if k.state == nil {
		return
	}
	if err := k.state.Close(); err != nil {
		k.logger.Error("The state was not closed", "err", err)
	}
}
