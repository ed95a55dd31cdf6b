package pass

import "testing"

func TestNames(t *testing.T) {
	for p, want := range map[Pass]string{Delta: "delta", First: "first", Sweep: "sweep"} {
		t.Run(want, func(t *testing.T) {
			if got := p.String(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestOrder is that of urgency, by which the ledger decides, and of the values
// that are saved.
func TestOrder(t *testing.T) {
	if Delta != 0 || First != 1 || Sweep != 2 || NumPasses != 3 {
		t.Errorf("got %d, %d, %d of %d", Delta, First, Sweep, NumPasses)
	}
}
