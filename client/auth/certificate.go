package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// Certificate is the client credentials flow with an assertion that is signed
// with the key of a certificate. The file is PEM, with certificate and key, or
// PKCS#12; password is asked for the latter and may be nil. Both are read for
// every token.
func Certificate(opts Options, path string, password func() (string, error)) *Source {
	opts = opts.withDefaults()
	file := &certificateFile{path: path, password: password}
	return newSource("certificate", opts, func() (*loaded, error) {
		id, err := file.read()
		if err != nil {
			return nil, err
		}
		now := opts.Now()
		if err := id.valid(now); err != nil {
			return nil, err
		}
		return &loaded{
			digest:  id.digest,
			expires: id.certificate.NotAfter,
			note:    id.certificate.Subject.String(),
			request: func(ctx context.Context) (*oauth2.Token, time.Time, error) {
				text, err := id.sign(opts.ClientID, opts.TokenURL, opts.Now())
				if err != nil {
					return nil, time.Time{}, err
				}
				opts.scrubber.Secret("assertion", text)
				return exchange(ctx, opts, "", assertion(text))
			},
		}, nil
	})
}

// identity is a certificate with its key.
type identity struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
	digest      [sha256.Size]byte // of the file and its password
	path        string
}

// String shows no key.
func (id *identity) String() string { return "certificate " + id.path }

// GoString is String.
func (id *identity) GoString() string { return id.String() }

// valid refuses a certificate that no server would take.
func (id *identity) valid(now time.Time) error {
	c := id.certificate
	switch {
	case now.After(c.NotAfter):
		return &credentialError{
			text: fmt.Sprintf("the certificate in %s expired at %s", id.path, c.NotAfter.UTC().Format(time.RFC3339)),
			hint: "put a new one in its place and register it with the application; no restart is needed",
		}
	case now.Add(skew).Before(c.NotBefore):
		return &credentialError{
			text: fmt.Sprintf("the certificate in %s is not valid before %s", id.path, c.NotBefore.UTC().Format(time.RFC3339)),
			hint: "check this machine's clock",
		}
	}
	return nil
}

// skew is how far apart our clock and the server's may be. The assertion lives
// from so long before now until so long after, ten minutes in all.
const skew = 5 * time.Minute

// sign makes an assertion for one request.
// Source: https://learn.microsoft.com/entra/identity-platform/certificate-credentials
func (id *identity) sign(clientID, audience string, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.RegisteredClaims{
		Issuer:    clientID,
		Subject:   clientID,
		Audience:  jwt.ClaimStrings{audience},
		ID:        rand.Text(),
		NotBefore: jwt.NewNumericDate(now.Add(-skew)),
		ExpiresAt: jwt.NewNumericDate(now.Add(skew)),
	})
	thumbprint := sha256.Sum256(id.certificate.Raw)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	text, err := token.SignedString(id.key)
	if err != nil {
		return "", fmt.Errorf("sign the assertion: %w", err)
	}
	return text, nil
}

// certificateFile reads an identity, and parses it only when it has changed:
// the key of a PKCS#12 file is dear to derive.
type certificateFile struct {
	path     string
	password func() (string, error)

	mu   sync.Mutex
	last *identity
}

func (f *certificateFile) read() (*identity, error) {
	text, err := readFile("client certificate", f.path)
	if err != nil {
		return nil, err
	}
	var password string
	if f.password != nil {
		if password, err = f.password(); err != nil {
			return nil, err
		}
	}
	digest := sha256.Sum256(bytes.Join([][]byte{[]byte(password), text}, []byte{0}))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last != nil && f.last.digest == digest {
		return f.last, nil
	}
	id, err := parseIdentity(f.path, text, password)
	if err != nil {
		return nil, err
	}
	id.digest, id.path = digest, f.path
	f.last = id
	return id, nil
}
