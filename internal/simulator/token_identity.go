package simulator

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The places that issue tokens to a machine's identity: the instance metadata
// service at the address 169.254.169.254, and App Service at the address in
// its environment.
const (
	metadataPath   = "/metadata/identity/oauth2/token"
	appServicePath = "/msi/token"
)

// AppServiceSecret is what IDENTITY_HEADER has to be for App Service's
// endpoint, which is at /msi/token.
const AppServiceSecret = "simulated-identity-header"

// Identity is what a machine can prove itself as without a secret. The zero
// value is none.
type Identity struct {
	// System: there is a system assigned identity.
	System bool
	// User lists the client ids of user assigned identities.
	User []string
}

// SetIdentity gives the machine identities. Their tokens carry the tenant's
// roles.
func (t *Tenant) SetIdentity(i Identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.identity = i
}

// answerIdentity is the token endpoint of the machine.
func (t *Tenant) answerIdentity(c *call, now time.Time) reply {
	fault := t.hitToken()
	rep := reply{delay: fault.Delay, header: make(http.Header)}
	query, err := url.ParseQuery(c.query)
	resource, clientID := query.Get("resource"), query.Get("client_id")
	allowed := c.header.Get("Metadata") == "true"
	if c.path == appServicePath {
		allowed = c.header.Get("X-Identity-Header") == AppServiceSecret
	}
	known := clientID == "" && t.identity.System
	for _, id := range t.identity.User {
		known = known || id == clientID
	}
	switch {
	case fault.Status != 0:
		rep.fill(fault.Status, "text/html", []byte("<html><body>Service Unavailable</body></html>"))
	case c.header.Get("X-Forwarded-For") != "" || c.header.Get("Via") != "":
		rep.json(http.StatusForbidden, map[string]any{"error": "forbidden", "error_description": "Requests through a proxy are refused"})
	case c.method != http.MethodGet || err != nil || !allowed || resource == "" || query.Get("api-version") == "":
		rep.json(http.StatusBadRequest, map[string]any{"error": "bad_request_102", "error_description": "Required metadata header not specified"})
	case !known:
		rep.json(http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": "Identity not found"})
	default:
		answer := t.issue(resource, now)
		// These endpoints send numbers as texts.
		answer["expires_on"] = strconv.FormatInt(now.Add(t.opts.TokenLifetime).Unix(), 10)
		answer["expires_in"] = strconv.Itoa(int(t.opts.TokenLifetime / time.Second))
		answer["resource"], answer["client_id"] = resource, clientID
		rep.json(http.StatusOK, answer)
	}
	if fault.RetryAfter != "" {
		rep.header.Set("Retry-After", fault.RetryAfter)
	}
	return rep
}
