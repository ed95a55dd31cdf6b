// Package entra is the token endpoint of Microsoft Entra, with one application
// that proves itself by a secret. It shares no more with the real one than
// what clients see.
package entra

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/wire"
)

// Endpoint issues tokens and knows them again. It is used by one
// goroutine at a time.
type Endpoint struct {
	// TenantID, ClientID and ClientSecret are what is accepted.
	TenantID, ClientID, ClientSecret string
	// Lifetime of tokens.
	Lifetime time.Duration
	// Roles are the application roles of tokens issued from now on.
	Roles []string
	// Assertion checks a client assertion like [Endpoint.Check]; nil: none is
	// taken.
	Assertion func(c *wire.Call, form url.Values, now time.Time) int
	// Trace is an id for an answer.
	Trace func() string

	tokens map[string]token
}

// token is what is known of a token that was issued.
type token struct {
	expires time.Time
	roles   []string
}

// Expire makes every token issued so far invalid.
func (e *Endpoint) Expire() { clear(e.tokens) }

// aadError is a documented error of the token endpoint.
type aadError struct {
	status      int
	code        string
	description string
}

var aadErrors = map[int]aadError{
	7000215: {http.StatusUnauthorized, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."},
	7000222: {http.StatusUnauthorized, "invalid_client", "The provided client secret keys for the app are expired."},
	7000218: {http.StatusUnauthorized, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	700021:  {http.StatusUnauthorized, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter."},
	700023:  {http.StatusUnauthorized, "invalid_client", "Client assertion audience claim does not match Realm issuer."},
	700024:  {http.StatusUnauthorized, "invalid_client", "Client assertion is not within its valid time range."},
	50013:   {http.StatusUnauthorized, "invalid_client", "Assertion failed signature validation."},
	50027:   {http.StatusUnauthorized, "invalid_client", "Invalid JWT token."},
	700211:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion issuer."},
	700212:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion audience."},
	700213:  {http.StatusUnauthorized, "invalid_client", "No matching federated identity record found for presented assertion subject."},
	900382:  {http.StatusBadRequest, "invalid_request", "Confidential Client is not supported in Cross Cloud request."},
	700027:  {http.StatusUnauthorized, "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application."},
	70021:   {http.StatusBadRequest, "invalid_request", "No matching federated identity record found for presented assertion."},
	700016:  {http.StatusBadRequest, "unauthorized_client", "Application was not found in the directory."},
	90002:   {http.StatusBadRequest, "invalid_request", "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."},
	500011:  {http.StatusBadRequest, "invalid_resource", "The resource principal was not found in the tenant."},
	900144:  {http.StatusBadRequest, "invalid_request", "The request body must contain a parameter that is missing."},
	900561:  {http.StatusBadRequest, "invalid_request", "The endpoint only accepts POST requests."},
	70003:   {http.StatusBadRequest, "unsupported_grant_type", "The app requested an unsupported grant type."},
	1002012: {http.StatusBadRequest, "invalid_scope", "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."},
	90033:   {http.StatusServiceUnavailable, "temporarily_unavailable", "A transient error has occurred. Please try again."},
}

// TokenPath is what follows the tenant in the path of the endpoint.
const TokenPath = "/oauth2/v2.0/token"

// Answer answers a token request.
func (e *Endpoint) Answer(c *wire.Call, now time.Time) *wire.Reply {
	return e.AnswerCode(c, e.Check(c, now), "", now)
}

// AnswerCode answers with a token, or the AADSTS code of an error; detail is
// added to its description.
func (e *Endpoint) AnswerCode(c *wire.Call, code int, detail string, now time.Time) *wire.Reply {
	rep := wire.NewReply()
	rep.Header.Set("Cache-Control", "no-store, no-cache")
	if code == 0 {
		form, _ := url.ParseQuery(c.Body) // checked before
		rep.JSON(http.StatusOK, e.Issue(strings.TrimSuffix(form.Get("scope"), "/.default"), now))
		return rep
	}
	a, ok := aadErrors[code]
	if !ok {
		a = aadError{http.StatusBadRequest, "invalid_request", "A made up error."}
	}
	at := now.Format(time.DateTime + "Z")
	rep.JSON(a.status, map[string]any{
		"error":             a.code,
		"error_description": fmt.Sprintf("AADSTS%d: %s%s Trace ID: simulated Correlation ID: simulated Timestamp: %s", code, a.description, detail, at),
		"error_codes":       []int{code},
		"timestamp":         at,
		"trace_id":          e.Trace(),
		"correlation_id":    e.Trace(),
	})
	return rep
}

// Check returns the AADSTS code of what is wrong with a token request, or 0.
func (e *Endpoint) Check(c *wire.Call, now time.Time) int {
	if c.Method != http.MethodPost {
		return 900561
	}
	if !strings.EqualFold(strings.Trim(strings.TrimSuffix(c.Path, TokenPath), "/"), e.TenantID) {
		return 90002
	}
	form, err := url.ParseQuery(c.Body)
	if err != nil {
		return 900144
	}
	scope := form.Get("scope")
	switch {
	case form.Get("grant_type") == "" || form.Get("client_id") == "" || scope == "":
		return 900144
	case form.Get("grant_type") != "client_credentials":
		return 70003
	case form.Get("client_id") != e.ClientID:
		return 700016
	case !strings.HasSuffix(scope, "/.default") || strings.Contains(scope, " "):
		return 1002012
	case form.Get("client_assertion") != "" && e.Assertion != nil:
		return e.Assertion(c, form, now)
	case form.Get("client_secret") == "":
		return 7000218
	case form.Get("client_secret") != e.ClientSecret:
		return 7000215
	}
	return 0
}

// Issue makes a token for a resource, and the answer with it.
func (e *Endpoint) Issue(resource string, now time.Time) map[string]any {
	for text, tok := range e.tokens {
		if !now.Before(tok.expires) {
			delete(e.tokens, text)
		}
	}
	expires := now.Add(e.Lifetime)
	claims := map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + e.TenantID + "/",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(),
		"appid": e.ClientID, "tid": e.TenantID, "ver": "1.0", "uti": e.Trace(),
	}
	if len(e.Roles) > 0 {
		claims["roles"] = e.Roles
	}
	part := func(v map[string]any) string { return base64.RawURLEncoding.EncodeToString(wire.JSON(v)) }
	text := part(map[string]any{"typ": "JWT", "alg": "RS256", "kid": "simulated"}) + "." + part(claims) + "." +
		base64.RawURLEncoding.EncodeToString([]byte("signed by nobody"))
	if e.tokens == nil {
		e.tokens = make(map[string]token)
	}
	e.tokens[text] = token{expires, slices.Clone(e.Roles)}
	seconds := int(e.Lifetime/time.Second) - 1
	return map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": text}
}

// Authorize returns 401 or 403, or 0 if a call with this header may do what
// needs one of the roles.
func (e *Endpoint) Authorize(header string, roles []string, now time.Time) int {
	text, ok := strings.CutPrefix(header, "Bearer ")
	tok, known := e.tokens[text]
	switch {
	case !ok || !known || !now.Before(tok.expires):
		return http.StatusUnauthorized
	case !slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(tok.roles, role) }):
		return http.StatusForbidden
	}
	return 0
}
