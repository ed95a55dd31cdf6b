package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"m365_defender_exporter/internal/textfile"
)

// ClientSecret is the client credentials flow with a secret, which is read for
// every token. What keeps it from being read is an error of Token.
func ClientSecret(opts Options, read func() (string, error)) *Source {
	opts = opts.withDefaults()
	return newSource("client secret", opts, func() (*loaded, error) {
		secret, err := read()
		if err != nil {
			return nil, err
		}
		opts.scrubber.Secret("secret", secret)
		return &loaded{
			expires: opts.SecretExpires,
			digest:  sha256.Sum256([]byte(secret)),
			request: func(ctx context.Context) (*oauth2.Token, time.Time, error) {
				return exchange(ctx, opts, secret, nil)
			},
		}, nil
	})
}

// exchange makes one request of the client credentials flow.
func exchange(ctx context.Context, opts Options, secret string, more url.Values) (*oauth2.Token, time.Time, error) {
	config := clientcredentials.Config{
		ClientID:       opts.ClientID,
		ClientSecret:   secret,
		TokenURL:       opts.TokenURL,
		Scopes:         []string{opts.Scope},
		EndpointParams: more,
		// Otherwise the first request that fails is sent twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	client := *opts.HTTP
	client.Transport = legible{client.Transport}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, &client))
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // the library makes a text of it
	}
	if err == nil && !token.Expiry.IsZero() {
		// The library tells it by the machine's clock.
		token.Expiry = opts.Now().Add(time.Until(token.Expiry))
	}
	return token, time.Time{}, err
}

// assertion is the form that takes the place of the secret.
func assertion(text string) url.Values {
	return url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {text},
	}
}

// SecretFile returns a function that reads a client secret from a file, less
// the line break at its end.
func SecretFile(path string) func() (string, error) { return lineFile("client secret", path) }

// PasswordFile is SecretFile for the password of a certificate.
func PasswordFile(path string) func() (string, error) {
	return lineFile("certificate password", path)
}

func lineFile(what, path string) func() (string, error) {
	return func() (string, error) {
		text, err := readFile(what, path)
		if err != nil {
			return "", err
		}
		line := strings.TrimRight(string(bytes.TrimPrefix(text, []byte(bom))), "\r\n")
		if line == "" {
			return "", &credentialError{text: "read " + what + ": " + path + " is empty"}
		}
		return line, nil
	}
}

const (
	// maxFile bounds a file that holds a credential, in bytes.
	maxFile = 1 << 20
	// bom is what editors on Windows begin a file in UTF-8 with.
	bom = "\xef\xbb\xbf"
)

// readFile reads a file that holds a credential. Its errors are of type
// *credentialError and quote nothing of the content.
func readFile(what, path string) ([]byte, error) {
	text, err := textfile.ReadUpTo(path, maxFile)
	if err == nil && (bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff"))) {
		return nil, &credentialError{text: "read " + what + ": " + path + " is text in UTF-16", hint: "write it in UTF-8; in PowerShell with Set-Content -NoNewline -Encoding ascii instead of >"}
	}
	if err == nil {
		return text, nil
	}
	cause := err
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		cause = file.Err // the path is said already
	}
	e := &credentialError{text: "read " + what + ": " + path + ": " + cause.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.hint = "is the file mounted, and its path right?"
	case errors.Is(err, fs.ErrPermission):
		e.hint = "the exporter's user must be allowed to read it"
	}
	return nil, e
}
