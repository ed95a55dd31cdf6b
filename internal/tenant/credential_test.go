package tenant

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
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
	"m365_defender_exporter/internal/tenanttest"
)

// TestNothingPrintsSecrets, above all not what holds them in a field that is
// not exported, of which fmt does not ask how it wants to be printed.
func TestNothingPrintsSecrets(t *testing.T) {
	cfg := tenanttest.Config()
	cfg.ClientSecret = "kanarie"
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	tenant, err := simple(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for name, value := range map[string]any{"tenant": tenant, "tenants": []fmt.Stringer{tenant}, "config": cfg, "source": tenant.credential} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "kanarie") {
				t.Errorf("%s, %s: %s", name, format, text)
			}
		}
	}
}

// simple is a tenant that is not going to be run.
func simple(cfg config.Tenant, logger *slog.Logger) (*Tenant, error) {
	return New(cfg, Dependencies{Transport: http.DefaultTransport, Logger: logger})
}

// TestExpiringCertificate is warned of once a day, and no longer once there is
// a new one.
func TestExpiringCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := tenanttest.Config()
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		tenant, err := simple(cfg, slog.New(slog.NewTextHandler(&log, nil)))
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

// TestSecretExpires: the end that was given for a secret is a metric, and is
// warned of like that of a certificate.
func TestSecretExpires(t *testing.T) {
	end := time.Date(2000, 1, 21, 0, 0, 0, 0, time.UTC) // in a bubble it is the first of the month
	inBubble(t, simulator.Options{Incidents: 10}, func(c *config.Tenant) { c.SecretExpires = end }, func(b *bubble) {
		b.wait(2 * time.Minute)
		if got, want := b.value("credential_expiry_timestamp_seconds", ""), float64(end.Unix()); got != want {
			t.Errorf("expiry: got %v, want %v", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := tenanttest.Config()
		cfg.SecretExpires = end
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		tenant, err := simple(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		tenant.observeToken(auth.Attempt{CredentialExpiry: end})
		if !strings.Contains(log.String(), `msg="The client secret expires soon" tenant=`+cfg.Name+` at=2000-01-21T00:00:00Z left=20.0d`) {
			t.Errorf("got %s", log.String())
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
