package state

import (
	"errors"
	"time"

	"m365_defender_exporter/internal/incident"
)

// observedStore tells of every use of a store that does not do so itself.
type observedStore struct {
	Store
	observe func(Operation, time.Duration, error)
}

// Open implements Store.
func (s observedStore) Open(key Key) (Tenant, error) {
	began := time.Now()
	tenant, err := s.Store.Open(key)
	s.observe(OperationOpen, time.Since(began), fault(err))
	if err != nil {
		return nil, err
	}
	return observedTenant{tenant, s.observe}, nil
}

// fault is an error that is the store's own: that a state is another process's, or
// was damaged, the store is there to say.
func fault(err error) error {
	if errors.Is(err, ErrInUse) || errors.Is(err, ErrSetAside) {
		return nil
	}
	return err
}

type observedTenant struct {
	Tenant
	observe func(Operation, time.Duration, error)
}

// Load implements Tenant.
func (t observedTenant) Load(restore func(*incident.Saved) error) error {
	began := time.Now()
	err := t.Tenant.Load(restore)
	t.observe(OperationLoad, time.Since(began), fault(err))
	return err
}

// Save implements Tenant.
func (t observedTenant) Save(export func(bool) (*incident.Saved, error)) error {
	began := time.Now()
	err := t.Tenant.Save(export)
	t.observe(OperationSave, time.Since(began), fault(err))
	return err
}

// SaveLedger implements Tenant.
func (t observedTenant) SaveLedger(ledger []byte) ([]Written, error) {
	began := time.Now()
	spent, err := t.Tenant.SaveLedger(ledger)
	t.observe(OperationGrant, time.Since(began), fault(err))
	return spent, err
}
