package state

import (
	"fmt"
	"sync"
	"time"

	"m365_defender_exporter/internal/incident"
)

// memory keeps states within the process only: a tenant that is stopped and
// started again, with other settings perhaps, goes on.
type memory struct {
	mu      sync.Mutex
	tenants map[Key]*memoryTenant
}

// memoryTenant copies no rows: it knows how to ask the last owner, who has ended
// by the time that another one loads.
type memoryTenant struct {
	store  *memory
	key    Key
	open   bool
	export func(full bool) (*incident.Saved, error)
	ledger []byte
	saved  time.Time // the ledger
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
		return nil, configuredTwice(key)
	}
	t.open = true
	return t, nil
}

func configuredTwice(key Key) error {
	return fmt.Errorf("%w: tenant %s, API %s, is configured twice", ErrInUse, key.Tenant, key.API)
}

// Peek implements Store: a process has no memory of another one's.
func (*memory) Peek(Key) (ledger Written, spent []Written, err error) { return Written{}, nil, nil }

// HandIn implements Store.
func (*memory) HandIn(Key, []byte) error { return ErrNowhere }

// Forget implements Store.
func (m *memory) Forget(key Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tenants[key.folded()]; ok && !t.open {
		delete(m.tenants, key.folded())
	}
}

// Close implements Store.
func (*memory) Close() error { return nil }

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

func (t *memoryTenant) LoadLedger() (ledger Written, spent []Written, err error) {
	return Written{t.ledger, time.Since(t.saved)}, nil, nil
}

func (*memoryTenant) Ownership() Ownership { return Ownership{} }

func (t *memoryTenant) SaveLedger(ledger []byte) (spent []Written, err error) {
	t.ledger, t.saved = ledger, time.Now()
	return nil, nil
}

func (t *memoryTenant) Size() int64 { return 0 }

func (t *memoryTenant) Close() error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.open = false
	return nil
}
