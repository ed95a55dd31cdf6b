// Package testmain runs the tests of a package in less time. GOGC and GOMAXPROCS, where
// they are set, are as they say.
package testmain

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"
)

// Run is a TestMain. Tests keep little and throw away much: to collect it less often
// saves up to half of their time.
func Run(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		_ = os.Setenv("GOGC", "400") // else a program that a test starts collects as usual
	}
	os.Exit(m.Run())
}

// Bubbles is a TestMain for tests in virtual time. The goroutines of a bubble take
// turns: a second processor does nothing but wait for its own.
func Bubbles(m *testing.M) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	Run(m)
}
