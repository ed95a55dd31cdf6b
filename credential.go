package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/config"
)

func credentialFlags(app *kingpin.Application, t *config.Tenant) {
	app.Flag("client.secret-file", "File that holds the client secret. Or set AZURE_CLIENT_SECRET to the secret.").StringVar(&t.ClientSecretFile)
	app.Flag("client.certificate-file", "File that holds the client certificate and its RSA key, PEM or PKCS#12. Or set AZURE_CLIENT_CERTIFICATE_PATH.").StringVar(&t.ClientCertificateFile)
	app.Flag("client.certificate-password-file", "File that holds the password of a PKCS#12 file. Or set AZURE_CLIENT_CERTIFICATE_PASSWORD to the password.").StringVar(&t.ClientCertificatePasswordFile)
	app.Flag("client.federated-token-file", "File that holds a token of a workload identity. Or set AZURE_FEDERATED_TOKEN_FILE.").StringVar(&t.FederatedTokenFile)
	app.Flag("client.managed-identity", "Use the managed identity of the machine: the user assigned one with --client.id, or the system assigned one without.").BoolVar(&t.ManagedIdentity)
}

// credentialEnvironment adds what the environment says. A credential that was
// given by flag makes it look at no other: Kubernetes' webhook for workload
// identities, say, puts its variables into pods that use something else.
func credentialEnvironment(t *config.Tenant) {
	if t.ClientSecretFile == "" && t.ClientCertificateFile == "" && t.FederatedTokenFile == "" && !t.ManagedIdentity {
		t.ClientSecret = config.Secret(os.Getenv("AZURE_CLIENT_SECRET"))
		t.ClientCertificateFile = os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH")
		t.FederatedTokenFile = os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	}
	if t.ClientCertificateFile != "" && t.ClientCertificatePasswordFile == "" {
		t.ClientCertificatePassword = config.Secret(os.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD"))
	}
}

// newCredential is what the tenant's calls are authorised with.
func (t *tenant) newCredential() (*auth.Source, error) {
	cfg := t.config
	o := auth.Options{
		TokenURL: cfg.AuthURL + "/" + cfg.TenantID + "/oauth2/v2.0/token",
		ClientID: cfg.ClientID,
		Scope:    cfg.AuthScope,
		HTTP:     &http.Client{Transport: t.transport, Timeout: cfg.Timeout},
		Observe:  t.observeToken,
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

// expiryWarning is how long before its end a credential is warned of.
const expiryWarning = 30 * 24 * time.Hour

// observeToken counts and logs. Requests are made one at a time.
func (t *tenant) observeToken(a auth.Attempt) {
	if a.Err == nil {
		t.api.Token("")
		t.logger.Debug("Got an access token", "took", a.Took)
	} else {
		t.api.Token(auth.Reason(a.Err))
		t.logger.Debug("No access token", "took", a.Took, "err", a.Err)
	}
	now := time.Now()
	left := a.CredentialExpiry.Sub(now)
	if a.CredentialExpiry.IsZero() || left > expiryWarning || now.Sub(t.warned) < 24*time.Hour {
		return
	}
	t.warned = now
	t.logger.Warn("The client certificate expires soon", "at", a.CredentialExpiry.UTC().Format(time.RFC3339), "left", fmt.Sprintf("%.1fd", left.Hours()/24))
}
