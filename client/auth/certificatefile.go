package auth

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"m365_defender_exporter/internal/scrub"
)

// parseIdentity reads PEM or PKCS#12. Its errors quote nothing of the content.
func parseIdentity(path string, text []byte, password string) (*identity, error) {
	var certificates []*x509.Certificate
	var key any
	var err error
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		certificates, key, err = parsePEM(text)
	} else {
		certificates, key, err = parsePKCS12(text, password)
	}
	if err != nil {
		return nil, in(path, err)
	}
	if len(certificates) == 0 {
		return nil, in(path, &credentialError{text: "there is no certificate", hint: "the file must hold the certificate and its key"})
	}
	switch key := key.(type) {
	case nil:
		return nil, in(path, &credentialError{text: "there is no private key", hint: "the file must hold the certificate and its key"})
	case *rsa.PrivateKey:
		for _, c := range certificates {
			if key.PublicKey.Equal(c.PublicKey) {
				return &identity{certificate: c, key: key}, nil
			}
		}
		return nil, in(path, &credentialError{text: "the private key belongs to none of the certificates"})
	}
	return nil, in(path, &credentialError{text: "the private key is not RSA", hint: "Microsoft Entra takes RSA certificates only"})
}

func in(path string, err error) error {
	e := &credentialError{text: "read client certificate: " + path + ": " + err.Error()}
	if c, ok := errors.AsType[*credentialError](err); ok {
		e.hint = c.hint
	}
	return e
}

func parsePEM(text []byte) (certificates []*x509.Certificate, key any, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("parse the certificate: %w", err)
			}
			certificates = append(certificates, c)
		case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, nil, &credentialError{
				text: "the private key is encrypted",
				hint: "use PKCS#12 for a key with a password, or a file that only the exporter can read",
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY") && key == nil:
			if key, err = parseKey(block); err != nil {
				return nil, nil, err
			}
		}
	}
	return certificates, key, nil
}

func parseKey(block *pem.Block) (key any, err error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, &credentialError{text: "the private key cannot be read"}
	}
	return key, nil
}

func parsePKCS12(text []byte, password string) ([]*x509.Certificate, any, error) {
	key, certificate, others, err := pkcs12.DecodeChain(text, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return nil, nil, &credentialError{text: "the PKCS#12 file needs a password", hint: "give it with --client.certificate-password-file or AZURE_CLIENT_CERTIFICATE_PASSWORD"}
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, &credentialError{text: "the password of the PKCS#12 file is wrong"}
	case err != nil:
		var shown scrub.Scrubber
		shown.Secret("password", password)
		return nil, nil, &credentialError{text: "it is neither PEM nor PKCS#12 that can be read: " + shown.Text(err.Error())}
	}
	return append([]*x509.Certificate{certificate}, others...), key, nil
}
