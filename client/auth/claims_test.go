package auth

import (
	"encoding/base64"
	"slices"
	"testing"
	"time"
)

// TestParseClaims: how a token is signed is no matter of who only looks into it.
func TestParseClaims(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString
	const payload = `{"iss":"i","sub":"s","aud":"a","exp":1767225600.0,"appid":"app","roles":["r"]}`
	for name, test := range map[string]struct {
		token string
		want  bool
	}{
		"signed":           {part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(payload)) + ".AAAA", true},
		"unknown way":      {part([]byte(`{"alg":"ML-DSA-65"}`)) + "." + part([]byte(payload)) + ".AAAA", true},
		"way not told":     {part([]byte(`{}`)) + "." + part([]byte(payload)) + ".AAAA", true},
		"padded":           {part([]byte(`{"alg":"RS256"}`)) + "." + base64.URLEncoding.EncodeToString([]byte(payload)) + ".AAAA", true},
		"two parts":        {part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(payload)), false},
		"opaque":           {"opaque", false},
		"no JSON":          {part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte("text")) + ".AAAA", false},
		"roles is a text":  {part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(`{"roles":"r"}`)) + ".AAAA", false},
		"expiry is a text": {part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(`{"exp":"soon"}`)) + ".AAAA", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := ParseClaims(test.token)
			if ok != test.want {
				t.Fatalf("got %v, want %v", ok, test.want)
			}
			if ok && (got.Issuer != "i" || got.Subject != "s" || !slices.Equal(got.Audience, []string{"a"}) || got.AppID != "app" ||
				!slices.Equal(got.Roles, []string{"r"}) || !got.ExpiresAt.Equal(time.Unix(1767225600, 0))) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
