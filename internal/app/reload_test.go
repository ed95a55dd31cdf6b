package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"m365_defender_exporter/internal/simulator"
)

// onDisk is a configuration file of tenants of one simulator on loopback.
type onDisk struct {
	t          *testing.T
	path, text string
}

func newOnDisk(t *testing.T, names ...string) *onDisk {
	t.Helper()
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 100, Light: true, Limits: []simulator.Limit{}})
	api := httptest.NewServer(sim.Handler())
	t.Cleanup(api.Close)
	f := &onDisk{t: t, path: filepath.Join(t.TempDir(), "config.yaml")}
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.path), "secret"), []byte(simulator.DefaultClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.text = fmt.Sprintf("defaults: {auth: {client_id: %s, client_secret_file: secret, url: %q, scope: %q}, api_url: %q}\ntenants:\n",
		simulator.DefaultClientID, api.URL, api.URL+"/.default", api.URL)
	f.write(names...)
	return f
}

// write lists the tenants. All but the first are of directories that the
// simulator does not know.
func (f *onDisk) write(names ...string) {
	f.t.Helper()
	text := f.text
	for i, name := range names {
		id := simulator.DefaultTenantID
		if i > 0 {
			id = name + ".example"
		}
		text += fmt.Sprintf("  - {name: %s, tenant_id: %s}\n", name, id)
	}
	f.raw(text)
}

func (f *onDisk) raw(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func post(t *testing.T, client *http.Client, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, client, req)
}

// TestReload runs the program with a file that changes.
func TestReload(t *testing.T) {
	withoutEnvironment(t)
	file := newOnDisk(t, "contoso", "fabrikam")
	p := started(t, &http.Client{}, "http", "--config.file="+file.path, "--state.url=memory:", "--web.probe-listen-address=127.0.0.1:0", "--web.enable-lifecycle")
	client, url := p.client, p.url
	has := func(name string) bool {
		_, text := body(t, client, url+"/metrics")
		return strings.Contains(text, fmt.Sprintf("tenant=%q", name))
	}
	successful := func(want string) {
		t.Helper()
		if _, text := body(t, client, url+"/metrics"); !strings.Contains(text, "\nm365_defender_config_last_reload_successful "+want+"\n") ||
			!strings.Contains(text, "\nm365_defender_config_last_reload_success_timestamp_seconds 1.") {
			t.Errorf("last_reload_successful is not %s", want)
		}
	}
	if !has("contoso") || !has("fabrikam") {
		t.Error("a tenant has no series")
	}
	successful("1")

	file.write("contoso", "northwind")
	if code, text := post(t, client, http.MethodPost, url+"/-/reload"); code != 200 || text != "" {
		t.Errorf("reload: %d, %s", code, text)
	}
	if has("fabrikam") || !has("northwind") || !has("contoso") {
		t.Error("the tenants are not those of the file")
	}

	file.raw(file.text + "  - {name: contoso, tenant_id: a.example, quota: {share: 3}}\n")
	want := "tenants[0] (contoso): quota.share is 3; it must be above 0 and at most 1"
	if code, text := post(t, client, http.MethodPut, url+"/-/reload"); code != 500 || !strings.Contains(text, want) {
		t.Errorf("reload: %d, %s", code, text)
	}
	if !has("northwind") || !has("contoso") {
		t.Error("the old configuration does not go on")
	}
	successful("0")
	if _, text := body(t, client, url+"/"); !strings.Contains(text, want) {
		t.Error("the status page does not tell what is wrong with the configuration")
	}

	file.write("contoso", "hooli")
	if err := p.Reload(); err != nil {
		t.Error(err)
	}
	if !has("hooli") || has("northwind") {
		t.Error("the tenants are not those of the file")
	}
	successful("1")

	for path, want := range map[string]int{"/-/healthy": 200, "/-/ready": 200, "/metrics": 404, "/": 404, "/status": 404, "/-/reload": 404} {
		if got, _ := body(t, client, "http://"+p.ProbeAddr().String()+path); got != want {
			t.Errorf("probe port %s: %d, want %d", path, got, want)
		}
	}
}
