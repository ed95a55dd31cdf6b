package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/winservice"
)

// serviceManager is a service control manager without Windows. It keeps the
// definition, and what it starts it starts from the command line.
type serviceManager struct {
	dir       string
	fails     error
	installed map[string]winservice.Definition
}

func (m *serviceManager) system() (winservice.Manager, error) { return m, nil }

func (m *serviceManager) Directory() (string, error) { return m.dir, nil }

func (m *serviceManager) Install(d winservice.Definition) error {
	if m.fails == nil {
		m.installed[d.Name] = d
	}
	return m.fails
}

func (m *serviceManager) Uninstall(name string) error {
	if _, ok := m.installed[name]; !ok {
		return errors.New("open the service: it does not exist")
	}
	delete(m.installed, name)
	return nil
}

// arguments of the service, which have no quotation marks in these tests.
func (m *serviceManager) arguments(t *testing.T) []string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutPrefix(strings.ReplaceAll(m.installed[winservice.Name].CommandLine, `"`, ""), program)
	if !ok || !filepath.IsAbs(program) {
		t.Errorf("starts %s, want %s", m.installed[winservice.Name].CommandLine, program)
	}
	return strings.Fields(line)
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	t.Chdir(".") // an installation goes to another directory
	return &serviceManager{dir: t.TempDir(), installed: map[string]winservice.Definition{}}
}

// TestServiceInstall: what the service runs is what was given, without what
// installs it; given again with other flags it replaces them.
func TestServiceInstall(t *testing.T) {
	withoutEnvironment(t)
	m := newServiceManager(t)
	var stdout, stderr bytes.Buffer
	ids := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=secret"}
	if code := manageService(append(ids, "--service.install"), m.system, &stdout, &stderr); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if got := m.arguments(t); !slices.Equal(got, ids) {
		t.Errorf("got %q, want %q", got, ids)
	}
	for _, want := range []string{m.dir, "sc.exe start m365_defender_exporter", "event log"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("got %q, want %q in it", stdout.String(), want)
		}
	}
	again := []string{"--service.install", "serve", "--demo", "--web.listen-address=127.0.0.1:0"}
	if code := manageService(again, m.system, &stdout, &stderr); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if got := m.arguments(t); !slices.Equal(got, again[1:]) {
		t.Errorf("got %q, want %q", got, again[1:])
	}
	// Relative paths are those that the service sees.
	if err := os.WriteFile(filepath.Join(m.dir, "tenants.yml"), []byte("tenants: [{name: a, tenant_id: t, auth: {client_id: c, client_secret_file: s}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := manageService([]string{"--service.install", "--config.file=tenants.yml"}, m.system, &stdout, &stderr); code != ExitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []struct {
		code int
		text string
	}{{ExitOK, "is removed"}, {ExitRuntime, "it does not exist"}} {
		var out bytes.Buffer
		if got := manageService([]string{"--service.uninstall"}, m.system, &out, &out); got != want.code || !strings.Contains(out.String(), want.text) {
			t.Errorf("got %d, %q, want %+v", got, out.String(), want)
		}
	}
}

// TestServiceRefused: nothing is installed that could not start, and nothing
// where there are no such services.
func TestServiceRefused(t *testing.T) {
	ids := []string{"--service.install", "--tenant.id=t", "--client.id=c"}
	with := func(more ...string) []string { return slices.Concat(ids, more) }
	for _, test := range []struct {
		name        string
		args        []string
		environment string
		fails       error
		code        int
		want        string
	}{
		{"flags", with("--client.secret-file=s", "--api.quota-share=3"), "", nil, ExitUsage, "error: --api.quota-share is 3"},
		{"no flags", ids[:1], "", nil, ExitUsage, "--tenant.id (or AZURE_TENANT_ID) is required"},
		{"secret of the terminal", ids, "AZURE_CLIENT_SECRET", nil, ExitUsage, "--service.install: AZURE_CLIENT_SECRET is set here, and the service would not have it; give --client.secret-file"},
		{"id of the terminal", []string{"--service.install", "--tenant.id=t", "--client.secret-file=s"}, "AZURE_CLIENT_ID", nil, ExitUsage, "AZURE_CLIENT_ID is set here"},
		{"login of the terminal", with("--client.secret-file=s"), "AZURE_AUTHORITY_HOST", nil, ExitUsage, "AZURE_AUTHORITY_HOST is set here"},
		{"check", with("check", "--client.secret-file=s"), "", nil, ExitUsage, "--service.install: it is given with the command check; a service must serve"},
		{"manager", with("--client.secret-file=s"), "", errors.New("this takes an administrator"), ExitRuntime, "--service.install: this takes an administrator"},
		{"uninstall with flags", []string{"--service.uninstall", "--demo"}, "", nil, ExitUsage, "--service.uninstall: it is given with other flags; it must be alone"},
		{"no file", []string{"--service.install", "--config.file=nowhere.yml"}, "", nil, ExitUsage, "--config.file: open nowhere.yml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withoutEnvironment(t)
			if test.environment != "" {
				t.Setenv(test.environment, "https://login.microsoftonline.com")
			}
			m := newServiceManager(t)
			m.fails = test.fails
			var stdout, stderr bytes.Buffer
			if code := manageService(test.args, m.system, &stdout, &stderr); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if text := stderr.String(); !strings.Contains(text, test.want) || strings.Count(text, "\n") != 1 || stdout.Len() > 0 || len(m.installed) > 0 {
				t.Errorf("got %q, %q, %v; want %q", text, stdout.String(), m.installed, test.want)
			}
		})
	}
	// Variables that a flag outdoes are left alone.
	withoutEnvironment(t)
	t.Setenv("AZURE_CLIENT_SECRET", "s")
	m := newServiceManager(t)
	var stdout, stderr bytes.Buffer
	if code := manageService(with("--client.secret-file=s"), m.system, &stdout, &stderr); code != ExitOK {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, flag := range []string{installFlag, uninstallFlag} {
		none := func() (winservice.Manager, error) { return nil, winservice.ErrUnsupported }
		stderr.Reset()
		if code := manageService([]string{flag}, none, &stdout, &stderr); code != ExitUsage || stderr.String() != "m365_defender_exporter: error: "+flag+": this is not Windows; elsewhere the packages bring a systemd unit\n" {
			t.Errorf("%s: exit code %d, %s", flag, code, stderr.String())
		}
	}
}

type eventLog struct {
	mu     sync.Mutex
	events []string
}

func (l *eventLog) Write(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, level.String()+" "+text)
}

func (l *eventLog) has(level, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.events, func(event string) bool {
		return strings.HasPrefix(event, level+" ") && strings.Contains(event, text)
	})
}

// TestServiceRuns: from the installation to the stop, with the log as events.
func TestServiceRuns(t *testing.T) {
	withoutEnvironment(t)
	m := newServiceManager(t)
	var stdout, stderr bytes.Buffer
	if code := manageService([]string{"--service.install", "--demo", "--web.listen-address=127.0.0.1:0"}, m.system, &stdout, &stderr); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var log eventLog
	controls, running, stopped := make(chan winservice.Control), make(chan bool, 1), make(chan int, 1)
	go func() {
		stopped <- winservice.Run(serviceProgram(m.arguments(t), &log), controls, func(s winservice.Status) {
			if s.State == winservice.Running {
				running <- true
			}
		})
	}()
	select {
	case <-running:
	case code := <-stopped:
		t.Fatalf("exit code %d: %q", code, log.events)
	}
	if !log.has("INFO", "Listening on") {
		t.Errorf("it runs before it listens: %q", log.events)
	}
	controls <- winservice.Reload
	for !log.has("INFO", "The configuration was reloaded") {
		time.Sleep(time.Millisecond)
	}
	controls <- winservice.Stop
	if code := <-stopped; code != ExitOK || !log.has("INFO", "msg=Stopping") {
		t.Errorf("exit code %d: %q", code, log.events)
	}
}

// TestServiceFails: the exit code tells why, and so does an error event.
func TestServiceFails(t *testing.T) {
	withoutEnvironment(t)
	taken := started(t, &http.Client{}, "http", "--demo")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--nonsense"}, ExitUsage, "--nonsense"},
		{[]string{"--demo", "--web.listen-address=" + taken.Addr().String()}, ExitRuntime, "Stopped by an error"},
	} {
		var log eventLog
		code := serviceProgram(test.args, &log)(context.Background(), func() { t.Error("it says that it runs") }, nil)
		if code != test.code || !log.has("ERROR", test.want) {
			t.Errorf("%v: exit code %d, %q", test.args, code, log.events)
		}
	}
	if _, isService := RunService(nil); isService {
		t.Error("the test is a service")
	}
}
