package simulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
)

// assertionType is the only form of client assertion there is.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// FederatedAudience is what a federated token has to be made out to.
const FederatedAudience = "api://AzureADTokenExchange"

// FederatedCredential says whose tokens the application trusts: those that an
// issuer signs with a key for a subject.
type FederatedCredential struct {
	Issuer, Subject string
	Key             *rsa.PublicKey
}

// trust is what an application has registered besides its secret.
type trust struct {
	certificates []*x509.Certificate
	federated    []FederatedCredential
	used         map[string]time.Time // jti of assertions, and when they end
}

// SetCertificates registers these certificates with the application and
// removes all others.
func (t *Tenant) SetCertificates(certificates ...*x509.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trust.certificates = slices.Clone(certificates)
}

// SetFederatedCredentials registers these and removes all others.
func (t *Tenant) SetFederatedCredentials(credentials ...FederatedCredential) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trust.federated = slices.Clone(credentials)
}

// jws is an assertion that has been taken apart, but not verified.
type jws struct {
	signed    []byte // what the signature is made over
	signature []byte
	header    struct {
		Algorithm  string `json:"alg"`
		Thumbprint string `json:"x5t#S256"`
	}
	claims struct {
		Issuer    string          `json:"iss"`
		Subject   string          `json:"sub"`
		Audience  json.RawMessage `json:"aud"`
		ID        string          `json:"jti"`
		NotBefore float64         `json:"nbf"`
		Expires   float64         `json:"exp"`
	}
}

func parseJWS(text string) (*jws, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, false
	}
	j := &jws{signed: []byte(parts[0] + "." + parts[1])}
	header, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	claims, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	signature, err3 := base64.RawURLEncoding.DecodeString(parts[2])
	j.signature = signature
	ok := err1 == nil && err2 == nil && err3 == nil &&
		json.Unmarshal(header, &j.header) == nil && json.Unmarshal(claims, &j.claims) == nil
	return j, ok
}

// verify checks the signature with the algorithm that the header names.
func (j *jws) verify(key *rsa.PublicKey) bool {
	digest := sha256.Sum256(j.signed)
	switch j.header.Algorithm {
	case "PS256":
		// RFC 7518, 3.5: the salt is as long as the hash.
		return rsa.VerifyPSS(key, crypto.SHA256, digest[:], j.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], j.signature) == nil
	}
	return false
}

// audience tells whether the assertion is made out to one of these.
func (j *jws) audience(want ...string) bool {
	var one string
	var many []string
	if json.Unmarshal(j.claims.Audience, &one) == nil {
		many = []string{one}
	} else if json.Unmarshal(j.claims.Audience, &many) != nil {
		return false
	}
	return slices.ContainsFunc(many, func(a string) bool { return slices.Contains(want, a) })
}

// tolerance for clocks that disagree, as the real endpoint has.
const tolerance = 5 * time.Minute

// timely tells whether the assertion is valid now.
func (j *jws) timely(now time.Time) bool {
	begins, ends := time.Unix(int64(j.claims.NotBefore), 0), time.Unix(int64(j.claims.Expires), 0)
	return j.claims.Expires > 0 && !now.Before(begins.Add(-tolerance)) && !now.After(ends.Add(tolerance))
}

// checkAssertion returns the AADSTS code of what is wrong, or 0.
func (t *Tenant) checkAssertion(c *call, form url.Values, now time.Time) int {
	j, ok := parseJWS(form.Get("client_assertion"))
	switch {
	case form.Get("client_assertion_type") != assertionType:
		return 900144
	case !ok:
		return 50027
	case j.header.Thumbprint != "" || j.claims.Issuer == j.claims.Subject:
		return t.checkCertificate(c, j, now)
	}
	return t.checkFederated(j, now)
}

// checkCertificate checks an assertion that the application signed itself.
func (t *Tenant) checkCertificate(c *call, j *jws, now time.Time) int {
	i := slices.IndexFunc(t.trust.certificates, func(c *x509.Certificate) bool {
		thumbprint := sha256.Sum256(c.Raw)
		return base64.RawURLEncoding.EncodeToString(thumbprint[:]) == j.header.Thumbprint
	})
	if i < 0 {
		return 700027
	}
	key, isRSA := t.trust.certificates[i].PublicKey.(*rsa.PublicKey)
	life := time.Duration(j.claims.Expires-j.claims.NotBefore) * time.Second
	switch {
	case !isRSA || !j.verify(key):
		return 700027
	case j.claims.Issuer != t.opts.ClientID || j.claims.Subject != t.opts.ClientID:
		return 700021
	case !j.audience(c.base + c.path):
		return 700023
	case !j.timely(now), life <= 0, life > 10*time.Minute, now.After(t.trust.certificates[i].NotAfter):
		return 700024
	}
	return t.once(j, now)
}

// once refuses an assertion that was used before.
func (t *Tenant) once(j *jws, now time.Time) int {
	for id, end := range t.trust.used {
		if now.After(end) {
			delete(t.trust.used, id)
		}
	}
	if _, again := t.trust.used[j.claims.ID]; again || j.claims.ID == "" {
		return 50027
	}
	if t.trust.used == nil {
		t.trust.used = make(map[string]time.Time)
	}
	t.trust.used[j.claims.ID] = time.Unix(int64(j.claims.Expires), 0).Add(tolerance)
	return 0
}

// checkFederated checks a token that somebody else issued to the workload.
func (t *Tenant) checkFederated(j *jws, now time.Time) int {
	if len(t.trust.federated) == 0 {
		return 70021
	}
	issued := slices.DeleteFunc(slices.Clone(t.trust.federated), func(f FederatedCredential) bool { return f.Issuer != j.claims.Issuer })
	i := slices.IndexFunc(issued, func(f FederatedCredential) bool { return f.Subject == j.claims.Subject })
	switch {
	case len(issued) == 0:
		return 700211
	case !j.audience(FederatedAudience):
		return 700212
	case i < 0:
		return 700213
	case j.header.Algorithm != "RS256" || !j.verify(issued[i].Key):
		return 50013
	case !j.timely(now):
		return 700024
	}
	return 0
}
