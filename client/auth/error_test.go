package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"m365_defender_exporter/internal/reason"
)

// TestTokenErrors: class, hint, and never the secret.
func TestTokenErrors(t *testing.T) {
	long := strings.Repeat("x", 300)
	body := func(code string, number int, text string) string {
		return fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: %s\r\nTrace ID: x","error_codes":[%d]}`, code, number, text, number)
	}
	tests := []struct {
		name           string
		status         int
		body           string
		reason, class  string
		hint, contains string
	}{
		{"wrong secret", 401, body("invalid_client", 7000215, "Invalid client secret provided: 'hush-hush'."), "invalid_client", "auth", "secret is wrong", "AADSTS7000215"},
		{"expired secret", 401, body("invalid_client", 7000222, "The provided client secret keys are expired."), "invalid_client", "auth", "has expired", "expired"},
		{"unknown app", 400, body("unauthorized_client", 700016, "Application not found."), "unauthorized_client", "auth", "client id", "700016"},
		{"unknown tenant", 400, body("invalid_request", 90002, "Tenant not found."), "invalid_request", "auth", "tenant id", "90002"},
		{"no such API", 400, body("invalid_resource", 500011, "The resource principal was not found."), "invalid_resource", "auth", "--cloud", "500011"},
		{"certificate", 401, body("invalid_client", 700027, "Client assertion failed."), "invalid_client", "auth", "certificate", "700027"},
		{"federated", 401, body("invalid_client", 70021, "No matching federated identity."), "invalid_client", "auth", "federated", "70021"},
		{"clouds mixed", 400, body("invalid_request", 900382, "Confidential Client is not supported in Cross Cloud request."), "invalid_request", "auth", "--cloud", "900382"},
		{"clock", 401, body("invalid_client", 700024, "Client assertion is not within its valid time range."), "invalid_client", "auth", "clock", "700024"},
		{"federated issuer", 401, body("invalid_client", 700211, "No match."), "invalid_client", "auth", "issuer", "700211"},
		{"federated audience", 401, body("invalid_client", 700212, "No match."), "invalid_client", "auth", "api://AzureADTokenExchange", "700212"},
		{"federated subject", 401, body("invalid_client", 700213, "No match."), "invalid_client", "auth", "system:serviceaccount", "700213"},
		{"number only in the text", 401, `{"error":"invalid_client","error_description":"AADSTS7000222: Old."}`, "invalid_client", "auth", "has expired", "Old"},
		{"numbers of another shape", 401, `{"error":"invalid_client","error_description":"Old.","error_codes":"7"}`, "invalid_client", "auth", "", "Old"},
		{"something else", 400, body("odd_code", 1, "Odd."), "other", "auth", "", "odd_code"},
		{"endless", 400, body("odd_code", 1, long+"tail"), "other", "auth", "", "…"},
		{"throttled", 429, "", "throttled", "throttled", "", "HTTP 429"},
		{"temporarily", 503, body("temporarily_unavailable", 90033, "Later."), "temporarily_unavailable", "server", "", "temporarily_unavailable"},
		{"server", 500, `<html>hush-hush</html>`, "server", "server", "", "HTTP 500"},
		{"not JSON", 200, `<html>`, "decode", "decode", "proxy", "get access token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := &endpoint{answer: func(int, map[string]string) (int, string) { return test.status, test.body }}
			var observed error
			o := options(e)
			o.Observe = func(a Attempt) { observed = a.Err }
			s := ClientSecret(o, fixed("hush-hush"))
			_, err := s.Token()
			if err == nil || observed == nil {
				t.Fatalf("got %v, observed %v", err, observed)
			}
			if len(e.forms) != 1 {
				t.Errorf("asked %d times", len(e.forms))
			}
			if got := Reason(err); got != test.reason {
				t.Errorf("reason: got %s, want %s", got, test.reason)
			}
			var classified interface{ FailureReason() reason.Reason }
			if !errors.As(err, &classified) || classified.FailureReason().String() != test.class {
				t.Errorf("class: want %s", test.class)
			}
			if got := hinted(err); !strings.Contains(got, test.hint) || (got == "") != (test.hint == "") {
				t.Errorf("hint: got %q, want %q in it", got, test.hint)
			}
			text := err.Error()
			if !strings.Contains(text, test.contains) || !strings.Contains(text, test.hint) {
				t.Errorf("text: %q", text)
			}
			if strings.Contains(text, "hush-hush") || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "Trace") {
				t.Errorf("text tells too much: %q", text)
			}
		})
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	read := SecretFile(path)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]string{"a b\n": "a b", "x\r\n": "x", "y": "y", "\xef\xbb\xbfz\r\n": "z"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	for name, text := range map[string]string{"empty": "\n", "bytes": strings.Repeat("x", maxFile+1), "UTF-16": "\xff\xfes\x00\r\x00\n\x00"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoFile: what is not a file is not waited for.
func TestNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull, "/dev/zero"} {
		if _, err := SecretFile(path)(); err == nil {
			t.Errorf("%s is read", path)
		}
	}
}

// TestUnreadable: a credential that cannot be read is said at once, costs no
// request, and works as soon as it is there.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	e := &endpoint{answer: good}
	s := source(e, SecretFile(path))
	_, err := s.Token()
	if got := Reason(err); got != "credential" || !strings.Contains(hinted(err), "mounted") || len(e.forms) > 0 {
		t.Errorf("got %s, %v, %d requests", got, err, len(e.forms))
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(); err != nil {
		t.Error(err)
	}
}

// hinted is what a token error says can be done.
func hinted(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
