package main

import (
	"encoding/json"
	"errors"
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
	err := k.state.Load(restore)
	if err != nil {
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
	data, err := json.Marshal(log)
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

// restoreLedger hands the ledger what was saved of it.
func (k *keeper) restoreLedger(ledger *quota.Ledger, now time.Time) {
	data, err := k.state.LoadLedger()
	var log quota.Log
	if err == nil && data != nil {
		if log, err = decodeLog(data); err != nil {
			err = errors.Join(state.ErrSetAside, err)
		}
	}
	if err != nil {
		k.logger.Error("There is no saved ledger to go on from", "err", err)
	}
	if errors.Is(err, state.ErrSetAside) {
		log = spentEvenly(ledger.Usage(now), now)
	}
	ledger.Restore(now, log)
}

func decodeLog(data []byte) (log quota.Log, err error) {
	err = json.Unmarshal(data, &log)
	return log, err
}

// spentEvenly stands for a ledger that was lost: as if the longest window had
// been used up at an even pace, so that calls go on at that pace.
func spentEvenly(usage []quota.Usage, now time.Time) (log quota.Log) {
	longest := usage[0]
	for _, u := range usage {
		if u.Window.Period > longest.Window.Period {
			longest = u
		}
	}
	for i := range longest.Effective {
		ago := longest.Window.Period * time.Duration(i) / time.Duration(longest.Effective)
		log.Grants = append(log.Grants, quota.Entry{At: now.Add(-ago)})
	}
	return log
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
