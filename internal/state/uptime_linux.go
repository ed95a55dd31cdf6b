package state

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// machineUptime includes the time that the machine was asleep. A container can have a
// clock of its own, by offsets, with which its readings cannot be compared to others.
func machineUptime() Uptime {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	offsets, _ := os.ReadFile("/proc/self/timens_offsets") // a kernel without it has none
	return func() (boot string, up time.Duration) {
		var now unix.Timespec
		if len(id) == 0 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
			return "", 0
		}
		return string(id) + string(offsets), time.Duration(now.Nano())
	}
}
