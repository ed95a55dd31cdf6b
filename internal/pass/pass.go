// Package pass names the purposes that the API is called for. The schedule
// decides for which of them the next call is made, and the ledger which of them
// goes first when calls are scarce: both mean the same by it.
package pass

// Pass is the purpose of a call. The order of the passes is that of their
// priority, the most urgent first.
type Pass uint8

// The passes. NumPasses is how many there are.
const (
	Delta     Pass = iota // what changed since the last refresh: freshness depends on it
	First                 // the first sync
	Sweep                 // the reading of everything in the background, from spare quota
	NumPasses = int(iota)
)

// Names are the label values of the passes.
var Names = [NumPasses]string{"delta", "first", "sweep"}

// String is the label value. It panics for what is no pass.
func (p Pass) String() string { return Names[p] }
