package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
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
			o, err := parse(append([]string{"--tenant.id=t", "--client.id=c"}, test.args...), io.Discard, io.Discard)
			got := fmt.Sprint("error: ", err)
			if err == nil {
				tenant, err := checkable(o.tenant, &transports{}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				got = tenant.credential.Describe()
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
	o, err := parse([]string{"--tenant.id=t", "--client.managed-identity"}, io.Discard, io.Discard)
	if err != nil || o.tenant.ClientID != "" {
		t.Errorf("got %v", err)
	}
}

// TestAuthorityHost: the webhook for workload identities sets it, with a slash.
func TestAuthorityHost(t *testing.T) {
	withoutEnvironment(t)
	t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
	args := []string{"--tenant.id=t", "--client.id=c", "--client.secret-file=f"}
	for want, more := range map[string][]string{"https://login.microsoftonline.com": nil, "https://127.0.0.1": {"--auth.url=https://127.0.0.1"}} {
		if o, err := parse(slices.Concat(args, more), io.Discard, io.Discard); err != nil || o.tenant.AuthURL != want {
			t.Errorf("got %v, %v, want %s", o.tenant.AuthURL, err, want)
		}
	}
}

// TestNothingPrintsSecrets, above all not what holds them in a field that is
// not exported, of which fmt does not ask how it wants to be printed.
func TestNothingPrintsSecrets(t *testing.T) {
	cfg := testConfig()
	cfg.ClientSecret = "kanarie"
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	tenant, err := checkable(cfg, &transports{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o := &options{tenant: cfg}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for name, value := range map[string]any{"tenant": tenant, "tenants": []fmt.Stringer{tenant}, "options": o, "config": cfg, "source": tenant.credential} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "kanarie") {
				t.Errorf("%s, %s: %s", name, format, text)
			}
		}
	}
}

// TestExpiringCertificate is warned of once a day, and no longer once there is
// a new one.
func TestExpiringCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := testConfig()
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		tenant, err := checkable(cfg, &transports{}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(20 * 24 * time.Hour)
		for range 36 {
			tenant.observeToken(auth.Attempt{CredentialExpiry: end})
			time.Sleep(time.Hour)
		}
		time.Sleep(24 * time.Hour)
		tenant.observeToken(auth.Attempt{CredentialExpiry: end.Add(100 * 24 * time.Hour)})
		if got := strings.Count(log.String(), "certificate expires soon"); got != 2 || !strings.Contains(log.String(), "left=20.0d") {
			t.Errorf("%d warnings: %s", got, log.String())
		}
	})
}

// TestCertificateEndToEnd: the exporter with a certificate against a tenant
// that verifies its assertions; the expiry is a metric.
func TestCertificateEndToEnd(t *testing.T) {
	// In a bubble it is the year 2000.
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	text, certificate := clientCertificate(t, start.Add(-time.Hour), start.Add(90*24*time.Hour))
	path := filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, simulator.Options{Incidents: 10}, func(c *config.Tenant) {
		c.ClientSecret, c.ClientCertificateFile = "", path
	}, func(b *bubble) {
		b.sim.SetCertificates(certificate)
		b.wait(2 * time.Minute)
		if got, want := b.value("credential_expiry_timestamp_seconds", ""), float64(certificate.NotAfter.Unix()); got != want {
			t.Errorf("expiry: got %v, want %v", got, want)
		}
		if b.value("up", "") != 1 {
			t.Errorf("not up: %s", b.tenant.loop.Status().LastError)
		}
	})
}

// clientCertificate is a certificate with its key, as PEM.
func clientCertificate(t *testing.T, from, to time.Time) ([]byte, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exporter"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	), certificate
}

// TestConsentIsNoticed: a role that was granted later is in the next token.
func TestConsentIsNoticed(t *testing.T) {
	inBubble(t, simulator.Options{Incidents: 10, NoRoles: true}, nil, func(b *bubble) {
		b.wait(10 * time.Minute)
		if got := b.value("refresh_failures_total", "kind=first,reason=forbidden"); got < 5 {
			t.Errorf("failures: %v", got)
		}
		if m := b.sim.Meter(); m.Tokens > 4 {
			t.Errorf("%d tokens in ten minutes", m.Tokens)
		}
		b.sim.SetRoles(simulator.DefaultRole)
		b.wait(6 * time.Minute)
		if b.value("up", "") != 1 {
			t.Errorf("not up: %s", b.tenant.loop.Status().LastError)
		}
	})
}
