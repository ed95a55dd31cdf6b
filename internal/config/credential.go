package config

import "strings"

// Credential is a kind of credential and how an operator gives it.
type Credential struct {
	// Name in plain words.
	Name  string
	Field Field
	// given tells whether the tenant has it.
	given func(*Tenant) bool
}

// Credentials lists the kinds.
var Credentials = []Credential{
	{"a client secret", Field{Flag: "client.secret-file", Env: "AZURE_CLIENT_SECRET"}, func(t *Tenant) bool { return t.ClientSecret != "" || t.ClientSecretFile != "" }},
	{"a certificate", Field{Flag: "client.certificate-file", Env: "AZURE_CLIENT_CERTIFICATE_PATH"}, func(t *Tenant) bool { return t.ClientCertificateFile != "" }},
	{"a federated token", Field{Flag: "client.federated-token-file", Env: "AZURE_FEDERATED_TOKEN_FILE"}, func(t *Tenant) bool { return t.FederatedTokenFile != "" }},
	{"a managed identity", Field{Flag: "client.managed-identity"}, func(t *Tenant) bool { return t.ManagedIdentity }},
}

// credential refuses no credential and more than one.
func (t *Tenant) credential() error {
	var given []string
	for _, c := range Credentials {
		if c.given(t) {
			given = append(given, c.Name+", "+c.Field.String())
		}
	}
	certificate := t.ClientCertificateFile != ""
	switch {
	case t.ClientID == "" && !t.ManagedIdentity:
		return wrong("client.id", "AZURE_CLIENT_ID", "is required: the application (client) id of the app registration")
	case len(given) == 0:
		var fields []string
		for _, c := range Credentials[1:] {
			fields = append(fields, c.Field.String())
		}
		return &Error{Credentials[0].Field, "is required: a file that holds the client secret, or the secret itself in the environment variable; or another credential: " + strings.Join(fields, ", ")}
	case len(given) > 1:
		return wrong("client.*", "", "gives more than one credential: %s; exactly one must be given (a flag goes before the environment)", strings.Join(given, "; "))
	case t.ClientCertificatePasswordFile != "" && !certificate:
		return wrong("client.certificate-password-file", "", "is given without a certificate, --client.certificate-file")
	case t.ClientCertificatePasswordFile != "" && t.ClientCertificatePassword != "":
		return wrong("client.certificate-password-file", "", "is given, and so is AZURE_CLIENT_CERTIFICATE_PASSWORD; only one of them must be")
	}
	return nil
}
