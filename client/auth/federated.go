package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// Federated is the client credentials flow with a token that another issuer
// gave the workload, such as Kubernetes a service account. The file is read for
// every token, because the platform replaces it before it expires.
func Federated(opts Options, path string) *Source {
	opts = opts.withDefaults()
	return newSource("federated token", opts, func() (*loaded, error) {
		file, err := readFile("federated token", path)
		if err != nil {
			return nil, err
		}
		text := strings.TrimSpace(strings.TrimPrefix(string(file), bom))
		claims, ok := ParseClaims(text)
		if !ok {
			return nil, &credentialError{text: "read federated token: " + path + " holds no token (JWT)"}
		}
		opts.scrubber.Secret("assertion", text)
		now := opts.Now()
		if end := claims.ExpiresAt; end != nil && now.After(end.Add(skew)) {
			return nil, &credentialError{
				text: fmt.Sprintf("the federated token in %s expired at %s", path, end.UTC().Format(time.RFC3339)),
				hint: "the platform that writes the file has stopped doing so",
			}
		}
		return &loaded{
			digest: sha256.Sum256([]byte(text)),
			note:   fmt.Sprintf("(issuer %s, subject %s)", opts.scrubber.Text(claims.Issuer), opts.scrubber.Text(claims.Subject)),
			request: func(ctx context.Context) (*oauth2.Token, time.Time, error) {
				return exchange(ctx, opts, "", assertion(text))
			},
		}, nil
	})
}

// Claims are what a token says of itself: the registered claims, and those that
// Microsoft Entra adds.
// Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type Claims struct {
	jwt.RegisteredClaims
	AppID string   `json:"appid"`
	Roles []string `json:"roles"`
}

// ParseClaims reads a token without verifying anything: what it says is fit to
// be shown, not to be trusted. It is false if the text is no JWT.
func ParseClaims(token string) (claims Claims, ok bool) {
	_, _, err := jwt.NewParser(jwt.WithPaddingAllowed()).ParseUnverified(token, &claims)
	// How it is signed is for its reader to know, who may take what we do not.
	return claims, err == nil || errors.Is(err, jwt.ErrTokenUnverifiable)
}
