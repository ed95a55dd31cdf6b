package app

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// TestPaceGarbage: little is collected while the process starts, more afterwards,
// and nothing is set any more once it was stopped.
func TestPaceGarbage(t *testing.T) {
	now := func() (percent int) {
		percent = debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	defer debug.SetGCPercent(now())
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			stopAfter time.Duration
			want      int
		}{{startingFor - time.Second, gcStarting}, {startingFor + time.Second, gcPercent}} {
			stop := paceGarbage()
			time.Sleep(test.stopAfter)
			stop()
			time.Sleep(startingFor)
			synctest.Wait()
			if got := now(); got != test.want {
				t.Errorf("stopped after %v: got %d, want %d", test.stopAfter, got, test.want)
			}
		}
	})
}
