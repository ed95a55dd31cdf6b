package app

import (
	"bytes"
	"io"
	"m365_defender_exporter/internal/config"
	"slices"
	"strings"
	"testing"
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
