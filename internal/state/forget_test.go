package state

import (
	"testing"

	"m365_defender_exporter/internal/incident"
)

// TestForget: what a removed tenant has left in memory goes, unless it is back
// already.
func TestForget(t *testing.T) {
	store, err := New("memory:")
	if err != nil {
		t.Fatal(err)
	}
	key := Key{Tenant: "contoso", API: "defender"}
	loads := func() (found bool) {
		tenant, err := store.Open(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := tenant.Load(func(*incident.Saved) error { found = true; return nil }); err != nil {
			t.Fatal(err)
		}
		_ = tenant.Save(func(bool) (*incident.Saved, error) { return &incident.Saved{}, nil })
		store.Forget(key) // it is open
		if err := tenant.Close(); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if loads() || !loads() {
		t.Error("what a tenant in use has saved is forgotten")
	}
	store.Forget(key)
	if loads() {
		t.Error("what a removed tenant has saved is kept")
	}
}
