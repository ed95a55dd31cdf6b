package state

import (
	"fmt"
	"sync"

	"m365_defender_exporter/internal/incident"
)

// memory keeps states within the process only: a tenant that is stopped and
// started again, with other settings perhaps, goes on.
type memory struct {
	mu      sync.Mutex
	tenants map[Key]*memoryTenant
}

// memoryTenant copies nothing: it knows how to ask the last owner, who has
// ended by the time that another one loads.
type memoryTenant struct {
	store  *memory
	key    Key
	open   bool
	export func(full bool) (*incident.Saved, error)
	ledger []byte
}

// Open implements Store.
func (m *memory) Open(key Key) (Tenant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tenants[key.folded()]
	if !ok {
		t = &memoryTenant{store: m, key: key}
		m.tenants[key.folded()] = t
	}
	if t.open {
		return nil, fmt.Errorf("%w: tenant %s, API %s, is configured twice", ErrInUse, key.Tenant, key.API)
	}
	t.open = true
	return t, nil
}

// Forget implements Store.
func (m *memory) Forget(key Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tenants[key.folded()]; ok && !t.open {
		delete(m.tenants, key.folded())
	}
}

func (t *memoryTenant) Load(restore func(*incident.Saved) error) error {
	if t.export == nil {
		return nil
	}
	saved, err := t.export(true)
	if err == nil {
		err = restore(saved)
	}
	if err != nil {
		t.export = nil
		return fmt.Errorf("%w: %w", ErrSetAside, err)
	}
	return nil
}

func (t *memoryTenant) Save(export func(bool) (*incident.Saved, error)) error {
	t.export = export
	return nil
}

func (t *memoryTenant) LoadLedger() ([]byte, error)    { return t.ledger, nil }
func (t *memoryTenant) SaveLedger(ledger []byte) error { t.ledger = ledger; return nil }
func (t *memoryTenant) Size() int64                    { return 0 }

func (t *memoryTenant) Close() error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.open = false
	return nil
}
