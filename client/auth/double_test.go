package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"m365_defender_exporter/internal/simulator"
)

// double is a token endpoint behind TLS that verifies what it is shown.
type double struct {
	*simulator.Tenant
	server *httptest.Server
	opts   Options
}

func newDouble(t *testing.T, o simulator.Options) *double {
	t.Helper()
	d := &double{Tenant: simulator.New(o)}
	d.server = httptest.NewTLSServer(d.Handler())
	t.Cleanup(d.server.Close)
	client := d.server.Client()
	d.opts = Options{
		TokenURL: d.server.URL + "/" + simulator.DefaultTenantID + "/oauth2/v2.0/token",
		ClientID: simulator.DefaultClientID, Scope: "https://api.example/.default", HTTP: client,
	}
	return d
}

// works gets a token and looks into it.
func works(t *testing.T, s *Source) {
	t.Helper()
	token, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	claims, ok := ParseClaims(token.AccessToken)
	if !ok || !slices.Equal(claims.Audience, []string{"https://api.example"}) || !slices.Equal(claims.Roles, []string{simulator.DefaultRole}) {
		t.Errorf("got %+v", claims)
	}
	if left := time.Until(s.Expiry()); left < 30*time.Minute || left > time.Hour {
		t.Errorf("expires in %v", left)
	}
}

// forget makes the next token cost a request, as if it had ended.
func forget(s *Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.failure = nil, failure{}
}

// credentials are made once: keys are dear.
type credentials struct {
	key, other  *rsa.PrivateKey
	certificate *x509.Certificate
}

func newCredentials(t *testing.T) *credentials {
	t.Helper()
	c := &credentials{}
	for _, key := range []**rsa.PrivateKey{&c.key, &c.other} {
		var err error
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	c.certificate = issue(t, "exporter", c.key, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	return c
}

func issue(t *testing.T, name string, key crypto.Signer, from, to time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func certPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func pkcs8PEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func pkcs1PEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pfx(t *testing.T, key any, c *x509.Certificate, password string) string {
	t.Helper()
	der, err := pkcs12.Modern.Encode(key, c, nil, password)
	if err != nil {
		t.Fatal(err)
	}
	return string(der)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func fileWith(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, text)
	return path
}

// workloadToken is what Kubernetes would write, signed by hand.
func workloadToken(t *testing.T, key *rsa.PrivateKey, subject string, expires time.Time) string {
	t.Helper()
	part := func(v map[string]any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]any{"alg": "RS256", "kid": "1"}) + "." + part(map[string]any{
		"iss": "https://cluster.example", "sub": subject, "aud": []string{simulator.FederatedAudience},
		"nbf": expires.Add(-3 * time.Hour).Unix(), "exp": expires.Unix(),
	})
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// metadata is a machine whose instance metadata service is the double, and
// whose proxy must not be asked.
func metadata(t *testing.T, d *double) *http.Client {
	t.Helper()
	plain := httptest.NewServer(d.Handler())
	t.Cleanup(plain.Close)
	return &http.Client{Transport: wrapped{&http.Transport{
		Proxy: func(*http.Request) (proxy *url.URL, err error) {
			t.Error("the proxy was asked for the way to the metadata service")
			return nil, nil
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "169.254.169.254:80" {
				t.Errorf("dialled %s", address)
			}
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, plain.Listener.Addr().String())
		},
	}}}
}

type wrapped struct{ http.RoundTripper }

func (w wrapped) Unwrap() http.RoundTripper { return w.RoundTripper }
