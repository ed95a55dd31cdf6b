package auth

import "net/http"

// hints say in plain words what to do, by the numbers in error_codes.
var hints = map[int]string{
	7000215: "the client secret is wrong; its value is needed, not its id",
	7000222: "the client secret has expired; create a new one",
	7000218: "the server saw no credential: a public client was registered, or something on the way strips the request",
	700016:  "the client id is not known in this tenant; or --tenant.id is another one's",
	7000112: "the application is disabled in this tenant",
	7000229: "the application has no service principal in this tenant; grant admin consent once to create it",
	90002:   "the tenant id is not known in this cloud; check --tenant.id and --cloud",
	900023:  "the tenant id is neither an id nor a domain name; check --tenant.id",
	500011:  "the API is not known to this tenant: Defender is not provisioned, or --cloud is the wrong one",
	1002012: "the scope is wrong; it must be the API's address and /.default",
	700027:  "the certificate is not registered with this application; upload its public part under Certificates & secrets",
	700024:  "the assertion is not valid at the server's time; check this machine's clock, or whether the federated token has expired",
	70021:   "no federated credential of this application matches the token's issuer and subject",
	700211:  "no federated credential of this application matches the token's issuer",
	700212:  "no federated credential of this application matches the token's audience; it must be api://AzureADTokenExchange",
	700213:  "no federated credential of this application matches the token's subject; it must be system:serviceaccount:NAMESPACE:NAME",
	53003:   "a Conditional Access policy for workload identities blocks this application or address",
	900382:  "the login host and the API belong to different clouds; check --cloud, and --auth.url, --api.url and --auth.scope if they are given",
}

func hintOf(r *refusal) string {
	for _, code := range r.codes {
		if hint, ok := hints[code]; ok {
			return hint
		}
	}
	if r.status == http.StatusProxyAuthRequired {
		return "the proxy wants credentials"
	}
	return r.hint
}
