package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"golang.org/x/crypto/bcrypt"
)

// withoutEnvironment hides what the machine's environment says.
func withoutEnvironment(t *testing.T) {
	for _, name := range []string{
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
		"AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "IMDS_ENDPOINT",
		"HTTPS_PROXY", "https_proxy",
	} {
		t.Setenv(name, "")
	}
}

// TestUsage: what is missing or wrong is one clear line with the flag and the
// variable, and exit code 2.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	badWeb := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(badWeb, []byte("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.key}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ids := []string{"--tenant.id=contoso.example", "--client.id=c"}
	with := func(more ...string) []string {
		return slices.Concat(ids, []string{"--client.secret-file=/run/secret"}, more)
	}
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"nothing", nil, []string{"--tenant.id (or AZURE_TENANT_ID) is required", "--demo"}},
		{"no client", ids[:1], []string{"--client.id (or AZURE_CLIENT_ID) is required"}},
		{"no secret", ids, []string{"--client.secret-file (or AZURE_CLIENT_SECRET) is required"}},
		{"secret as a flag", append(ids[:2:2], "--client.secret=x"), []string{"unknown long flag '--client.secret'"}},
		{"tenant with a slash", []string{"--tenant.id=a/b"}, []string{"--tenant.id", "directory (tenant) id"}},
		{"unknown flag", []string{"--nonsense"}, []string{"--nonsense", "--help"}},
		{"unknown command", []string{"fetch"}, []string{"fetch"}},
		{"cloud", with("--cloud=china"), []string{"--cloud", "public, gcc, gcc-high, dod"}},
		{"duration", with("--refresh.interval=30"), []string{`--refresh.interval is "30"; it must be a duration such as 30s`}},
		{"short interval", with("--refresh.interval=10ms"), []string{"--refresh.interval is 10ms; it must be at least 1s"}},
		{"share", with("--api.quota-share=1.5"), []string{"--api.quota-share is 1.5; it must be above 0 and at most 1"}},
		{"share that is no number", with("--api.quota-share=NaN"), []string{"--api.quota-share is NaN"}},
		{"size", with("--api.max-response-bytes=12 apples"), []string{"--api.max-response-bytes", "64MiB"}},
		{"api", with("--api=graphql"), []string{"--api is", "defender"}},
		{"quota that is no number", with("--api.quota-per-hour=many"), []string{"--api.quota-per-hour", "whole number"}},
		{"quota", with("--api.quota-per-minute=0"), []string{"--api.quota-per-minute is 0; it must be at least 1"}},
		{"plain http", with("--api.url=http://api.example"), []string{"--api.url", "https://"}},
		{"no URL", with("--auth.url=login"), []string{"--auth.url", "URL such as https://host"}},
		{"credentials in URL", with("--api.url=https://u:p@host"), []string{"--api.url must not contain credentials"}},
		{"max age", with("--cache.max-age=10s"), []string{"--cache.max-age is 10s", "--refresh.interval"}},
		{"telemetry path", with("--web.telemetry-path=metrics"), []string{"--web.telemetry-path", "such as /metrics"}},
		{"taken path", with("--web.telemetry-path=/status"), []string{"--web.telemetry-path", "/status"}},
		{"state", with("--state.url=bolt:data"), []string{`--state.url is "bolt:data"; it must be memory:, file:DIRECTORY, redis://HOST or rediss://HOST`}},
		{"password in the state's URL", with("--state.url=redis://u:secret@h"), []string{"--state.url is a URL with a password", "--state.password-file", "STATE_PASSWORD"}},
		{"state parameter", with("--state.url=redis://h?pool=3"), []string{`with the parameter "pool"`, "addr, master_name"}},
		{"state TLS", with("--state.url=redis://h", "--state.ca-file=x"), []string{"--state.ca-file is given, which needs --state.url=rediss://HOST"}},
		{"state key", with("--state.url=rediss://h", "--state.key-file=x"), []string{"--state.certificate-file and --state.key-file must be given together"}},
		{"state authorities", with("--state.url=rediss://h", "--state.ca-file="+badWeb), []string{"--state.ca-file: there is no certificate"}},
		{"state password", with("--state.password-file=x"), []string{"--state.password-file is given, which needs --state.url=redis://HOST"}},
		{"no state password", with("--state.url=redis://h", "--state.password-file=nowhere"), []string{"--state.password-file: open nowhere"}},
		{"look-back", with("--incidents.lookback=240y"), []string{"--incidents.lookback is 240y; it must be at most 10y"}},
		{"threshold without end", with("--incidents.age-threshold=240y"), []string{"--incidents.age-threshold is 240y; it must be at most 10y"}},
		{"quota without end", with("--api.quota-per-hour=9223372036854775807"), []string{"--api.quota-per-hour is 9223372036854775807; it must be at most 1000000"}},
		{"long timeout", with("--api.timeout=16m"), []string{"--api.timeout is 16m; it must be at most 15m"}},
		{"huge answer", with("--api.max-response-bytes=2GiB"), []string{"--api.max-response-bytes is 2GiB; it must be at most 1GiB"}},
		{"query", with("--api.url=https://proxy.example/api?"), []string{"--api.url is", "without ? and #"}},
		{"directory without files", []string{"--config.file=."}, []string{"--config.file .: there is no *.yml or *.yaml in it; it must have at least one"}},
		{"bad second file", []string{"--config.file=../../docs/config.example.yaml", "--config.file=../config/testdata/bad/no-tenants.yaml"}, []string{"--config.file ../config/testdata/bad/no-tenants.yaml: tenants is empty"}},
		{"no second file", []string{"--config.file=../../docs/config.example.yaml", "--config.file=nowhere.yaml"}, []string{"--config.file: open nowhere.yaml"}},
		{"a file twice", []string{"--config.file=../../docs/config.example.yaml", "--config.file=../../docs/config.example.yaml"}, []string{"--config.file ../../docs/config.example.yaml: tenants[0] (contoso): name is that of tenants[0] (contoso)"}},
		{"directory for the web config", with("--web.config.file=/"), []string{"--web.config.file: read /: it is a directory"}},
		{"web config", with("--web.config.file=" + badWeb), []string{"--web.config.file", "nowhere.pem"}},
		{"objective without end", with("--incidents.objective=high=assign:240y"), []string{"--incidents.objective is 240y; it must be at most 10y"}},
		{"objective", with("--incidents.objective=high=assign:soon"), []string{`--incidents.objective is "high=assign:soon"; it must be a severity and times such as high=assign:15m,resolve:4h`}},
		{"tag twice", with("--incidents.tags=VIP,vip"), []string{"--incidents.tags has vip twice"}},
		{"tag without name", with("--incidents.tags=VIP,"), []string{"--incidents.tags has an empty name; it must be a list such as A,B"}},
		{"all tags", with("--incidents.tags=*"), []string{"--incidents.tags has *, which is no name"}},
		{"all device groups and one", with("--incidents.device-groups=*,A"), []string{"--incidents.device-groups has *, which is no name; * alone stands for all device groups"}},
		{"detectors", with("--incidents.detectors=51"), []string{"--incidents.detectors is 51; it must be at least 1 and at most 50, or 0 for none"}},
		{"assignees", with("--incidents.assignees=all"), []string{`--incidents.assignees is "all"; it must be off, count, hashed or names`}},
		{"assignees without a key", with("--incidents.assignees=count"), []string{"--incidents.assignees-key-file is required, for --incidents.assignees is count"}},
		{"names with a key", with("--incidents.assignees=names", "--incidents.assignees-key-file=x"), []string{"--incidents.assignees-key-file is given, but --incidents.assignees is names, which needs no key"}},
		{"objective of no severity", with("--incidents.objective=critical=assign:1h"), []string{"--incidents.objective is", "it must be a severity"}},
		{"objective of nothing", with("--incidents.objective=high"), []string{"--incidents.objective is", "it must be a severity"}},
		{"threshold", with("--incidents.age-threshold=0s"), []string{"--incidents.age-threshold is 0s"}},
		{"two credentials", with("--client.managed-identity"), []string{"--client.managed-identity is given as well as --client.secret-file"}},
		{"end of the secret", with("--client.secret-expires=1 May"), []string{`--client.secret-expires is "1 May"; it must be a date such as 2027-05-01`}},
		{"end of no secret", append(ids[:2:2], "--client.managed-identity", "--client.secret-expires=2027-05-01"), []string{"--client.secret-expires is given with --client.managed-identity; it must be given with a client secret only"}},
		{"password alone", with("--client.certificate-password-file=p"), []string{"--client.certificate-password-file is given without --client.certificate-file"}},
		{"mixed clouds", with("--cloud=gcc-high", "--auth.url=https://login.microsoftonline.com"), []string{"--auth.url is", "belongs to public (login) and gcc (login)", "https://login.microsoftonline.us"}},
		{"mixed APIs", with("--api.url=https://graph.microsoft.com"), []string{"--api.url is", "(api graph)", "https://api.security.microsoft.com"}},
		{"probe address", with("--web.probe-listen-address=10059"), []string{"--web.probe-listen-address", "such as :10059"}},
		{"reload path", with("--web.telemetry-path=/-/reload"), []string{"--web.telemetry-path"}},
		{"no file", []string{"--config.file=nowhere.yaml"}, []string{"--config.file: open nowhere.yaml"}},
		{"file and flag", []string{"--config.file=../../docs/config.example.yaml", "--refresh.interval=1m"}, []string{"--refresh.interval is given together with --config.file"}},
		{"file and demo", []string{"--config.file=../../docs/config.example.yaml", "--demo"}, []string{"--demo is given together with --config.file"}},
		{"bad file", []string{"--config.file=../config/testdata/bad/share.yaml"}, []string{"--config.file ../config/testdata/bad/share.yaml: tenants[1] (contoso): quota.share is 3"}},
		{"demo", []string{"--demo", "--api.quota-share=3"}, []string{"error: --api.quota-share is 3; it must be above 0 and at most 1"}},
		{"log level", with("--log.level=loud"), []string{"--log.level: unrecognized log level loud"}},
		{"response size", with("--api.max-response-bytes=12"), []string{"--api.max-response-bytes is 12"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			withoutEnvironment(t)
			var stdout, stderr bytes.Buffer
			if got := Run(t.Context(), append([]string{"--config.check"}, test.args...), &stdout, &stderr); got != ExitUsage {
				t.Errorf("exit code: got %d, want %d", got, ExitUsage)
			}
			text := stderr.String()
			if strings.Count(text, "\n") != 1 || stdout.Len() > 0 {
				t.Errorf("want one line on stderr, got %q and %q", text, stdout.String())
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("got %q, want %q in it", text, want)
				}
			}
		})
	}
}

func TestConfigCheck(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_TENANT_ID", "t")
	t.Setenv("AZURE_CLIENT_ID", "c")
	t.Setenv("AZURE_CLIENT_SECRET", "hush")
	var stdout, stderr bytes.Buffer
	if got := Run(t.Context(), []string{"--config.check"}, &stdout, &stderr); got != ExitOK {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
	o, err := Parse([]string{"--tenant.id=flag", "--incidents.age-threshold=2h", "--incidents.age-threshold=1h"}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.tenants[0].TenantID != "flag" || o.tenants[0].ClientID != "c" {
		t.Errorf("flags come before the environment: %+v", o.tenants[0])
	}
	if got := fmt.Sprint(o.tenants[0].AgeThresholds); got != "[1h0m0s 2h0m0s]" {
		t.Errorf("thresholds: %s", got)
	}
	if got := fmt.Sprint(o.tenants[0].Objectives.High); got != "{1h0m0s 0s 24h0m0s}" {
		t.Errorf("objectives by default: %s", got)
	}
	for flags, want := range map[string]string{
		"--incidents.objective=": "{{0s 0s 0s} {0s 0s 0s}}",
		"--incidents.objective=medium=first_touch:30m --incidents.objective=high=assign:15m,resolve:4h": "{{0s 30m0s 0s} {15m0s 0s 4h0m0s}}",
	} {
		o, err := Parse(append([]string{"--tenant.id=flag"}, strings.Fields(flags)...), io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("{%v %v}", o.tenants[0].Objectives.Medium, o.tenants[0].Objectives.High); got != want {
			t.Errorf("%s: got %s, want %s", flags, got, want)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", o.tenants[0], o.tenants[0], o.tenants[0]); strings.Contains(text, "hush") {
		t.Errorf("the secret prints itself: %s", text)
	}
}

// TestConfigCheckOfFiles: what would keep the exporter from starting a check finds.
// Credentials are read with each token, and keep nothing from starting.
func TestConfigCheckOfFiles(t *testing.T) {
	withoutEnvironment(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	configured := func(name, more string) string {
		return "--config.file=" + file(name, "tenants: [{name: contoso, tenant_id: t, auth: {client_id: c, client_secret_file: none}, "+more+"}]")
	}
	ids := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=" + filepath.Join(dir, "none")}
	for name, test := range map[string]struct {
		args []string
		want string // of the error; empty: it is valid
	}{
		"no credential":      {ids, ""},
		"either API":         {append(ids, "--api=auto"), ""},
		"no key":             {append(ids, "--incidents.assignees=hashed", "--incidents.assignees-key-file="+filepath.Join(dir, "none")), "tenant t: key of the assignees: open"},
		"a short key":        {append(ids, "--api=auto", "--incidents.assignees=count", "--incidents.assignees-key-file="+file("short", "123")), "less than 16 bytes"},
		"no key of a demo":   {[]string{"--demo", "--incidents.assignees=hashed", "--incidents.assignees-key-file=" + filepath.Join(dir, "none")}, "tenant demo: key of the assignees: open"},
		"no authorities":     {[]string{configured("a.yaml", "http: {tls_config: {ca_file: none.pem}}")}, "tenant contoso: http.tls_config.ca_file: open"},
		"empty authorities":  {[]string{configured("b.yaml", "http: {tls_config: {ca_file: short}}")}, "there is no certificate"},
		"no certificate":     {[]string{configured("c.yaml", "http: {tls_config: {cert_file: none.pem, key_file: none.pem}}")}, "tenant contoso: http.tls_config."},
		"nothing is missing": {[]string{configured("d.yaml", "http: {proxy_url: 'http://127.0.0.1:1'}")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			got, want := Run(t.Context(), append([]string{"--config.check"}, test.args...), &stdout, &stderr), ExitOK
			if test.want != "" {
				want = ExitUsage
			}
			if got != want || !strings.Contains(stderr.String(), test.want) || (stdout.String() == "configuration is valid\n") != (want == ExitOK) {
				t.Errorf("exit code %d, %s%s", got, stdout.String(), stderr.String())
			}
		})
	}
}

// TestCredentialSources: what is typed comes before what the machine has set.
func TestCredentialSources(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")
	ids := []string{"--tenant.id=t", "--client.id=c"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "  /var/run/token false"},
		{[]string{"--client.secret-file=s"}, "s   false"},
		{[]string{"--client.certificate-file=c.pem"}, " c.pem  false"},
		{[]string{"--client.managed-identity"}, "   true"},
	} {
		o, err := Parse(slices.Concat(ids, test.args), io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(o.tenants[0].ClientSecretFile, " ", o.tenants[0].ClientCertificateFile, " ", o.tenants[0].FederatedTokenFile, " ", o.tenants[0].ManagedIdentity); got != test.want {
			t.Errorf("%v: got %q, want %q", test.args, got, test.want)
		}
	}
	t.Setenv("AZURE_CLIENT_SECRET", "hush")
	if _, err := Parse(ids, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "AZURE_FEDERATED_TOKEN_FILE) is given as well as --client.secret-file (or AZURE_CLIENT_SECRET)") {
		t.Errorf("got %v", err)
	}
}

// TestConfigCheckOfExample: the example is valid where the certificate authorities
// are that it names, and the environment, which may be that of another program, does
// not get in its way.
func TestConfigCheckOfExample(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_CLIENT_SECRET", "hush")
	example, err := os.ReadFile("../../docs/config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"config.yaml":  example,
		"proxy-ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if got := Run(t.Context(), []string{"--config.check", "--config.file=" + filepath.Join(dir, "config.yaml")}, &stdout, &stderr); got != ExitOK {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, arg := range []string{"--version", "--help"} {
		var stdout, stderr bytes.Buffer
		if got := Run(t.Context(), []string{arg}, &stdout, &stderr); got != ExitOK {
			t.Errorf("%s: exit code %d", arg, got)
		}
		if text := stdout.String() + stderr.String(); !strings.Contains(text, "m365_defender_exporter") {
			t.Errorf("%s: %q", arg, text)
		}
	}
}

// served is the exporter in this process, on a port that the system chose.
type served struct {
	*App
	t      *testing.T
	client *http.Client
	url    string
	log    output
}

// started runs the exporter until the test stops it.
func started(t *testing.T, client *http.Client, scheme string, args ...string) *served {
	t.Helper()
	p := &served{t: t, client: client}
	o, err := Parse(append(args, "--web.listen-address=127.0.0.1:0"), io.Discard, &p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.App = New(o, promslog.New(o.log))
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	p.url = scheme + "://" + p.Addr().String()
	return p
}

// until waits for as long as it takes, or until a listener has failed or go test
// loses its patience.
func (p *served) until(what string, ok func() bool) {
	p.t.Helper()
	for !ok() {
		select {
		case err := <-p.Failed():
			p.t.Fatalf("ended before %s: %v: %s", what, err, p.log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop closes the connections first: those that are idle are not waited for.
func (p *served) stop() {
	p.client.CloseIdleConnections()
	p.Stop()
}

// output is what the exporter writes, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// get is the status and the body of an answer.
func (p *served) get(path string, header ...string) (int, string) {
	p.t.Helper()
	return body(p.t, p.client, p.url+path, header...)
}

// untilCounted waits until there are counts to be scraped, and returns all.
func (p *served) untilCounted() (text string) {
	p.t.Helper()
	p.until("there are counts", func() bool {
		_, text = p.get("/metrics")
		return strings.Contains(text, "\nm365_defender_incidents{")
	})
	return text
}

func body(t *testing.T, client *http.Client, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return answer(t, client, req)
}

// answer is the status and the body.
func answer(t *testing.T, client *http.Client, req *http.Request) (int, string) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestServeGraph: one flag, and the demo is read over the other API.
func TestServeGraph(t *testing.T) {
	p := started(t, &http.Client{Transport: &http.Transport{}}, "http", "--demo", "--api=graph")
	text := p.untilCounted()
	if !strings.Contains(text, `m365_defender_api_quota_limit{tenant="demo",window="minute"} 150`) || strings.Contains(text, `window="hour"`) {
		t.Errorf("quota: %.3000s", text)
	}
	if _, text := p.get("/status?format=json"); !strings.Contains(text, `"api":"graph"`) || !strings.Contains(text, `"up":true`) {
		t.Errorf("status: %s", text)
	}
}

// TestServe runs the demo for real and looks at every endpoint.
func TestServe(t *testing.T) {
	t.Setenv("GOGC", "")
	p := started(t, &http.Client{Transport: &http.Transport{DisableCompression: true}}, "http", "--demo")
	if _, text := p.get("/metrics"); !strings.Contains(text, "\ngo_gc_gogc_percent 50\n") {
		t.Errorf("the garbage collector is not set in:\n%.2000s", text)
	}
	p.untilCounted()
	tests := []struct {
		path   string
		header []string
		status int
		want   string
	}{
		{"/metrics", nil, 200, `m365_defender_incidents{assigned="false",severity="high",status="active",tenant="demo"}`},
		{"/metrics", nil, 200, `m365_defender_up{tenant="demo"} 1`},
		{"/metrics", nil, 200, "m365_defender_exporter_build_info{"},
		{"/metrics", nil, 200, "process_start_time_seconds"},
		{"/metrics", nil, 200, "promhttp_metric_handler_requests_total"},
		{"/metrics", []string{"Accept", "application/openmetrics-text;version=1.0.0"}, 200, "# EOF"},
		{"/metrics", []string{"Accept-Encoding", "gzip"}, 200, "\x1f\x8b"},
		{"/", nil, 200, "<strong>demo</strong>"},
		{"/status", nil, 200, "<strong>demo</strong>"},
		{"/-/healthy", nil, 200, "healthy"},
		{"/-/ready", nil, 200, "ready"},
		{"/debug/pprof/", nil, 404, ""},
		{"/nonsense", nil, 404, ""},
	}
	for _, test := range tests {
		status, text := p.get(test.path, test.header...)
		if status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s %v: got %d, want %d with %q in:\n%.2000s", test.path, test.header, status, test.status, test.want, text)
		}
	}
	var page struct {
		Tenants []struct {
			Name  string           `json:"tenant"`
			Up    bool             `json:"up"`
			Open  map[string]int   `json:"open_incidents"`
			Quota []map[string]any `json:"quota"`
		} `json:"tenants"`
	}
	_, text := p.get("/status?format=json")
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Tenants) != 1 || !page.Tenants[0].Up ||
		page.Tenants[0].Open["high"] == 0 || len(page.Tenants[0].Quota) != 2 {
		t.Errorf("status: %v, %s", err, text)
	}
	if status, _ := post(t, p.client, http.MethodPost, p.url+"/metrics"); status != http.StatusMethodNotAllowed {
		t.Errorf("post: %d", status)
	}
	if p.stop(); strings.Contains(p.log.String(), "level=WARN") {
		t.Errorf("got %s", p.log.String())
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var stderr bytes.Buffer
	if got := Run(t.Context(), []string{"--demo", "--web.listen-address=" + l.Addr().String()}, io.Discard, &stderr); got != ExitRuntime {
		t.Errorf("exit code: got %d, want %d", got, ExitRuntime)
	}
	if !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("got %s", stderr.String())
	}
}

func TestPprofOnlyWhenAsked(t *testing.T) {
	p := started(t, &http.Client{}, "http", "--demo", "--web.enable-pprof")
	if status, text := p.get("/debug/pprof/"); status != 200 || !strings.Contains(text, "goroutine") {
		t.Errorf("got %d", status)
	}
}

// TestTLSAndBasicAuth uses the web configuration of the exporter toolkit.
func TestTLSAndBasicAuth(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "web.yml")
	text := fmt.Sprintf("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  prometheus: %s\n", hash)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	p := started(t, client, "https", "--demo", "--web.config.file="+config, "--web.probe-listen-address=127.0.0.1:0")
	// A prober knows neither, and sees nothing else.
	for path, want := range map[string]int{"/-/healthy": http.StatusOK, "/-/ready": http.StatusOK, "/metrics": http.StatusNotFound, "/status": http.StatusNotFound} {
		if got, _ := body(t, http.DefaultClient, "http://"+p.ProbeAddr().String()+path); got != want {
			t.Errorf("probe port %s: %d, want %d", path, got, want)
		}
		if status, _ := p.get(path); status != http.StatusUnauthorized {
			t.Errorf("%s without a password: got %d", path, status)
		}
	}
	if status, _ := p.get("/metrics"); status != http.StatusUnauthorized {
		t.Errorf("without a password: got %d", status)
	}
	req, err := http.NewRequest(http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("prometheus", "open sesame")
	if status, text := answer(t, client, req); status != http.StatusOK {
		t.Errorf("with the password: %d, %s", status, text)
	}
}

func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exporter"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
