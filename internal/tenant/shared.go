package tenant

import (
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/state"
)

// SharedLedger is a tenant's saved ledger in the hands of a process that does
// not own it, such as a check: it is read once, and written by compare-and-swap,
// so that the owner's calls are never overwritten. It belongs to one goroutine.
type SharedLedger struct {
	tenant *Tenant
	saved  state.Borrowed // nil: not to be had
	err    error          // why, or why a call was not saved
	spent  bool           // a call was made
}

// ShareLedger makes the tenant, which must not be open, go on with the ledger
// that the store has, and its calls part of that. Without one it begins anew; why
// is told by [SharedLedger.Close]. It reads the store and makes no call.
func (t *Tenant) ShareLedger(store state.Store, now time.Time) *SharedLedger {
	s := &SharedLedger{tenant: t}
	saved := store.Borrow(t.state.key)
	data, err := saved.Load()
	if err != nil || data == nil {
		s.err = err
		return s
	}
	var log quota.Log
	if err := log.UnmarshalBinary(data); err != nil {
		s.err = err
		return s
	}
	t.ledger.log.Restore(now, log)
	s.saved, t.ledger.save = saved, s.save
	return s
}

func (s *SharedLedger) save(log quota.Log) {
	s.spent = true
	data, err := log.MarshalBinary()
	if err == nil {
		err = s.saved.Save(data)
	}
	if err != nil {
		s.err = err
	}
}

// Take grants a call, for which a person waits: it goes before all others. It is 0
// if none may be made before the instant.
func (s *SharedLedger) Take(now time.Time) (grant uint64, at time.Time) {
	return s.tenant.ledger.Take(now, pass.Delta)
}

// Settle tells that a call has ended.
func (s *SharedLedger) Settle(grant uint64, now time.Time) { s.tenant.ledger.Settle(grant, now) }

// Ready is when the next call may be made.
func (s *SharedLedger) Ready(now time.Time) time.Time {
	return s.tenant.ledger.Ready(now, pass.Delta)
}

// Close saves the ledger a last time, if there were calls; none may be on its
// way any more. Its error says why the saved ledger could not be used, and
// matches state.ErrInUse if its owner is at work; then the calls made come on
// top of the owner's.
func (s *SharedLedger) Close(now time.Time) error {
	if s.spent {
		s.save(s.tenant.ledger.log.Final(now))
	}
	return s.err
}
