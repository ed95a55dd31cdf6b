// Package winservice lets the exporter be a service of Windows: installed by
// itself, started and stopped by the service control manager, with its log in
// the event log. What Windows itself does is behind [Manager], [Run]'s arguments
// and [EventLog], so that the rest runs on every platform.
//
// Facts are from learn.microsoft.com/windows/win32/services.
package winservice

import (
	"errors"
	"strings"
	"time"
)

// Name is the service's name, its event source, and the name of its directory.
const Name = "m365_defender_exporter"

// ErrUnsupported says that this is not Windows.
var ErrUnsupported = errors.New("this is not Windows; elsewhere the packages bring a systemd unit")

// Definition is a service as it is to be installed.
type Definition struct {
	Name, DisplayName, Description string
	// CommandLine starts the program: quoted, with an absolute path.
	CommandLine string
	// Account is whom the service runs as. It has no password.
	Account string
	// Recovery is after what time a service that failed is started again, for the
	// first failure, the second, and so on; the last one is for all others.
	Recovery []time.Duration
	// Forget is after what time without a failure the next one is the first again.
	Forget time.Duration
}

// Manager is the service control manager, with what else a service needs.
type Manager interface {
	// Directory is where the service works: its state is there, and relative paths
	// of its flags begin there. It is made if it does not exist.
	Directory() (string, error)
	// Install makes the service or, where there is one of this name, gives it this
	// definition. It starts nothing, and lets the directory be the service's.
	Install(Definition) error
	// Uninstall stops the service and removes it. The directory stays.
	Uninstall(name string) error
}

// Define is the exporter's service, which runs the program with the arguments.
// Its account is one that exists for it alone, and may do no more than any user.
// Windows cannot be told that a wrong flag does not become right by trying again;
// so that it does no harm, all but the first attempts are rare.
func Define(program string, args []string) Definition {
	return Definition{
		Name:        Name,
		DisplayName: "Microsoft 365 Defender exporter",
		Description: "Prometheus exporter for Microsoft 365 Defender incidents.",
		CommandLine: commandLine(append([]string{program}, args...)),
		Account:     `NT SERVICE\` + Name,
		Recovery:    []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute},
		Forget:      24 * time.Hour,
	}
}

// commandLine is what CommandLineToArgvW takes apart into these arguments again.
func commandLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quote(arg)
	}
	return strings.Join(quoted, " ")
}

// quote follows the documented rules: backslashes are doubled where a quotation
// mark follows, and a quotation mark has one before it. A path without spaces is
// quoted only by its content, and so stays readable.
func quote(arg string) string {
	if arg != "" && !strings.ContainsAny(arg, " \t\n\v\"") {
		return arg
	}
	var b strings.Builder
	b.WriteByte('"')
	backslashes := 0
	for i := range len(arg) {
		switch arg[i] {
		case '\\':
			backslashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		b.WriteByte(arg[i])
	}
	b.WriteString(strings.Repeat(`\`, backslashes))
	b.WriteByte('"')
	return b.String()
}
