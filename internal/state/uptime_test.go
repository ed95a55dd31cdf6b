package state

import (
	"log/slog"
	"runtime"
	"testing"
	"time"
)

// TestUptime: the age of what is on the disk is that by a clock that nobody sets, and
// not known where two of its readings cannot be compared.
func TestUptime(t *testing.T) {
	boot, up := "a", time.Hour
	dir := t.TempDir()
	open := func() *file {
		store := newFile(dir, Options{Logger: slog.New(slog.DiscardHandler), Uptime: func() (string, time.Duration) { return boot, up }})
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
	store := open()
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "x")
	mustClose(t, tenant)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open().HandIn(contoso, []byte("y")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		boot string
		up   time.Duration
		want time.Duration
	}{
		{"same boot", "a", time.Hour + time.Second, time.Second},
		{"back to a snapshot", "a", time.Minute, 0},
		{"another boot", "b", 2 * time.Hour, -1},
		{"not known", "", 2 * time.Hour, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			boot, up = test.boot, test.up
			store := open()
			peeked, told, err := store.Peek(contoso)
			tenant := mustOpen(t, store, contoso)
			loaded, spent, errLoad := tenant.LoadLedger()
			if err != nil || errLoad != nil || len(told) != 1 || len(spent) != 1 {
				t.Fatalf("got %v and %v, handed in %v and %v", err, errLoad, told, spent)
			}
			for _, got := range []Written{peeked, loaded, told[0], spent[0]} {
				if got.Age != test.want || len(got.Packed) != 1 {
					t.Errorf("got %+v, want age %v", got, test.want)
				}
			}
			mustClose(t, tenant)
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	boot, up = "", time.Hour
	store = open()
	tenant = mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "z")
	boot = "a"
	if got, _, err := tenant.LoadLedger(); got.Age != -1 || string(got.Packed) != "z" || err != nil {
		t.Errorf("not known when it was written: got %+v, %v", got, err)
	}
	mustClose(t, tenant)
}

// TestMachineUptime: where there is one it goes on.
func TestMachineUptime(t *testing.T) {
	boot, up := machineUptime()()
	again, later := machineUptime()()
	if boot != again || later < up || (boot == "") == (runtime.GOOS == "linux") {
		t.Errorf("got %q %v, then %q %v", boot, up, again, later)
	}
}
