//go:build !windows

package winservice

// System is the service control manager of this machine, or ErrUnsupported.
func System() (Manager, error) { return nil, ErrUnsupported }

// Main runs the program as a service if the service control manager has started
// this process: then it returns true, with the exit code, when that is over.
func Main(func(EventLog) Program) (code int, isService bool) { return 0, false }
