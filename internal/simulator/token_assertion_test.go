package simulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
)

// sign makes a JWS by hand.
func sign(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString(wire.JSON(header)) + "." + base64.RawURLEncoding.EncodeToString(wire.JSON(claims))
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	if header["alg"] == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signedCertificate(t *testing.T, key *rsa.PrivateKey, now time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAssertions changes one thing at a time in an assertion that is right.
func TestAssertions(t *testing.T) {
	key, other := rsaKey(t), rsaKey(t)
	certificate := signedCertificate(t, key, start)
	digest := sha256.Sum256(certificate.Raw)
	thumbprint := base64.RawURLEncoding.EncodeToString(digest[:])
	type parts struct {
		header, claims map[string]any
		key            *rsa.PrivateKey
		form           url.Values
	}
	for _, test := range []struct {
		name      string
		federated bool
		change    func(*parts)
		want      float64
	}{
		{"certificate", false, func(*parts) {}, 0},
		{"RS256", false, func(p *parts) { p.header["alg"] = "RS256" }, 0},
		{"no type", false, func(p *parts) { p.form.Del("client_assertion_type") }, 900144},
		{"rubbish", false, func(p *parts) { p.form.Set("client_assertion", "a.b.c") }, 50027},
		{"other certificate", false, func(p *parts) { p.header["x5t#S256"] = "x" }, 700027},
		{"no thumbprint", false, func(p *parts) { delete(p.header, "x5t#S256") }, 700027},
		{"other key", false, func(p *parts) { p.key = other }, 700027},
		{"no signature", false, func(p *parts) { p.header["alg"] = "none" }, 700027},
		{"other issuer", false, func(p *parts) { p.claims["iss"] = "x" }, 700021},
		{"other audience", false, func(p *parts) { p.claims["aud"] = "https://elsewhere.example" }, 700023},
		{"expired", false, func(p *parts) {
			p.claims["nbf"], p.claims["exp"] = start.Add(-16*time.Minute).Unix(), start.Add(-6*time.Minute).Unix()
		}, 700024},
		{"too early", false, func(p *parts) {
			p.claims["nbf"], p.claims["exp"] = start.Add(6*time.Minute).Unix(), start.Add(10*time.Minute).Unix()
		}, 700024},
		{"too long", false, func(p *parts) { p.claims["exp"] = start.Add(time.Hour).Unix() }, 700024},
		{"no end", false, func(p *parts) { delete(p.claims, "exp") }, 700024},
		{"no id", false, func(p *parts) { delete(p.claims, "jti") }, 50027},
		{"federated", true, func(*parts) {}, 0},
		{"federated, other issuer", true, func(p *parts) { p.claims["iss"] = "https://x.example" }, 700211},
		{"federated, other subject", true, func(p *parts) { p.claims["sub"] = "x" }, 700213},
		{"federated, other audience", true, func(p *parts) { p.claims["aud"] = []string{"x"} }, 700212},
		{"federated, other key", true, func(p *parts) { p.key = other }, 50013},
		{"federated, expired", true, func(p *parts) { p.claims["exp"] = start.Add(-6 * time.Minute).Unix() }, 700024},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			tenant := New(Options{Now: clock.now})
			c := inProcess(t, tenant)
			tenant.SetCertificates(certificate)
			tenant.SetFederatedCredentials(FederatedCredential{Issuer: "https://issuer.example", Subject: "workload", Key: &key.PublicKey})
			p := &parts{
				key:    key,
				header: map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint},
				claims: map[string]any{
					"iss": DefaultClientID, "sub": DefaultClientID, "jti": test.name, "aud": c.base + "/" + DefaultTenantID + "/oauth2/v2.0/token",
					"nbf": start.Unix(), "exp": start.Add(5 * time.Minute).Unix(),
				},
				form: form(),
			}
			if test.federated {
				p.header = map[string]any{"alg": "RS256", "kid": "1"}
				p.claims["iss"], p.claims["sub"], p.claims["aud"] = "https://issuer.example", "workload", []string{FederatedAudience}
			}
			p.form.Del("client_secret")
			p.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			test.change(p)
			if p.form.Get("client_assertion") == "" {
				p.form.Set("client_assertion", sign(t, p.key, p.header, p.claims))
			}
			status, body := c.post(DefaultTenantID, p.form)
			var got float64
			if codes, _ := body["error_codes"].([]any); len(codes) == 1 {
				got, _ = codes[0].(float64)
			}
			if got != test.want || (status == 200) != (test.want == 0) {
				t.Errorf("got %d %v, want %v", status, body, test.want)
			}
			if test.want == 0 && !test.federated {
				if status, _ := c.post(DefaultTenantID, p.form); status != http.StatusUnauthorized {
					t.Errorf("used again: got %d", status)
				}
			}
		})
	}
}

func TestNothingRegistered(t *testing.T) {
	clock := newClock()
	c := inProcess(t, New(Options{Now: clock.now}))
	f := form()
	f.Del("client_secret")
	f.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	for want, claims := range map[float64]map[string]any{
		700027: {"iss": "a", "sub": "a"},
		70021:  {"iss": "a", "sub": "b"},
	} {
		f.Set("client_assertion", sign(t, rsaKey(t), map[string]any{"alg": "RS256"}, claims))
		if _, body := c.post(DefaultTenantID, f); body["error_codes"].([]any)[0] != want {
			t.Errorf("got %v, want %v", body, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	const query = "?api-version=2018-02-01&resource=https://simulated.example"
	for _, test := range []struct {
		name, path, header, value string
		identity                  Identity
		want                      int
	}{
		{"none", "/metadata/identity/oauth2/token" + query, "Metadata", "true", Identity{}, 400},
		{"system", "/metadata/identity/oauth2/token" + query, "Metadata", "true", Identity{System: true}, 200},
		{"user", "/metadata/identity/oauth2/token" + query + "&client_id=u", "Metadata", "true", Identity{User: []string{"u"}}, 200},
		{"other user", "/metadata/identity/oauth2/token" + query + "&client_id=x", "Metadata", "true", Identity{User: []string{"u"}}, 400},
		{"no header", "/metadata/identity/oauth2/token" + query, "X", "true", Identity{System: true}, 400},
		{"proxy", "/metadata/identity/oauth2/token" + query, "Via", "1.1 proxy", Identity{System: true}, 403},
		{"app service", "/msi/token" + query, "X-Identity-Header", AppServiceSecret, Identity{System: true}, 200},
		{"app service, wrong header", "/msi/token" + query, "X-Identity-Header", "x", Identity{System: true}, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			tenant := New(Options{})
			c := inProcess(t, tenant)
			tenant.SetIdentity(test.identity)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(test.header, test.value)
			resp, err := c.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("got %d, want %d", resp.StatusCode, test.want)
			}
		})
	}
}
