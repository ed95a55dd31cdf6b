package main

import (
	"errors"
	"fmt"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/state"
)

// borrowedLedger is the saved ledger of a tenant as far as a check, which is
// not its owner, can have it. Its zero value is one that nobody has saved.
type borrowedLedger struct {
	saved state.Borrowed // nil: not to be had
	err   error          // why, or why a call was not saved
}

// borrowLedger makes the tenant go on with its saved ledger, and its calls part
// of that.
func (t *tenant) borrowLedger(saved state.Borrowed, now time.Time) *borrowedLedger {
	b := &borrowedLedger{}
	data, err := saved.Load()
	if err != nil || data == nil {
		b.err = err
		return b
	}
	var log quota.Log
	if err := log.UnmarshalBinary(data); err != nil {
		b.err = err
		return b
	}
	t.ledger.Restore(now, log)
	b.saved, t.limiter.save = saved, b.save
	return b
}

func (b *borrowedLedger) save(log quota.Log) {
	data, err := log.MarshalBinary()
	if err == nil {
		err = b.saved.Save(data)
	}
	if err != nil {
		b.err = err
	}
}

// settle saves the ledger at the end, when no call is on its way any more.
func (b *borrowedLedger) settle(l *quota.Ledger, calls int, now time.Time) {
	if b.saved != nil && calls > 0 {
		b.save(l.Final(now))
	}
}

// note says what became of it, if that is of interest.
func (b *borrowedLedger) note(share float64) string {
	switch {
	case b.err == nil:
		return ""
	case errors.Is(b.err, state.ErrInUse) && share < 1:
		return fmt.Sprintf("the exporter is running and has the ledger: this check's calls come on top of its own, for which a share of %v leaves room", share)
	case errors.Is(b.err, state.ErrInUse):
		return "the exporter is running and has the ledger: this check's calls come on top of its own"
	}
	return "without the saved ledger: " + b.err.Error()
}
