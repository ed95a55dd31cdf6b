package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/prometheus/common/promslog"

	"m365_defender_exporter/internal/winservice"
)

const (
	installFlag   = "--service.install"
	uninstallFlag = "--service.uninstall"
)

// RunService is [Run] with the events of the machine for a log, if the service
// control manager of Windows has started this process; otherwise it does nothing
// and isService is false.
func RunService(args []string) (code int, isService bool) {
	return winservice.Main(func(log winservice.EventLog) winservice.Program { return serviceProgram(args, log) })
}

func serviceProgram(args []string, log winservice.EventLog) winservice.Program {
	return func(ctx context.Context, started func(), reload <-chan os.Signal) int {
		o, code := parse(args, io.Discard, winservice.ErrorWriter{Log: log})
		if o == nil {
			return code
		}
		logger := winservice.NewLogger(log, func(w io.Writer) slog.Handler {
			o.log.Writer = w
			return promslog.New(o.log).Handler()
		})
		logLibraries(logger)
		return serve(ctx, o, logger, started, reload)
	}
}

// manageService does what installFlag or uninstallFlag asks for.
func manageService(args []string, system func() (winservice.Manager, error), stdout, stderr io.Writer) int {
	fail := func(code int, flag string, err error) int {
		_, _ = fmt.Fprintf(stderr, "m365_defender_exporter: error: %s: %v\n", flag, err)
		return code
	}
	if slices.Contains(args, uninstallFlag) {
		manager, err := system()
		if err == nil && len(args) > 1 {
			err = errors.New("it is given with other flags; it must be alone")
		}
		if err != nil {
			return fail(ExitUsage, uninstallFlag, err)
		}
		if err := manager.Uninstall(winservice.Name); err != nil {
			return fail(ExitRuntime, uninstallFlag, err)
		}
		_, _ = fmt.Fprintf(stdout, "The service %s is removed.\n", winservice.Name)
		return ExitOK
	}

	manager, err := system()
	if err != nil {
		return fail(ExitUsage, installFlag, err)
	}
	dir, err := manager.Directory()
	if err == nil {
		// Where the service is: its relative paths are checked as it sees them.
		err = os.Chdir(dir)
	}
	if err != nil {
		return fail(ExitRuntime, installFlag, err)
	}
	o, code := parse(args, stdout, stderr)
	if o == nil {
		return code
	}
	if o.command != "serve" {
		return fail(ExitUsage, installFlag, fmt.Errorf("it is given with the command %s; a service must serve", o.command))
	}
	if err := o.needsNoEnvironment(); err != nil {
		return fail(ExitUsage, installFlag, err)
	}
	program, err := os.Executable()
	if err != nil {
		return fail(ExitRuntime, installFlag, fmt.Errorf("find this program: %w", err))
	}
	kept := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == installFlag })
	if err := manager.Install(winservice.Define(program, kept)); err != nil {
		return fail(ExitRuntime, installFlag, err)
	}
	_, _ = fmt.Fprintf(stdout, `The service %[1]s is installed. It starts with the machine; now:

  sc.exe stop %[1]s    (if it runs)
  sc.exe start %[1]s

It works in %[2]s: its state is there, and relative paths begin there.
Its log is in the event log: Application, source %[1]s.
`, winservice.Name, dir)
	return ExitOK
}

// needsNoEnvironment refuses what this terminal's environment says and that of the
// service would not: it would be installed, and not start.
func (o *Options) needsNoEnvironment() error {
	if len(o.configFiles) > 0 || o.demo {
		return nil
	}
	t := o.tenants[0]
	for _, setting := range []struct {
		variable, flag string
		used           bool
	}{
		{"AZURE_TENANT_ID", "tenant.id", t.TenantID != ""},
		{"AZURE_CLIENT_ID", "client.id", t.ClientID != ""},
		{"AZURE_AUTHORITY_HOST", "auth.url", t.AuthURL != ""},
		{"AZURE_CLIENT_SECRET", "client.secret-file", t.ClientSecret != ""},
		{"AZURE_CLIENT_CERTIFICATE_PATH", "client.certificate-file", t.ClientCertificateFile != ""},
		{"AZURE_CLIENT_CERTIFICATE_PASSWORD", "client.certificate-password-file", t.ClientCertificatePassword != ""},
		{"AZURE_FEDERATED_TOKEN_FILE", "client.federated-token-file", t.FederatedTokenFile != ""},
	} {
		if setting.used && os.Getenv(setting.variable) != "" && !slices.Contains(o.given, setting.flag) {
			return fmt.Errorf("%s is set here, and the service would not have it; give --%s", setting.variable, setting.flag)
		}
	}
	return nil
}
