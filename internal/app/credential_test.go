package app

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"m365_defender_exporter/internal/tenant"
)

// TestCredentialChoice: which credential is used, and when there is none or
// too many.
func TestCredentialChoice(t *testing.T) {
	secret := map[string]string{"AZURE_CLIENT_SECRET": "hush"}
	federated := map[string]string{"AZURE_FEDERATED_TOKEN_FILE": "/var/run/token"}
	both := map[string]string{"AZURE_CLIENT_SECRET": "hush", "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token"}
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		want string // the kind, or the beginning of the error
	}{
		{"secret", secret, nil, "client secret"},
		{"secret file", nil, []string{"--client.secret-file=f"}, "client secret"},
		{"certificate", nil, []string{"--client.certificate-file=f"}, "certificate"},
		{"certificate in the environment", map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": "f"}, nil, "certificate"},
		{"password", map[string]string{"AZURE_CLIENT_CERTIFICATE_PASSWORD": "hush"}, []string{"--client.certificate-file=f"}, "certificate"},
		{"federated token", federated, nil, "federated token"},
		{"managed identity", nil, []string{"--client.managed-identity"}, "managed identity (user assigned)"},
		{"flag before a webhook's variables", federated, []string{"--client.secret-file=f"}, "client secret"},
		{"flag before two variables", both, []string{"--client.federated-token-file=f"}, "federated token"},
		{"managed identity before variables", both, []string{"--client.managed-identity"}, "managed identity (user assigned)"},
		{"nothing", nil, nil, "error: --client.secret-file (or AZURE_CLIENT_SECRET) is required: a file that holds"},
		{"two variables", both, nil, "error: --client.federated-token-file (or AZURE_FEDERATED_TOKEN_FILE) is given as well as --client.secret-file (or AZURE_CLIENT_SECRET)"},
		{"two flags", nil, []string{"--client.secret-file=f", "--client.managed-identity"}, "error: --client.managed-identity is given as well as --client.secret-file"},
		{"password alone", secret, []string{"--client.certificate-password-file=f"}, "error: --client.certificate-password-file is given without --client.certificate-file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withoutEnvironment(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			o, err := Parse(append([]string{"--tenant.id=t", "--client.id=c"}, test.args...), io.Discard, io.Discard)
			got := fmt.Sprint("error: ", err)
			if err == nil {
				tenant, err := tenant.New(o.tenants[0], tenant.Dependencies{Transport: http.DefaultTransport, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				got = tenant.Credential().Describe()
			}
			if got != test.want && (!strings.HasPrefix(test.want, "error: ") || !strings.HasPrefix(got, test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if strings.Contains(got, "\n") || strings.Contains(got, "hush") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestManagedIdentityNeedsNoClientID: without one it is the machine's own.
func TestManagedIdentityNeedsNoClientID(t *testing.T) {
	withoutEnvironment(t)
	o, err := Parse([]string{"--tenant.id=t", "--client.managed-identity"}, io.Discard, io.Discard)
	if err != nil || o.tenants[0].ClientID != "" {
		t.Errorf("got %v", err)
	}
}

// TestAuthorityHost: the webhook for workload identities sets it, with a slash.
func TestAuthorityHost(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
	args := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=f"}
	for want, more := range map[string][]string{"https://login.microsoftonline.com": nil, "https://127.0.0.1": {"--auth.url=https://127.0.0.1"}} {
		if o, err := Parse(slices.Concat(args, more), io.Discard, io.Discard); err != nil || o.tenants[0].AuthURL != want {
			t.Errorf("got %v, %v, want %s", o.tenants[0].AuthURL, err, want)
		}
	}
}

// TestOptionsPrintNoSecrets: they hold them in a field that is not exported, of
// which fmt does not ask how it wants to be printed.
func TestOptionsPrintNoSecrets(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_CLIENT_SECRET", "kanarie")
	o, err := Parse([]string{"--tenant.id=t", "--client.id=c"}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, o); strings.Contains(text, "kanarie") {
			t.Errorf("%s: %s", format, text)
		}
	}
}
