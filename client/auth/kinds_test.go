package auth

import (
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator"
)

// TestClientSecret over TLS, and its rotation.
func TestClientSecret(t *testing.T) {
	d := newDouble(t, simulator.Options{})
	path := fileWith(t, simulator.DefaultClientSecret+"\n")
	s := ClientSecret(d.opts, SecretFile(path))
	works(t, s)
	d.SetClientSecret("rotated")
	s.Renew()
	if _, err := s.Token(); hinted(err) != hints[7000215] {
		t.Errorf("got %v", err)
	}
	write(t, path, "rotated")
	works(t, s)
}

func TestCertificate(t *testing.T) {
	c := newCredentials(t)
	chain := issue(t, "ca", c.other, c.certificate.NotBefore, c.certificate.NotAfter)
	for name, text := range map[string]string{
		"pkcs8":     certPEM(c.certificate) + pkcs8PEM(t, c.key),
		"pkcs1":     certPEM(c.certificate) + pkcs1PEM(c.key),
		"key first": pkcs8PEM(t, c.key) + certPEM(c.certificate),
		"chain":     certPEM(chain) + certPEM(c.certificate) + pkcs8PEM(t, c.key),
		"bag text":  "Bag Attributes\n    friendlyName: x\n" + certPEM(c.certificate) + "Key Attributes: <No Attributes>\n" + pkcs8PEM(t, c.key),
		"pfx":       pfx(t, c.key, c.certificate, "open sesame"),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDouble(t, simulator.Options{})
			d.SetCertificates(c.certificate)
			s := Certificate(d.opts, fileWith(t, text), fixed("open sesame"))
			works(t, s)
			if got := s.CredentialExpiry(); !got.Equal(c.certificate.NotAfter) {
				t.Errorf("expiry: got %v, want %v", got, c.certificate.NotAfter)
			}
			if got := s.Describe(); got != "certificate CN=exporter" {
				t.Errorf("got %q", got)
			}
			// Each request has an assertion of its own: the double takes none twice.
			forget(s)
			works(t, s)
		})
	}
}

func TestCertificateFiles(t *testing.T) {
	c := newCredentials(t)
	ec := ecKey(t)
	now := time.Now()
	old := issue(t, "old", c.key, now.Add(-48*time.Hour), now.Add(-time.Hour))
	early := issue(t, "early", c.key, now.Add(time.Hour), now.Add(48*time.Hour))
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")}))
	for name, test := range map[string]struct{ text, password, want string }{
		"empty":          {"", "", "neither PEM nor PKCS#12"},
		"rubbish":        {"hello", "", "neither PEM nor PKCS#12"},
		"no key":         {certPEM(c.certificate), "", "there is no private key"},
		"no certificate": {pkcs8PEM(t, c.key), "", "there is no certificate"},
		"other key":      {certPEM(c.certificate) + pkcs8PEM(t, c.other), "", "belongs to none of the certificates"},
		"elliptic":       {certPEM(issue(t, "ec", ec, now.Add(-time.Hour), now.Add(time.Hour))) + pkcs8PEM(t, ec), "", "takes RSA certificates only"},
		"encrypted":      {certPEM(c.certificate) + encrypted, "", "use PKCS#12"},
		"legacy":         {certPEM(c.certificate) + legacy, "", "use PKCS#12"},
		"broken key":     {certPEM(c.certificate) + strings.Replace(pkcs1PEM(c.key), "MII", "MIX", 1), "", "cannot be read"},
		"expired":        {certPEM(old) + pkcs8PEM(t, c.key), "", "expired at " + old.NotAfter.UTC().Format(time.RFC3339)},
		"early":          {certPEM(early) + pkcs8PEM(t, c.key), "", "not valid before"},
		"wrong password": {pfx(t, c.key, c.certificate, "right"), "wr0ng-password", "password of the PKCS#12 file is wrong"},
		"no password":    {pfx(t, c.key, c.certificate, "right"), "", "needs a password"},
		"elliptic pfx":   {pfx(t, ec, issue(t, "ec", ec, now.Add(-time.Hour), now.Add(time.Hour)), "right"), "right", "takes RSA certificates only"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &endpoint{answer: good}
			path := fileWith(t, test.text)
			_, err := Certificate(options(e), path, fixed(test.password)).Token()
			if Reason(err) != "credential" || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %s, %v, want %q", Reason(err), err, test.want)
			}
			if test.password != "" && test.password != "right" && strings.Contains(err.Error(), test.password) {
				t.Errorf("shows the password: %v", err)
			}
			if len(e.forms) > 0 {
				t.Error("asked all the same")
			}
		})
	}
}

// TestCertificateRotation: new file, new password, no restart.
func TestCertificateRotation(t *testing.T) {
	c := newCredentials(t)
	next := issue(t, "next", c.other, time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour))
	d := newDouble(t, simulator.Options{})
	d.SetCertificates(c.certificate)
	path, password := fileWith(t, pfx(t, c.key, c.certificate, "one")), fileWith(t, "one\n")
	s := Certificate(d.opts, path, PasswordFile(password))
	works(t, s)
	d.SetCertificates(next)
	forget(s)
	if _, err := s.Token(); hinted(err) != hints[700027] {
		t.Errorf("got %v", err)
	}
	write(t, path, pfx(t, c.other, next, "two"))
	if _, err := s.Token(); !strings.Contains(err.Error(), "password") {
		t.Errorf("got %v", err)
	}
	write(t, password, "two\n")
	works(t, s)
	if !s.CredentialExpiry().Equal(next.NotAfter) {
		t.Errorf("expiry: %v", s.CredentialExpiry())
	}
	// From PKCS#12 to PEM.
	write(t, path, certPEM(next)+pkcs8PEM(t, c.other))
	forget(s)
	works(t, s)
}

// TestClocksThatDisagree by up to ten minutes do not matter, and by more are
// named.
func TestClocksThatDisagree(t *testing.T) {
	c := newCredentials(t)
	for skew, ok := range map[time.Duration]bool{
		0: true, 9 * time.Minute: true, -9 * time.Minute: true, 2 * time.Hour: false, -2 * time.Hour: false,
	} {
		t.Run(skew.String(), func(t *testing.T) {
			d := newDouble(t, simulator.Options{Skew: skew})
			d.SetCertificates(c.certificate)
			_, err := Certificate(d.opts, fileWith(t, certPEM(c.certificate)+pkcs8PEM(t, c.key)), nil).Token()
			if (err == nil) != ok || !ok && hinted(err) != hints[700024] {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFederated(t *testing.T) {
	c := newCredentials(t)
	const subject = "system:serviceaccount:monitoring:exporter"
	d := newDouble(t, simulator.Options{})
	trust := simulator.FederatedCredential{Issuer: "https://cluster.example", Subject: subject, Key: &c.key.PublicKey}
	path := filepath.Join(t.TempDir(), "token")
	s := Federated(d.opts, path)
	for _, step := range []struct {
		name, file, want string
		trust            []simulator.FederatedCredential
	}{
		{"no file", "", "mounted", nil},
		{"no token", "hello", "holds no token", nil},
		{"expired", workloadToken(t, c.key, subject, time.Now().Add(-time.Hour)), "expired at", nil},
		{"no trust", workloadToken(t, c.key, subject, time.Now().Add(time.Hour)), hints[70021], nil},
		{"other subject", workloadToken(t, c.key, "system:serviceaccount:default:default", time.Now().Add(time.Hour)), hints[700213], []simulator.FederatedCredential{trust}},
		{"other key", workloadToken(t, c.other, subject, time.Now().Add(time.Hour)), "signature", []simulator.FederatedCredential{trust}},
		{"right", workloadToken(t, c.key, subject, time.Now().Add(time.Hour)), "", []simulator.FederatedCredential{trust}},
		{"rotated", workloadToken(t, c.key, subject, time.Now().Add(2*time.Hour)), "", []simulator.FederatedCredential{trust}},
	} {
		d.SetFederatedCredentials(step.trust...)
		if step.file != "" {
			write(t, path, step.file+"\n")
		}
		forget(s)
		_, err := s.Token()
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("%s: got %v, want %q", step.name, err, step.want)
		}
	}
	works(t, s)
	if got, want := s.Describe(), "federated token (issuer https://cluster.example, subject "+subject+")"; got != want {
		t.Errorf("got %q", got)
	}
}

func withoutIdentityEnvironment(t *testing.T) {
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET", "IDENTITY_SERVER_THUMBPRINT"} {
		t.Setenv(name, "")
	}
}

func TestManagedIdentity(t *testing.T) {
	withoutIdentityEnvironment(t)
	for _, test := range []struct {
		name, clientID string
		identity       simulator.Identity
		want           string
	}{
		{"system", "", simulator.Identity{System: true}, ""},
		{"user", "u", simulator.Identity{User: []string{"u"}}, ""},
		{"no system", "", simulator.Identity{User: []string{"u"}}, "no such identity"},
		{"other user", "x", simulator.Identity{System: true, User: []string{"u"}}, "no such identity"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDouble(t, simulator.Options{})
			d.SetIdentity(test.identity)
			o := d.opts
			o.HTTP, o.ClientID = metadata(t, d), test.clientID
			s, err := ManagedIdentity(o)
			if err != nil {
				t.Fatal(err)
			}
			if test.want != "" {
				if _, err := s.Token(); !strings.Contains(hinted(err), test.want) || Reason(err) != "invalid_request" {
					t.Errorf("got %v", err)
				}
				if got := d.Meter().Tokens; got != 1 {
					t.Errorf("asked %d times", got)
				}
				return
			}
			works(t, s)
			// The library's own cache must not answer.
			forget(s)
			works(t, s)
			if got := d.Meter().Tokens; got != 2 {
				t.Errorf("asked %d times", got)
			}
		})
	}
}

// TestAppService: another protocol, at another place, over TLS.
func TestAppService(t *testing.T) {
	withoutIdentityEnvironment(t)
	d := newDouble(t, simulator.Options{})
	d.SetIdentity(simulator.Identity{System: true})
	t.Setenv("IDENTITY_ENDPOINT", d.server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", simulator.AppServiceSecret)
	o := d.opts
	o.ClientID = ""
	s, err := ManagedIdentity(o)
	if err != nil {
		t.Fatal(err)
	}
	works(t, s)
}

// TestRefreshSoon: an answer that would have its token renewed at once is not taken at
// its word.
func TestRefreshSoon(t *testing.T) {
	withoutIdentityEnvironment(t)
	t.Setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
	t.Setenv("IDENTITY_HEADER", "header-that-is-long-enough")
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		e := &endpoint{answer: func(int, map[string]string) (int, string) {
			asked++
			return 200, fmt.Sprintf(`{"token_type":"Bearer","expires_on":"%d","refresh_in":1,"access_token":"token"}`, time.Now().Add(24*time.Hour).Unix())
		}}
		s, err := ManagedIdentity(options(e))
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			if _, err := s.Token(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if asked < 2 || asked > 5 {
			t.Errorf("%d tokens in a minute", asked)
		}
	})
}

// TestIdentityFailures: one request each, then patience.
func TestIdentityFailures(t *testing.T) {
	withoutIdentityEnvironment(t)
	for _, test := range []struct {
		name, reason, hint string
		e                  *endpoint
	}{
		{"elsewhere", "network", "nothing here gives out managed identities", &endpoint{err: plainError{}}},
		{"starting", "server", "", &endpoint{answer: func(int, map[string]string) (int, string) { return 410, "" }}},
		{"busy", "throttled", "", &endpoint{answer: func(int, map[string]string) (int, string) { return 429, "" }}},
		{"down", "server", "", &endpoint{answer: func(int, map[string]string) (int, string) { return 500, "<html>" }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := ManagedIdentity(options(test.e))
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if _, err := s.Token(); Reason(err) != test.reason || !strings.Contains(hinted(err), test.hint) {
						t.Errorf("got %s, %v", Reason(err), err)
					}
				}
				if len(test.e.forms) > 1 {
					t.Errorf("asked %d times", len(test.e.forms))
				}
			})
		})
	}
}
