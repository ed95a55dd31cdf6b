package app

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// TestRoots runs itself once more on a system without root certificates.
func TestRoots(t *testing.T) {
	if os.Getenv("TEST_ROOTS") != "" {
		testRoots(t)
		return
	}
	empty := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRoots$", "-test.count=1")
	cmd.Env = append(os.Environ(), "TEST_ROOTS=1", "SSL_CERT_DIR="+empty, "SSL_CERT_FILE="+filepath.Join(empty, "none.pem"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without the system's roots: %v\n%s", err, out)
	}
}

// testRoots checks that the two authorities that the hosts of Microsoft's
// clouds are certified by are trusted.
func testRoots(t *testing.T) {
	want := map[string]bool{"DigiCert Global Root G2": true, "Microsoft RSA Root Certificate Authority 2017": true}
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if !want[cert.Subject.CommonName] {
			continue
		}
		delete(want, cert.Subject.CommonName)
		at := cert.NotBefore.Add(time.Hour)
		if _, err := cert.Verify(x509.VerifyOptions{CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", cert.Subject.CommonName, err)
		}
	}
	for name := range want {
		t.Errorf("%s is not among the roots", name)
	}
}
