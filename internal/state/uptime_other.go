//go:build !linux

package state

import "time"

// machineUptime is not known: what names a boot differs from system to system.
func machineUptime() Uptime { return func() (string, time.Duration) { return "", 0 } }
