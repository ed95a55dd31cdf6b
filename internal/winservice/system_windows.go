package winservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// exitFailed is the exit code of a process that could not become a service.
const exitFailed = 1

// directory is where the service works. Any user may make directories beside it,
// and so it belongs to none: see manager.protect.
func directory() (string, error) {
	data, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		return "", fmt.Errorf("find ProgramData: %w", err)
	}
	return filepath.Join(data, Name), nil
}

type manager struct{}

// System is the service control manager of this machine, or ErrUnsupported.
func System() (Manager, error) { return manager{}, nil }

// Directory implements Manager.
func (manager) Directory() (string, error) {
	dir, err := directory()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the directory of the service: %w", err)
	}
	return dir, nil
}

// Install implements Manager.
func (m manager) Install(d Definition) error {
	control, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = control.Disconnect() }()
	created := false
	service, err := control.OpenService(d.Name)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		// What it makes a command line of is replaced by ours, as for one that exists.
		service, err = control.CreateService(d.Name, d.Name, mgr.Config{StartType: mgr.StartDisabled, ErrorControl: mgr.ErrorNormal})
		created = err == nil
	}
	if err != nil {
		return fmt.Errorf("create the service: %w", err)
	}
	defer func() { _ = service.Close() }()
	if err := configure(service, d); err != nil {
		if created {
			_ = service.Delete()
		}
		return err
	}
	_ = eventlog.Remove(d.Name) // of an earlier installation
	if err := eventlog.InstallAsEventCreate(d.Name, eventlog.Error|eventlog.Warning|eventlog.Info); err != nil {
		return fmt.Errorf("add the event source: %w", err)
	}
	return m.protect(d.Account)
}

func configure(service *mgr.Service, d Definition) error {
	if err := service.UpdateConfig(mgr.Config{
		ServiceType:      windows.SERVICE_WIN32_OWN_PROCESS,
		StartType:        mgr.StartAutomatic,
		DelayedAutoStart: true, // after the network
		ErrorControl:     mgr.ErrorNormal,
		BinaryPathName:   d.CommandLine,
		ServiceStartName: d.Account,
		SidType:          windows.SERVICE_SID_TYPE_UNRESTRICTED,
		DisplayName:      d.DisplayName,
		Description:      d.Description,
	}); err != nil {
		return fmt.Errorf("configure the service: %w", err)
	}
	var actions []mgr.RecoveryAction
	for _, delay := range d.Recovery {
		actions = append(actions, mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: delay})
	}
	if err := service.SetRecoveryActions(actions, uint32(d.Forget/time.Second)); err != nil {
		return fmt.Errorf("have the service restarted: %w", err)
	}
	// Also after an exit code, not after crashes alone.
	if err := service.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
		return fmt.Errorf("have the service restarted: %w", err)
	}
	return nil
}

// protect lets the system, administrators and the service alone read and write
// in the directory: secrets are there.
func (m manager) protect(account string) error {
	dir, err := m.Directory()
	if err != nil {
		return err
	}
	sid, _, _, err := windows.LookupSID("", account)
	if err != nil {
		return fmt.Errorf("find the account %s: %w", account, err)
	}
	// Protected from what is above it; full access for the first two, everything
	// but other rights and another owner for the service, all inherited below.
	security, err := windows.SecurityDescriptorFromString("O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;" + sid.String() + ")")
	if err != nil {
		return fmt.Errorf("describe the rights of the directory: %w", err)
	}
	owner, _, err := security.Owner()
	if err != nil {
		return fmt.Errorf("describe the owner of the directory: %w", err)
	}
	rights, _, err := security.DACL()
	if err != nil {
		return fmt.Errorf("describe the rights of the directory: %w", err)
	}
	if err := windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION,
		owner, nil, rights, nil); err != nil {
		return fmt.Errorf("set the rights of %s: %w", dir, err)
	}
	return nil
}

// Uninstall implements Manager.
func (manager) Uninstall(name string) error {
	control, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = control.Disconnect() }()
	service, err := control.OpenService(name)
	if err != nil {
		return fmt.Errorf("open the service: %w", err)
	}
	defer func() { _ = service.Close() }()
	_, err = service.Control(svc.Stop)
	if err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return fmt.Errorf("stop the service: %w", err)
	}
	for deadline := time.Now().Add(waitHint); err == nil; time.Sleep(100 * time.Millisecond) {
		status, err := service.Query()
		if err != nil {
			return fmt.Errorf("stop the service: %w", err)
		}
		if status.State == svc.Stopped {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("stop the service: it still runs after %v", waitHint)
		}
	}
	if err := service.Delete(); err != nil {
		return fmt.Errorf("delete the service: %w", err)
	}
	_ = eventlog.Remove(name) // if it is there
	return nil
}

func connect() (*mgr.Mgr, error) {
	control, err := mgr.Connect()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, errors.New("this takes an administrator: open the terminal with \"Run as administrator\"")
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the service control manager: %w", err)
	}
	return control, nil
}

// Main runs the program as a service if the service control manager has started
// this process: then it returns true, with the exit code, when that is over.
func Main(program func(EventLog) Program) (code int, isService bool) {
	isService, err := svc.IsWindowsService()
	if err != nil || !isService {
		return 0, false
	}
	source, err := eventlog.Open(Name)
	if err != nil {
		return exitFailed, true
	}
	defer func() { _ = source.Close() }()
	log := events{source}
	dir, err := directory()
	if err == nil {
		err = os.Chdir(dir)
	}
	if err != nil {
		write(log, slog.LevelError, fmt.Sprintf("The directory of the service cannot be used: %v", err))
		return exitFailed, true
	}
	h := handler{program(log), exitFailed}
	if err := svc.Run(Name, &h); err != nil {
		write(log, slog.LevelError, fmt.Sprintf("The service control manager cannot be reached: %v", err))
	}
	return h.code, true
}

// events is the event log. Identifiers say nothing: the text does.
type events struct{ log *eventlog.Log }

// Write implements EventLog.
func (e events) Write(level slog.Level, text string) {
	switch {
	case level >= slog.LevelError:
		_ = e.log.Error(3, text)
	case level >= slog.LevelWarn:
		_ = e.log.Warning(2, text)
	default:
		_ = e.log.Info(1, text)
	}
}

// handler makes [Run] a service of package svc.
type handler struct {
	program Program
	code    int
}

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (specific bool, code uint32) {
	controls := make(chan Control)
	ctx, done := context.WithCancel(context.Background())
	defer done()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case request := <-requests:
				control := Interrogate
				switch request.Cmd {
				case svc.Stop, svc.Shutdown, svc.PreShutdown:
					control = Stop
				case svc.ParamChange:
					control = Reload
				}
				select {
				case <-ctx.Done():
					return
				case controls <- control:
				}
			}
		}
	}()
	states := map[State]svc.State{Starting: svc.StartPending, Running: svc.Running, Stopping: svc.StopPending}
	h.code = Run(h.program, controls, func(s Status) {
		changes <- svc.Status{
			State: states[s.State], Accepts: svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptParamChange,
			CheckPoint: s.CheckPoint, WaitHint: uint32(s.WaitHint / time.Millisecond),
		}
	})
	return true, uint32(h.code)
}
