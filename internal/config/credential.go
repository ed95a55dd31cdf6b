package config

import "fmt"

// credentialKind is a kind of credential and how an operator gives it.
type credentialKind struct {
	Field Field
	// given tells whether the tenant has it.
	given func(*Tenant) bool
}

// credentials lists the kinds.
var credentials = []credentialKind{
	{Field{Flag: "client.secret-file", Env: "AZURE_CLIENT_SECRET"}, func(t *Tenant) bool { return t.ClientSecret != "" || t.ClientSecretFile != "" }},
	{Field{Flag: "client.certificate-file", Env: "AZURE_CLIENT_CERTIFICATE_PATH"}, func(t *Tenant) bool { return t.ClientCertificateFile != "" }},
	{Field{Flag: "client.federated-token-file", Env: "AZURE_FEDERATED_TOKEN_FILE"}, func(t *Tenant) bool { return t.FederatedTokenFile != "" }},
	{Field{Flag: "client.managed-identity"}, func(t *Tenant) bool { return t.ManagedIdentity }},
}

// credential refuses no credential and more than one.
func (t *Tenant) credential() error {
	var given []Field
	for _, c := range credentials {
		if c.given(t) {
			given = append(given, c.Field)
		}
	}
	switch {
	case t.ClientID == "" && !t.ManagedIdentity:
		return wrong("client.id", "AZURE_CLIENT_ID", "is required: the application (client) id of the app registration")
	case len(given) == 0:
		return &Error{credentials[0].Field, fmt.Sprintf("is required: a file that holds the client secret, or the secret itself in the environment variable; or one of %s, %s, %s",
			credentials[1].Field, credentials[2].Field, credentials[3].Field)}
	case len(given) > 1:
		return &Error{given[1], fmt.Sprintf("is given as well as %s; it must be exactly one credential, and a flag goes before the environment", given[0])}
	case t.ClientCertificatePasswordFile != "" && t.ClientCertificateFile == "":
		return wrong("client.certificate-password-file", "", "is given without %s, whose password it would be", credentials[1].Field)
	}
	return nil
}
