package tenant

import (
	"fmt"
	"net/http"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/config"
)

// newCredential is what the tenant's calls are authorised with.
func (t *Tenant) newCredential() (*auth.Source, error) {
	cfg := t.config
	o := auth.Options{
		TokenURL:      cfg.AuthURL + "/" + cfg.TenantID + "/oauth2/v2.0/token",
		ClientID:      cfg.ClientID,
		Scope:         cfg.AuthScope,
		SecretExpires: cfg.SecretExpires,
		HTTP:          &http.Client{Transport: t.transport, Timeout: cfg.Timeout},
		Observe:       t.observeToken,
		Now:           t.now,
	}
	switch {
	case cfg.ClientCertificateFile != "":
		return auth.Certificate(o, cfg.ClientCertificateFile, passwordOf(cfg)), nil
	case cfg.FederatedTokenFile != "":
		return auth.Federated(o, cfg.FederatedTokenFile), nil
	case cfg.ManagedIdentity:
		return auth.ManagedIdentity(o)
	case cfg.ClientSecretFile != "":
		return auth.ClientSecret(o, auth.SecretFile(cfg.ClientSecretFile)), nil
	}
	return auth.ClientSecret(o, text(cfg.ClientSecret)), nil
}

func passwordOf(cfg config.Tenant) func() (string, error) {
	if cfg.ClientCertificatePasswordFile != "" {
		return auth.PasswordFile(cfg.ClientCertificatePasswordFile)
	}
	return text(cfg.ClientCertificatePassword)
}

func text(s config.Secret) func() (string, error) {
	return func() (string, error) { return string(s), nil }
}

// ExpiryWarning is how long before its end a credential is warned of.
const ExpiryWarning = 30 * 24 * time.Hour

// observeToken counts and logs. Requests are made one at a time.
func (t *Tenant) observeToken(a auth.Attempt) {
	if a.Err == nil {
		t.api.Token("")
		t.logger.Debug("Got an access token", "took", a.Took)
	} else {
		t.api.Token(auth.Reason(a.Err))
		t.logger.Debug("No access token", "took", a.Took, "err", a.Err)
		t.judgeToken(a.Err)
	}
	now := t.now()
	left := a.CredentialExpiry.Sub(now)
	if a.CredentialExpiry.IsZero() || left > ExpiryWarning || now.Sub(t.warned) < 24*time.Hour {
		return
	}
	t.warned = now
	credential := "certificate"
	if !t.config.SecretExpires.IsZero() {
		credential = "secret"
	}
	t.logger.Warn("The client "+credential+" expires soon", "at", a.CredentialExpiry.UTC().Format(time.RFC3339), "left", fmt.Sprintf("%.1fd", left.Hours()/24))
}
