package preflight

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/tenant"
)

// tokenClaims is what the token says of itself. It is not verified.
type tokenClaims struct {
	Credential        string     `json:"credential"`
	Expires           *time.Time `json:"expires,omitempty"`
	CredentialExpires *time.Time `json:"credential_expires,omitempty"`
	Audience          string     `json:"audience,omitempty"`
	ClientID          string     `json:"client_id,omitempty"`
	Roles             []string   `json:"roles"`
}

// permission is what an API demands. One that also writes does as well.
type permission struct {
	api, appID, read, write string
}

// permissions by the name of the API in the configuration.
var permissions = map[string]permission{
	config.Defender: {"Microsoft Threat Protection", "8ee8fdad-f234-4243-8f3b-15c294843740", config.Roles[config.Defender][0], config.Roles[config.Defender][1]},
	config.Graph:    {"Microsoft Graph", "00000003-0000-0000-c000-000000000000", config.Roles[config.Graph][0], config.Roles[config.Graph][1]},
}

// checkToken gets a token and looks into it.
func (c *Result) checkToken(t *tenant.Tenant) (token, granted Step) {
	got, err := t.Credential().Token()
	if err != nil {
		c.refusal = t.Refusal(err)
		detail, hint := err.Error(), ""
		if e, ok := errors.AsType[*auth.Error](err); ok {
			detail, hint = e.Message(), e.Hint
		}
		return Step{"token", Failed, t.Credential().Describe() + ": " + detail, hint},
			Step{"permission", Skipped, "there is no token", ""}
	}
	c.Token = &tokenClaims{Credential: t.Credential().Describe(), Roles: []string{}}
	detail := t.Credential().Describe()
	if !got.Expiry.IsZero() {
		at := got.Expiry.UTC().Truncate(time.Second)
		c.Token.Expires = &at
		detail += fmt.Sprintf(", token for %s", roughly(time.Until(got.Expiry)))
	}
	hint := ""
	if end := t.Credential().CredentialExpiry(); !end.IsZero() {
		end = end.UTC()
		c.Token.CredentialExpires = &end
		detail += ", credential until " + end.Format(time.DateOnly)
		if time.Until(end) < tenant.ExpiryWarning {
			hint = "the credential expires soon: register a new one and put it in its place"
		}
	}
	return Step{"token", OK, detail, hint}, c.checkRoles(t.Config(), got.AccessToken, t.Credential().Scrubber())
}

// maxRoles bounds how many roles are shown.
const maxRoles = 30

// checkRoles looks for the permission in the token. What the token says of
// itself is a foreign text like any other.
func (c *Result) checkRoles(cfg config.Tenant, token string, shown scrubber) Step {
	need := permissions[cfg.API]
	claims, ok := auth.ParseClaims(token)
	if !ok {
		return Step{"permission", Skipped, "the token cannot be looked into", ""}
	}
	for _, role := range claims.Roles[:min(len(claims.Roles), maxRoles)] {
		c.Token.Roles = append(c.Token.Roles, shown.Text(role))
	}
	if len(claims.Audience) > 0 {
		c.Token.Audience = shown.Text(claims.Audience[0]) // of Entra's tokens there is one
	}
	c.Token.ClientID = shown.Text(claims.AppID)
	name := need.read + " of " + need.api
	switch {
	case slices.Contains(claims.Roles, need.read):
		return Step{"permission", OK, name, ""}
	case slices.Contains(claims.Roles, need.write):
		return Step{"permission", OK, fmt.Sprintf("%s of %s", need.write, need.api), need.read + " would be enough: nothing is ever written"}
	}
	has := "none"
	if len(claims.Roles) > 0 {
		has = strings.Join(c.Token.Roles, ", ")
	}
	if more := len(claims.Roles) - maxRoles; more > 0 {
		has += fmt.Sprintf(" and %d more", more)
	}
	return Step{"permission", Failed, fmt.Sprintf("%s is not in the token; roles in it: %s", name, has), c.roleHint(cfg, need, claims)}
}

// roleHint says how the permission gets into the token.
func (c *Result) roleHint(cfg config.Tenant, need permission, claims auth.Claims) string {
	for api, other := range permissions {
		if api != cfg.API && (slices.Contains(claims.Roles, other.read) || slices.Contains(claims.Roles, other.write)) {
			return fmt.Sprintf("this permission is the other API's: grant %s of %s and admin consent, or use --api=%s", need.read, need.api, api)
		}
	}
	if cfg.ManagedIdentity {
		return fmt.Sprintf("assign the app role %s of %s (%s) to the managed identity, see docs/permissions.md; Azure keeps its tokens up to a day, so it may show late", need.read, need.api, need.appID)
	}
	id := cfg.ClientID
	if c.Token.ClientID != "" {
		id = c.Token.ClientID
	}
	return fmt.Sprintf("in Microsoft Entra, app registration %s, API permissions: add %s of %s as an APPLICATION permission (a delegated one does not count) and grant admin consent", id, need.read, need.api)
}

// roughly rounds to what a person wants to know.
func roughly(d time.Duration) string {
	switch {
	case d < 90*time.Second && d != time.Minute:
		return fmt.Sprintf("%ds", int(d.Round(time.Second)/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Round(time.Minute)/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Round(time.Hour)/time.Hour))
	}
	return fmt.Sprintf("%dd", int(d.Round(24*time.Hour)/(24*time.Hour)))
}
