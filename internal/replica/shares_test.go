package replica

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("m365-defender-exporter-7c9d8f6b5d-%03d", i))
	}
	return all
}

func account(i int) string { return fmt.Sprintf("defender/3f6d2a10-5b1e-4c7a-9a44-%012d", i) }

// divided counts the tenants of each replica.
func divided(s Shares, tenants int) map[string]int {
	shares := map[string]int{}
	for i := range tenants {
		shares[s.Owner(account(i))]++
	}
	return shares
}

// TestSharesAreFair: no replica has much more than an equal part.
func TestSharesAreFair(t *testing.T) {
	for _, test := range []struct{ tenants, replicas, least, most int }{
		{1000, 2, 450, 550},
		{1000, 3, 290, 380},
		{10_000, 10, 900, 1100},
		{100_000, 100, 880, 1120},
	} {
		t.Run(fmt.Sprintf("%d on %d", test.tenants, test.replicas), func(t *testing.T) {
			low, high := test.tenants, 0
			for _, n := range divided(NewShares(names(test.replicas)), test.tenants) {
				low, high = min(low, n), max(high, n)
			}
			if low < test.least || high > test.most {
				t.Errorf("from %d to %d tenants, want %d to %d", low, high, test.least, test.most)
			}
			t.Logf("from %d to %d tenants", low, high)
		})
	}
}

// TestSharesMoveLittle: when a replica goes, only its tenants move, and they are
// spread over the others; when it comes back, everything is as before.
func TestSharesMoveLittle(t *testing.T) {
	for _, test := range []struct{ tenants, replicas, mostToOne int }{
		{1000, 3, 210}, {100_000, 100, 30},
	} {
		t.Run(fmt.Sprintf("%d on %d", test.tenants, test.replicas), func(t *testing.T) {
			all := names(test.replicas)
			gone := all[test.replicas/2]
			var rest []string
			for _, name := range all {
				if name != gone {
					rest = append(rest, name)
				}
			}
			before, after := NewShares(all), NewShares(rest)
			to := map[string]int{}
			for i := range test.tenants {
				was, is := before.Owner(account(i)), after.Owner(account(i))
				switch {
				case was == gone:
					to[is]++
				case was != is:
					t.Fatalf("%s moved from %s to %s, and %s is gone", account(i), was, is, gone)
				}
			}
			most, moved := 0, 0
			for _, n := range to {
				most, moved = max(most, n), moved+n
			}
			if most > test.mostToOne {
				t.Errorf("%d tenants moved to one, want at most %d", most, test.mostToOne)
			}
			t.Logf("%d moved, at most %d to one", moved, most)
		})
	}
}

// TestSharesAgree: the order and repetition of the names have no meaning, and the
// shares are those of every other process and version of the program.
func TestSharesAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := names(7)
	want := NewShares(all)
	for range 20 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		got := NewShares(append(all, all[0]))
		for i := range 100 {
			if got, want := got.Owner(account(i)), want.Owner(account(i)); got != want {
				t.Fatalf("%s: got %s, want %s", account(i), got, want)
			}
		}
	}
	if got := NewShares(nil).Owner("x"); got != "" {
		t.Errorf("of none: got %q", got)
	}
	if got := NewShares([]string{"a"}).Owner("x"); got != "a" {
		t.Errorf("of one: got %q", got)
	}
	// Written down once: another version must not divide otherwise.
	var owners string
	three := NewShares([]string{"a", "b", "c"})
	for i := range 24 {
		owners += three.Owner(account(i))
	}
	if want := "baccccabbbabbccabacaccbc"; owners != want {
		t.Errorf("got %s, want %s", owners, want)
	}
}

func BenchmarkShares(b *testing.B) {
	s := NewShares(names(100))
	for b.Loop() {
		for i := range 1000 {
			s.Owner(account(i))
		}
	}
}
