package app

import (
	"os"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
)

func credentialFlags(app *kingpin.Application, t *config.Tenant) {
	app.Flag("client.secret-file", "File that holds the client secret. Or set AZURE_CLIENT_SECRET to the secret.").StringVar(&t.ClientSecretFile)
	app.Flag("client.secret-expires", "When the client secret ends: a date, or a time (RFC 3339). The exporter cannot find out, and warns of it.").SetValue(&value{
		name: "client.secret-expires", set: func(text string) error { return config.Set(&t.SecretExpires, text) },
	})
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
