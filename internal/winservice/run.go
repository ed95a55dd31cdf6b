package winservice

import (
	"context"
	"os"
	"syscall"
	"time"
)

// Control is what a service is told.
type Control int

// Controls. A service that is told to stop while the machine goes down has a few
// seconds, by a setting of the machine; the state is saved whatever happens.
const (
	Interrogate Control = iota // say again what you said last
	Stop
	Reload // "the parameters have changed"
)

// State is what a service says of itself.
type State int

// States, in the order in which a service has them. That it has stopped is said
// by the end of [Run].
const (
	Starting State = iota
	Running
	Stopping
)

// Status is one message to the service control manager.
type Status struct {
	State State
	// CheckPoint grows while a start or a stop makes progress.
	CheckPoint uint32
	// WaitHint is within what time the next message comes; 0: when something
	// happens. Without it the service is taken for hung.
	WaitHint time.Duration
}

const (
	// sign is how often a service that starts or stops says so.
	sign = 5 * time.Second
	// waitHint is enough for a machine that is busy with its own start.
	waitHint = 30 * time.Second
)

// Program is what runs as a service, until that is done or ctx ends. It calls
// started at most once, and reads its configuration again for each SIGHUP that
// reload delivers, as where there are signals. It returns the exit code.
type Program func(ctx context.Context, started func(), reload <-chan os.Signal) int

// Run is the service from its start to its end, with the program's exit code. It
// calls report itself, never at once from two goroutines.
func Run(program Program, controls <-chan Control, report func(Status)) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	started, ended, reload := make(chan struct{}), make(chan int, 1), make(chan os.Signal, 1)
	go func() { ended <- program(ctx, func() { close(started) }, reload) }()

	ticker := time.NewTicker(sign)
	defer ticker.Stop()
	status := Status{State: Starting, WaitHint: waitHint}
	report(status)
	for {
		select {
		case code := <-ended:
			return code
		case <-started:
			started = nil
			if status.State == Starting {
				status = Status{State: Running}
				report(status)
			}
		case <-ticker.C:
			if status.State != Running {
				status.CheckPoint++
				report(status)
			}
		case control := <-controls:
			switch control {
			case Interrogate:
				report(status)
			case Reload:
				select {
				case reload <- syscall.SIGHUP:
				default: // one that has not begun will see this change, too
				}
			case Stop:
				if status.State != Stopping {
					status = Status{State: Stopping, WaitHint: waitHint}
					report(status)
					stop()
				}
			}
		}
	}
}
