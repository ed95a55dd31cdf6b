package workload

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
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
func (w *Workload) SetIdentity(i Identity) { w.do(func(time.Time) { w.identity = i }) }

// answerIdentity is the token endpoint of the machine.
func (w *Workload) answerIdentity(c *wire.Call, now time.Time) *wire.Reply {
	rep := wire.NewReply()
	query, err := url.ParseQuery(c.Query)
	resource, clientID := query.Get("resource"), query.Get("client_id")
	allowed := c.Header.Get("Metadata") == "true"
	if c.Path == appServicePath {
		allowed = c.Header.Get("X-Identity-Header") == AppServiceSecret
	}
	refuse := func(status int, code, description string) {
		rep.JSON(status, map[string]any{"error": code, "error_description": description})
	}
	known := slices.Contains(w.identity.User, clientID) || clientID == "" && w.identity.System
	switch {
	case c.Header.Get("X-Forwarded-For") != "" || c.Header.Get("Via") != "":
		refuse(http.StatusForbidden, "forbidden", "Requests through a proxy are refused")
	case c.Method != http.MethodGet || err != nil || !allowed || resource == "" || query.Get("api-version") == "":
		refuse(http.StatusBadRequest, "bad_request_102", "Required metadata header not specified")
	case !known:
		refuse(http.StatusBadRequest, "invalid_request", "Identity not found")
	default:
		answer := w.endpoint.Issue(resource, now)
		// These endpoints send numbers as texts.
		answer["expires_on"] = strconv.FormatInt(now.Add(w.endpoint.Lifetime).Unix(), 10)
		answer["expires_in"] = strconv.Itoa(int(w.endpoint.Lifetime / time.Second))
		answer["resource"], answer["client_id"] = resource, clientID
		rep.JSON(http.StatusOK, answer)
	}
	return rep
}
