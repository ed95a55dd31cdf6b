package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"m365_defender_exporter/internal/tenanttest"
)

// TestCheckOfFile: every tenant of the file is checked, and one that is not
// well is enough for exit code 1.
func TestCheckOfFile(t *testing.T) {
	withoutEnvironment(t)
	closed := tenanttest.ClosedAddress(t)
	secret := filepath.Join(t.TempDir(), "secret")
	text := "tenants:\n"
	for _, name := range []string{"one", "two"} {
		text += fmt.Sprintf("- {name: %s, tenant_id: %s.example, api_url: %q, auth: {url: %q, client_id: c, client_secret_file: %q}}\n", name, name, closed, closed, secret)
	}
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := Run(t.Context(), []string{"check", "--config.file=" + path}, &stdout, &stderr); code != ExitRuntime {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	for _, want := range []string{"one: NOT ready", "two: NOT ready", "connection refused"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("want %q in %s", want, stdout.String())
		}
	}
}

// TestCheckJSON: the names that pipelines read.
func TestCheckJSON(t *testing.T) {
	withoutEnvironment(t)
	// What a platform sets does not change the demo.
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")
	t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
	var stdout, stderr bytes.Buffer
	if code := Run(t.Context(), []string{"check", "--demo", "--format=json"}, &stdout, &stderr); code != ExitOK || stderr.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, stderr.String())
	}
	var report struct {
		OK      bool
		Tenants []struct {
			Tenant   string
			TenantID string `json:"tenant_id"`
			API      string
			OK       bool
			APICalls int `json:"api_calls"`
			Steps    []struct{ Step, Status, Detail string }
			Token    struct{ Roles []string }
			Estimate struct {
				Incidents      int
				FirstSyncCalls int `json:"first_sync_calls"`
				Interval       int `json:"refresh_interval_seconds"`
			}
		}
	}
	decoder := json.NewDecoder(&stdout)
	if err := decoder.Decode(&report); err != nil || decoder.More() {
		t.Fatal(err)
	}
	var steps []string
	for _, s := range report.Tenants[0].Steps {
		steps = append(steps, s.Step)
		if s.Status != "ok" {
			t.Errorf("%+v", s)
		}
	}
	if got, want := strings.Join(steps, " "), "configuration login_host api_host token permission list quota estimate"; got != want {
		t.Errorf("steps: got %s, want %s", got, want)
	}
	// The demo has some 5,000 incidents. The estimate takes what was created lately
	// for every day's, which at a weekend is much less than the average.
	got := report.Tenants[0]
	if !report.OK || !got.OK || got.Tenant != "demo" || got.API != "defender" || got.APICalls != 1 || len(got.Token.Roles) != 1 ||
		got.Estimate.Incidents < 500 || got.Estimate.Incidents > 50_000 || got.Estimate.FirstSyncCalls < got.Estimate.Incidents/100 ||
		got.Estimate.Interval != 10 {
		t.Errorf("got %+v", report)
	}
}

// TestCheckExitCodes: 1 for what the check finds, 2 for what it need not look
// for.
func TestCheckExitCodes(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_CLIENT_SECRET", "hush")
	closed := tenanttest.ClosedAddress(t)
	for _, test := range []struct {
		args []string
		want int
		text string
	}{
		{[]string{"check", "--tenant.id=t", "--client.id=c", "--auth.url=" + closed, "--api.url=" + closed}, ExitRuntime, "NOT ready"},
		{[]string{"check", "--tenant.id=t"}, ExitUsage, "--client.id"},
		{[]string{"check", "--demo", "--format=xml"}, ExitUsage, "--format"},
		{[]string{"--format=json"}, ExitUsage, "--format"},
	} {
		var stdout, stderr bytes.Buffer
		if got := Run(t.Context(), test.args, &stdout, &stderr); got != test.want || !strings.Contains(stdout.String()+stderr.String(), test.text) {
			t.Errorf("%v: got %d, %s%s", test.args, got, stdout.String(), stderr.String())
		}
	}
}

// TestCheckMakesNothing: a check before the exporter has ever run may be made by
// another user, and the exporter could not write that user's files.
func TestCheckMakesNothing(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_CLIENT_SECRET", "s")
	dir := filepath.Join(t.TempDir(), "data")
	closed := tenanttest.ClosedAddress(t)
	args := []string{"check", "--tenant.id=contoso.example", "--client.id=c", "--api.url=" + closed, "--auth.url=" + closed, "--state.url=file:" + dir}
	var stdout, stderr bytes.Buffer
	if code := Run(t.Context(), args, &stdout, &stderr); code != ExitRuntime || !strings.Contains(stdout.String(), "contoso.example: NOT ready") {
		t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.String())
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}
