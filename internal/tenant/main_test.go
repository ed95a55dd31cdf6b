package tenant

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain: tests keep little and throw away much. To collect it less often saves a
// quarter of their time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
