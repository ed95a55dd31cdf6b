// Package workload is how an application proves itself to the token endpoint
// without a secret: by assertions that it signs with a certificate, by tokens
// of an issuer that it trusts, and by the identity of the machine it runs on.
package workload

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

	"m365_defender_exporter/internal/simulator/entra"
	"m365_defender_exporter/internal/simulator/service"
	"m365_defender_exporter/internal/simulator/wire"
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

// Workload is what an application and its machine have besides the secret.
type Workload struct {
	do       func(func(now time.Time))
	endpoint *entra.Endpoint

	certificates []*x509.Certificate
	federated    []FederatedCredential
	used         map[string]time.Time // jti of assertions, and when they end
	identity     Identity
}

// Install lets the service take assertions, and gives it the endpoints of a
// machine's identity.
func Install(s *service.Service) *Workload {
	w := &Workload{do: s.Do, endpoint: &s.Entra, used: make(map[string]time.Time)}
	s.Entra.Assertion = w.check
	s.Identity = map[string]func(*wire.Call, time.Time) *wire.Reply{metadataPath: w.answerIdentity, appServicePath: w.answerIdentity}
	return w
}

// SetCertificates registers these certificates with the application and
// removes all others.
func (w *Workload) SetCertificates(certificates ...*x509.Certificate) {
	w.do(func(time.Time) { w.certificates = slices.Clone(certificates) })
}

// SetFederatedCredentials registers these and removes all others.
func (w *Workload) SetFederatedCredentials(credentials ...FederatedCredential) {
	w.do(func(time.Time) { w.federated = slices.Clone(credentials) })
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

// check returns the AADSTS code of what is wrong, or 0.
func (w *Workload) check(c *wire.Call, form url.Values, now time.Time) int {
	j, ok := parseJWS(form.Get("client_assertion"))
	switch {
	case form.Get("client_assertion_type") != assertionType:
		return 900144
	case !ok:
		return 50027
	case j.header.Thumbprint != "" || j.claims.Issuer == j.claims.Subject:
		return w.checkCertificate(c, j, now)
	}
	return w.checkFederated(j, now)
}

// checkCertificate checks an assertion that the application signed itself.
func (w *Workload) checkCertificate(c *wire.Call, j *jws, now time.Time) int {
	i := slices.IndexFunc(w.certificates, func(c *x509.Certificate) bool {
		thumbprint := sha256.Sum256(c.Raw)
		return base64.RawURLEncoding.EncodeToString(thumbprint[:]) == j.header.Thumbprint
	})
	if i < 0 {
		return 700027
	}
	key, isRSA := w.certificates[i].PublicKey.(*rsa.PublicKey)
	life := time.Duration(j.claims.Expires-j.claims.NotBefore) * time.Second
	switch {
	case !isRSA || !j.verify(key):
		return 700027
	case j.claims.Issuer != w.endpoint.ClientID || j.claims.Subject != w.endpoint.ClientID:
		return 700021
	case !j.audience(c.Base + c.Path):
		return 700023
	case !j.timely(now), life <= 0, life > 10*time.Minute, now.After(w.certificates[i].NotAfter):
		return 700024
	}
	return w.once(j, now)
}

// once refuses an assertion that was used before.
func (w *Workload) once(j *jws, now time.Time) int {
	for id, end := range w.used {
		if now.After(end) {
			delete(w.used, id)
		}
	}
	if _, again := w.used[j.claims.ID]; again || j.claims.ID == "" {
		return 50027
	}
	w.used[j.claims.ID] = time.Unix(int64(j.claims.Expires), 0).Add(tolerance)
	return 0
}

// checkFederated checks a token that another issuer gave to the workload.
func (w *Workload) checkFederated(j *jws, now time.Time) int {
	if len(w.federated) == 0 {
		return 70021
	}
	issued := slices.DeleteFunc(slices.Clone(w.federated), func(f FederatedCredential) bool { return f.Issuer != j.claims.Issuer })
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
