package tenant

import (
	"errors"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/state"
)

// SharedLedger is a tenant's ledger in the hands of a process that does not own
// it, such as a check: the saved one is read if its owner is not at work, and each
// call is handed in to the owner, present or next, before it is made. The owner's
// ledger is never written. It belongs to one goroutine.
type SharedLedger struct {
	tenant *Tenant
	store  state.Store // nil: there is no owner to hand in to
	err    error       // why the saved ledger was not used, or why a call was not handed in
}

// ShareLedger makes the tenant, which must not be open, go on from the ledger
// that the store has, and from the calls that others have handed in. Without a ledger
// it begins anew; why is told by
// [SharedLedger.Err]. It reads the store and makes no call.
func (t *Tenant) ShareLedger(store state.Store, now time.Time) *SharedLedger {
	s := &SharedLedger{tenant: t}
	written, spent, err := store.Peek(t.state.key)
	var log quota.Log
	if err == nil && written.Packed != nil {
		now = time.Now() // its age is as of now
		log, err = unpackLog(written, now)
	}
	switch s.err = err; {
	case err == nil:
		t.ledger.log.Merge(now, log)
		t.state.merge(spent)
	case errors.Is(err, state.ErrInUse):
		t.state.merge(spent)
	case !isShared(store):
		return s
	}
	s.store, t.ledger.save, t.ledger.patience = store, s.handIn, 0
	return s
}

// isShared tells that the store is there for several processes: no call is made that
// cannot be handed in.
func isShared(store state.Store) bool {
	_, is := store.(state.Shared)
	return is
}

// handIn hands in what there is to be known but the calls of others: those of this
// ledger, the one that is being granted included, which is on its way as far as
// anybody can know, and the server's order to wait.
func (s *SharedLedger) handIn(log quota.Log) (learned bool, err error) {
	log = s.tenant.ledger.log.Own(log)
	var data []byte
	if data, err = log.MarshalBinary(); err == nil {
		err = s.store.HandIn(s.tenant.state.key, data)
	}
	if err != nil && !errors.Is(err, state.ErrNowhere) {
		s.err = err
	}
	if !isShared(s.store) {
		err = nil // the owner's share leaves room for them
	}
	return false, err
}

// Take grants a call, for which a person waits: it goes before all others. It is 0
// if none may be made before the instant, or, with the error, because a shared store
// cannot be told of it.
func (s *SharedLedger) Take(now time.Time) (grant uint64, at time.Time, err error) {
	return s.tenant.ledger.Take(now, pass.Delta)
}

// Settle tells that a call has ended.
func (s *SharedLedger) Settle(grant uint64, now time.Time) { s.tenant.ledger.Settle(grant, now) }

// Ready is when the next call may be made.
func (s *SharedLedger) Ready(now time.Time) time.Time {
	return s.tenant.ledger.Ready(now, pass.Delta)
}

// Err says why the saved ledger could not be used, or a call not be handed in. It
// matches state.ErrInUse if the owner is at work: the calls are its calls, too,
// but were made without asking it.
func (s *SharedLedger) Err() error { return s.err }
