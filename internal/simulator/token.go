package simulator

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// token is what the API knows of a token that was issued.
type token struct {
	expires time.Time
	roles   []string
}

// ExpireTokens makes every token issued so far invalid: the API answers 401
// until a new one was requested.
func (t *Tenant) ExpireTokens() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.tokens)
}

// SetRoles sets the application roles of tokens issued from now on.
func (t *Tenant) SetRoles(roles ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roles = slices.Clone(roles)
}

// SetClientSecret rotates the secret. Tokens that were issued stay valid.
func (t *Tenant) SetClientSecret(secret string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opts.ClientSecret = secret
}

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

// tokenPath is what follows the tenant in the path of the token endpoint.
const tokenPath = "/oauth2/v2.0/token"

func (t *Tenant) answerToken(c *call, now time.Time) reply {
	fault := t.hitToken()
	rep := reply{delay: fault.Delay, header: make(http.Header)}
	code := fault.Code
	if code == 0 && fault.Status == 0 {
		code = t.checkTokenRequest(c, now)
	}
	switch {
	case fault.Status != 0:
		rep.fill(fault.Status, "text/html", []byte("<html><body>Service Unavailable</body></html>"))
	case fault.Redirect != "":
		rep.status = cmp.Or(fault.RedirectStatus, http.StatusTemporaryRedirect)
		rep.header.Set("Location", fault.Redirect)
	case code != 0:
		e, ok := aadErrors[code]
		if !ok {
			e = aadError{http.StatusBadRequest, "invalid_request", "A made up error."}
		}
		if fault.Echo != EchoNone {
			form, _ := url.ParseQuery(c.body) // without effect if it cannot be read
			e.description += " Received: '" + fault.Echo.Of(cmp.Or(form.Get("client_secret"), form.Get("client_assertion"))) + "'."
		}
		rep.json(e.status, map[string]any{
			"error":             e.code,
			"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: simulated Correlation ID: simulated Timestamp: %s", code, e.description, now.Format(time.DateTime+"Z")),
			"error_codes":       []int{code},
			"timestamp":         now.Format(time.DateTime + "Z"),
			"trace_id":          t.traceID(),
			"correlation_id":    t.traceID(),
		})
	default:
		form, _ := url.ParseQuery(c.body) // checked before
		rep.json(http.StatusOK, t.issue(strings.TrimSuffix(form.Get("scope"), "/.default"), now))
	}
	if fault.RetryAfter != "" {
		rep.header.Set("Retry-After", fault.RetryAfter)
	}
	rep.header.Set("Cache-Control", "no-store, no-cache")
	return rep
}

// checkTokenRequest returns the AADSTS code of what is wrong, or 0.
func (t *Tenant) checkTokenRequest(c *call, now time.Time) int {
	if c.method != http.MethodPost {
		return 900561
	}
	if !strings.EqualFold(strings.Trim(strings.TrimSuffix(c.path, tokenPath), "/"), t.opts.TenantID) {
		return 90002
	}
	form, err := url.ParseQuery(c.body)
	if err != nil {
		return 900144
	}
	scope := form.Get("scope")
	switch {
	case form.Get("grant_type") == "" || form.Get("client_id") == "" || scope == "":
		return 900144
	case form.Get("grant_type") != "client_credentials":
		return 70003
	case form.Get("client_id") != t.opts.ClientID:
		return 700016
	case !strings.HasSuffix(scope, "/.default") || strings.Contains(scope, " "):
		return 1002012
	case form.Get("client_assertion") != "":
		return t.checkAssertion(c, form, now)
	case form.Get("client_secret") == "":
		return 7000218
	case form.Get("client_secret") != t.opts.ClientSecret:
		return 7000215
	}
	return 0
}

func (t *Tenant) issue(resource string, now time.Time) map[string]any {
	for text, tok := range t.tokens {
		if !now.Before(tok.expires) {
			delete(t.tokens, text)
		}
	}
	expires := now.Add(t.opts.TokenLifetime)
	claims := map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + t.opts.TenantID + "/",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(),
		"appid": t.opts.ClientID, "tid": t.opts.TenantID, "ver": "1.0", "uti": t.traceID(),
	}
	if len(t.roles) > 0 {
		claims["roles"] = t.roles
	}
	text := part(map[string]any{"typ": "JWT", "alg": "RS256", "kid": "simulated"}) + "." + part(claims) + "." +
		base64.RawURLEncoding.EncodeToString([]byte("signed by nobody"))
	t.tokens[text] = token{expires, slices.Clone(t.roles)}
	seconds := int(t.opts.TokenLifetime/time.Second) - 1
	return map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": text}
}

// part is one of the three of a JWT.
func part(claims map[string]any) string {
	return base64.RawURLEncoding.EncodeToString(mustJSON(claims))
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // maps of texts and numbers can always be written
		panic(fmt.Sprintf("simulator: %v", err))
	}
	return b
}

func (t *Tenant) traceID() string {
	h := t.chance.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-9%03x-%012x", uint32(h), h>>48, h&0xfff, h>>20&0xfff, h>>16)
}

// authorize returns 401 or 403, or 0 if the call may pass.
func (t *Tenant) authorize(c *call, now time.Time) int {
	text, ok := strings.CutPrefix(c.authorization, "Bearer ")
	tok, known := t.tokens[text]
	switch {
	case !ok || !known || !now.Before(tok.expires):
		return http.StatusUnauthorized
	case c.graph && !slices.Contains(tok.roles, DefaultGraphRole) && !slices.Contains(tok.roles, "SecurityIncident.ReadWrite.All"):
		return http.StatusForbidden
	case !c.graph && !slices.Contains(tok.roles, DefaultRole) && !slices.Contains(tok.roles, "Incident.ReadWrite.All"):
		return http.StatusForbidden
	}
	return 0
}
