package app

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"m365_defender_exporter/internal/config"
)

// TestTelemetryPathRefused: what cannot be served is refused with a sentence,
// by the check of the configuration and by the start.
func TestTelemetryPathRefused(t *testing.T) {
	for path, want := range map[string]string{
		"":                      "begins with a slash",
		"metrics":               "begins with a slash",
		"http://host/metrics":   "begins with a slash",
		" /metrics":             "begins with a slash",
		"*":                     "begins with a slash",
		"//metrics":             "without empty parts",
		"/a//metrics":           "without empty parts",
		"/metrics/":             "a slash at its end",
		"//":                    "a slash at its end",
		"/./metrics":            "dots for parts",
		"/a/../metrics":         "dots for parts",
		"/..":                   "dots for parts",
		"/metrics{":             "letters, digits and -._~",
		"/{metrics}":            "letters, digits and -._~",
		"/{metrics...}":         "letters, digits and -._~",
		"/{$}":                  "letters, digits and -._~",
		"/my metrics":           "letters, digits and -._~",
		"/metrics ":             "letters, digits and -._~",
		"/metrics\t":            "letters, digits and -._~",
		"/metrics\n":            "letters, digits and -._~",
		"/metrics?a=b":          "letters, digits and -._~",
		"/metrics#a":            "letters, digits and -._~",
		"/metrics%20":           "letters, digits and -._~",
		"/métriques":            "letters, digits and -._~",
		"/\xff":                 "letters, digits and -._~",
		"/":                     "where something else is served",
		"/status":               "where something else is served",
		"/-/healthy":            "where something else is served",
		"/-/ready":              "where something else is served",
		"/-/reload":             "where something else is served",
		"/debug/pprof":          "where something else is served",
		"/debug/pprof/":         "where something else is served",
		"/debug/pprof/heap":     "where something else is served",
		"/debug/pprof/{name}":   "where something else is served",
		"/debug/pprof/cmdline/": "where something else is served",
	} {
		for _, more := range [][]string{{"--config.check"}, {"--web.enable-pprof"}, {"check"}} {
			t.Run(more[0]+" "+path, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				args := append(slices.Clone(more), "--demo", "--web.listen-address=127.0.0.1:0", "--web.telemetry-path="+path)
				if got := Run(t.Context(), args, &stdout, &stderr); got != ExitUsage {
					t.Errorf("exit code: got %d, want %d", got, ExitUsage)
				}
				text := stderr.String()
				if !strings.HasPrefix(text, "m365_defender_exporter: error: --web.telemetry-path is ") || !strings.Contains(text, want) ||
					!strings.Contains(text, "such as /metrics") || strings.Count(text, "\n") != 1 || stdout.Len() > 0 {
					t.Errorf("got %q and %q, want %q", text, stdout.String(), want)
				}
			})
		}
	}
}

// TestAddressRefused: what no machine can listen on is refused with a sentence, by
// the check of the configuration and by the start.
func TestAddressRefused(t *testing.T) {
	tests := map[string]string{
		"--web.listen-address=foo":                                            "--web.listen-address is \"foo\"; it must be an address such as :10058",
		"--web.listen-address=:99999":                                         "--web.listen-address is \":99999\"; it must",
		"--web.listen-address=:":                                              "--web.listen-address is \":\"; it must",
		"--web.listen-address=::1:10058":                                      "--web.listen-address is \"::1:10058\"; it must",
		"--web.listen-address=:http-or-so":                                    "--web.listen-address is \":http-or-so\"; it must",
		"--web.listen-address=127.0.0.1:0 --web.listen-address=:-1":           "--web.listen-address is \":-1\"; it must",
		"--web.probe-listen-address=10059":                                    "--web.probe-listen-address is \"10059\"; it must be an address such as :10059",
		"--web.probe-listen-address=:99999":                                   "--web.probe-listen-address is \":99999\"; it must",
		"--web.probe-listen-address=:10058":                                   "--web.probe-listen-address is \":10058\", but --web.listen-address has that port",
		"--web.listen-address=[::1]:7 --web.probe-listen-address=[::1]:7":     "has that port",
		"--web.listen-address=:7 --web.probe-listen-address=127.0.0.1:7":      "has that port",
		"--web.listen-address=[::1]:7 --web.probe-listen-address=127.0.0.1:7": "",
		"--web.listen-address=vsock://:9 --web.probe-listen-address=:9":       "",
		"--web.listen-address=127.0.0.1:0 --web.probe-listen-address=:0":      "",
	}
	if runtime.GOOS == "linux" { // elsewhere there is no such flag
		tests["--web.systemd-socket --web.probe-listen-address=:10058"] = ""
	}
	for args, want := range tests {
		var stdout, stderr bytes.Buffer
		code, is := ExitUsage, "m365_defender_exporter: error: "+want
		if want == "" {
			code, is = ExitOK, ""
		}
		got := Run(t.Context(), append([]string{"--config.check", "--demo"}, strings.Fields(args)...), &stdout, &stderr)
		if text := stderr.String(); got != code || !strings.Contains(text, want) || want != "" && strings.Count(text, "\n") != 1 || strings.HasPrefix(want, "--") && !strings.HasPrefix(text, is) {
			t.Errorf("%s: exit code %d, %q", args, got, text)
		}
	}
}

// TestWebFilesRefused: a file of the web configuration that has no end, or never
// begins, is refused before it is read.
func TestWebFilesRefused(t *testing.T) {
	dir := t.TempDir()
	for field, other := range map[string]string{"cert_file": "key_file", "key_file": "cert_file", "client_ca_file": "cert_file"} {
		path := filepath.Join(dir, field+".yaml")
		if err := os.WriteFile(path, []byte("tls_server_config: {"+field+": ., "+other+": web.pem}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "web.pem"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		got := Run(t.Context(), []string{"--config.check", "--demo", "--web.config.file=" + path}, &stdout, &stderr)
		if text := stderr.String(); got != ExitUsage || !strings.Contains(text, "tls_server_config."+field) || !strings.Contains(text, "it must be a regular file") {
			t.Errorf("%s: exit code %d, %q", field, got, text)
		}
	}
	tenants := filepath.Join(dir, "config.yaml")
	for _, field := range []string{"cert_file", "key_file"} {
		text := "tenants: [{name: contoso, tenant_id: t, auth: {client_id: c, client_secret_file: none}, http: {tls_config: {cert_file: web.pem, key_file: web.pem}}}]"
		if err := os.WriteFile(tenants, []byte(strings.Replace(text, field+": web.pem", field+": .", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		got := Run(t.Context(), []string{"--config.check", "--config.file=" + tenants}, &stdout, &stderr)
		if text := stderr.String(); got != ExitUsage || !strings.Contains(text, "http.tls_config."+field) || !strings.Contains(text, "it must be a regular file") {
			t.Errorf("%s: exit code %d, %q", field, got, text)
		}
	}
}

// TestDemoInterval: a demo refreshes every ten seconds unless another interval
// was asked for, be it that of every other tenant.
func TestDemoInterval(t *testing.T) {
	withoutEnvironment(t)
	credential := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=s"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--demo"}, "10s"},
		{[]string{"--demo", "--refresh.interval=30s"}, "30s"},
		{[]string{"--refresh.interval=30s", "--demo"}, "30s"},
		{[]string{"--demo", "--refresh.interval", "30s", "check"}, "30s"},
		{[]string{"--demo", "--refresh.interval=10s"}, "10s"},
		{[]string{"--demo", "--refresh.interval=2m"}, "2m0s"},
		{credential, "30s"},
		{append(credential, "--no-demo"), "30s"},
	} {
		o, err := Parse(test.args, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		tenant := o.tenants[0]
		if o.demo {
			tenant = demoTenant(tenant, 0, "http://127.0.0.1")
		}
		if got := tenant.Interval.String(); got != test.want {
			t.Errorf("%v: got %s, want %s", test.args, got, test.want)
		}
	}
	if got := config.Default().Interval.String(); got != "30s" {
		t.Errorf("the default is %s: the test shows nothing", got)
	}
}
