package refresh

import (
	"os"
	"runtime"
	"testing"
)

// TestMain: the goroutines of a bubble take turns. A second processor only waits for
// its own, which takes twice the time.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
