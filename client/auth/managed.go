package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/oauth2"
)

// ManagedIdentity asks the machine, App Service, Arc or whatever else this
// runs on for the token of its identity: the system assigned one, or with a
// ClientID that user assigned one. The environment tells which it is.
//
// azidentity speaks the protocols. Its retries are off and its cache is passed
// by, because a Source has its own. It makes no request yet; its error is that of
// azidentity, which refuses what the environment says.
func ManagedIdentity(opts Options) (*Source, error) {
	opts = opts.withDefaults()
	// App Service and its kin hand these over, and they are sent along.
	opts.scrubber.Secret("identity header", os.Getenv("IDENTITY_HEADER"))
	opts.scrubber.Secret("MSI secret", os.Getenv("MSI_SECRET"))
	answers := &lastAnswer{}
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{
		Transport:        direct(opts.HTTP),
		Retry:            policy.RetryOptions{MaxRetries: -1},
		PerRetryPolicies: []policy.Policy{answers},
		Telemetry:        policy.TelemetryOptions{Disabled: true},
	}}
	kind := "managed identity (system assigned)"
	if opts.ClientID != "" {
		kind = "managed identity (user assigned)"
		o.ID = azidentity.ClientID(opts.ClientID)
	}
	credential, err := azidentity.NewManagedIdentityCredential(o)
	if err != nil {
		return nil, fmt.Errorf("managed identity: %w", opts.scrubber.Error(err))
	}
	request := func(ctx context.Context) (*oauth2.Token, time.Time, error) {
		*answers = lastAnswer{}
		ctx, cancel := context.WithTimeout(ctx, opts.timeout)
		defer cancel()
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{
			Scopes: []string{opts.Scope},
			// Any claims make the library pass its cache by; they are not sent.
			Claims: "{}",
		})
		if err != nil {
			return nil, time.Time{}, answers.explain(err)
		}
		return &oauth2.Token{AccessToken: token.Token, TokenType: "Bearer", Expiry: token.ExpiresOn}, token.RefreshOn, nil
	}
	return newSource(kind, opts, func() (*loaded, error) {
		return &loaded{digest: sha256.Sum256([]byte(opts.ClientID)), request: request}, nil
	}), nil
}

// direct is the client without a proxy: the places that issue these tokens are
// link-local or on this machine, and would mean the proxy's machine otherwise.
// A transport that wraps another one has to have a method Unwrap. Of Service
// Fabric the library pins the certificate, for which it has to know the
// transport; it follows no redirect there of its own accord.
func direct(c *http.Client) *http.Client {
	inner := c.Transport
	for {
		wrapper, ok := inner.(interface{ Unwrap() http.RoundTripper })
		if !ok {
			break
		}
		inner = wrapper.Unwrap()
	}
	transport, ok := inner.(*http.Transport)
	if !ok {
		return c
	}
	transport = transport.Clone()
	transport.Proxy = nil
	if os.Getenv("IDENTITY_SERVER_THUMBPRINT") != "" {
		return &http.Client{Transport: transport, CheckRedirect: stay}
	}
	return guarded(&http.Client{Transport: transport})
}

// lastAnswer keeps what the library would hide in a text. The Source's lock
// guards it: there is one request at a time.
type lastAnswer struct {
	refused *refusal
	broken  error
	taken   bool // the answer was a success
}

// explain says more than the library's error does.
func (l *lastAnswer) explain(err error) error {
	switch {
	case l.refused != nil && l.refused.status == http.StatusBadRequest:
		l.refused.hint = "no such identity is assigned to this machine; --client.id (or AZURE_CLIENT_ID) must be that of a user assigned identity that is, or empty for the system assigned one"
		return l.refused
	case l.refused != nil:
		return l.refused
	case l.broken != nil && answered(l.broken):
		return l.broken
	case l.broken != nil:
		if u, ok := errors.AsType[*url.Error](l.broken); ok {
			l.broken = u.Err
		}
		return &unreachable{l.broken}
	case l.taken:
		// The library's error quotes all of it.
		return errNoToken
	}
	return err
}

// answered tells whether the error is made of an answer.
func answered(err error) bool {
	return errors.As(err, new(*redirectError)) || errors.Is(err, errSwitched) || errors.Is(err, errTooLong)
}

// unreachable is a machine without an endpoint for identities.
type unreachable struct{ error }

// Unwrap returns the cause.
func (e *unreachable) Unwrap() error { return e.error }

// Do implements policy.Policy.
func (l *lastAnswer) Do(req *policy.Request) (*http.Response, error) {
	*l = lastAnswer{}
	resp, err := req.Next()
	if err != nil {
		if resp != nil && resp.StatusCode >= 300 && resp.StatusCode <= 399 {
			err = newRedirectError(resp, req.Raw().URL)
		}
		l.broken = err
		return resp, err
	}
	// Arc begins with a 401 that is part of its protocol; what it ends with
	// replaces it.
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		l.refused = newRefusal(resp, body)
	}
	l.taken = l.refused == nil
	return resp, nil
}
