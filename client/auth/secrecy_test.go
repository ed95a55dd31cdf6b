package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
)

// canary must not sing, in whatever form.
const canary = "kan&ri=envogel/42"

// formats are all the ways to print a value.
var formats = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"}

func silent(t *testing.T, what string, value any, secrets ...string) {
	t.Helper()
	var texts []string
	for _, format := range formats {
		texts = append(texts, fmt.Sprintf(format, value))
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
	texts = append(texts, log.String())
	func() {
		defer func() { texts = append(texts, fmt.Sprint(recover())) }()
		panic(value)
	}()
	for _, text := range texts {
		for _, secret := range secrets {
			inside := base64.StdEncoding.EncodeToString([]byte("x" + secret))
			for _, form := range []string{secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%q", secret), strings.ToUpper(secret), inside[2 : len(inside)-4]} {
				if strings.Contains(text, form) {
					t.Errorf("%s shows a secret: %s", what, text)
				}
			}
		}
	}
}

// chain is an error and all that it wraps.
func chain(err error) (all []error) {
	for ; err != nil; err = errors.Unwrap(err) {
		all = append(all, err)
	}
	return all
}

// TestSecrecy lets the server, the network and the files say whatever was sent
// to them, for every kind of credential.
func TestSecrecy(t *testing.T) {
	withoutIdentityEnvironment(t)
	c := newCredentials(t)
	federated := workloadToken(t, c.key, "s", time.Now().Add(time.Hour))
	sources := map[string]func(*endpoint) *Source{
		"secret": func(e *endpoint) *Source { return source(e, fixed(canary)) },
		"certificate": func(e *endpoint) *Source {
			return Certificate(options(e), fileWith(t, pfx(t, c.key, c.certificate, canary)), fixed(canary))
		},
		"federated": func(e *endpoint) *Source { return Federated(options(e), fileWith(t, federated)) },
		"managed": func(e *endpoint) *Source {
			s, err := ManagedIdentity(options(e))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	const issued = "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOnRydWV9.c2lnbmF0dXJl"
	echo := func(status int, shape string) func(int, map[string]string) (int, string) {
		return func(_ int, form map[string]string) (int, string) {
			sent := form["client_secret"] + form["client_assertion"] + " " + issued
			other := url.QueryEscape(sent) + base64.StdEncoding.EncodeToString([]byte("x"+sent)) + hex.EncodeToString([]byte(sent)) + strings.ToUpper(sent)
			return status, fmt.Sprintf(shape, sent, other)
		}
	}
	for kind, newSource := range sources {
		for name, answer := range map[string]func(int, map[string]string) (int, string){
			"description": echo(400, `{"error":"invalid_client","error_description":"AADSTS7000215: bad %s","more":%q}`),
			"code":        echo(400, `{"error":%q,"error_description":%q}`),
			"html":        echo(502, `<html>%s %s</html>`),
			"not JSON":    echo(200, `<html>%s %s</html>`),
			"torn":        echo(200, `{"access_token":"%s%s`),
			"no token":    echo(200, `{"nothing":%q,"more":%q}`),
			"good": func(int, map[string]string) (int, string) {
				return 200, `{"token_type":"Bearer","expires_in":"3600","access_token":"` + issued + `"}`
			},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				e := &endpoint{answer: answer}
				s := newSource(e)
				_, err := s.Token()
				if (err == nil) != (name == "good") {
					t.Fatalf("got %v", err)
				}
				secrets := []string{canary, federated, federated[:100], issued, issued[20:]}
				if len(e.forms) > 0 && e.forms[0]["client_assertion"] != "" {
					secrets = append(secrets, e.forms[0]["client_assertion"])
				}
				silent(t, "source", s, secrets...)
				for _, err := range chain(err) {
					silent(t, "error", err, secrets...)
				}
				_, again := s.Token()
				silent(t, "remembered error", again, secrets...)
			})
		}
		t.Run(kind+"/network", func(t *testing.T) {
			s := newSource(&endpoint{err: fmt.Errorf("dial: %s %s", canary, issued)})
			_, err := s.Token()
			if kind == "secret" {
				silent(t, "error", err, canary)
			}
			silent(t, "error", err, issued)
		})
	}
	id, err := parseIdentity("file", []byte(pfx(t, c.key, c.certificate, canary)), canary)
	if err != nil {
		t.Fatal(err)
	}
	silent(t, "identity", id, c.key.D.String(), fmt.Sprintf("%x", c.key.D))
}
